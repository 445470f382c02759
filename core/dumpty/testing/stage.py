"""What a stage owes, be it a compressor or a cipher: bytes that come back, in constant memory, and closing."""

from __future__ import annotations

import functools
import gc
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dumpty.testing.damage import DamageRules
from dumpty.testing.rules import RuleBroken, difference, require, shown
from dumpty.testing.streams import (
    BLOCK,
    SAMPLES,
    BytesReader,
    Collector,
    DigestingSink,
    at_once,
    blocks,
    peak_memory,
    read_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Writer

__all__ = ["StageRules"]


class StageRules(DamageRules):
    """The part of ``CompressorSuite`` and ``CipherSuite`` that they share."""

    large: ClassVar[int] = 64 << 20
    """How many bytes the long round trip takes."""

    stage_hooks: ClassVar[tuple[str, str]]
    """The hooks on the way out and back."""

    def writer(self, host: Host, sink: Any, overrides: dict[str, object] | None = None) -> Writer:
        """Return the plugin's writer."""
        raise NotImplementedError

    # -- round trips ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", SAMPLES)
    def test_what_was_written_comes_back(self, host: Host, sample: str) -> None:
        """What was written comes back byte for byte: nothing, one byte, text, random and repetitive data."""
        data = SAMPLES[sample]()
        self._require_back(host, self.packed(host, data), data, f"the sample {sample!r}")

    def test_a_large_stream_comes_back(self, host: Host, tmp_path: Path) -> None:
        """A stream of many blocks comes back byte for byte."""
        path, written, read_back = tmp_path / "stored", DigestingSink(), DigestingSink()
        self._pack_blocks(host, path, written)
        with path.open("rb", buffering=0) as stream:
            read_blocks(self.reader(host, stream), read_back)
        self._require_same(
            read_back.size_and_digest, written.size_and_digest, f"size and SHA-256 of {written.size} bytes"
        )

    def test_chunks_of_any_size_and_type_make_no_difference(self, host: Host) -> None:
        """How the dump is cut into writes, and the type of the buffers, make no difference."""
        kinds: tuple[Callable[[bytes], Buffer], ...] = (bytes, bytearray, memoryview)
        for kind in kinds:
            for size in (1, 7, 4093, 1 << 20):
                data = SAMPLES["text"]() if size < BLOCK else SAMPLES["random"]()
                pieces = [kind(data[i : i + size]) for i in range(0, len(data), size)] + [kind(b"")]
                case = f"{len(pieces)} pieces of {size} bytes, as {pieces[0].__class__.__name__}"
                self._require_back(host, self.packed(host, *pieces), data, case)

    def test_a_buffer_is_the_callers_again_after_the_write(self, host: Host) -> None:
        """The buffer of a write belongs to the caller again when write returns."""
        data, sink, buffer = SAMPLES["text"](), Collector(), bytearray()
        writer = self.writer(host, sink)
        remedy = "Consume or copy the bytes within write()."
        for start in range(0, len(data), 100):
            try:
                buffer[:] = data[start : start + 100]
            except BufferError:
                require(False, "A writer holds on to no buffer.", remedy, "the caller could not resize its bytearray")
            writer.write(buffer)
            buffer[:] = b"\xff" * len(buffer)
        writer.close()
        self._require_back(host, bytes(sink.data), data, "one buffer used again and again", remedy)

    def test_write_takes_every_byte_and_returns_their_number(self, host: Host) -> None:
        """write() takes every byte and returns their number."""
        writer = self.writer(host, Collector())
        for size in (0, 1, 100_000):
            written = writer.write(memoryview(bytes(size)))
            remedy = "Return the length of what was passed in, not of what went to the sink."
            rule = "write() takes every byte and returns their number."
            require(written == size, rule, remedy, f"it returned {written!r} for {size} bytes")
        writer.close()

    def test_short_reads_of_the_input_make_no_difference(self, host: Host) -> None:
        """The stored stream may give fewer bytes than were asked for; only b"" is its end."""
        data = SAMPLES["text"]() * 3
        for sizes in ((1,), (2, 5, 1, 1000), (10, 1, 1)):
            stream = BytesReader(self.packed(host, data), sizes)
            self._require_back(host, stream, data, "a stream of short reads", "Read on until read() returns b''.")

    def test_read_keeps_to_the_size_it_was_asked_for(self, host: Host) -> None:
        """read(n) returns up to n bytes, b"" at the end only and ever after; read(-1) reads to the end."""
        data = SAMPLES["repetitive"]()[:50_000]
        stored = self.packed(host, data)
        rule = "read(n) returns at most n bytes, and b'' at the end only."
        remedy = "Keep what is too much for the next read, and go on reading where the codec has no output yet."
        for size in (1 << 20, 4096, 3):
            reader, content = self.reader(host, BytesReader(stored)), bytearray()
            require(reader.read(0) == b"", "read(0) returns b'' and is not the end.", remedy)
            while block := reader.read(size):
                require(len(block) <= size, rule, remedy, f"read({size}) returned {len(block)} bytes")
                content += block
            self._require_same(bytes(content), data, f"read {size} bytes at a time")
            require(reader.read(size) == b"", "At the end, every further read returns b''.", remedy)
        self._require_same(self.reader(host, BytesReader(stored)).read(-1), data, "read by read(-1)")

    # -- closing -------------------------------------------------------------------------------------------------

    def test_closing_twice_is_harmless(self, host: Host) -> None:
        """close() of a writer or reader may be called again, and does nothing then."""
        sink = Collector()
        writer = self.pack(host, sink, SAMPLES["text"]())
        size, remedy = len(sink.data), "Note that it is closed, and return."
        try:
            writer.close()
            reader = self.reader(host, BytesReader(bytes(sink.data)))
            reader.read(10)
            reader.close()
            reader.close()
        except Exception as error:  # noqa: BLE001 - any is one too many
            require(False, "Closing twice is harmless.", remedy, f"it raised {shown(error)}")
        observed = f"it wrote {len(sink.data) - size} more bytes"
        require(len(sink.data) == size, "A writer's second close() writes nothing.", remedy, observed)

    def test_the_sink_stays_open(self, host: Host) -> None:
        """A writer never closes its sink, neither in close() nor when it is collected."""
        sink = Collector()
        self.pack(host, sink, SAMPLES["text"]())
        gc.collect()
        remedy = "Flush into it and leave it; wrap it in an object without close() where your library closes it."
        require(not sink.closed, "The sink belongs to dumpty: a writer leaves it open.", remedy, "it was closed")

    # -- behaviour -----------------------------------------------------------------------------------------------

    def test_memory_stays_flat(self, host: Host, tmp_path: Path) -> None:
        """Writing and reading take no more memory for a long stream than for a short one."""
        path = tmp_path / "stored"
        repetitive = bytes(BLOCK)

        def pack() -> None:
            with path.open("wb") as file:
                writer = self.writer(host, file)
                for _ in range(self.large // BLOCK):
                    writer.write(repetitive)
                writer.close()

        def unpack() -> None:
            with path.open("rb") as file:
                read_blocks(self.reader(host, file), DigestingSink())

        for hook, work in zip(self.stage_hooks, (pack, unpack), strict=True):
            peak = peak_memory(work)
            require(
                peak < self.memory,
                f"{hook}() streams: memory does not grow with the dump.",
                "Pass on what is ready at every call, and obey read's size, for a few stored bytes may expand to many.",
                f"it held {peak >> 20} MiB for a stream of {self.large >> 20} MiB",
            )

    def test_several_streams_at_once_do_not_mix(self, host: Host) -> None:
        """Several threads may write and read at once, each its own stream."""
        mixed_up: list[int] = []

        def stream(number: int, meet: Callable[[], None]) -> None:
            data = SAMPLES["text"]() + bytes([number]) * 50_000
            sink = Collector()
            writer = self.writer(host, sink)
            for start in range(0, len(data), 20_000):
                meet()
                writer.write(data[start : start + 20_000])
            meet()
            writer.close()
            if self.plain(host, bytes(sink.data)) != data:
                mixed_up.append(number)

        errors = at_once([functools.partial(stream, number) for number in range(3)])
        require(
            not errors and not mixed_up,
            "Several backups may run at once: every hook returns an object of its own.",
            "Keep no state in the module.",
            f"streams of several threads got mixed up: {shown(errors[0]) if errors else 'other bytes came back'}",
        )

    # -- in other words ------------------------------------------------------------------------------------------

    def pack(self, host: Host, sink: Collector, *chunks: Buffer, overrides: dict[str, object] | None = None) -> Any:
        """Write ``chunks`` through the stage into ``sink``, and return the writer, closed."""
        writer = self.writer(host, sink, overrides)
        for chunk in chunks:
            writer.write(chunk)
        writer.close()
        return writer

    def packed(self, host: Host, *chunks: Buffer, overrides: dict[str, object] | None = None) -> bytes:
        """Return what the stage makes of ``chunks``."""
        sink = Collector()
        self.pack(host, sink, *chunks, overrides=overrides)
        return bytes(sink.data)

    def _pack_blocks(self, host: Host, path: Path, written: DigestingSink) -> None:
        with path.open("wb") as file:
            writer = self.writer(host, file)
            for block in blocks(self.large):
                written.write(block)
                writer.write(block)
            writer.close()

    def _require_back(
        self, host: Host, stored: bytes | BytesReader, data: bytes, case: str, remedy: str = "See where it differs."
    ) -> None:
        try:
            read_back = self.plain(host, stored)
        except Exception as error:
            raise RuleBroken(f"What was written comes back. Here, from {case}, {shown(error)}. {remedy}") from error
        self._require_same(read_back, data, case, remedy)

    def _require_same(self, actual: object, expected: object, case: str, remedy: str = "See where it differs.") -> None:
        rule = "What was written comes back byte for byte."
        require(actual == expected, rule, remedy, f"{difference(expected, actual)} ({case})")
