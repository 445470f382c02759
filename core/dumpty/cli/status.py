"""The exit statuses, and which error leads to which: the one table."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from dumpty import errors
from dumpty.errors import (
    CommandError,
    DependencyError,
    DumptyError,
    IntegrityError,
    InvalidName,
    Locked,
    NotProvable,
    OptionError,
    PluginConflict,
    PluginLoadError,
    PluginNotFound,
    StoreError,
)
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from dumpty.operations.result import Backup, BackupResult

__all__ = [
    "ATTENTION",
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "LOCKED",
    "NO_STORE",
    "TABLE",
    "UNPROVABLE",
    "UNVERIFIED",
    "USAGE",
    "CopyMissing",
    "NagiosCritical",
    "NagiosUnknown",
    "NagiosWarning",
    "NeedsAttention",
    "NoSuchStore",
    "NotGuaranteed",
    "ProgramFailed",
    "RunFailed",
    "RunIncomplete",
    "SuspiciousBackup",
    "Terminated",
    "UsageError",
    "error_type",
    "require_success",
    "status_of",
]

DONE, FAILED, USAGE, UNPROVABLE, UNVERIFIED, NO_STORE, LOCKED, ATTENTION, INTERRUPTED = 0, 1, 2, 3, 4, 10, 11, 12, 130

_NAGIOS_WARNING, _NAGIOS_CRITICAL, _NAGIOS_UNKNOWN = 1, 2, 3


class UsageError(DumptyError):
    """The command line asks for something that does not exist or make sense."""


class NoSuchStore(StoreError):
    """There is no backup directory at this place."""


class CopyMissing(DumptyError):
    """A backup is made and whole, and a copy that was asked for with it is not."""


class SuspiciousBackup(DumptyError):
    """A backup is made and whole, and holds so much less than those before it that somebody should look."""


class NotGuaranteed(DumptyError):
    """A place does without something that repositories can do without, and it makes a difference."""


class RunFailed(DumptyError):
    """A job of a run failed."""


class RunIncomplete(DumptyError):
    """All backups of a run are made, and somebody should look: a copy, or a proof, is missing."""


class NeedsAttention(DumptyError):
    """Something is wrong with a job, or its backups, that somebody should look at."""


class NagiosWarning(DumptyError):
    """What a plugin of Nagios calls a warning."""


class NagiosCritical(DumptyError):
    """What a plugin of Nagios calls critical."""


class NagiosUnknown(DumptyError):
    """What a plugin of Nagios says where it cannot tell."""


class ProgramFailed(CommandError):
    """A program that was run for the user failed: its status is ours."""

    def __init__(self, program: str, status: int) -> None:
        super().__init__(f"{os.path.basename(program)} exited with status {status}", argv=(program,), returncode=status)
        self.status = status


class Terminated(KeyboardInterrupt):
    """A signal asks dumpty to end. Cleans up as Ctrl-C does, and exits with 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


TABLE: tuple[tuple[type[BaseException], int], ...] = (
    (UsageError, USAGE),
    (MalformedURL, USAGE),
    (OptionError, USAGE),
    (InvalidName, USAGE),
    (PluginNotFound, USAGE),
    (PluginConflict, USAGE),
    (PluginLoadError, USAGE),
    (DependencyError, USAGE),
    (NotProvable, UNPROVABLE),
    (IntegrityError, UNVERIFIED),
    (NoSuchStore, NO_STORE),
    (Locked, LOCKED),
    (CopyMissing, ATTENTION),
    (SuspiciousBackup, ATTENTION),
    (NotGuaranteed, ATTENTION),
    (RunIncomplete, ATTENTION),
    (NeedsAttention, ATTENTION),
    (NagiosWarning, _NAGIOS_WARNING),
    (NagiosCritical, _NAGIOS_CRITICAL),
    (NagiosUnknown, _NAGIOS_UNKNOWN),
    (KeyboardInterrupt, INTERRUPTED),
)
"""The first line that fits decides; every other error is ``FAILED``."""


def status_of(error: BaseException) -> int:
    """Return the exit status of a command that ended with ``error``."""
    if isinstance(error, Terminated):
        return 128 + error.number
    if isinstance(error, ProgramFailed):
        return error.status
    return next((status for kind, status in TABLE if isinstance(error, kind)), FAILED)


def error_type(error: BaseException) -> str:
    """Return the name of ``error``'s type; for dumpty's errors the most exact public one."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((n for n in names if n in {*errors.__all__, UsageError.__name__} and n != "DumptyError"), names[0])


def require_success(result: BackupResult) -> Backup:
    """Return the backup of a result that succeeded.

    Raises:
        Exception: what it failed with.
    """
    if result.backup is None:
        raise result.exception or DumptyError(result.error)
    return result.backup
