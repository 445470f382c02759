"""Compressors that break one rule each."""

from __future__ import annotations

import contextlib
import random
import zlib

from dumpty import IntegrityError, Option, PluginInfo, hookimpl
from testing.breaks import ANY, breaks
from testing.toyzip import Reader, ToyZip, Writer

# -- what every plugin owes ------------------------------------------------------------------------------------------


@breaks("test_describe_says_what_the_plugin_is")
class SaysOtherThings(ToyZip):
    def info(self):
        return PluginInfo(kind="compressor", suffix=".toy", summary=str(random.random()))


@breaks("test_the_hooks_of_its_kind_are_implemented", *ANY)
class NoDecompress(ToyZip):
    decompress = None


@breaks("test_describe_brings_in_no_library")
class EagerImport(ToyZip):
    def info(self):
        import colorsys

        return PluginInfo(kind="compressor", suffix=".toy", summary=colorsys.__name__)


@breaks("test_describe_prints_nothing")
class Talkative(ToyZip):
    def info(self):
        print("toyzip 1.0, at your service")
        return super().info()


class OneOption(ToyZip):
    def info(self):
        return PluginInfo(kind="compressor", suffix=".toy", options=(self.option,))


@breaks("test_options_are_declared_with_sane_defaults")
class DefaultOutsideTheChoices(OneOption):
    option = Option(name="level", default=5, choices=(1, 2, 3), help="h", verbs=("compress",))


@breaks("test_options_are_declared_with_sane_defaults", *ANY)
class DefaultThatIsNoJson(OneOption):
    option = Option(name="ratio", default=float("nan"), help="h", verbs=("compress",))


@breaks("test_options_are_declared_with_sane_defaults", *ANY)
class DefaultNone(OneOption):
    option = Option(name="level", default=None, help="h", verbs=("compress",))


@breaks("test_options_are_declared_with_sane_defaults")
class OptionForAnotherVerb(OneOption):
    option = Option(name="level", default=1, help="h", verbs=("backup",))


@breaks("test_options_are_declared_with_sane_defaults")
class OptionWithoutHelp(OneOption):
    option = Option(name="level", default=1, help=" ", verbs=("compress",))


@breaks("test_options_are_declared_with_sane_defaults")
class OptionThatIsNoName(OneOption):
    option = Option(name="the-level", default=1, help="h", verbs=("compress",))


@breaks("test_only_declared_options_are_read")
class ReadsWhatNobodyDeclared(ToyZip):
    @hookimpl
    def compress(self, sink, options):
        options.get("quality", 5)
        return super().compress(sink)


# -- round trips -----------------------------------------------------------------------------------------------------


@breaks("test_what_was_written_comes_back")
class NothingFromNothing(ToyZip):
    class writer(Writer):
        def close(self):
            if self.size:
                super().close()


@breaks("test_a_large_stream_comes_back")
class LosesWhatIsBehindTheSecondMegabyte(ToyZip):
    class writer(Writer):
        def write(self, data):
            return super().write(data) if self.size < 2_000_000 else len(data)


@breaks("test_chunks_of_any_size_and_type_make_no_difference")
class SkipsSingleBytes(ToyZip):
    class writer(Writer):
        def write(self, data):
            return len(data) if len(data) == 1 and self.size else super().write(data)


@breaks("test_a_buffer_is_the_callers_again_after_the_write")
class KeepsTheLastBuffer(ToyZip):
    class writer(Writer):
        last_buffer = b""

        def write(self, data):
            super().write(self.last_buffer)
            self.last_buffer = data
            return len(data)

        def close(self):
            if not self.closes:
                super().write(self.last_buffer)
            super().close()


@breaks("test_write_takes_every_byte_and_returns_their_number", "test_a_backup_goes_through_it_and_back")
class ReturnsThePackedSize(ToyZip):
    class writer(Writer):
        def write(self, data):
            super().write(data)
            return len(zlib.compress(data, 1))


@breaks("test_short_reads_of_the_input_make_no_difference")
class TakesAShortReadForTheEnd(ToyZip):
    class reader(Reader):
        def fill(self):
            data = self.stream.read(4096)
            return data if len(data) != 1 else b""


@breaks("test_read_keeps_to_the_size_it_was_asked_for", "test_memory_stays_flat")
class ReturnsMoreThanWasAskedFor(ToyZip):
    class reader(Reader):
        def limit(self, size):
            return min(size, 0)


@breaks("test_every_declared_choice_works")
class HasOneLevelTooMany(OneOption):
    option = Option(name="level", default=1, choices=(1, 2, 10), help="h", verbs=("compress",))

    @hookimpl
    def compress(self, sink, options):
        return self.writer(sink, options["level"])


@breaks("test_a_backup_goes_through_it_and_back")
class TakesAnInstalledName(ToyZip):
    name = "gzip"


# -- errors of others ------------------------------------------------------------------------------------------------


@breaks("test_an_error_of_the_sink_comes_out")
class SwallowsTheSinksErrors(ToyZip):
    class writer(Writer):
        def pass_on(self, data):
            with contextlib.suppress(OSError):
                super().pass_on(data)


@breaks("test_an_error_of_the_sink_comes_out")
class SwallowsInterrupts(ToyZip):
    class writer(Writer):
        def pass_on(self, data):
            with contextlib.suppress(KeyboardInterrupt):
                super().pass_on(data)


@breaks("test_an_error_of_the_input_comes_out")
class TakesALostLineForTheEnd(ToyZip):
    class reader(Reader):
        def fill(self):
            try:
                return super().fill()
            except OSError:
                return b""


# -- closing ---------------------------------------------------------------------------------------------------------


@breaks("test_closing_twice_is_harmless")
class EndsTwice(ToyZip):
    class writer(Writer):
        def close(self):
            super().close()
            if self.closes > 1:
                self.sink.write(b"end")


@breaks("test_closing_twice_is_harmless")
class RefusesToCloseTwice(ToyZip):
    class writer(Writer):
        def close(self):
            if self.closes:
                raise ValueError("already closed")
            super().close()


@breaks("test_the_sink_stays_open")
class ClosesItsSink(ToyZip):
    class writer(Writer):
        def close(self):
            super().close()
            getattr(self.sink, "flush", lambda: None)()
            if not hasattr(self.sink, "name"):  # files are let live, so that the other tests can go on
                getattr(self.sink, "close", lambda: None)()


# -- damage ----------------------------------------------------------------------------------------------------------


@breaks(
    "test_truncated_input_is_an_integrity_error",
    "test_damage_is_told_again",
    "test_corrupted_input_is_an_integrity_error",
)
class TakesTruncationForTheEnd(ToyZip):
    class reader(Reader):
        def finish(self):
            pass


@breaks("test_corrupted_input_is_an_integrity_error")
class LetsOtherErrorsOut(ToyZip):
    class reader(Reader):
        def damaged(self, error):
            return error


@breaks("test_corrupted_input_is_an_integrity_error")
class ChecksNoChecksum(ToyZip):
    wbits = -15


@breaks("test_anything_behind_the_end_is_an_integrity_error")
class IgnoresWhatFollows(ToyZip):
    class reader(Reader):
        def trailing_bytes(self):
            return b""


@breaks("test_damage_is_told_again")
class ForgetsDamage(ToyZip):
    class reader(Reader):
        reported = False

        def read(self, size=-1):
            if self.reported:
                return b""
            try:
                return super().read(size)
            except IntegrityError:
                self.reported = True
                raise


# -- behaviour -------------------------------------------------------------------------------------------------------


@breaks("test_memory_stays_flat")
class KeepsEverything(ToyZip):
    class writer(Writer):
        def __init__(self, sink, *arguments):
            super().__init__(sink, *arguments)
            self.buffered = bytearray()

        def write(self, data):
            self.buffered += data
            return len(data)

        def close(self):
            if not self.closes:
                super().write(self.buffered)
            super().close()


@breaks("test_several_streams_at_once_do_not_mix")
class OneStateForAll(ToyZip):
    """Each writer gathers in a list of the plugin's, which the next one finds."""

    def __init__(self):
        self.pending = []

    @hookimpl
    def compress(self, sink):
        pending = self.pending

        class Gathering(Writer):
            def write(self, data):
                pending.append(bytes(data))
                if len(pending) > 1:
                    self.flush()
                return len(data)

            def flush(self):
                while pending:
                    super().write(pending.pop(0))

            def close(self):
                self.flush()
                super().close()

        return Gathering(sink)
