"""One object on its way out of a directory."""

from __future__ import annotations

import os
import stat

from dumpty import StoreError, open_regular
from dumpty_plugins.file import filesystem
from dumpty_plugins.file.files import close, closing, store_error

_BLOCK = 1 << 20


class FileReader:
    """An open file being read, whose errors are dumpty's.

    Args:
        descriptor: the file's; it is closed with the reader.
        path: the file, for messages.
        offset: where to begin, in bytes.

    Raises:
        StoreError: the file ends before that.
    """

    def __init__(self, descriptor: int, path: str, offset: int = 0) -> None:
        self._descriptor = descriptor
        self._path = path
        self._position = offset
        try:
            self._size = os.fstat(descriptor).st_size
            if not 0 <= offset <= self._size:
                raise StoreError(f"cannot read {path} from byte {offset} on: it has {self._size}")
        except BaseException:
            self.close()
            raise

    def read(self, size: int = -1) -> bytes:
        if size >= 0:
            return self._block(size)
        blocks: list[bytes] = []
        # As much as there should be and a byte, for a buffer of a megabyte costs more than a manifest; where that byte
        # comes too, something was added meanwhile.
        while (left := self._size - self._position + 1) > 0:
            block = self._block(asked := min(_BLOCK, left))
            blocks.append(block)
            if len(block) < asked and self._position == self._size:
                return blocks[0] if len(blocks) == 1 else b"".join(blocks)
        while block := self._block(_BLOCK):
            blocks.append(block)
        return b"".join(blocks)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close(descriptor)

    def _block(self, size: int) -> bytes:
        try:
            block = os.pread(self._descriptor, size, self._position)
        except OSError as error:
            raise store_error(f"cannot read {self._path}", error) from error
        self._position += len(block)
        if size and not block and self._position < self._size:
            raise StoreError(
                f"cannot read {self._path}: it had {self._size} bytes, and ends now after {self._position}"
            )
        return block

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()


def status_of(name: str, folder: int) -> os.stat_result:
    """Return what is known of a file or a directory in an open folder, from the place itself.

    Raises:
        OSError: there is something else, or nothing.
    """
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    is_directory = stat.S_ISDIR(status.st_mode)
    if (is_directory or stat.S_ISREG(status.st_mode)) and filesystem.is_local(folder):
        return status
    try:
        # A network's file system can have answered from a cache, and asks when something is opened. This also says
        # what it is that is neither a file nor a directory.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=folder) if is_directory else open_regular(name, dir_fd=folder)
    except PermissionError:
        return status
    with closing(descriptor):
        return os.fstat(descriptor)
