"""The directories of a store, each reached from the one above without following a link."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from typing import TYPE_CHECKING, Self, TypeVar

from dumpty import StoreError, is_object_name
from dumpty_plugins.file.files import close, closing, discard, flush_directory, give, new_part, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty_plugins.file.files import Owner

    _Content = tuple[list[os.DirEntry[str]], dict[str, str]]

_Seen = TypeVar("_Seen")

MARK = "~dumpty.object"
"""An empty directory in each directory that is an object: whatever else is a directory is a folder of objects."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DEPTH = 4


class Folder:
    """An open directory of a store, with all that lead to it; a context manager that closes them.

    Args:
        top: the store's own directory. It may be a link; none below it is followed.
        segments: the names that lead on from there.
        make: whether to make what is missing.

    Raises:
        FileNotFoundError: there is none, or it was removed this moment.
        NotADirectoryError: something else is in its place: a file, or a directory that is an object.
        StoreError: the store's own directory is gone.
        OSError: it is a link, or cannot be opened.
    """

    def __init__(self, top: str, segments: Sequence[str] = (), *, make: bool = False) -> None:
        self.path = top
        self._names: list[str] = []
        self._descriptors: list[int] = []
        try:
            try:
                self._descriptors.append(os.open(top, _DIRECTORY))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise StoreError(f"the backup directory {top} is gone; mount it or put it back") from error
            for name in segments:
                self._enter(name, make=make)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @functools.cached_property
    def owner(self) -> Owner | None:
        """To whom root gives what it makes here."""
        return owner_of(self.top)

    @property
    def descriptor(self) -> int:
        """The descriptor of the directory itself."""
        return self._descriptors[-1]

    @property
    def top(self) -> int:
        """The descriptor of the store's own directory."""
        return self._descriptors[0]

    def flush(self) -> None:
        """Flush it to the disk, and the names that lead to it: whoever made those may not have come to that yet."""
        for descriptor in reversed(self._descriptors):
            flush_directory(descriptor)

    def remove_if_empty(self) -> None:
        """Remove it, and those above that are empty then. Whoever puts something into it this moment makes it anew."""
        with contextlib.suppress(OSError):
            for parent, name in reversed([*zip(self._descriptors, self._names, strict=False)]):
                os.rmdir(name, dir_fd=parent)
                flush_directory(parent)

    def close(self) -> None:
        """Close what is open. Twice is harmless."""
        while self._descriptors:
            with contextlib.suppress(OSError):
                os.close(self._descriptors.pop())

    def __del__(self) -> None:
        if hasattr(self, "_descriptors"):
            self.close()

    def _enter(self, name: str, *, make: bool) -> None:
        path = os.path.join(self.path, name)
        if make:
            self._make(name)
        try:
            descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor)
        except NotADirectoryError as error:
            if stat.S_ISLNK(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, f"{path} is a symbolic link, not a folder", path) from error
            raise NotADirectoryError(errno.ENOTDIR, f"{path} is a file, not a folder", path) from error
        self._descriptors.append(descriptor)
        self._names.append(name)
        self.path = path
        if is_object(descriptor):
            raise NotADirectoryError(errno.ENOTDIR, f"{path} is a backup, not a folder", path)

    def _make(self, name: str) -> None:
        if self.owner is None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
        elif not is_there(self.descriptor, name):
            # A folder of root's keeps the owner from listing anything: so it is his before it has its name.
            part = new_part(name)
            try:
                os.mkdir(part, 0o700, dir_fd=self.descriptor)
                with closing(os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor)) as descriptor:
                    if not os.listdir(descriptor):  # so it is no other one, put in its place
                        give(descriptor, self.owner)
                os.rename(part, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            except OSError:
                if not is_there(self.descriptor, name):  # else somebody was quicker
                    raise
            finally:
                discard(part, self.descriptor)


def open_folder(top: str, segments: Sequence[str]) -> int:
    """Open a folder to look into it, and return its descriptor; errors are those of ``Folder``."""
    if len(segments) == 1:
        # In one step, for there may be thousands to read: a link that the store's own directory is may be followed, and
        # the last name is not. Whatever is wrong is found out below.
        with contextlib.suppress(OSError):
            descriptor = os.open(f"{top}/{segments[0]}", _DIRECTORY | os.O_NOFOLLOW)
            try:
                if not is_object(descriptor):
                    return descriptor
            except BaseException:
                close(descriptor)
                raise
            close(descriptor)
    with Folder(top, segments) as folder:
        return os.dup(folder.descriptor)


def is_there(directory: int, name: str) -> bool:
    """Return whether there is anything of that name in an open directory."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_object(directory: int, name: str = ".") -> bool:
    """Return whether ``name``, in an open directory, is a directory that is an object."""
    try:
        return stat.S_ISDIR(os.stat(f"{name}/{MARK}", dir_fd=directory, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def walk(top: str, segments: Sequence[str] = ()) -> Iterator[tuple[int, str, list[os.DirEntry[str]]]]:
    """Yield a folder and every one below it: its descriptor, its name, and what is in it but no folder.

    Nothing is yielded where it is not there.

    Args:
        top: the store's own directory.
        segments: the names that lead from there to the first folder.

    Raises:
        StoreError: the store's own directory is gone.
        OSError: a folder cannot be read. One that is removed meanwhile, or is a link by now, is none.
    """
    name = "/".join(segments)
    try:
        opened, content = again_if_stale(lambda: _open_and_scan(top, segments, name))
    except (FileNotFoundError, NotADirectoryError):
        return
    with opened:
        yield from _walk(opened.descriptor, name, content)


def again_if_stale(look: Callable[[], _Seen]) -> _Seen:
    """Look for something, and once more where NFS says that what a name led to is gone: it is asked for the name anew.

    Raises:
        OSError: ESTALE where it says so again, which can be of more than one folder; anything that ``look`` raises.
    """
    try:
        return look()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return look()


def _open_and_scan(top: str, segments: Sequence[str], name: str) -> tuple[Folder, _Content]:
    folder = Folder(top, segments)
    try:
        return folder, _scan(folder.descriptor, name)
    except BaseException:
        folder.close()
        raise


def _walk(descriptor: int, folder: str, content: _Content) -> Iterator[tuple[int, str, list[os.DirEntry[str]]]]:
    entries, folders = content
    yield descriptor, folder, entries
    for name, path in folders.items():
        if path.count("/") + 1 == _DEPTH:
            continue
        try:
            below, content_below = again_if_stale(functools.partial(_enter_and_scan, descriptor, name, path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        with closing(below):
            yield from _walk(below, path, content_below)


def _enter_and_scan(parent: int, name: str, path: str) -> tuple[int, _Content]:
    descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        return descriptor, _scan(descriptor, path)
    except BaseException:
        close(descriptor)
        raise


def _scan(descriptor: int, folder: str) -> _Content:
    with os.scandir(descriptor) as scanned:
        entries = [*scanned]
    folders = {
        e.name: path
        for e in entries
        if is_object_name(path := f"{folder}/{e.name}" if folder else e.name)
        if e.is_dir(follow_symlinks=False) and not is_object(descriptor, e.name)
    }
    return [e for e in entries if e.name not in folders], folders
