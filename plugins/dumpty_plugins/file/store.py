"""A directory as a store."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty import Cap, Found, MissingFile, StoreError, check_object_name, is_object_name, open_regular
from dumpty_plugins.file import deleting, publishing, sharing
from dumpty_plugins.file.files import as_store_error, moment, store_error, tree_size
from dumpty_plugins.file.folders import Folder, again_if_stale, is_object, walk
from dumpty_plugins.file.parts import Part, tries
from dumpty_plugins.file.reading import FileReader, status_of
from dumpty_plugins.file.sweeping import Sweep, current_time
from dumpty_plugins.file.upload import FileUpload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from dumpty import Reader

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
        with contextlib.closing(self.open(name)) as reader:
            return reader.read()

    def open(self, name: str, offset: int = 0) -> Reader:
        with self._folder_of(name, "read") as (folder, last, path):
            return FileReader(open_regular(last, dir_fd=folder.descriptor), path, offset)

    def stat(self, name: str) -> Found:
        with self._folder_of(name, "read") as (folder, last, _):
            return self._found(name, status_of(last, folder.descriptor))

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

    @contextlib.contextmanager
    def _folder_of(self, name: str, verb: str) -> Iterator[tuple[Folder, str, str]]:
        *segments, last = check_object_name(name).split("/")
        path = os.path.join(self._top, name)
        try:
            with again_if_stale(lambda: Folder(self._top, segments)) as folder:
                if _is_folder(folder, last):
                    raise FileNotFoundError
                yield folder, last, path
        except (StoreError, MissingFile):
            raise
        except NotADirectoryError as error:
            raise MissingFile(f"cannot {verb} {path}: it does not exist") from error
        except OSError as error:
            raise store_error(f"cannot {verb} {path}", error) from error

    def _listed(self, name: str, entry: os.DirEntry[str]) -> Found | None:
        if not is_object_name(name):
            return None
        with contextlib.suppress(FileNotFoundError):
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
        if stat.S_ISDIR(status.st_mode):
            size = tree_size(os.path.join(self._top, name))
        elif stat.S_ISLNK(status.st_mode):
            size = 0
        tag = f"{status.st_ino:x}-{status.st_ctime_ns:x}-{size:x}"
        return Found(name=name, size=size, tag=tag, modified=moment(status.st_mtime_ns))


def _is_folder(folder: Folder, name: str) -> bool:
    status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
    return stat.S_ISDIR(status.st_mode) and not is_object(folder.descriptor, name)
