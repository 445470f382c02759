"""What a driver's call leaves in this process and beside it, and what it shows to everybody who can list processes."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dumpty.process.state import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = ["Footprint", "ProgramWatch"]

_PROC = Path("/proc")
_MARK = "DUMPTY_TESTING_RUN"
_POLL_SECONDS = 0.02
_MAX_SCANS = 3


class Footprint:
    """A context manager: what its block leaves of threads, processes, files and changes to this process.

    Args:
        place: a directory in which the block may leave no file.
        databases: names what else stands where a target does; the block may add nothing to it.

    The block's temporary files go into a directory of their own. Programs that it starts are known by their parent, and
    by a mark in their environment, which those that they start have, too.
    """

    def __init__(self, place: Path, databases: Callable[[], Collection[str]] = tuple) -> None:
        self._place = place
        self._databases = databases
        self._mark = uuid.uuid4().hex

    def __enter__(self) -> Self:
        self._outer = ProcessState.observe()
        self._outer_directory = tempfile.tempdir
        # Short: it may have to hold sockets.
        self._temporary = Path(tempfile.mkdtemp(prefix="dumpty-"))
        tempfile.tempdir = str(self._temporary)
        os.environ.update({"TMPDIR": str(self._temporary), _MARK: self._mark})
        self._files = _files(self._place)
        self._names = set(self._databases())
        self._known = set(_pids())
        self._threads = set(threading.enumerate())
        self._before = ProcessState.observe()
        return self

    def __exit__(self, *_: object) -> None:
        self._after = ProcessState.observe()
        self._outer.put_back()
        tempfile.tempdir = self._outer_directory

    def left(self, patience: float) -> list[str]:
        """Return what is left, each as a text, once nothing is or after ``patience`` seconds; and end and remove it."""
        end = time.monotonic() + patience
        while (left := [*self._after.changes(self._before), *self._living()]) and time.monotonic() < end:
            if self._after.changes(self._before):
                break
            time.sleep(_POLL_SECONDS)
        left += [f"the temporary file {p}" for p in sorted(_files(self._temporary))]
        left += [f"the file {p}" for p in sorted(_files(self._place) - self._files)]
        left += [f"the database {n}" for n in sorted(set(self._databases()) - self._names)]
        for pid in self._processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self._temporary, ignore_errors=True)
        return left

    def _living(self) -> list[str]:
        threads = [t.name for t in threading.enumerate() if t not in self._threads and t.is_alive()]
        return [f"the thread {name}" for name in threads] + [f"the process {p}" for p in self._processes().values()]

    def _processes(self) -> dict[int, str]:
        """Return the processes that are new and come from here: this one's children, the dead ones too, and theirs."""
        mark, found = f"{_MARK}={self._mark}".encode(), {}
        for pid in set(_pids()) - self._known:
            if _parent(pid) == os.getpid() or mark in _read(pid, "environ").split(b"\0"):
                found[pid] = f"{_read(pid, 'comm').decode(errors='replace').strip() or '?'} ({pid})"
        return found


class ProgramWatch:
    """A context manager: the command lines of all programs that are started in its block.

    What this process starts is noted before it runs, where Python starts programs; what such a program starts is found
    where the system lists processes (``look``), which everybody on a machine can do.
    """

    def __init__(self) -> None:
        self.command_lines: list[str] = []
        self._scans = 0

    def __enter__(self) -> Self:
        self._known = set(_pids())
        # Not by an audit hook: none can be taken away again, and while one runs for one thread that is about to be
        # traced, Python refuses to trace a second one, which ends that.
        self._starts = [(owner, name, getattr(owner, name)) for owner, name, _, _ in _STARTS]
        for (owner, name, original), (_, _, position, keyword) in zip(self._starts, _STARTS, strict=True):
            setattr(owner, name, self._noting(original, position, keyword))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in self._starts:
            setattr(owner, name, original)

    def _noting(self, start: Callable[..., Any], position: int, keyword: str) -> Callable[..., Any]:
        @functools.wraps(start)
        def note(*arguments: Any, **options: Any) -> Any:
            argv = options.get(keyword) if len(arguments) <= position else arguments[position]
            if argv is not None:
                self.command_lines.append(_text(argv))
            return start(*arguments, **options)

        return note

    def look(self) -> None:
        """List the processes that are new, a few times at most."""
        self._scans += 1
        if self._scans > _MAX_SCANS:
            return
        for pid in set(_pids()) - self._known:
            self.command_lines.append(_read(pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace"))


# What starts programs: where the command line is among what it is called with, and what it is called there.
_STARTS: tuple[tuple[Any, str, int, str], ...] = (
    (subprocess.Popen, "__init__", 1, "args"),
    (os, "posix_spawn", 1, "argv"),
    (os, "posix_spawnp", 1, "argv"),
    (os, "system", 0, "command"),
)


def _text(argv: object) -> str:
    words: Iterable[object] = [argv] if isinstance(argv, (str, bytes, os.PathLike)) else argv  # type: ignore[assignment]
    return " ".join(os.fsdecode(word) if isinstance(word, (str, bytes, os.PathLike)) else str(word) for word in words)


def _files(directory: Path) -> set[str]:
    return {os.path.join(folder, n) for folder, folders, here in os.walk(directory) for n in (*folders, *here)}


def _pids() -> list[int]:
    if _PROC.is_dir():
        return [int(name) for name in os.listdir(_PROC) if name.isdigit()]
    return [int(pid) for pid, _ in _ps()]


def _parent(pid: int) -> int:
    if not _PROC.is_dir():
        return next((int(parent) for number, parent in _ps() if int(number) == pid), 0)
    # The name stands in brackets, and may have others in it; the parent's number is the second after it.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / name).read_bytes()
    return b""


def _ps() -> list[list[str]]:
    """Return number and parent of every process but the one that lists them, where there is no /proc."""
    listing = subprocess.Popen(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True)  # noqa: S607 - wherever this system has it
    rows = [line.split() for line in listing.communicate()[0].splitlines()]
    return [row for row in rows if row[0] != str(listing.pid)]
