"""What a driver sees of the pipeline where it writes a dump as several objects, each with stages of its own.

A driver may write its parts in threads of its own, of which nothing here knows: one may go on after the backup has
failed, or has returned. So whatever becomes of them, ``PartsSink.end`` leaves nothing of a part at work.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Self, get_args

from msgspec.structs import replace

from dumpty.errors import IntegrityError, PluginError
from dumpty.process.call import current_call, working_for
from dumpty.process.interruption import current_interruption
from dumpty.registry.description import is_suffix
from dumpty.registry.plugin import plugin_failure
from dumpty.types import Section, TableContent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dumpty.registry.masking import Mask
    from dumpty.registry.plugin import Plugin
    from dumpty.streaming.object_writer import ObjectWriter, WrittenObject
    from dumpty.streaming.reporter import ReportBytes
    from dumpty.types import Buffer, Upload

__all__ = ["Part", "PartsSink"]

_MOST_PARTS = 10_000
"""More would make a manifest that takes longer to read than what it describes is worth."""

_MOST_ROWS = 2**63 - 1
_log = logging.getLogger("dumpty")


class PartsSink:
    """A sink of parts; the contract is ``dumpty.types.Sink``.

    Args:
        begin: begins an object, given how its name ends.
        complete: commits it, by that ending, when all of it was written.
        write_into: makes the writer of one into an upload; called with how many are written at once, and a progress.
        suffix: that of the format.
        stage_suffixes: what the stages add to every name.
        workspace: lends a directory.
        progress: called with how many bytes were written, and how many are expected.
        driver: who writes.
        mask: what of it is secret.
    """

    def __init__(
        self,
        begin: Callable[[str], Upload],
        complete: Callable[[str], object],
        write_into: Callable[[Upload, int, Callable[[int], None] | None], ObjectWriter],
        *,
        suffix: str,
        stage_suffixes: str,
        workspace: Callable[[], Path],
        progress: ReportBytes | None,
        driver: Plugin,
        mask: Mask,
    ) -> None:
        self.complete = complete
        self.driver = driver
        self.mask = mask
        self.call = current_call()
        self._interruption = current_interruption()
        self._begin = begin
        self._write_into = write_into
        self._suffix = suffix
        self._stage_suffixes = stage_suffixes
        self._workspace = workspace
        self._progress = progress
        self._expected: int | None = None
        self._lock = threading.Lock()
        self._passed = 0
        self._parts: list[Part] = []
        self._error: BaseException | None = None
        self.closed = False

    def write(self, data: Buffer) -> int:
        error = self.error(
            f"wrote {len(data)} bytes beside its parts: a format with parts=True is written into those of sink.part()"
        )
        self.fail(error)
        raise error

    def expect(self, total_bytes: int) -> None:
        self._expected = total_bytes

    def directory(self) -> Path:
        raise self.error(
            "asked for a directory: this format was not declared with directory=True, but is written in parts"
        )

    def workspace(self) -> Path:
        return self._workspace()

    def part(self, *, section: Section = "data", suffix: str = "", at_once: int = 1) -> Part:
        problems = {
            f"gave a part the suffix {suffix!r}, which is none: a dot and letters or digits, not a store's own": (
                suffix != "" and not (isinstance(suffix, str) and is_suffix(suffix))
            ),
            f"gave a part the section {section!r}, which is none of {', '.join(get_args(Section))}": section
            not in get_args(Section),
            f"says that {at_once!r} parts are written at once, which is no number from 1": type(at_once) is not int
            or at_once < 1,
        }
        for problem, is_there in problems.items():
            if is_there:
                self.fail(self.error(problem))
                raise self.error(problem)
        return Part(self, section, suffix or self._suffix, at_once)

    def begin(self, part: Part, suffix: str, at_once: int) -> tuple[str, ObjectWriter]:
        """Begin the object of a part; return how its name ends, and what writes it."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self.closed:
                raise ValueError("a part was begun in a sink whose backup has ended")
            if len(self._parts) >= _MOST_PARTS:
                raise self.error(f"began more parts than a backup may have, which is {_MOST_PARTS:,}: make them larger")
            ending = f".p{len(self._parts) + 1}{suffix}{self._stage_suffixes}"
            self._parts.append(part)
            report = None if self._progress is None else part.report
            return ending, self._write_into(self._begin(ending), at_once, report)

    def close(self) -> tuple[WrittenObject, ...]:
        """Return what was written, in the order in which the parts were begun; none can be begun any more.

        Raises:
            IntegrityError: nothing was.
            PluginError: not all that was begun is complete.
            BaseException: what failed in a part, and whoever wrote it swallowed.
        """
        with self._lock:
            self.closed = True
            if self._error is not None:
                failure = plugin_failure(self._error, self.driver, "backup")
                raise failure from (None if failure is self._error else self._error)
            if not self._parts:
                raise IntegrityError(f"{self.driver} wrote no part, and said that was a dump")
            written = [part.written for part in self._parts if part.written is not None]
            if len(written) < len(self._parts):
                number = next(n for n, part in enumerate(self._parts, 1) if part.written is None)
                raise self.error(
                    f"returned from backup while part {number} was still being written: a thread of its "
                    "own goes on; tell its authors"
                )
            return tuple(written)

    def end(self) -> None:
        """Take nothing more, and let nothing of any part run on, whoever writes it and whatever became of it."""
        with self._lock:
            self.closed = True
        for part in self._parts:
            part.abandon()

    def fail(self, error: BaseException) -> None:
        """Fail the backup, also where whoever gets the error swallows it."""
        with self._lock:
            self._error = self._error or error

    def report(self, size: int) -> None:
        """Report that so many bytes more were passed on. Whoever writes at a limited rate waits for all others, too."""
        with self._lock:
            self._passed += size
            if self._progress is not None:
                self._progress(self._passed, self._expected)

    def check(self) -> None:
        """Raise what a signal raised, or ``CancelRequested``, in whichever thread."""
        self._interruption.check()
        if self.call is not None:
            self.call.check()

    def error(self, text: str) -> PluginError:
        """Return the error of the driver's, ``text`` telling what it did."""
        return PluginError(f"{self.driver} {text}", plugin=str(self.driver), hook="backup")


class Part:
    """One part, for whoever writes it, and the block that it is written in; ``dumpty.types.PartSink``."""

    def __init__(self, sink: PartsSink, section: Section, suffix: str, at_once: int) -> None:
        self._sink = sink
        self._section: Section = section
        self._suffix = suffix
        self._at_once = at_once
        # Held by whoever writes, or ends what is written: the end of the backup may come from another thread.
        self._lock = threading.Lock()
        self._writer: ObjectWriter | None = None
        self._ending = ""
        self._passed = 0
        self._tables: dict[str, TableContent] = {}
        self._error: BaseException | None = None
        self.written: WrittenObject | None = None

    def __enter__(self) -> Self:
        try:
            with working_for(self._sink.call):
                self._ending, self._writer = self._sink.begin(self, self._suffix, self._at_once)
        except BaseException as error:
            self._sink.fail(error)
            raise
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            with self._lock, working_for(self._sink.call):
                self._close(error)
        except BaseException as failure:
            self._sink.fail(failure)
            raise
        finally:
            if error is not None:
                self._sink.fail(error)

    def _close(self, error: BaseException | None) -> None:
        if self._writer is None:
            if error is None:
                raise ValueError("a part is left once, while its backup runs")
            return
        try:
            with self._writer as writer:
                if error is not None:
                    return
                if self._error is not None:  # somebody swallowed it
                    raise self._error
                self._sink.check()
                written = writer.close(self._ending)
        finally:
            self._writer = None
        if self._sink.closed:
            raise ValueError("a part was completed when its backup had ended")
        self._sink.complete(self._ending)
        self.written = replace(written, section=self._section, tables=tuple(self._tables.values()))

    def write(self, data: Buffer) -> int:
        self._sink.check()
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._writer is None:
                self._tell_late()
                raise ValueError("write to a part outside of its block")
            try:
                with working_for(self._sink.call):
                    return self._writer.write(data)
            except BaseException as error:
                self._error = error
                raise

    def holds(self, path: str, /, *, rows: int | None = None, range: str = "") -> None:
        with self._lock:
            error = self._problem(path, rows, range)
            if error is not None:
                self._sink.fail(error)
                raise error
            self._tables[path] = self._sink.mask.content(TableContent(path=path, rows=rows, range=range))

    def _problem(self, path: object, rows: object, words: object) -> PluginError | None:
        """Return what is wrong with what a part is said to hold, if anything."""
        is_number = rows is None or (type(rows) is int and 0 <= rows <= _MOST_ROWS)
        problems = {
            "a part holds what a str names": not (isinstance(path, str) and path),
            "what a part holds of a table is told once": path in self._tables,
            "rows are counted, or None": not is_number,
            "a range is told in words": not isinstance(words, str),
            "what a part holds is told while it is written": self._writer is None,
        }
        text = next((text for text, is_there in problems.items() if is_there), None)
        if text is None:
            return None
        return self._sink.error(f"told of a part what is none of its contents: {text}")

    def report(self, passed: int) -> None:
        """Report how many bytes of it were passed on."""
        size, self._passed = passed - self._passed, passed
        self._sink.report(size)

    def abandon(self) -> None:
        """End what writes it, and wait for whoever completes it."""
        writer = self._writer
        if writer is not None:
            writer.refuse()  # whoever waits in a write, and keeps the lock, goes on
        with self._lock:
            if self._writer is not None:
                with self._writer:
                    self._writer = None

    def _tell_late(self) -> None:
        text = "wrote into a part outside of its block, and that is not in the dump: tell its authors"
        self._sink.fail(self._sink.error(text))
        if self._sink.closed:  # too late to fail the backup
            name = str(self._sink.driver)
            fields = {"event": "late-write", "plugin": name}
            _log.error("%s wrote into a part after its backup had ended", name, extra=fields)
