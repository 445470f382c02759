"""Puts units and crontabs where systemd and cron look for them, and sees that those take them up."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
import stat
from typing import TYPE_CHECKING, Literal

from dumpty.errors import CommandError, DumptyError, OptionError
from dumpty.jobs.units import origin
from dumpty.process.command import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.jobs.units import File

__all__ = ["activate", "folder", "replace_file", "require_usable", "write_files"]

Manager = Literal["systemd", "cron"]
_MOST_BYTES = 64 * 1024
_COMMAND_SECONDS = 100.0
"""systemd gives a service 90 s to start."""


def folder(manager: Manager, *, of_user: bool, root: str = "") -> str:
    """Return where the files of a manager belong; below ``root``, where an image's is."""
    if of_user:
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
        return os.path.join(home, "systemd", "user")
    place = "/etc/systemd/system" if manager == "systemd" else "/etc/cron.d"
    return os.path.join(root, place.lstrip("/")) if root else place


def require_usable(program: str, config: str, user: str) -> None:
    """See that a user can run a program and read a configuration, and that dumpty takes that from its owner.

    Raises:
        OptionError: there is no such user, or it cannot.
    """
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError):
        raise OptionError(f"there is no user {user!r} to run as") from None
    status = os.stat(config)
    if status.st_uid not in {0, entry.pw_uid}:
        raise OptionError(f"{config} belongs to neither root nor {user}, who would not use it; chown it")
    for path, how in ((config, "-r"), (program, "-x")):
        if not _may(entry, how, path):
            verb = "read" if how == "-r" else "run"
            raise OptionError(
                f"{user} cannot {verb} {path}: let that user do so (chown, and chmod +x each directory on the way), or "
                "put it elsewhere"
            )


def _may(user: pwd.struct_passwd, how: str, path: str) -> bool:
    """Ask the system, as a user, whether it may: directories on the way, lists of rights and mounts have a say."""
    import subprocess

    if os.geteuid() != 0:
        return user.pw_uid == os.geteuid() and os.access(path, os.R_OK if how == "-r" else os.X_OK)
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    asked = subprocess.run(  # noqa: S603 - no shell, and the path is one word
        ["/usr/bin/test", how, path],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=groups,
        cwd="/",
        check=False,
    )
    return asked.returncode == 0


def write_files(files: Sequence[File], directory: str) -> list[str]:
    """Write files into a directory, and return the paths of those that are new or were others; all of them, or none.

    Raises:
        OptionError: one is there that somebody else wrote, or changed; nothing is written then.
        DumptyError: it cannot be done.
    """
    paths = {file: os.path.join(directory, file.name) for file in files}
    before = {file: _read(path) for file, path in paths.items()}
    new = [file for file in files if before[file] != file.text]
    for file in new:
        whose = "ours" if before[file] is None else origin(before[file] or "")
        if whose != "ours":
            who = "was changed since dumpty wrote it" if whose == "changed" else "is not dumpty's"
            raise OptionError(
                f"{paths[file]} {who}, and is not replaced: move it away, keep what you need of it in a drop-in, and "
                "try again; nothing was written"
            )
    written: list[File] = []
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        for file in new:
            _write(paths[file], file.text, new=before[file] is None)
            written.append(file)
    except BaseException as error:
        for file in written:
            _put_back(paths[file], before[file])
        if not isinstance(error, OSError):
            raise
        reason = error.strerror or str(error)
        raise DumptyError(f"cannot write into {directory}: {reason}; nothing was written") from None
    return [paths[file] for file in new]


def replace_file(path: str, text: str, *, beginning: str, mode: int = 0o644) -> None:
    """Write a file in the place of one that begins in the same way, or of none; a new one gets ``mode``.

    Whoever reads it meanwhile has all of the one or all of the other. The name must not be a link.

    Raises:
        OptionError: something else is there, which stays.
        DumptyError: it cannot be written.
    """
    before = _read(path)
    if before is not None and not before.startswith(beginning):
        raise OptionError(f"{path} is no file of that kind, and is not replaced; say another name, or move it away")
    try:
        mode = mode if before is None else stat.S_IMODE(os.lstat(path).st_mode)
        _write(path, text, new=before is None, mode=mode)
    except OSError as error:
        raise DumptyError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from None


def _read(path: str) -> str | None:
    """Return the text of a file; None where there is none."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OptionError(f"{path} is no regular file, and is not replaced")
            return stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        # A link, above all: to nothing, say, which is how systemd masks a unit.
        raise OptionError(f"{path} cannot be replaced: {error.strerror or error}; look at it first") from None


def _write(path: str, text: str, *, new: bool, mode: int = 0o644) -> None:
    temporary = f"{path}.{secrets.token_hex(4)}~"  # neither systemd nor cron reads a file of such a name
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        if new:  # nobody's that came up meanwhile is replaced
            _put_new(temporary, path)
        else:
            os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _put_new(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        # Where there are no hard links, as on FAT, this is the best there is.
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS} or os.path.lexists(path):
            raise
        os.rename(temporary, path)
    else:
        os.unlink(temporary)


def _put_back(path: str, text: str | None) -> None:
    with contextlib.suppress(OSError, OptionError):
        if text is None:
            os.unlink(path)
        elif _read(path) != text:
            _write(path, text, new=False)


def activate(unit: str, *, of_user: bool, changed: bool) -> list[str]:
    """Let systemd start a unit, now and whenever the machine starts; return the commands that are left to be called.

    Those are all of them where no systemd runs here. One that is not ``changed`` goes on if it runs.

    Raises:
        DumptyError: it does not start it, or does not say that it did.
    """
    systemctl = ["systemctl", "--user"] if of_user else ["systemctl"]
    commands = [[*systemctl, "daemon-reload"], [*systemctl, "enable", unit]]
    commands.append([*systemctl, "restart" if changed else "start", unit])
    if not os.path.isdir("/run/systemd/system"):
        return [" ".join(command) for command in commands]
    # What systemctl says of both is its exit status.
    for command in (*commands, [*systemctl, "is-enabled", unit], [*systemctl, "is-active", unit]):
        try:
            run(command, timeout=_COMMAND_SECONDS)
        except CommandError as error:
            raise DumptyError(
                f"the units are written, and not in use: {' '.join(command)} failed: {error}; "
                f"see systemctl status {unit}"
            ) from None
    return []
