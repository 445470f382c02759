"""What dead writers left in a store, removed; and the clock by which it is old."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import stat
from datetime import UTC, datetime, timedelta

from dumpty import NotPermitted, StoreError, lock_if_free, open_owned_directory, open_regular
from dumpty_plugins.file import filesystem
from dumpty_plugins.file.files import as_store_error, closing, failure, moment, newest, remove
from dumpty_plugins.file.folders import Folder, walk
from dumpty_plugins.file.parts import NO_LOCKS, PART, Part
from dumpty_plugins.file.sharing import is_alone

_WITHOUT_LOCKS = timedelta(days=1)


def current_time(top: str) -> datetime:
    """Return the time by the clock of the file system that ``top`` is on: its machine's, wherever that is.

    Raises:
        StoreError: nothing can be written there, and the clock is not this machine's.
    """
    with as_store_error(f"cannot tell the time in {top}"), Folder(top) as folder:
        part = Part(folder, "now")
        try:
            part.make_file()  # if it is swept away this moment, it has its time all the same
            os.utime(part.descriptor)
            return moment(os.fstat(part.descriptor).st_mtime_ns)
        except OSError as error:
            own_error = failure(f"cannot tell the time in {top}", error)
            if isinstance(own_error, NotPermitted) and filesystem.is_local(folder.descriptor):
                return datetime.now(UTC)
            raise own_error from error
        finally:
            part.drop()


class Sweep:
    """One search for parts whose writers are gone.

    Where this machine is alone, a part whose lock is free has no writer. Elsewhere another machine's lock may not be
    seen: there a part must be ``older``, too, and without any locks older than a day at least.

    Args:
        top: the store's directory.
        older: see above.
    """

    def __init__(self, top: str, older: timedelta) -> None:
        self._top = top
        self._older = older
        self._failures: list[StoreError] = []

    def run(self) -> None:
        """Remove those parts, and the folders that are empty then.

        Raises:
            StoreError: the directory cannot be searched, or a part cannot be removed; all others are.
        """
        emptied = []
        owners: set[int] = set()
        with as_store_error(f"cannot clear {self._top}"):
            for descriptor, name, entries in walk(self._top):
                if not name:  # whoever the directory belongs to can do anything in it, and root may work in it for him
                    owners.add(os.fstat(descriptor).st_uid)
                parts = [e.name for e in entries if PART.search(e.name)]
                for part in parts:
                    self._remove_if_dead(descriptor, part, os.path.join(self._top, name, part), owners)
                emptied += [name] * bool(parts and name)
        for name in reversed(emptied):
            with contextlib.suppress(OSError), Folder(self._top, name.split("/")) as folder:
                folder.remove_if_empty()
        if self._failures:
            raise self._failures[0]

    def _remove_if_dead(self, folder: int, part: str, path: str, owners: set[int]) -> None:
        try:
            descriptor = _open_part(folder, part, owners)
        except OSError:  # gone; or it was planted: a link, a pipe, something of another user's
            return
        with closing(descriptor):
            try:
                if self._is_dead(descriptor, folder, part, path):
                    remove(part, folder)
            except FileNotFoundError:
                return
            except OSError as error:
                self._failures.append(failure(f"cannot remove {path}", error))

    def _is_dead(self, descriptor: int, folder: int, part: str, path: str) -> bool:
        try:
            if not lock_if_free(descriptor, part, dir_fd=folder) or _is_locked_by_a_client(descriptor):
                return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return self._age(path) > max(self._older, _WITHOUT_LOCKS)
        with Folder(self._top) as top:  # looked at after the part: whoever is not alone has left a mark before it
            return is_alone(top) or self._age(path) > self._older

    def _age(self, path: str) -> timedelta:
        return self._now - moment(newest(path))

    @functools.cached_property
    def _now(self) -> datetime:
        return current_time(self._top)


def _is_locked_by_a_client(descriptor: int) -> bool:
    """Return whether a file is locked by one who mounts this machine's disk: his ``flock`` is a lock of ``fcntl`` here.

    Where the disk is another machine's, our own ``flock`` is of that kind, too, and would be seen as somebody else's.
    """
    if not filesystem.is_local(descriptor) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    return False


def _open_part(folder: int, part: str, owners: set[int]) -> int:
    try:
        return open_regular(part, os.O_RDWR, owners=owners, dir_fd=folder)  # NFS locks only what is open for writing
    except IsADirectoryError:
        return open_owned_directory(part, owners=owners, dir_fd=folder)
