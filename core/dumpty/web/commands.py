"""The commands that restore and prove a backup, to be copied from a page into a terminal."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from dumpty.errors import DumptyError
from dumpty.operations.reach import is_reached
from dumpty.redaction import MASK, plain
from dumpty.url import is_of_server, parse_url, shown_address
from dumpty.web.targets import beside, is_file

if TYPE_CHECKING:
    from dumpty.jobs.protection import Protected
    from dumpty.operations.result import Backup

__all__ = ["Commands", "commands_of"]

_IDENTITY = "IDENTITY-FILE"
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]*")
"""What can stand before options and is none."""


class Commands(NamedTuple):
    """What to say in a terminal to do something with one backup; "" where no page can write it.

    ``restores_server``: it is of a whole server, and so is what it is restored into.
    """

    restore: str
    drill: str
    accept: str
    remove: str
    restores_server: bool


def commands_of(database: Protected, backup: Backup) -> Commands:
    """Return the commands of a backup; every word is quoted for a shell: names are a stranger's text.

    The one that restores does so into a new database beside its own, which it never touches. What only whoever restores
    knows is left to them: a password is asked of the driver's own sources, an identity is named as a file.
    """
    where = ["--dir", _directory(database.repository)]
    is_known = database.job is not None or not is_reached(backup.source)
    target = ["--to", _target(backup) if is_known else "URL"]
    for hop in database.job.via if database.job is not None else ():
        target += ["--via", _without_mask(shown_address(hop))]
    identity = ["--identity", _IDENTITY] if backup.recipient_kinds else []
    return Commands(
        restore=_written("restore", backup.id, *where, *target, *identity),
        drill=_written("drill", backup.id, *where, *identity),
        accept=_written("accept", backup.id, *where),
        remove=_written("remove", backup.id, *where),
        restores_server=is_of_server(backup.source, backup.format),
    )


def _written(*words: str) -> str:
    """Return a command line; "" where a word holds what a page does not show as it is: the command would be another."""
    backup_id = words[1]
    if any(plain(word) != word for word in words) or not _ID.fullmatch(backup_id):
        return ""
    return " ".join(shlex.quote(word) for word in ("dumpty", *words))


def _directory(shown: str) -> str:
    return _without_mask(shown) if "://" in shown else os.path.abspath(shown)


def _target(backup: Backup) -> str:
    """Return the URL of a new database: a file in the working directory, or one beside the backup's on its server."""
    url = _without_mask(backup.database_url)
    if is_of_server(backup.source, backup.format):
        return url
    try:
        if not is_file(url):
            return beside(url, f"{backup.database_name}_restored")
        stem, suffix = posixpath.splitext(posixpath.basename(parse_url(url).database or ""))
        return f"{url.partition('://')[0]}:///{quote(stem)}-restored{quote(suffix)}"
    except DumptyError:  # its driver is not installed here
        return "URL"


def _without_mask(url: str) -> str:
    return url.replace(f":{MASK}@", "@")
