"""What a database for tests is restored from."""

from __future__ import annotations

import os
from collections.abc import Mapping  # noqa: TC003 - help() asks what the fields of a struct are
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import OptionError
from dumpty.indirection import is_indirect

if TYPE_CHECKING:
    import pytest

__all__ = ["RestoreSource", "configured"]

_ORIGINS = ("backup", "dump", "url")
_HOW = (
    "write one of these into pytest's ini-file: dumpty_backup = latest:DATABASE and dumpty_dir = REPOSITORY, or "
    "dumpty_dump = DIRECTORY/NAME, or dumpty_url = URL; or give it as --dumpty-backup and the like"
)


class RestoreSource(Struct, frozen=True, kw_only=True):
    """What a database for tests is restored from: one of a backup, a copy of ``DatabaseBackup``'s, a live database.

    Args:
        backup: a backup's id, or ``latest``, ``latest-verified``, ``latest:DATABASE``, as on the command line.
        dir: the repository that it is in: a directory, or a URL; "" for ``$DUMPTY_DIR``.
        dump: a copy of ``DatabaseBackup``'s: its name, or its file's, behind the path of the backup directory.
        url: a live database, backed up once when a test first asks; ``env:NAME``, ``file:PATH``, ``cmd:PROGRAM…`` too.
        on: a server to restore on, written in the same ways; "" for a private one.
        identities: what opens an encrypted backup: files, or ``env:`` and the like.
        options: those of the driver for ``scratch``, ``restore`` and ``inspect``.

    Paths are relative to pytest's root directory.
    """

    backup: str = ""
    dir: str = ""
    dump: str = ""
    url: str = ""
    on: str = ""
    identities: tuple[str, ...] = ()
    options: Mapping[str, str] = {}

    def __repr__(self) -> str:
        fields = {
            "backup": self.backup,
            "dir": self.dir,
            "dump": self.dump,
            "url": _shown(self.url),
            "on": _shown(self.on),
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields.items() if value)})"

    def check(self) -> None:
        """See that it names one origin.

        Raises:
            OptionError: it names none, or several, or no repository.
        """
        origins = [name for name in _ORIGINS if getattr(self, name)]
        if len(origins) != 1:
            named = " and ".join(f"dumpty_{name}" for name in origins)
            fault = f"{named} exclude each other" if named else "nothing says what the database is to be restored from"
            raise OptionError(f"{fault}: {_HOW}")
        if self.backup and not self.dir:
            raise OptionError(
                f"nothing says in which repository the backup {self.backup} is: write dumpty_dir = REPOSITORY into "
                "pytest's ini-file, give --dumpty-dir, or set DUMPTY_DIR"
            )


def configured(config: pytest.Config) -> RestoreSource:
    """Return what the options, or else the ini-file, name.

    Raises:
        OptionError: it is not one origin, or an option is not of the form KEY=VALUE.
    """
    given = {name: str(config.getoption(f"dumpty_{name}") or "") for name in _ORIGINS}
    if not any(given.values()):  # what the command line names replaces what the ini-file does
        given = {name: str(config.getini(f"dumpty_{name}")) for name in _ORIGINS}
    source = RestoreSource(
        **given,
        dir=_setting(config, "dir") or os.environ.get("DUMPTY_DIR", ""),
        on=_setting(config, "on"),
        identities=_settings(config, "identity"),
        options=dict(_option(text) for text in _settings(config, "option")),
    )
    source.check()
    return source


def _setting(config: pytest.Config, name: str) -> str:
    return str(config.getoption(f"dumpty_{name}") or config.getini(f"dumpty_{name}"))


def _settings(config: pytest.Config, name: str) -> tuple[str, ...]:
    return tuple(config.getoption(f"dumpty_{name}") or config.getini(f"dumpty_{name}"))


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise OptionError(f"dumpty_option = {text} is not of the form KEY=VALUE; write for example superuser=on")
    return name.strip(), value.strip()


def _shown(url: str) -> str:
    """Return a URL without its secrets."""
    if not url or is_indirect(url):
        return url
    from dumpty.errors import SourceError
    from dumpty.url import parse_url

    try:
        return parse_url(url).url
    except SourceError:
        return "***"
