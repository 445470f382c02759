"""One object on its way into a directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty import StoreError
from dumpty_plugins.file import publishing, sharing
from dumpty_plugins.file.files import failure, flush, flush_tree
from dumpty_plugins.file.folders import MARK, Folder
from dumpty_plugins.file.parts import Part, tries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty import Buffer


class FileUpload:
    """A part, locked by its writer, that ``commit`` gives its name.

    An interrupt can come up between any two steps. So whoever is to ``abort`` it has it before ``begin`` makes a file.

    Args:
        top: the store's directory.
        name: the object's, checked.
        claims_new: tells whether the store claims CREATE_NEW.
    """

    def __init__(self, top: str, name: str, claims_new: Callable[[], bool]) -> None:
        self._top = top
        *self._folders, self._name = name.split("/")
        self._path = os.path.join(top, name)
        self._claims_new = claims_new
        self._folder: Folder | None = None
        self._parts: list[Part] = []
        self._is_directory = False
        self._ended = False

    def begin(self) -> None:
        """Make the part, and lock it."""
        with self._errors():
            for folder_may_go in tries(self._path):
                with folder_may_go:
                    self._drop()
                    self._folder = Folder(self._top, self._folders, make=True)
                    sharing.announce(self._folder)
                    self._parts.append(Part(self._folder, self._name))
                    if self._parts[-1].make_file():
                        return

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        written = 0
        with self._errors():
            while written < len(view):
                written += os.write(self._part.descriptor, view[written:])
        return written

    def directory(self) -> Path:
        """Turn this upload into a directory of files, and return it."""
        folder = self._open_folder
        with self._errors():
            for folder_may_go in tries(self._path):
                with folder_may_go:
                    if self._is_directory:
                        break
                    self._parts.append(Part(folder, self._name))
                    self._is_directory = self._part.make_directory()
        # The file goes only now: until then it keeps its folder from being removed for being empty.
        while len(self._parts) > 1:
            self._parts[0].drop()
            del self._parts[0]
        return Path(folder.path, self._part.name)

    def commit(self) -> None:
        self.publish(new=True)

    def publish(self, *, new: bool) -> None:
        """Make the object durable and visible; unless ``new``, in the place of one that has its name.

        An error may come up when it is visible already: then it stays, and may be lost with the next power failure.
        """
        folder, part = self._open_folder, self._part
        with self._errors():
            if self._is_directory:
                os.mkdir(MARK, 0o700, dir_fd=part.descriptor)
                flush_tree(part.descriptor, folder.owner)
            else:
                flush(part.descriptor)
            try:
                self._rename(new=new)
            except OSError as error:
                if error.errno not in publishing.TAKEN:
                    raise
                raise publishing.refusal(folder, self._name, self._path, new=new) from error
            # From here on others may go by that name: whatever comes up now, it is never taken back.
            folder.flush()
        self._drop()
        self._ended = True

    def abort(self) -> None:
        if not self._ended:
            if self._folder is not None:
                self._discard_parts()
                self._folder.remove_if_empty()
            self._drop()
            self._ended = True

    def _rename(self, *, new: bool) -> None:
        folder, part = self._open_folder, self._part
        if self._is_directory or not new:  # a directory takes the place of nothing but an empty one
            publishing.publish(folder, part, self._name)
        else:
            publishing.publish_new(folder, part, self._name, must=self._claims_new)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError as error:
            raise StoreError(f"cannot write {self._path}: somebody removed what was written of it") from error
        except OSError as error:
            raise failure(f"cannot write {self._path}", error) from error

    def _drop(self) -> None:
        self._discard_parts()
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _discard_parts(self) -> None:
        while self._parts:
            self._parts[-1].drop()
            self._parts.pop()

    @property
    def _part(self) -> Part:
        if not self._parts:
            raise ValueError(f"the upload of {self._path} has ended")
        return self._parts[-1]

    @property
    def _open_folder(self) -> Folder:
        if self._folder is None:
            raise ValueError(f"the upload of {self._path} has ended")
        return self._folder
