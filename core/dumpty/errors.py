"""Every error dumpty raises on purpose.

::

    DumptyError
    ├── SourceError              bad or unsupported URL, or a source that cannot be read (also RuntimeError)
    │   └── TransportError       the way to a server failed: ssh, a container's program
    ├── InvalidName              a backup's name that may not reach the file system (also ValueError)
    ├── OptionError              an unknown or ill-typed option (also ValueError)
    │   ├── FormatNotSupported   this database cannot be written in this format, but in another one
    │   ├── ConfigurationError   dumpty.toml is missing, or holds mistakes: .problems has them all
    │   └── IdentityError        what is encrypted is opened by no identity that was given
    ├── MissingFile              a file that should be there is not (also FileNotFoundError)
    ├── UnknownBackup            no backup has this name or id (also LookupError)
    ├── DependencyError          a driver's library is not installed (also ImportError)
    ├── PluginError              a plugin failed: .plugin and .hook say which and where
    │   ├── PluginNotFound       nobody answers this scheme or name
    │   ├── PluginConflict       two distributions answer it
    │   ├── PluginLoadError      it is installed, but cannot be loaded
    │   ├── RestoreNotSupported  the driver implements no restore (also NotImplementedError)
    │   └── CommandError         a child process failed, or is missing (also RuntimeError)
    ├── IntegrityError           digest, size, truncation, missing end marker, row counts
    │   └── SignatureError       what a backup's manifest says is signed by none of the keys that were asked for
    ├── ManifestError            a manifest is damaged, or from a newer dumpty
    ├── NotProvable              a drill needs what this machine does not have
    ├── Pinned                   a pinned backup is not removed; says how to unpin it
    ├── TargetNotEmpty           restore refused; says how to insist
    │   └── OtherDatabase        what it holds is another database than the backup's
    ├── Cancelled                the caller ended the call before it was complete
    ├── NotificationError        a message was not taken by whom it was for
    ├── Locked                   somebody else holds it (also RuntimeError)
    └── StoreError               the store cannot write, list or read (also OSError)
        ├── Exists               a new object's name is taken (also FileExistsError)
        ├── NotPermitted         the rights at hand do not suffice (also PermissionError)
        └── Retained             the place keeps what was to be deleted; says until when

A message is one line: what failed, on what, why, and what to do next. No message holds a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Cancelled",
    "CommandError",
    "ConfigurationError",
    "DependencyError",
    "DumptyError",
    "Exists",
    "FormatNotSupported",
    "IdentityError",
    "IntegrityError",
    "InvalidName",
    "Locked",
    "ManifestError",
    "MissingFile",
    "NotPermitted",
    "NotProvable",
    "NotificationError",
    "OptionError",
    "OtherDatabase",
    "Pinned",
    "PluginConflict",
    "PluginError",
    "PluginLoadError",
    "PluginNotFound",
    "RestoreNotSupported",
    "Retained",
    "SignatureError",
    "SourceError",
    "StoreError",
    "TargetNotEmpty",
    "TransportError",
    "UnknownBackup",
]


class DumptyError(Exception):
    """Base of every error in this module."""


class SourceError(DumptyError, RuntimeError):
    """A database URL is malformed or of no known scheme, or its database cannot be read."""


class TransportError(SourceError):
    """The way to a database's server cannot be made, or broke; the text has the words of the program that failed."""


class InvalidName(DumptyError, ValueError):
    """A backup's name holds something that must not reach the file system."""


class OptionError(DumptyError, ValueError):
    """An option is unknown, ambiguous, or its value is not of the declared type."""


class FormatNotSupported(OptionError):
    """A driver cannot write this database in this format, as it is or as it is reached; in another one it may.

    The text says why. Where nobody asked for this format, the next one is tried. What is raised ``from`` an error of
    this module is that error to whoever did ask for it.
    """


class ConfigurationError(OptionError):
    """``dumpty.toml`` cannot be read, or holds mistakes; ``problems`` has one sentence for each."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        more = f" (and {len(self.problems) - 1} more: dumpty config check shows them)" if self.problems[1:] else ""
        super().__init__(f"{self.problems[0] if self.problems else 'it holds mistakes'}{more}")


class IdentityError(OptionError):
    """What is encrypted cannot be opened: no identity was given, or one that is none, or those of others."""


class MissingFile(DumptyError, FileNotFoundError):
    """A source file, or the file of a backup, does not exist."""


class UnknownBackup(DumptyError, LookupError):
    """No backup, or more than one, answers to a name or a shortened id."""


class DependencyError(DumptyError, ImportError):
    """A plugin needs a library that is not installed; the text holds the pip command."""


class PluginError(DumptyError):
    """A plugin failed.

    ``plugin`` (str) names it with its distribution, ``hook`` (str) the hook it failed in. Both are filled in by
    the host where the plugin left them empty.
    """

    def __init__(self, message: str, *, plugin: str = "", hook: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.hook = hook


class PluginNotFound(PluginError):
    """No installed plugin answers to a scheme or a name."""


class PluginConflict(PluginError):
    """Two plugins claim one scheme or one name."""


class PluginLoadError(PluginError):
    """A plugin is installed, but fails to import, or breaks the contract of the hooks."""


class RestoreNotSupported(PluginError, NotImplementedError):
    """The driver implements no restore."""


class CommandError(PluginError, RuntimeError):
    """A child process failed, or its program is missing.

    ``argv`` is its command line with secrets replaced, ``returncode`` its exit status (None where it never
    started; negative for a signal), ``stderr_tail`` the last lines it wrote.
    """

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        returncode: int | None = None,
        stderr_tail: str = "",
        plugin: str = "",
        hook: str = "",
    ) -> None:
        super().__init__(message, plugin=plugin, hook=hook)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr_tail = stderr_tail


class IntegrityError(DumptyError):
    """Bytes or rows are not what the evidence says they must be."""


class SignatureError(IntegrityError):
    """A backup is not signed by any of the keys that were asked for, or was altered since."""


class ManifestError(DumptyError):
    """A manifest is damaged, or written by a newer dumpty. It is never overwritten."""


class NotProvable(DumptyError):
    """This machine cannot prove a backup: a server version or an extension is missing. It says nothing of it."""


class Pinned(DumptyError):
    """A backup was pinned, so it is not removed; the text says how to unpin it."""


class TargetNotEmpty(DumptyError):
    """The target of a restore holds something; the text says how to insist."""


class OtherDatabase(TargetNotEmpty):
    """What the target of a restore holds is another database than the backup's; the text says how to insist."""


class Cancelled(DumptyError):
    """A call was ended by its ``Cancellation``, or by what its progress callback raised, before it was complete.

    Nothing of a backup is kept, and the target of a restore is as it was; where cleaning up failed the text says so.
    """


class NotificationError(DumptyError):
    """A notifier could not tell its recipient, or cannot say whether it did."""


class Locked(DumptyError, RuntimeError):
    """Another process or session holds what this one needs."""


class StoreError(DumptyError, OSError):
    """A store cannot write, list, read or delete an object."""


class Exists(StoreError, FileExistsError):
    """An object was to be new, and its name is taken."""


class NotPermitted(StoreError, PermissionError):
    """The account that a store is used with may not do this."""


class Retained(StoreError):
    """The place keeps an object that was to be deleted; the text says until when, where that is known."""
