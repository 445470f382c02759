"""The store ``file``: a local directory, on POSIX systems.

An object is written to ``NAME.dumpty-<uuid>.part`` (created exclusively, readable by its owner alone), flushed to the
disk, and renamed into place; then the directory is flushed, too. The writer holds an advisory lock (``flock``) on its
part, so a part whose lock can be had belongs to nobody alive.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import stat
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dumpty import Locked, MissingFile, Option, PluginInfo, StoredObject, StoreError, hookimpl

if sys.platform == "win32":
    raise ImportError("the file store needs flock and POSIX renames; Windows is not supported yet")

import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from dumpty import Buffer, Options, Reader, Store

PART = ".part"
# With dumpty's name in it: what other programs call a part (often with a digest in its name) is theirs.
_OWN_PART = re.compile(r"\.dumpty-[0-9a-f]{32}\.part$")
_LOCK = ".dumpty-{}.lock"


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(
        kind="store",
        summary="a local directory",
        schemes=("file",),
        options=(
            Option(
                name="lock_timeout",
                default=600.0,
                help="seconds to wait for another process that changes the directory",
                verbs=("open_store",),
            ),
        ),
    )


@hookimpl
def open_store(url: str, options: Options) -> Store:
    """Open the directory ``url`` (a path, or ``file:///path``), creating it, readable by its owner alone.

    Raises:
        StoreError: it cannot be created, or is no directory.
    """
    path = unquote(url[len("file://") :]) if url.startswith("file://") else url
    top = Path(os.path.abspath(path))
    if top.exists() and not top.is_dir():
        raise StoreError(f"{top} is a file, not a backup directory; name another directory")
    if not top.is_dir():
        with _as_store_error(f"cannot create the backup directory {top}"):
            top.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(top.parent)
    return FileStore(top, float(options["lock_timeout"]))  # type: ignore[arg-type]


class FileStore:
    """Objects as files (or directories) in one directory."""

    def __init__(self, top: Path, lock_timeout: float) -> None:
        self._top = top
        self._prefix = os.path.join(top, "")
        self._lock_timeout = lock_timeout

    def create(self, name: str) -> _Upload:
        path = self.path(name)
        # Under the lock, so that `clean` never sees a part between its creation and its own lock.
        with self.lock("parts"), _as_store_error(f"cannot write {path}"):
            return _Upload(path, self.lock)

    def open(self, name: str, offset: int = 0) -> Reader:
        path = self._place(name)
        try:
            stream = open(path, "rb", buffering=0)  # noqa: SIM115 - the reader closes it
            if offset:
                stream.seek(offset)
        except OSError as error:
            raise _translated(f"cannot read {path}", error) from error
        return _FileReader(stream, path)

    def stat(self, name: str) -> StoredObject:
        path = self.path(name)
        with _as_store_error(f"cannot read {path}"):
            size = _tree_size(path) if path.is_dir() else path.stat().st_size
            return StoredObject(name=name, size=size)

    def list(self) -> Iterator[StoredObject]:
        with _as_store_error(f"cannot list {self._top}"), os.scandir(self._top) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(PART):
                    continue
                try:
                    status = entry.stat()
                except OSError:  # removed meanwhile, or a link to nowhere: no object of ours
                    continue
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    yield StoredObject(name=entry.name, size=status.st_size)

    def rename(self, name: str, new: str) -> None:
        with _as_store_error(f"cannot rename {self.path(name)}"):
            self.path(name).rename(self.path(new))
            _sync_directory(self._top)

    def delete(self, name: str) -> None:
        path = self.path(name)
        with _as_store_error(f"cannot remove {path}"):
            _remove(path)
            _sync_directory(self._top)

    def locate(self, name: str) -> str:
        return self._place(name) if name else str(self._top)

    def path(self, name: str) -> Path:
        return Path(self._place(name))

    def _place(self, name: str) -> str:
        # Text, not a Path: a directory may hold ten thousand backups, and each is asked for.
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise StoreError(f"{name!r} is no bare file name, so nothing in {self._top} is called that")
        return self._prefix + name

    def clean(self) -> Iterator[str]:
        with self.lock("parts"), _as_store_error(f"cannot clear {self._top}"):
            for path in sorted(p for p in self._top.iterdir() if _OWN_PART.search(p.name) and not p.is_symlink()):
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue  # its writer is alive
                    else:
                        yield path.name[: -len(PART)].rpartition(".")[0]
                        _remove(path)
                    finally:
                        os.close(descriptor)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        path = self._top / f"workspace.dumpty-{uuid.uuid4().hex}{PART}"
        with self.lock("parts"), _as_store_error(f"cannot create {path}"):
            path.mkdir(mode=0o700)
            descriptor = _lock_part(path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        import filelock

        if not self._top.is_dir():  # filelock would make it anew, empty
            raise StoreError(f"the backup directory {self._top} is gone; mount it or put it back")
        path = self._top / _LOCK.format(name)
        holder = path.with_suffix(".holder")
        lock = filelock.FileLock(path, timeout=self._lock_timeout, mode=0o600)
        try:
            lock.acquire(poll_interval=0.01)
        except filelock.Timeout as error:
            raise Locked(f"{self._top} is locked by {_holder(holder)}; try again when that has ended") from error
        except OSError as error:
            raise StoreError(f"cannot lock {self._top}: {error.strerror or error}") from error
        try:
            with contextlib.suppress(OSError):  # who holds it is only for the message
                holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}))
            yield
        finally:
            with contextlib.suppress(OSError):
                holder.unlink()
            lock.release()


class _Upload:
    def __init__(self, path: Path, lock: Callable[[str], AbstractContextManager[None]]) -> None:
        self._path = path
        self._lock = lock
        self._part = path.with_name(f"{path.name}.dumpty-{uuid.uuid4().hex}{PART}")
        self._stream = open(self._part, "xb", buffering=0, opener=_owner_only)  # noqa: SIM115 - lives as long as the upload
        self._descriptor = self._stream.fileno()
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._directory = False
        self._ended = False

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        done = 0
        with _as_store_error(f"cannot write {self._path}"):
            while done < len(view):
                done += self._stream.write(view[done:])
        return done

    def directory(self) -> Path:
        """Turn this upload into a directory of files, and return it."""
        if not self._directory:
            with self._lock("parts"), _as_store_error(f"cannot create {self._part}"):
                directory = self._part.with_name(f"{self._path.name}.dumpty-{uuid.uuid4().hex}{PART}")
                directory.mkdir(mode=0o700)
                self._descriptor = _lock_part(directory)
                self._part.unlink()
                self._stream.close()
                self._part = directory
                self._directory = True
        return self._part

    def commit(self) -> None:
        with _as_store_error(f"cannot write {self._path}"):
            if self._directory:
                _sync_tree(self._part)
            else:
                os.fsync(self._descriptor)
            self._part.replace(self._path)
            self._close()
            _sync_directory(self._path.parent)

    def abort(self) -> None:
        if not self._ended:
            with contextlib.suppress(OSError):  # the failure that led here is the one to report
                _remove(self._part)
            self._close()

    def _close(self) -> None:
        self._ended = True
        if self._directory:
            os.close(self._descriptor)
        else:
            self._stream.close()


class _FileReader:
    def __init__(self, stream: object, path: str) -> None:
        self._stream = stream
        self._path = path

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)  # type: ignore[attr-defined,no-any-return]
        except OSError as error:
            raise _translated(f"cannot read {self._path}", error) from error

    def close(self) -> None:
        self._stream.close()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _as_store_error(what: str) -> Iterator[None]:
    try:
        yield
    except (StoreError, MissingFile, Locked):
        raise
    except OSError as error:
        raise _translated(what, error) from error


def _translated(what: str, error: OSError) -> StoreError | MissingFile:
    if isinstance(error, FileNotFoundError):
        return MissingFile(f"{what}: {error.filename or 'it'} does not exist")
    advice = "; free some space and run it again" if error.errno in {errno.ENOSPC, errno.EDQUOT} else ""
    return StoreError(f"{what}: {error.strerror or error}{advice}")


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock_part(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(top: Path) -> None:
    for folder, _, files in os.walk(top):
        for name in (*files, "."):
            _sync_directory(Path(folder, name))


def _tree_size(top: Path) -> int:
    return sum(os.path.getsize(os.path.join(folder, f)) for folder, _, files in os.walk(top) for f in files)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _holder(path: Path) -> str:
    try:
        one = json.loads(path.read_text())
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one["since"]))
        return f"process {one['pid']} on {one['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
