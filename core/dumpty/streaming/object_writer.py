"""One object on its way into a repository: buffered, hashed, through the stages, hashed again, into its upload.

buffer, count and hash plain bytes -> (thread) compressor -> (thread) cipher -> count and hash stored bytes -> upload.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from dumpty.encryption.header import Beginning
from dumpty.streaming.streams import BufferedWriter, HashingWriter, ThreadedWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.stored import Stage
    from dumpty.types import Buffer, ByteSink, Section, TableContent, Verifier, Writer

__all__ = ["ObjectWriter", "WrittenObject"]


class WrittenObject(Struct, frozen=True, kw_only=True):
    """What is known of an object that was written: sizes in bytes, digests in hexadecimal.

    ``ending`` ends its name, behind the stem of its backup.
    """

    ending: str
    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str
    digests: Mapping[str, str] = {}
    section: Section = "whole"
    tables: tuple[TableContent, ...] = ()


class ObjectWriter:
    """Writes one object. A context manager, behind whose block nothing of it runs any more.

    Args:
        host: the plugins.
        upload: where its stored bytes go; whoever began it commits it.
        stages: what it goes through.
        verifiers: further digests of the stored bytes.
        progress: called with how many plain bytes were passed on.
        at_once: how many are written at the same time.
    """

    def __init__(
        self,
        host: Host,
        upload: ByteSink,
        stages: Sequence[Stage],
        verifiers: Sequence[Plugin],
        *,
        progress: Callable[[int], None] | None = None,
        at_once: int = 1,
    ) -> None:
        self._host = host
        self._stages = stages
        self._at_once = at_once
        self._stack = contextlib.ExitStack()
        self._stored_sha256, self._plain_sha256 = hashlib.sha256(), hashlib.sha256()
        self._extra: dict[str, Verifier] = {v.name: host.verify(v) for v in verifiers}
        self._beginning = Beginning()
        encrypted = bool(stages) and stages[-1].is_cipher
        digests = (self._stored_sha256, *self._extra.values(), *([self._beginning] if encrypted else []))
        self._stored = HashingWriter(upload, digests)
        self._writers: list[Writer] = []
        self._before_cipher: HashingWriter | None = None
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self._threaded = ThreadedWriter(self._through_stages())
            stack.callback(self._threaded.abandon)
            self._plain = HashingWriter(self._threaded, (self._plain_sha256,))
            self.buffer = BufferedWriter(self._plain, progress)
            stack.callback(self.buffer.abandon)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, data: Buffer) -> int:
        return self.buffer.write(data)

    def refuse(self) -> None:
        """Take nothing more, and drop what waits to be written; from whichever thread."""
        self.buffer.abandon()
        self._threaded.drop()

    def close(self, ending: str) -> WrittenObject:
        """Flush everything, and return what is known of the object.

        Raises:
            IntegrityError: a stage did not do what it should.
        """
        self.buffer.close()
        self._threaded.close()
        for writer in reversed(self._writers):
            writer.close()
        self._stored.require_intact()
        if self._before_cipher is not None:
            last, lengths = self._stages[-1], (self._stored.size, self._before_cipher.size)
            kinds = [recipient.kind for recipient in last.recipients]
            self._beginning.require_encrypted(kinds, f"what {last.plugin} wrote", lengths)
        return WrittenObject(
            ending=ending,
            plain_size=self._plain.size,
            plain_sha256=self._plain_sha256.hexdigest(),
            stored_size=self._stored.size,
            stored_sha256=self._stored_sha256.hexdigest(),
            digests={name: digest.hexdigest() for name, digest in self._extra.items()},
        )

    def _through_stages(self) -> ByteSink:
        """Return what leads through all stages to the upload."""
        target: ByteSink = self._stored
        for stage in reversed(self._stages):
            writer = self._writer(stage, target)
            self._writers.append(writer)
            target = writer
            if stage.is_cipher:
                target = self._before_cipher = HashingWriter(writer, ())
        return target

    def _writer(self, stage: Stage, sink: ByteSink) -> Writer:
        """Return the writer of a stage; what it holds ends with this object, where it was not closed before."""
        if not stage.is_cipher:
            return self._host.compress(stage.plugin, sink=sink, options=stage.options, at_once=self._at_once)
        writer = self._host.encrypt(stage.plugin, sink=sink, recipients=stage.recipients, options=stage.options)
        self._stack.callback(writer.abandon)
        return writer
