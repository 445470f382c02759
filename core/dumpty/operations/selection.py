"""Which backup is meant: by its id or the beginning of it, or as the latest, of whatever databases are in question."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty.errors import SourceError, UnknownBackup
from dumpty.operations.result import log
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dumpty.operations.result import Backup

__all__ = ["LATEST", "Filter", "select"]

LATEST = ("latest", "latest-verified")
"""What is selected otherwise than by its id; each may be followed by ``:DATABASE``."""

_NAMED = 10
"""How many databases a message names."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which backups are in question: those of a database by its name, or by its source; "" is any.

    ``database`` is the name that a list shows, or the last part of the source (``db.sqlite3``). ``source`` is the
    source that a list shows, whole or its end (``app/db.sqlite3``), a file's path, or a database's URL.
    """

    database: str = ""
    source: str = ""

    def takes(self, backup: Backup) -> bool:
        """Return whether a backup is in question."""
        return self._is_of(backup) and self._comes_from(backup)

    def of(self, backups: Iterable[Backup]) -> list[Backup]:
        """Return those of ``backups`` that are in question."""
        return [b for b in backups if self.takes(b)]

    def _is_of(self, backup: Backup) -> bool:
        return self.database in {"", backup.database_name, backup.source.rpartition("/")[2]}

    def _comes_from(self, backup: Backup) -> bool:
        if self.source in {"", backup.source}:
            return True
        if "://" in self.source:
            return backup.database_url == _shown(self.source)
        if self.source.startswith((".", "/")):
            paths = (os.path.abspath(self.source), os.path.realpath(self.source))
            return any(backup.source.endswith(f":{path}") for path in paths)
        return backup.source.endswith(f"/{self.source}")

    def __str__(self) -> str:
        told = [f"of the database {self.database!r}"] * bool(self.database)
        told += [f"from {_shown(self.source)!r}"] * bool(self.source)
        return "".join(f" {one}" for one in told)


def select(
    backups: Sequence[Backup], wanted: str, among: Filter, *, where: str, damaged: int = 0, alone: bool = False
) -> Backup:
    """Return the backup that ``wanted`` means, of ``backups`` (oldest first) those that are in question.

    Args:
        backups: all that are listed in ``where``; ``damaged`` is how many more have a manifest that cannot be read.
        wanted: an id or its beginning; ``latest``, the newest; ``latest-verified``, the newest that a proof holds of;
            or one of those with ``:DATABASE`` behind it.
        among: which backups are in question.
        where: the place, for messages.
        damaged: for messages.
        alone: the latest must be that of the only database in question.

    Raises:
        UnknownBackup: none is meant, or more than one.
    """
    word, colon, name = wanted.partition(":")
    if word not in LATEST:
        return _by_id(among.of(backups), wanted, f"{where}{among}{_damage(damaged)}")
    chosen = [b for b in backups if among.takes(b) and (not colon or (name and Filter(database=name).takes(b)))]
    what = f"{where}{among}"
    if alone:
        _require_one_database(chosen, wanted)
    if not chosen:
        raise UnknownBackup(f"no backup {wanted!r} in {what}{_damage(damaged)}; dumpty list shows what is there")
    chosen = _there(chosen)
    if word == "latest-verified":
        chosen = [b for b in chosen if b.verification_status.proven]
        if not chosen:
            raise UnknownBackup(
                f"no backup {wanted!r} in {what}: none was ever verified, and has not failed since; "
                "dumpty verify or dumpty drill proves one"
            )
    return chosen[-1]


def _there(backups: Sequence[Backup]) -> list[Backup]:
    """Return those of ``backups`` (oldest first) that are not lost; log the lost that are newer than all of them.

    Where all are lost all are returned: whatever is then tried with one says what it lacks.
    """
    found = [b for b in backups if b.state != "lost"]
    if not found:
        return list(backups)
    for lost in backups[backups.index(found[-1]) + 1 :]:
        text = "passed over, for it is lost: the newer backup %s of %s: %s"
        log.warning(text, lost.id, lost.database_name, lost.state_reason, extra={"event": "backup-lost"})
    return found


def _by_id(backups: Sequence[Backup], wanted: str, where: str) -> Backup:
    found = [b for b in backups if b.id == wanted] or [b for b in backups if wanted and b.id.startswith(wanted)]
    if not found:
        raise UnknownBackup(f"no backup {wanted!r} in {where}; dumpty list shows what is there")
    if len(found) > 1:
        raise UnknownBackup(f"{len(found)} backups in {where} begin with {wanted!r}; give more of the id")
    return found[0]


def _require_one_database(backups: Sequence[Backup], wanted: str) -> None:
    databases = {b.source: b.database_name for b in backups}
    if len(databases) < 2:  # noqa: PLR2004 - several
        return
    told = [f"{name} ({source})" for source, name in sorted(databases.items(), key=lambda one: (one[1], one[0]))]
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    named = len(set(databases.values())) == len(databases)
    example = f"{wanted.partition(':')[0]}:{min(databases.values())}, or --database" if named else "with --source"
    raise UnknownBackup(
        f"{wanted!r} could be a backup of {len(databases)} databases: {', '.join(told[:_NAMED])}{more}; "
        f"say which one, by its id, {example}"
    )


def _damage(damaged: int) -> str:
    return f"; {damaged} manifests there are damaged" if damaged else ""


def _shown(source: str) -> str:
    """Return a source without the password that a URL may hold."""
    if "://" not in source:
        return source
    try:
        return parse_url(source).url
    except SourceError:
        return source if "@" not in source else "(malformed URL)"
