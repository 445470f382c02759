"""A directory as a store: what is in it, what dead writers left, and its locks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty import Found, Locked, StoreError, lock_if_free, open_owned_directory, open_regular
from dumpty_plugins.file.files import as_store_error, discard, lock_part, remove, store_error, sync_directory, tree_size
from dumpty_plugins.file.upload import PART, FileReader, FileUpload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Reader

# With dumpty's name in it: what other programs call a part (often with a digest in its name) is theirs.
_PART_NAME = re.compile(r"\.dumpty-[0-9a-f]{32}\.part$")
_LOCK = ".dumpty-{}.lock"
_HOLDER_BYTES = 4096


class FileStore:
    """Objects as files (or directories) in one directory."""

    def __init__(self, top: Path, lock_timeout: float) -> None:
        self._top = top
        self._prefix = os.path.join(top, "")
        self._lock_timeout = lock_timeout

    def create(self, name: str) -> FileUpload:
        path = self.path(name)
        upload = FileUpload(path, self.lock)
        try:
            # Under the lock, so that `clean` never sees a part between its creation and its own lock.
            with self.lock("parts"), as_store_error(f"cannot write {path}"):
                upload.begin()
        except BaseException:
            upload.abort()
            raise
        return upload

    def open(self, name: str, offset: int = 0) -> Reader:
        path = self._object_path(name)
        try:
            stream = open(open_regular(path), "rb", buffering=0)  # noqa: SIM115 - the reader closes it
            if offset:
                stream.seek(offset)
        except OSError as error:
            raise store_error(f"cannot read {path}", error) from error
        return FileReader(stream, path)

    def stat(self, name: str) -> Found:
        path = self.path(name)
        with as_store_error(f"cannot read {path}"):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                return Found(name=name, size=tree_size(path))
            if not stat.S_ISREG(status.st_mode):
                os.close(open_regular(str(path)))  # which says what it is instead
            return Found(name=name, size=status.st_size)

    def list(self) -> Iterator[Found]:
        with as_store_error(f"cannot list {self._top}"), os.scandir(self._top) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(PART):
                    continue
                try:
                    status = entry.stat()
                except OSError:  # removed meanwhile, or a link to nowhere: no object of ours
                    continue
                # A link to a file is listed, for `open` to refuse it and say so: nothing shall vanish in silence.
                if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                    yield Found(name=entry.name, size=0 if entry.is_symlink() else status.st_size)

    def rename(self, name: str, new: str) -> None:
        with as_store_error(f"cannot rename {self.path(name)}"):
            self.path(name).rename(self.path(new))
            try:
                sync_directory(self._top)
            except BaseException:
                with contextlib.suppress(OSError):  # the failure that led here is the one to report
                    self.path(new).rename(self.path(name))
                raise

    def delete(self, name: str) -> None:
        path = self.path(name)
        with as_store_error(f"cannot remove {path}"):
            remove(path)
            sync_directory(self._top)

    def locate(self, name: str) -> str:
        return self._object_path(name) if name else str(self._top)

    def path(self, name: str) -> Path:
        return Path(self._object_path(name))

    def _object_path(self, name: str) -> str:
        # Text, not a Path: a directory may hold ten thousand backups, and each is asked for.
        if not name or name in {".", ".."} or "/" in name or "\0" in name:
            raise StoreError(f"{name!r} is no bare file name, so nothing in {self._top} is called that")
        return self._prefix + name

    def clean(self) -> Iterator[str]:
        with self.lock("parts"), as_store_error(f"cannot clear {self._top}"):
            owners = self._owners()
            for path in sorted(p for p in self._top.iterdir() if _PART_NAME.search(p.name)):
                descriptor = _open_part(path, owners)
                if descriptor is None:
                    continue
                try:
                    if lock_if_free(descriptor, str(path)):  # else its writer is alive
                        yield path.name[: -len(PART)].rpartition(".")[0]
                        with contextlib.suppress(FileNotFoundError):
                            remove(path)
                finally:
                    os.close(descriptor)

    def _owners(self) -> set[int]:
        # Whoever the directory belongs to can do anything in it, and root may work in it for him.
        return {self._top.stat().st_uid}

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        path = self._top / f"workspace.dumpty-{uuid.uuid4().hex}{PART}"
        descriptor = -1
        try:
            with self.lock("parts"), as_store_error(f"cannot create {path}"):
                path.mkdir(mode=0o700)
                descriptor = lock_part(path)
            yield path
        finally:
            discard(path)
            if descriptor >= 0:
                with contextlib.suppress(OSError):
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
            # Made, or looked at, before filelock opens it, which asks for no owner.
            os.close(open_regular(str(path), os.O_RDWR | os.O_CREAT, owners=self._owners()))
            lock.acquire(poll_interval=0.01)
        except filelock.Timeout as error:
            raise Locked(
                f"{self._top} is locked by {_describe_holder(holder)}; try again when that has ended"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot lock {self._top} by {path.name}: {error.strerror or error}") from error
        try:
            _write_holder(holder)
            yield
        finally:
            with contextlib.suppress(OSError):
                holder.unlink()
            with contextlib.suppress(OSError):  # what was done under the lock is done
                lock.release()


def _open_part(path: Path, owners: set[int]) -> int | None:
    """Open a part; None for what is gone, or was planted: a link, a pipe, something of another user's."""
    with contextlib.suppress(OSError):
        return open_regular(str(path), os.O_RDWR, owners=owners)  # NFS locks only what is open for writing
    with contextlib.suppress(OSError):
        return open_owned_directory(str(path), owners=owners)
    return None


def _write_holder(path: Path) -> None:
    """Write down who holds a lock: only for a message, so whatever prevents it is left at that."""
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode()
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        descriptor = open_regular(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, holder)
        finally:
            os.close(descriptor)


def _describe_holder(path: Path) -> str:
    try:
        with open(open_regular(str(path)), "rb") as stream:
            holder = json.loads(stream.read(_HOLDER_BYTES))
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
