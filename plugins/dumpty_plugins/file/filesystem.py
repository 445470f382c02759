"""What Python has no words for: which kind of file system it is, and a rename that replaces nothing."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys

_LINUX_LOCAL = {
    0xEF53,  # ext2, ext3, ext4
    0x58465342,  # XFS
    0x9123683E,  # Btrfs
    0xCA451A4E,  # bcachefs
    0x2FC12FC1,  # ZFS
    0xF2F52010,  # F2FS
    0x01021994,  # tmpfs
    0x858458F6,  # ramfs
    0x794C7630,  # overlayfs
    0x3153464A,  # JFS
    0x4D44,  # FAT
    0x2011BAB0,  # exFAT
    0x7366746E,  # NTFS
}
_STATFS_BYTES = 4096
_NOREPLACE, _EXCL = 1, 4
_MACOS_FLAGS_OFFSET, _MNT_LOCAL = 64, 0x1000


def is_local(descriptor: int) -> bool:
    """Return whether an open file is on a file system of this machine alone, as far as is known.

    There every lock that is held is seen, every listing is of this moment, and the clock is this machine's. Network
    file systems, those in user space, and whatever is unknown are not of this kind.
    """
    try:
        buffer = ctypes.create_string_buffer(_STATFS_BYTES)
        call = _function("fstatfs", f"fstatfs{'$INODE64' * (sys.platform == 'darwin')}")
        if call is None or call(descriptor, buffer) != 0:
            return False
        if sys.platform == "darwin":
            return bool(ctypes.c_uint32.from_buffer(buffer, _MACOS_FLAGS_OFFSET).value & _MNT_LOCAL)
        return sys.platform == "linux" and ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF in _LINUX_LOCAL
    except OSError:
        return False


def rename_new(directory: int, name: str, new: str) -> None:
    """Rename a file within an open directory, unless the new name is taken.

    Raises:
        FileExistsError: it is taken.
        OSError: ENOTSUP where neither the system nor the file system has such a rename; anything else.
    """
    call, flag = _function("renameat2"), _NOREPLACE
    if sys.platform == "darwin":
        call, flag = _function("renameatx_np"), _EXCL
    if call is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    if call(directory, os.fsencode(name), directory, os.fsencode(new), ctypes.c_uint(flag)) != 0:
        number = ctypes.get_errno()
        if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            number = errno.ENOTSUP
        raise OSError(number, os.strerror(number), name)


@functools.cache
def _function(*names: str) -> ctypes._NamedFuncPointer | None:
    library = ctypes.CDLL(None, use_errno=True)
    return next((getattr(library, name) for name in reversed(names) if hasattr(library, name)), None)
