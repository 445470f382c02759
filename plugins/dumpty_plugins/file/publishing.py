"""How a part gets its name: once, and never in the place of an object that was to stay."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from dumpty import Cap, Exists, StoreError
from dumpty_plugins.file.files import DENIED
from dumpty_plugins.file.filesystem import rename_new
from dumpty_plugins.file.folders import Folder, is_object, is_there
from dumpty_plugins.file.parts import Part, tries

if TYPE_CHECKING:
    from collections.abc import Callable

TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR})
"""What says that a name is taken: by a file, or by a directory."""

# EPERM: FAT. EMLINK: a file has one name. EACCES: some that run in user space, and policies.
_NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def publish_new(folder: Folder, part: Part, name: str, must: Callable[[], bool]) -> None:
    """Give a part, which is a file, a name that nobody has. Of all that try, one succeeds.

    The part may keep its old name, too. Where an answer is lost on its way from another machine, it is looked who has
    the name.

    Args:
        folder: where.
        part: made by us.
        name: the new one.
        must: asked where the file system has nothing that would see to it; if it says no, the name is looked for, and
            of two that come at the same moment both may succeed.

    Raises:
        FileExistsError: the name is taken.
        OSError: ENOTSUP where it must be seen to and cannot be; anything else.
    """
    directory = folder.descriptor
    try:
        os.link(part.name, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if not _is_called(folder, part, name):
            if error.errno not in _NO_LINKS:
                raise
            _rename_new(folder, part, name, must)


def publish(folder: Folder, part: Part, name: str) -> None:
    """Give a part a name, in the place of the file that has it; a directory takes that of an empty one alone."""
    try:
        os.rename(part.name, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    except OSError:
        if not _is_called(folder, part, name):
            raise


def refusal(folder: Folder, name: str, path: str, *, new: bool) -> StoreError:
    """Return the error to raise where a name was not to be had because of what has it."""
    action = f"cannot write {path}"
    try:
        is_directory = stat.S_ISDIR(os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        if not new:
            return StoreError(f"{action}: a directory had its name a moment ago")
        return Exists(f"{action}: there was an object of that name, which is gone by now")
    if is_directory:
        if not is_object(folder.descriptor, name):
            return StoreError(f"{action}: it is a folder, for other objects")
        if not new:
            return StoreError(f"{action}: it is a directory of files, which is not replaced")
    return Exists(f"{action}: there is an object of that name already")


def probe(top: str) -> Cap:
    """Return which of CREATE_NEW and DELETE there is in the directory ``top``, found out by doing it.

    Only a lack of rights, or of what the file system can do, is an answer: a full disk says nothing of either.

    Raises:
        StoreError: the directory is gone, or there is a sweep at every try.
        OSError: anything else went wrong.
    """
    found = None
    for part_may_go in tries(top):
        with part_may_go, Folder(top) as folder:
            found = _probe(folder)
        if found is not None:
            break
    return found or Cap(0)


def _rename_new(folder: Folder, part: Part, name: str, must: Callable[[], bool]) -> None:
    try:
        rename_new(folder.descriptor, part.name, name)
    except OSError as error:
        if _is_called(folder, part, name):
            return
        if error.errno != errno.ENOTSUP or must():
            raise
        if is_there(folder.descriptor, name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
        publish(folder, part, name)


def _probe(folder: Folder) -> Cap | None:
    """Return what ``probe`` does; None where a sweep was quicker."""
    found = None
    first, second, name = (Part(folder, "probe") for _ in range(3))
    try:
        if first.make_file() and second.make_file():
            found = _tried(folder, first, second, name.name)
    except OSError as error:
        if error.errno not in DENIED:
            raise
        found = Cap(0)
    finally:
        for part in (first, second, name):
            part.drop()
    return found


def _tried(folder: Folder, first: Part, second: Part, name: str) -> Cap:
    found = Cap.CREATE_NEW if _one_wins(folder, first, second, name) else Cap(0)
    try:
        # Where a link is none, the other name may be the one that is left.
        os.unlink(second.name if is_there(folder.descriptor, second.name) else name, dir_fd=folder.descriptor)
    except OSError as error:
        if error.errno not in DENIED:
            raise
        return found
    return found | Cap.DELETE


def _one_wins(folder: Folder, first: Part, second: Part, name: str) -> bool:
    try:
        publish_new(folder, first, name, must=lambda: True)
        publish_new(folder, second, name, must=lambda: True)
    except FileExistsError:
        return _is_called(folder, first, name) and _is_called(folder, second, second.name)
    except OSError as error:
        if error.errno not in DENIED | {errno.ENOTSUP}:
            raise
    return False


def _is_called(folder: Folder, part: Part, name: str) -> bool:
    try:
        status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        return os.path.samestat(os.fstat(part.descriptor), status)
    except OSError:
        return False
