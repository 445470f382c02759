"""What a compressor owes on damaged input: ``IntegrityError``, and never other content."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dumpty.errors import IntegrityError
from dumpty.testing.rules import RuleBroken, refused, require, shown
from dumpty.testing.streams import SAMPLES, BytesReader, Collector, offsets, read_blocks
from dumpty.testing.suite import Suite

if TYPE_CHECKING:
    from dumpty.host import Host
    from dumpty.types import Buffer, Reader

__all__ = ["DamageRules"]

_ADVICE = "Raise dumpty.IntegrityError; dumpty.FramedReader does it for any decompressor of the usual shape."
_ONLY = "Damaged input raises IntegrityError, and no other error."


class DamageRules(Suite):
    """The part of ``CompressorSuite`` that damages what was stored."""

    detects_corruption: ClassVar[bool] = True
    """False for a format without a checksum, which lets altered bytes pass: dumpty's own digest then finds them."""

    def packed(self, host: Host, *chunks: Buffer, given: dict[str, object] | None = None) -> bytes:
        """Return ``chunks``, compressed."""
        raise NotImplementedError

    def reader(self, host: Host, stream: Reader, given: dict[str, object] | None = None) -> Reader:
        """Return the plugin's reader of a stored stream."""
        raise NotImplementedError

    def plain(self, host: Host, stored: bytes | BytesReader, given: dict[str, object] | None = None) -> bytes:
        """Return what a stored stream holds, read to its end."""
        stream = BytesReader(stored) if isinstance(stored, bytes) else stored
        reader, sink = self.reader(host, stream, given), Collector()
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
                found = f"byte {position} of {len(stored)} was altered by {flip:#04x}, and"
                try:
                    again = self.plain(host, bytes(damaged))
                except IntegrityError:
                    continue
                except Exception as error:
                    raise RuleBroken(f"{_ONLY} Here {found} it raised {shown(error)}. {_ADVICE}") from error
                require(
                    again == data or not self.detects_corruption,
                    "Altered input never comes back as other content.",
                    "Check the format's checksum, or set detects_corruption = False if it has none.",
                    f"{found} other content came back",
                )

    def test_anything_behind_the_end_is_an_integrity_error(self, host: Host) -> None:
        """Bytes behind the end of the stored stream raise IntegrityError."""
        stored = self.packed(host, SAMPLES["text"]()[:3000])
        for rest in (b"\0", b"x", b"\n", bytes(2000), b"garbage " * 100):
            rule = f"A stream followed by {len(rest)} other bytes ({rest[:4]!r}…) raises IntegrityError."
            with refused(IntegrityError, rule, "Read the input to its end. " + _ADVICE):
                self.plain(host, stored + rest)

    def test_damage_is_told_again(self, host: Host) -> None:
        """A reader that has raised IntegrityError raises it again at the next read, and gives no end."""
        stored = self.packed(host, SAMPLES["text"]()[:3000])
        reader = self.reader(host, BytesReader(stored[: len(stored) // 2]))
        rule = "A reader that found damage raises IntegrityError at every further read, whoever swallowed the first."
        for _ in range(3):
            with refused(IntegrityError, rule, "Keep the error and raise it again. " + _ADVICE):
                read_blocks(reader, Collector(), 1000)
