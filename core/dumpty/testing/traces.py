"""What a driver leaves when a call has ended, well or by an interrupt: nothing but what was asked for."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from dumpty.testing.footprint import Footprint
from dumpty.testing.rules import RuleBroken, comes_from, difference, require, shown
from dumpty.testing.sources import DriverRules
from dumpty.testing.streams import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from dumpty.registry.host import Host

__all__ = ["TraceRules"]

_ENDED = "An interrupt ends what the driver began: no process, thread, file or database of its own is left."
_REMEDY = "Let KeyboardInterrupt pass, and clean up in finally: programs by dumpty.process.Child in a with block."


@contextlib.contextmanager
def _alterations() -> Iterator[list[str]]:
    """Lend what core says, within the block, of hooks that leave the process altered: it puts that back at once."""
    texts: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "event", "") == "process-altered":
                texts.append(record.getMessage())

    handler, log = Noting(logging.WARNING), logging.getLogger("dumpty")
    log.addHandler(handler)
    try:
        yield texts
    finally:
        log.removeHandler(handler)


class TraceRules(DriverRules):
    """The part of ``DriverSuite`` about what is left behind."""

    def test_the_process_is_left_as_it_was(
        self, host: Host, source: str, target: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """No hook leaves a process, a thread, a temporary file, or an altered directory, umask, variable or handler."""
        directory, rule = tmp_path_factory.mktemp("dumps"), "A hook leaves the process that calls it as it was."
        calls: dict[str, Callable[[], object]] = {"backup": lambda: dumps.append(self.dumped(host, source, directory))}
        dumps: list[object] = []
        if self.inspects:
            calls = {"inspect": lambda: self.inspected(host, source), **calls}
        if self.restores:
            calls["restore"] = lambda: self.put_back(host, dumps[0], target)  # type: ignore[arg-type]  # a dump by now
        for hook, call in calls.items():
            # What a restore makes beside its target is another rule's: here it may make anything there.
            with Footprint(directory if hook == "restore" else tmp_path) as footprint, _alterations() as altered:
                call()
            require(not altered, rule, "Undo it in finally, or do without.", "; ".join(altered))
            left = [text for text in footprint.left(self.settle) if str(directory) not in text]
            remedy = "Undo it in finally; give a program its own directory and variables (cwd=, env=)."
            require(not left, rule, remedy, f"after {hook}() there was {', '.join(left)}")

    def test_nothing_is_written_after_the_backup(self, host: Host, source: str, tmp_path: Path) -> None:
        """Nothing is written into the sink once backup() has returned: it would not be in the dump."""
        threads_before = set(threading.enumerate())
        dump = self.dumped(host, source, tmp_path)
        for thread in set(threading.enumerate()) - threads_before:
            thread.join(self.settle)
        require(
            not dump.late_writes,
            "backup() returns only when all is written.",
            "Wait for the threads that write.",
            f"{sum(dump.late_writes)} bytes were written later",
        )

    def test_an_interrupted_backup_leaves_nothing(
        self, host: Host, source: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, form: str
    ) -> None:
        """Ctrl-C midway through backup() ends it, leaves nothing, the source as it was, and the next backup works."""
        directory, error = tmp_path_factory.mktemp("dumps"), Interrupted("Ctrl-C")
        total, content_before = self.dumped(host, source, directory, form).size, self.content(source)

        def interrupt(_: int, end: int) -> None:
            if end > total // 2:
                raise error

        with Footprint(tmp_path, lambda: self.databases(source)) as footprint:
            raised = self._backup_error(host, source, directory, form, interrupt)
        left = footprint.left(self.settle)
        rule = "KeyboardInterrupt out of sink.write() comes out of backup()."
        require(comes_from(raised, error), rule, _REMEDY, f"it raised {shown(raised)}" if raised else "it returned")
        require(not left, _ENDED, _REMEDY, f"after backup() there was {', '.join(left)}")
        rule = "An interrupted backup leaves its source as it was, and nothing locked."
        content_after = self._content_or_error(source)
        require(content_after == content_before, rule, _REMEDY, difference(content_before, content_after))
        raised = self._backup_error(host, source, directory, form, None)
        require(raised is None, rule, _REMEDY, f"the next backup raised {shown(raised)}")

    def test_an_interrupted_restore_leaves_nothing(
        self,
        host: Host,
        source: str,
        full_target: str,
        tmp_path: Path,
        tmp_path_factory: pytest.TempPathFactory,
        form: str,
    ) -> None:
        """Ctrl-C midway through restore() ends it, leaves nothing, the target as it was, and the next restore works."""
        directory, error = tmp_path_factory.mktemp("dumps"), Interrupted("Ctrl-C")
        dump, content_before = self.dumped(host, source, directory, form), self.content(full_target)
        raised: BaseException | None = None
        with Footprint(tmp_path, lambda: self.databases(full_target)) as footprint:
            try:
                self.put_back(host, dump.failing(error, dump.size // 2), full_target, overwrite=True)
            except BaseException as caught:  # noqa: BLE001 - compared below
                raised = caught
        left = footprint.left(self.settle)
        rule = "KeyboardInterrupt out of the dump's read() comes out of restore()."
        require(comes_from(raised, error), rule, _REMEDY, f"it raised {shown(raised)}" if raised else "it returned")
        require(not left, _ENDED, _REMEDY, f"after restore() there was {', '.join(left)}")
        rule = "An interrupted restore leaves its target as it was, and nothing locked."
        content_after = self._content_or_error(full_target)
        require(content_after == content_before, rule, _REMEDY, difference(content_before, content_after))
        try:
            self.put_back(host, dump, full_target, overwrite=True)
        except Exception as caught:
            raise RuleBroken(f"{rule} Here the next restore raised {shown(caught)}. {_REMEDY}") from caught
        expected, actual = self.content(source), self.content(full_target)
        require(actual == expected, rule, _REMEDY, difference(expected, actual))

    def _content_or_error(self, url: str) -> object:
        try:
            return self.content(url)
        except Exception as error:  # noqa: BLE001 - the content is gone, or locked
            return error
