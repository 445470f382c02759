"""A directory as a store."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dumpty import Cap, Found, MissingFile, StoreError, check_object_name, is_object_name, open_regular
from dumpty_plugins.file import deleting, publishing, sharing
from dumpty_plugins.file.files import as_store_error, close, moment, store_error, tree_size
from dumpty_plugins.file.folders import Folder, again_if_stale, is_object, open_folder, walk
from dumpty_plugins.file.parts import Part, tries
from dumpty_plugins.file.reading import FileReader, status_of
from dumpty_plugins.file.sweeping import Sweep, current_time
from dumpty_plugins.file.upload import FileUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta

    from dumpty import Reader

_Seen = TypeVar("_Seen")

_PROVED = Cap.CREATE_NEW | Cap.DELETE


class FileStore:
    """Objects as files (or directories) in one directory.

    Args:
        top: its absolute path.
    """

    def __init__(self, top: str) -> None:
        self._top = top
        self._proved = Cap(0)

    def capabilities(self) -> Cap:
        with as_store_error(f"cannot find out what can be done in {self._top}"):
            if self._proved != _PROVED:  # rights may be given, or come back with a disk that is not to be written to
                self._proved = publishing.probe(self._top)
            with Folder(self._top) as folder:
                return self._proved | Cap.LOCAL | (Cap.STRONG_LIST if sharing.is_alone(folder) else Cap(0))

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        upload = FileUpload(self._top, check_object_name(name), self._claims_new)
        try:
            upload.begin()
            upload.write(data)
            upload.publish(new=new)
        finally:
            upload.abort()

    def upload(self, name: str, expected: int | None = None) -> FileUpload:  # noqa: ARG002 - nothing is reserved
        upload = FileUpload(self._top, check_object_name(name), self._claims_new)
        try:
            upload.begin()
            return upload  # noqa: TRY300 - between the lines somebody can be interrupted
        except BaseException:
            upload.abort()
            raise

    def get(self, name: str) -> bytes:
        reader = self.open(name)
        try:
            return reader.read()
        finally:
            reader.close()

    def open(self, name: str, offset: int = 0) -> Reader:
        path = f"{self._top}/{name}"
        return self._look(name, lambda folder, last: FileReader(_open_object(folder, last), path, offset))

    def stat(self, name: str) -> Found:
        return self._look(name, lambda folder, last: self._found(name, _status_of_object(folder, last)))

    def list(self, folder: str = "") -> Iterator[Found]:
        segments = check_object_name(folder).split("/") if folder else []
        with as_store_error(f"cannot list {os.path.join(self._top, folder)}"):
            for _, name, entries in walk(self._top, segments):
                for entry in entries:
                    found = self._listed(f"{name}/{entry.name}" if name else entry.name, entry)
                    if found is not None:
                        yield found

    def delete(self, names: Iterable[str]) -> None:
        deleting.delete(self._top, names)

    def now(self) -> datetime:
        return current_time(self._top)

    def locate(self, name: str) -> str:
        return os.path.join(self._top, check_object_name(name)) if name else self._top

    def path(self, name: str) -> Path:
        return Path(self._top, check_object_name(name))

    def sweep(self, older: timedelta) -> None:
        Sweep(self._top, older).run()

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            with as_store_error(f"cannot create a workspace in {self._top}"):
                folder = stack.enter_context(Folder(self._top))
                sharing.announce(folder)
                for folder_may_go in tries(self._top):
                    with folder_may_go:
                        part = Part(folder, "workspace")
                        stack.callback(part.drop)
                        if part.make_directory():
                            break
            yield Path(self._top, part.name)

    def _claims_new(self) -> bool:
        return Cap.CREATE_NEW in self.capabilities()

    def _look(self, name: str, look: Callable[[int, str], _Seen]) -> _Seen:
        """Return what ``look`` finds, given the descriptor of an object's folder and the last part of its name."""
        *segments, last = check_object_name(name).split("/")
        try:
            folder = again_if_stale(lambda: open_folder(self._top, segments))
            try:
                return look(folder, last)
            finally:
                close(folder)
        except (StoreError, MissingFile):
            raise
        except NotADirectoryError as error:
            raise MissingFile(f"cannot read {self.locate(name)}: it does not exist") from error
        except OSError as error:
            raise store_error(f"cannot read {self.locate(name)}", error) from error

    def _listed(self, name: str, entry: os.DirEntry[str]) -> Found | None:
        if not is_object_name(name):
            return None
        try:
            return self._seen(name, entry)
        except FileNotFoundError:
            return None

    def _seen(self, name: str, entry: os.DirEntry[str]) -> Found | None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            return self.stat(name)  # by its name, from above: perhaps its folder was removed, and made anew
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            return self._found(name, status)
        # A link to a file is listed, for `open` to refuse it and say so: nothing shall vanish in silence.
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(status.st_mode) and (entry.is_file() or entry.is_dir()):
                return self._found(name, status)
        return None

    def _found(self, name: str, status: os.stat_result) -> Found:
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            size = tree_size(os.path.join(self._top, name)) if stat.S_ISDIR(status.st_mode) else 0
        tag = f"{status.st_ino:x}-{status.st_ctime_ns:x}-{size:x}"
        return Found(name=name, size=size, tag=tag, modified=moment(status.st_mtime_ns))


def _open_object(folder: int, name: str) -> int:
    try:
        return open_regular(name, dir_fd=folder)
    except IsADirectoryError:
        _refuse_folder(folder, name)
        raise


def _status_of_object(folder: int, name: str) -> os.stat_result:
    status = status_of(name, folder)
    if stat.S_ISDIR(status.st_mode):
        _refuse_folder(folder, name)
    return status


def _refuse_folder(folder: int, name: str) -> None:
    """Raise FileNotFoundError where a directory is no object, and so none that anybody could ask for."""
    if not is_object(folder, name):
        raise FileNotFoundError
