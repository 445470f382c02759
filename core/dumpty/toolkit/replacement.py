"""A database that is built beside its target, and put in its place in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Self

from dumpty.errors import SourceError, TargetNotEmpty
from dumpty.process.call import commit_point
from dumpty.process.owned_directory import OwnedDirectory, open_owned_directory, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Replacement"]

_NAME = "new"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What a file system without hard links says."""
_NEW, _EXCHANGE = (4 if sys.platform == "darwin" else 1), 2
"""Flags of Linux's renameat2 (NOREPLACE, EXCHANGE) and of macOS's renameatx_np (EXCL, SWAP)."""
_ACCESS_LIST = "system.posix_acl_access"


class Replacement:
    """A new file or directory that is built beside its target, and takes the target's place at once, or not at all.

    It is built in a private directory, ``NAME.dumpty-part-XXXXXXXX``, on the target's file system. That goes at the
    end of the block, and what a killed process left of one goes when the same target is restored into again. The target
    is looked at and renamed, never opened: closing any descriptor of a database's file can drop the locks on it::

        with Replacement(target=path) as replacement:
            evidence = load(dump, replacement.path)
            replacement.put_in_place(replace=os.path.exists(path))

    Args:
        target: the path of the database's file or directory, links resolved. It need not exist.
        directory: True for a database that is a directory.

    Raises:
        SourceError: on entering the block: its folder is missing or cannot be written, or something else stands there.
    """

    path: str
    """Where to build: a name that is free, or, for a directory, an empty one. Beside it is room for journals."""

    def __init__(self, *, target: str, directory: bool = False) -> None:
        self._target = os.path.abspath(target)
        self._folder, self._name = os.path.split(self._target)
        self._is_directory = directory
        self._owned: OwnedDirectory
        self._owners: set[int] = set()

    def __enter__(self) -> Self:
        if not os.path.isdir(self._folder):
            raise SourceError(f"there is no directory {self._folder} to restore into; create it first")
        self._require_kind()
        prefix = f"{self._name}.dumpty-part-"
        try:
            # The folder's owner can do anything there, and root may have worked for him.
            OwnedDirectory.sweep(self._folder, prefix, owners={os.stat(self._folder).st_uid})
            self._owned = OwnedDirectory(self._folder, prefix)
        except OSError as error:
            raise SourceError(f"{self._folder} cannot be written: {error.strerror}") from error
        try:
            self.path = os.path.join(self._owned.path, _NAME)
            if self._is_directory:
                os.mkdir(_NAME, 0o700, dir_fd=self._owned.descriptor)
        except BaseException:
            self._owned.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.remove()

    def put_in_place(self, *, replace: bool) -> None:
        """Put what was built in the target's place, durably. Close it first, and leave no journal of it beside it.

        It tells ``commit_point()`` itself, right before anything changes.

        Args:
            replace: False where nothing may stand there by now, but an empty directory for a directory. True replaces
                what does, whose owner, mode and access list are inherited: hold the database's own lock, and know what
                it holds.

        Raises:
            TargetNotEmpty: something stands there, and ``replace`` is False.
            SourceError: it cannot be done; the target is as it was, or the text says that it is not.
        """
        try:
            if not os.path.samestat(os.lstat(self._owned.path), os.fstat(self._owned.descriptor)):
                raise SourceError(f"{self._owned.path} is not the directory that was made there: look who replaced it")
            self._require_kind()
            with _opened(self._folder) as folder, self._built() as built:
                os.fsync(folder)  # one that cannot be synced shall fail now, while nothing has changed
                exists = os.path.lexists(self._target)
                commit_point()
                if exists and (replace or self._is_directory):
                    self._inherit(os.lstat(self._target), built)
                if exists and replace:
                    self._replace(folder)
                else:
                    self._create(folder, built)
        except OSError as error:
            raise SourceError(f"{self._target} cannot be replaced: {error.strerror}") from error

    def inherit(self, *, status: os.stat_result) -> None:
        """Give what was built the owner and the mode of another file, as ``put_in_place`` does with what it replaces.

        While that is the target, its access list, too.

        Raises:
            SourceError: that fails, or somebody put something else in its place.
        """
        try:
            with self._built() as built:
                self._inherit(status, built)
        except OSError as error:
            raise SourceError(f"{self.path} cannot be given to another owner: {error.strerror}") from error

    def sync(self) -> None:
        """Bring what was built to disk: what may take long, before you lock the target for ``put_in_place``.

        Raises:
            SourceError: that fails, or somebody put something else in its place.
        """
        try:
            with self._built():
                pass
        except OSError as error:
            raise SourceError(f"{self.path} cannot be synced to disk: {error.strerror}") from error

    def _require_kind(self) -> None:
        kind, expected = (stat.S_ISDIR, "a directory") if self._is_directory else (stat.S_ISREG, "a regular file")
        with contextlib.suppress(FileNotFoundError):
            if not kind(os.lstat(self._target).st_mode):
                raise SourceError(f"{self._target} is not {expected}: a database cannot be restored there")

    @contextlib.contextmanager
    def _built(self) -> Iterator[int]:
        """Open what was built, and nothing that somebody put in its place; it is on disk."""
        open_built = open_owned_directory if self._is_directory else open_regular
        try:
            built = open_built(_NAME, owners=self._owners, dir_fd=self._owned.descriptor)
        except FileNotFoundError as error:
            raise SourceError(f"nothing was built at {self.path}, so {self._target} is as it was") from error
        try:
            if self._is_directory:
                _sync_tree(built)
            os.fsync(built)
            yield built
        finally:
            os.close(built)

    def _inherit(self, old: os.stat_result, built: int) -> None:
        new, mode = os.fstat(built), stat.S_IMODE(old.st_mode)
        access_list = _access_list(self._target, old)
        # Never by name: by a link that the target's owner put there, root would give him whatever it leads to.
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            self._owners.add(old.st_uid)
            with contextlib.suppress(PermissionError):  # only root may give files away
                os.fchown(built, old.st_uid, old.st_gid)
        if os.fstat(built).st_gid != old.st_gid:
            with contextlib.suppress(PermissionError):  # whoever is of the group may
                os.fchown(built, -1, old.st_gid)
        if os.fstat(built).st_gid != old.st_gid:
            # What one group may do is not for the members of another, who are others to it; nor the other way round.
            access_list, others = None, mode & mode >> 3 & 0o7
            mode = mode & 0o700 | others << 3 | others
        os.fchmod(built, mode)
        _set_access_list(built, access_list)

    def _create(self, folder: int, built: int) -> None:
        names = {"src_dir_fd": self._owned.descriptor, "dst_dir_fd": folder}
        try:
            if self._is_directory:
                os.rename(_NAME, self._name, **names)  # replaces nothing but an empty directory
            else:
                self._link(folder, names)
            os.fsync(folder)
        except OSError as error:
            self._take_back(built)
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                text = f"{self._target} was created while restoring into it; try again"
                raise TargetNotEmpty(text) from error
            raise
        except BaseException:
            self._take_back(built)
            raise

    def _link(self, folder: int, names: dict[str, int]) -> None:
        try:
            # Unlike a rename, it cannot replace what came up in the meantime.
            os.link(_NAME, self._name, follow_symlinks=False, **names)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
        try:
            _rename(self._owned.descriptor, _NAME, folder, self._name, _NEW)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            if os.path.lexists(self._target):  # the best that there is
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self._target) from error
            os.rename(_NAME, self._name, **names)

    def _take_back(self, built: int) -> None:
        """Remove what was put where nothing stood, and nothing else."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(self._target), os.fstat(built)):
                if self._is_directory:
                    os.rename(self._target, _NAME, dst_dir_fd=self._owned.descriptor)
                else:
                    os.unlink(self._target)

    def _replace(self, folder: int) -> None:
        if self._is_directory:
            _exchange(self._owned.descriptor, _NAME, folder, self._name)
        else:
            os.replace(_NAME, self._name, src_dir_fd=self._owned.descriptor, dst_dir_fd=folder)
        # Somebody may be at work in the new database by now: putting the old one back would lose what they commit.
        try:
            os.fsync(folder)
        except OSError as error:
            raise SourceError(
                f"{self._target} now holds the restored database, but {self._folder} cannot be synced to disk"
                f" ({error.strerror}): a power failure may bring the old one back; check the disk, then restore again"
            ) from error


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_tree(top: int) -> None:
    for _, _, files, descriptor in os.fwalk(".", dir_fd=top):
        for name in files:
            if not stat.S_ISREG(os.lstat(name, dir_fd=descriptor).st_mode):
                continue
            file = open_regular(name, dir_fd=descriptor)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        os.fsync(descriptor)


def _access_list(path: str, status: os.stat_result) -> bytes | None:
    """Return the access control list of the file that ``status`` is of, if that is at ``path`` and has one."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(path), status):
                return os.getxattr(path, _ACCESS_LIST, follow_symlinks=False)
    return None


def _set_access_list(descriptor: int, access_list: bytes | None) -> None:
    """Give an open file this list, or, without one, take that away which it may have from its folder's default."""
    if sys.platform == "linux":
        if access_list is not None:
            os.setxattr(descriptor, _ACCESS_LIST, access_list)
            return
        with contextlib.suppress(OSError):  # it has none, or its file system has none
            os.removexattr(descriptor, _ACCESS_LIST)


def _exchange(first_folder: int, first: str, second_folder: int, second: str) -> None:
    """Let two names stand for what the other did, in one step.

    Raises:
        SourceError: the file system, or the system, cannot.
    """
    try:
        _rename(first_folder, first, second_folder, second, _EXCHANGE)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        raise SourceError(
            f"{second} cannot be replaced: this file system does not exchange two directories in one step; restore into"
            " a new directory"
        ) from error


def _rename(first_folder: int, first: str, second_folder: int, second: str, flag: int) -> None:
    """Rename as ``flag`` says.

    Raises:
        OSError: ENOTSUP where the file system, or the system, has no such rename; anything else.
    """
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    rename = getattr(library, "renameat2", None) or getattr(library, "renameatx_np", None)
    names = os.fsencode(first), os.fsencode(second)
    if rename is not None and rename(first_folder, names[0], second_folder, names[1], flag) == 0:
        return
    number = ctypes.get_errno() if rename is not None else errno.ENOSYS
    if number in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
        number = errno.ENOTSUP
    raise OSError(number, os.strerror(number), second)
