"""What a stage owes where others fail: a sink, a stored stream, or the bytes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dumpty.errors import IntegrityError
from dumpty.testing.rules import RuleBroken, comes_from, refused, require, shown
from dumpty.testing.streams import (
    SAMPLES,
    BytesReader,
    Collector,
    FailingReader,
    FailingSink,
    Interrupted,
    Refusal,
    offsets,
    read_blocks,
)
from dumpty.testing.suite import Suite

if TYPE_CHECKING:
    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Reader

__all__ = ["DamageRules"]

_ADVICE = "Raise dumpty.IntegrityError; dumpty.FramedReader does it for any decompressor of the usual shape."
_DAMAGE_RULE = "Damaged input raises IntegrityError, and no other error."


class DamageRules(Suite):
    """The part of the suites of stages in which their neighbours fail, and their input is damaged."""

    damage_errors: ClassVar[tuple[type[Exception], ...]] = (IntegrityError,)
    """What altered bytes may raise."""

    detects_corruption: ClassVar[bool] = True
    """False for a format without a checksum, which lets altered bytes pass: dumpty's own digest then finds them."""

    def pack(self, host: Host, sink: Collector, *chunks: Buffer, overrides: dict[str, object] | None = None) -> Any:
        """Write ``chunks`` through the stage into ``sink``, and return the writer, closed."""
        raise NotImplementedError

    def packed(self, host: Host, *chunks: Buffer, overrides: dict[str, object] | None = None) -> bytes:
        """Return what the stage makes of ``chunks``."""
        raise NotImplementedError

    def reader(self, host: Host, stream: Reader, overrides: dict[str, object] | None = None) -> Reader:
        """Return the plugin's reader of a stored stream."""
        raise NotImplementedError

    def plain(self, host: Host, stored: bytes | BytesReader, overrides: dict[str, object] | None = None) -> bytes:
        """Return what a stored stream holds, read to its end."""
        stream = BytesReader(stored) if isinstance(stored, bytes) else stored
        reader, sink = self.reader(host, stream, overrides), Collector()
        try:
            read_blocks(reader, sink, 65_536)
        finally:
            reader.close()
        return bytes(sink.data)

    def test_truncated_input_is_an_integrity_error(self, host: Host) -> None:
        """A stored stream that ends early, wherever, raises IntegrityError, and is never a shorter dump."""
        for data in (b"", SAMPLES["text"]()[:3000]):
            stored = self.packed(host, data)
            for length in offsets(len(stored), 60):
                rule = f"A stream cut after {length} of its {len(stored)} bytes raises IntegrityError from read()."
                with refused(IntegrityError, rule, _ADVICE):
                    self.plain(host, stored[:length])

    def test_corrupted_input_is_an_integrity_error(self, host: Host) -> None:
        """One altered byte, wherever, raises IntegrityError or does no harm: other content never comes back."""
        data = SAMPLES["text"]()[:3000]
        stored = self.packed(host, data)
        for position in offsets(len(stored), 80):
            for flip in (0x01, 0x80, 0xFF):
                damaged = bytearray(stored)
                damaged[position] ^= flip
                damage = f"byte {position} of {len(stored)} was altered by {flip:#04x}, and"
                try:
                    read_back = self.plain(host, bytes(damaged))
                except self.damage_errors:
                    continue
                except Exception as error:
                    raise RuleBroken(f"{_DAMAGE_RULE} Here {damage} it raised {shown(error)}. {_ADVICE}") from error
                require(
                    read_back == data or not self.detects_corruption,
                    "Altered input never comes back as other content.",
                    "Check the format's checksum, or set detects_corruption = False if it has none.",
                    f"{damage} other content came back",
                )

    def test_anything_behind_the_end_is_an_integrity_error(self, host: Host) -> None:
        """Bytes behind the end of the stored stream raise IntegrityError."""
        stored = self.packed(host, SAMPLES["text"]()[:3000])
        for trailing in (b"\0", b"x", b"\n", bytes(2000), b"garbage " * 100):
            rule = f"A stream followed by {len(trailing)} other bytes ({trailing[:4]!r}…) raises IntegrityError."
            with refused(IntegrityError, rule, "Read the input to its end. " + _ADVICE):
                self.plain(host, stored + trailing)

    def test_damage_is_told_again(self, host: Host) -> None:
        """A reader that has raised IntegrityError raises it again at the next read, and gives no end."""
        stored = self.packed(host, SAMPLES["text"]()[:3000])
        reader = self.reader(host, BytesReader(stored[: len(stored) // 2]))
        rule = "A reader that found damage raises IntegrityError at every further read, whoever swallowed the first."
        for _ in range(3):
            with refused(IntegrityError, rule, "Keep the error and raise it again. " + _ADVICE):
                read_blocks(reader, Collector(), 1000)

    @pytest.mark.parametrize("kind", [Refusal, Interrupted], ids=["disk", "ctrl-c"])
    def test_an_error_of_the_sink_comes_out(self, host: Host, kind: type[BaseException]) -> None:
        """Where the sink fails, write() or close() raises that error: nothing swallows it."""
        data = SAMPLES["random"]()
        complete = Collector()
        self.pack(host, complete, data)
        for good_writes in sorted({0, complete.writes // 2, complete.writes - 1}):
            error = kind("no space left on device")
            sink = FailingSink(good_writes, error)
            raised: BaseException | None = None
            try:
                self.pack(host, sink, data)
            except BaseException as caught:  # noqa: BLE001 - compared below
                raised = caught
            require(
                comes_from(raised, error),
                "An error of the sink comes out of write() or close(), unchanged or as the cause: dumpty has to know "
                "that the backup failed.",
                "Let it pass.",
                f"the sink failed at write {good_writes + 1} of {complete.writes}, and the writer raised "
                + (shown(raised) if raised else "nothing"),
            )

    def test_an_error_of_the_input_comes_out(self, host: Host) -> None:
        """Where the stored stream cannot be read on, read() raises that error, and tells no end and no damage."""
        stored, error = self.packed(host, SAMPLES["random"]()), Refusal("connection lost")
        for good_bytes in (0, len(stored) // 2, len(stored)):
            raised: BaseException | None = None
            try:
                self.plain(host, FailingReader(stored[:good_bytes], error, (4096,)))
            except Exception as caught:  # noqa: BLE001 - compared below
                raised = caught
            if good_bytes == len(stored) and raised is None:
                continue  # the format says where it ends, and nobody asked further
            require(
                comes_from(raised, error),
                "An error of the stored stream comes out of read(): a broken line is neither an end nor damage.",
                "Let it pass.",
                f"the stream failed at byte {good_bytes} of {len(stored)}, and read() "
                + (f"raised {shown(raised)}" if raised else "came to an end"),
            )
