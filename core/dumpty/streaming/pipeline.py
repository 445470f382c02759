"""Puts the stages of a backup together; no plugin can change their order.

Out: driver -> buffer, count and hash plain bytes -> (thread) compressor -> (thread) cipher -> count and hash stored
bytes -> upload.
The way back is in ``dumpty.streaming.stored_dump``; how a backup becomes visible in ``dumpty.repository.transaction``.

What is known of a dump is returned only after the driver returned and every stage closed without an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.encryption.header import Beginning
from dumpty.errors import IntegrityError, PluginError
from dumpty.process.interruption import current_interruption
from dumpty.streaming.directories import tree_digest
from dumpty.streaming.streams import BufferedWriter, HashingWriter, ThreadedWriter
from dumpty.streaming.workspace import workspace_of
from dumpty.types import DirectoryUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.reporter import ReportBytes
    from dumpty.streaming.stored_dump import Stage
    from dumpty.types import (
        Buffer,
        ByteSink,
        Evidence,
        Format,
        ObjectSource,
        Options,
        Sink,
        Source,
        Upload,
        Verifier,
        Writer,
    )


__all__ = ["Outcome", "Run"]

_log = logging.getLogger("dumpty")


class Outcome(Struct, frozen=True, kw_only=True):
    """What is known of a dump that was written: sizes in bytes, digests in hexadecimal."""

    evidence: Evidence
    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str
    digests: Mapping[str, str]


class Run(Struct, frozen=True, kw_only=True):
    """One dump, from a driver into a repository; it goes through ``stages`` in their order."""

    host: Host
    driver: Plugin
    source: Source
    format: Format
    options: Options
    repository: ObjectSource
    stages: Sequence[Stage] = ()
    verifiers: Sequence[Plugin] = ()
    progress: ReportBytes | None = None

    def write(self, upload: Upload) -> Outcome:
        """Write the dump into ``upload``, and return what is known of it. Whoever began the upload commits it.

        Raises:
            DumptyError: it failed.
            BaseException: an interrupt, also one that a plugin swallowed.
        """
        interruption = current_interruption()
        with contextlib.ExitStack() as stack:
            write = self._write_directory if self.format.directory else self._write_stream
            outcome = write(upload, stack)
        interruption.check()
        return outcome

    def _write_stream(self, upload: Upload, stack: contextlib.ExitStack) -> Outcome:
        stored_sha256, plain_sha256 = hashlib.sha256(), hashlib.sha256()
        extra: dict[str, Verifier] = {v.name: self.host.verify(v) for v in self.verifiers}
        beginning = Beginning()
        stored = HashingWriter(upload, (stored_sha256, *extra.values(), *([beginning] if self._is_encrypted else [])))
        target: ByteSink = stored
        writers: list[Writer] = []
        before_cipher: HashingWriter | None = None
        for stage in reversed(self.stages):
            writer = self._writer(stage, target, stack)
            writers.append(writer)
            target = writer
            if stage.is_cipher:
                target = before_cipher = HashingWriter(writer, ())
        threaded_writer = ThreadedWriter(target)
        stack.callback(threaded_writer.abandon)
        plain = HashingWriter(threaded_writer, (plain_sha256,))
        sink = _DriverSink(plain, self._workspace, stack, self.progress, str(self.driver))
        stack.callback(sink.buffer.abandon)
        evidence = self._run_driver(sink)
        sink.buffer.close()
        threaded_writer.close()
        for writer in reversed(writers):
            writer.close()
        stored.require_intact()
        if before_cipher is not None:
            last, lengths = self.stages[-1], (stored.size, before_cipher.size)
            kinds = [recipient.kind for recipient in last.recipients]
            beginning.require_encrypted(kinds, f"what {last.plugin} wrote", lengths)
        self._require_no_late_write(sink)
        if not plain.size:
            raise IntegrityError(f"{self.driver} wrote not one byte, and said that was a dump of {self.source.url}")
        return Outcome(
            evidence=evidence,
            plain_size=plain.size,
            plain_sha256=plain_sha256.hexdigest(),
            stored_size=stored.size,
            stored_sha256=stored_sha256.hexdigest(),
            digests={name: digest.hexdigest() for name, digest in extra.items()},
        )

    @property
    def _is_encrypted(self) -> bool:
        return bool(self.stages) and self.stages[-1].is_cipher

    def _workspace(self) -> AbstractContextManager[Path]:
        return workspace_of(self.repository, encrypted=self._is_encrypted)

    def _writer(self, stage: Stage, sink: ByteSink, stack: contextlib.ExitStack) -> Writer:
        """Return the writer of a stage; what it holds ends with ``stack``, where it was not closed before."""
        if not stage.is_cipher:
            return self.host.compress(stage.plugin, sink=sink, options=stage.options)
        writer = self.host.encrypt(stage.plugin, sink=sink, recipients=stage.recipients, options=stage.options)
        stack.callback(writer.abandon)
        return writer

    def _write_directory(self, upload: Upload, stack: contextlib.ExitStack) -> Outcome:
        if self.stages or not isinstance(upload, DirectoryUpload):
            raise PluginError(
                f"the format {self.format.name} is a directory of files: it is stored uncompressed, in a local store",
                plugin=str(self.driver),
                hook="backup",
            )
        directory = upload.directory()
        evidence = self._run_driver(_DirectorySink(directory, self._workspace, stack))
        size, digest = tree_digest(str(directory))
        if not size:
            raise IntegrityError(f"{self.driver} wrote no byte into the directory it was given")
        return Outcome(
            evidence=evidence,
            plain_size=size,
            plain_sha256=digest,
            stored_size=size,
            stored_sha256=digest,
            digests={},
        )

    def _require_no_late_write(self, sink: _DriverSink) -> None:
        if sink.buffer.written_late:
            raise PluginError(  # what comes later still can only be logged
                f"{self.driver} wrote into its sink after backup had returned, and that is not in the dump: a thread "
                "of its own went on; tell its authors",
                plugin=str(self.driver),
                hook="backup",
            )

    def _run_driver(self, sink: Sink) -> Evidence:
        return self.host.backup(
            self.driver, source=self.source, sink=sink, format=self.format.name, options=self.options
        )


class _DriverSink:
    """What a driver sees of the pipeline."""

    def __init__(
        self,
        target: ByteSink,
        workspace: Callable[[], AbstractContextManager[Path]],
        stack: contextlib.ExitStack,
        progress: ReportBytes | None,
        driver: str,
    ) -> None:
        self._workspace = workspace
        self._stack = stack
        self._driver = driver
        self._expected: int | None = None
        self._progress = progress
        self._interruption = current_interruption()
        self.buffer = BufferedWriter(target, self._report_progress if progress else None)

    def write(self, data: Buffer) -> int:
        self._interruption.check()
        try:
            return self.buffer.write(data)
        finally:
            if self.buffer.written_late:
                fields = {"event": "late-write", "plugin": self._driver}
                _log.error("%s wrote into its sink after its backup had ended", self._driver, extra=fields)

    def expect(self, total_bytes: int) -> None:
        self._expected = total_bytes

    def directory(self) -> Path:
        raise PluginError("this format was not declared with directory=True, so it is written as a stream")

    def workspace(self) -> Path:
        return self._stack.enter_context(self._workspace())

    def _report_progress(self, size: int) -> None:
        if self._progress is not None:
            self._progress(size, self._expected)


class _DirectorySink:
    def __init__(
        self,
        directory: Path,
        workspace: Callable[[], AbstractContextManager[Path]],
        stack: contextlib.ExitStack,
    ) -> None:
        self._directory = directory
        self._workspace = workspace
        self._stack = stack

    def write(self, data: Buffer) -> int:
        raise PluginError(f"this format is a directory: write files into sink.directory(), not {len(data)} bytes here")

    def expect(self, total_bytes: int) -> None:
        """Progress of a directory is not measured."""

    def directory(self) -> Path:
        return self._directory

    def workspace(self) -> Path:
        return self._stack.enter_context(self._workspace())
