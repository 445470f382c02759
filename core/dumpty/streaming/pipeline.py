"""Puts the stages of a backup together; no plugin can change their order.

Out: driver -> the writer of an object (``dumpty.streaming.object_writer``) -> upload; of a dump in parts
(``dumpty.streaming.parts``) several at once.
The way back is in ``dumpty.streaming.stored_dump``; how a backup becomes visible in ``dumpty.repository.transaction``.

What is known of a dump is returned only after the driver returned and every stage closed without an error.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import IntegrityError, OptionError, PluginError
from dumpty.process.interruption import current_interruption
from dumpty.registry.masking import Mask
from dumpty.streaming.directories import tree_digest
from dumpty.streaming.object_writer import ObjectWriter, WrittenObject
from dumpty.streaming.parts import PartsSink
from dumpty.streaming.workspace import workspace_of
from dumpty.types import DirectoryUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.reporter import ReportBytes
    from dumpty.streaming.stored import Stage
    from dumpty.streaming.streams import BufferedWriter
    from dumpty.types import Buffer, Evidence, Format, ObjectSource, Options, PartSink, Sink, Source, Upload


__all__ = ["Outcome", "Run"]

_log = logging.getLogger("dumpty")


class Outcome(Struct, frozen=True, kw_only=True):
    """What is known of a dump that was written: what its driver says, and its objects."""

    evidence: Evidence
    objects: tuple[WrittenObject, ...]


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

    def write(self, begin: Callable[[str], Upload], complete: Callable[[str], object] | None = None) -> Outcome:
        """Write the dump, and return what is known of it.

        Args:
            begin: begins an object, given how its name ends. Whoever that is commits it.
            complete: commits one of several already, by its ending; None where there is room for one object only.

        Raises:
            DumptyError: it failed.
            BaseException: an interrupt, also one that a plugin swallowed.
        """
        interruption = current_interruption()
        with contextlib.ExitStack() as stack:
            if self.format.parts:
                outcome = self._write_parts(begin, complete, stack)
            elif self.format.directory:
                outcome = self._write_directory(begin, stack)
            else:
                outcome = self._write_stream(begin(self.ending), stack)
        interruption.check()
        return outcome

    @property
    def ending(self) -> str:
        """How the name of its one object ends."""
        return self.format.suffix + self._stage_suffixes

    @property
    def _stage_suffixes(self) -> str:
        return "".join(stage.plugin.described.suffix for stage in self.stages)

    def _write_stream(self, upload: Upload, stack: contextlib.ExitStack) -> Outcome:
        expected = _Expected()
        report = None if self.progress is None else functools.partial(_report, self.progress, expected)
        writer = stack.enter_context(self._object_writer(upload, 1, report))
        sink = _DriverSink(writer.buffer, self._workspace(stack), expected, str(self.driver))
        evidence = self._run_driver(sink)
        written = writer.close(self.ending)
        self._require_no_late_write(sink)
        self._require_some(written.plain_size)
        return Outcome(evidence=evidence, objects=(written,))

    def _write_parts(
        self, begin: Callable[[str], Upload], complete: Callable[[str], object] | None, stack: contextlib.ExitStack
    ) -> Outcome:
        if complete is None:
            raise OptionError(f"the format {self.format.name} is of several files, and a backup here is one")
        sink = PartsSink(
            begin,
            complete,
            self._object_writer,
            suffix=self.format.suffix,
            stage_suffixes=self._stage_suffixes,
            workspace=self._workspace(stack),
            progress=self.progress,
            driver=self.driver,
            mask=Mask.from_arguments((self.source, self.options)),
        )
        stack.callback(sink.end)
        evidence = self._run_driver(sink)
        objects = sink.close()
        self._require_some(sum(written.plain_size for written in objects))
        return Outcome(evidence=evidence, objects=objects)

    def _object_writer(self, upload: Upload, at_once: int, progress: Callable[[int], None] | None) -> ObjectWriter:
        return ObjectWriter(self.host, upload, self.stages, self.verifiers, progress=progress, at_once=at_once)

    def _require_some(self, size: int) -> None:
        if not size:
            raise IntegrityError(f"{self.driver} wrote not one byte, and said that was a dump of {self.source.url}")

    @property
    def _is_encrypted(self) -> bool:
        return bool(self.stages) and self.stages[-1].is_cipher

    def _workspace(self, stack: contextlib.ExitStack) -> Callable[[], Path]:
        """Return what makes a directory that is removed with ``stack``."""
        return lambda: stack.enter_context(workspace_of(self.repository, encrypted=self._is_encrypted))

    def _write_directory(self, begin: Callable[[str], Upload], stack: contextlib.ExitStack) -> Outcome:
        upload = None if self.stages else begin(self.ending)
        if not isinstance(upload, DirectoryUpload):
            raise PluginError(
                f"the format {self.format.name} is a directory of files: it is stored uncompressed, in a local store",
                plugin=str(self.driver),
                hook="backup",
            )
        directory = upload.directory()
        evidence = self._run_driver(_DirectorySink(directory, self._workspace(stack)))
        size, digest = tree_digest(str(directory))
        if not size:
            raise IntegrityError(f"{self.driver} wrote no byte into the directory it was given")
        written = WrittenObject(
            ending=self.ending, plain_size=size, plain_sha256=digest, stored_size=size, stored_sha256=digest
        )
        return Outcome(evidence=evidence, objects=(written,))

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


class _Expected:
    """How many bytes a dump will have, about."""

    total: int | None = None


def _report(progress: ReportBytes, expected: _Expected, size: int) -> None:
    progress(size, expected.total)


class _DriverSink:
    """What a driver sees of the pipeline."""

    def __init__(self, buffer: BufferedWriter, workspace: Callable[[], Path], expected: _Expected, driver: str) -> None:
        self.buffer = buffer
        self._workspace = workspace
        self._expected = expected
        self._driver = driver
        self._interruption = current_interruption()

    def write(self, data: Buffer) -> int:
        self._interruption.check()
        try:
            return self.buffer.write(data)
        finally:
            if self.buffer.written_late:
                fields = {"event": "late-write", "plugin": self._driver}
                _log.error("%s wrote into its sink after its backup had ended", self._driver, extra=fields)

    def expect(self, total_bytes: int) -> None:
        self._expected.total = total_bytes

    def directory(self) -> Path:
        raise PluginError("this format was not declared with directory=True, so it is written as a stream")

    def part(self, **_: object) -> AbstractContextManager[PartSink]:
        raise PluginError("this format was not declared with parts=True, so it is written as one stream")

    def workspace(self) -> Path:
        return self._workspace()


class _DirectorySink:
    def __init__(self, directory: Path, workspace: Callable[[], Path]) -> None:
        self._directory = directory
        self._workspace = workspace

    def write(self, data: Buffer) -> int:
        raise PluginError(f"this format is a directory: write files into sink.directory(), not {len(data)} bytes here")

    def expect(self, total_bytes: int) -> None:
        """Progress of a directory is not measured."""

    def directory(self) -> Path:
        return self._directory

    def part(self, **_: object) -> AbstractContextManager[PartSink]:
        raise PluginError("this format is a directory: write files into sink.directory(), not parts")

    def workspace(self) -> Path:
        return self._workspace()
