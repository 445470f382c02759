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

_MAX_NAMED = 10
"""How many databases a message names."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which backups are in question: those of a database by its name, or by its source; "" is any.

    ``database`` is the name that a list shows, or the last part of the source (``db.sqlite3``). ``source`` is the
    source that a list shows, whole or its end (``app/db.sqlite3``), a file's path, or a database's URL.
    """

    database: str = ""
    source: str = ""

    def matches(self, backup: Backup) -> bool:
        """Return whether a backup is in question."""
        return self._matches_database(backup) and self._matches_source(backup)

    def filter(self, backups: Iterable[Backup]) -> list[Backup]:
        """Return those of ``backups`` that are in question."""
        return [b for b in backups if self.matches(b)]

    def _matches_database(self, backup: Backup) -> bool:
        return self.database in {"", backup.database_name, backup.source.rpartition("/")[2]}

    def _matches_source(self, backup: Backup) -> bool:
        if self.source in {"", backup.source}:
            return True
        if "://" in self.source:
            return backup.database_url == _masked_source(self.source)
        if self.source.startswith((".", "/")):
            paths = (os.path.abspath(self.source), os.path.realpath(self.source))
            return any(backup.source.endswith(f":{path}") for path in paths)
        return backup.source.endswith(f"/{self.source}")

    def __str__(self) -> str:
        descriptions = [f"of the database {self.database!r}"] * bool(self.database)
        descriptions += [f"from {_masked_source(self.source)!r}"] * bool(self.source)
        return "".join(f" {text}" for text in descriptions)


def select(
    backups: Sequence[Backup], query: str, scope: Filter, *, location: str, damaged: int = 0, alone: bool = False
) -> Backup:
    """Return the backup that ``query`` means, of ``backups`` (oldest first) those that are in question.

    Args:
        backups: all that are listed in ``location``; ``damaged`` is how many more have a manifest that cannot be read.
        query: an id or its beginning; ``latest``, the newest; ``latest-verified``, the newest that a proof holds of;
            or one of those with ``:DATABASE`` behind it.
        scope: which backups are in question.
        location: of the store, for messages.
        damaged: for messages.
        alone: the latest must be that of the only database in question.

    Raises:
        UnknownBackup: none is meant, or more than one.
    """
    keyword, colon, name = query.partition(":")
    if keyword not in LATEST:
        return _by_id(scope.filter(backups), query, f"{location}{scope}{_damage_text(damaged)}")
    chosen = [b for b in backups if scope.matches(b) and (not colon or (name and Filter(database=name).matches(b)))]
    searched = f"{location}{scope}"
    if alone:
        _require_one_database(chosen, query)
    if not chosen:
        raise UnknownBackup(
            f"no backup {query!r} in {searched}{_damage_text(damaged)}; dumpty list shows what is there"
        )
    chosen = _without_lost(chosen)
    if keyword == "latest-verified":
        chosen = [b for b in chosen if b.verification_status.proven]
        if not chosen:
            raise UnknownBackup(
                f"no backup {query!r} in {searched}: none was ever verified, and has not failed since; "
                "dumpty verify or dumpty drill proves one"
            )
    return chosen[-1]


def _without_lost(backups: Sequence[Backup]) -> list[Backup]:
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


def _by_id(backups: Sequence[Backup], query: str, location: str) -> Backup:
    found = [b for b in backups if b.id == query] or [b for b in backups if query and b.id.startswith(query)]
    if not found:
        raise UnknownBackup(f"no backup {query!r} in {location}; dumpty list shows what is there")
    if len(found) > 1:
        raise UnknownBackup(f"{len(found)} backups in {location} begin with {query!r}; give more of the id")
    return found[0]


def _require_one_database(backups: Sequence[Backup], query: str) -> None:
    databases = {b.source: b.database_name for b in backups}
    if len(databases) < 2:  # noqa: PLR2004 - several
        return
    descriptions = [
        f"{name} ({source})" for source, name in sorted(databases.items(), key=lambda item: (item[1], item[0]))
    ]
    rest = f" and {len(descriptions) - _MAX_NAMED} more" if len(descriptions) > _MAX_NAMED else ""
    unambiguous = len(set(databases.values())) == len(databases)
    example = f"{query.partition(':')[0]}:{min(databases.values())}, or --database" if unambiguous else "with --source"
    raise UnknownBackup(
        f"{query!r} could be a backup of {len(databases)} databases: {', '.join(descriptions[:_MAX_NAMED])}{rest}; "
        f"say which one, by its id, {example}"
    )


def _damage_text(damaged: int) -> str:
    return f"; {damaged} manifests there are damaged" if damaged else ""


def _masked_source(source: str) -> str:
    """Return a source without the password that a URL may hold."""
    if "://" not in source:
        return source
    try:
        return parse_url(source).url
    except SourceError:
        return source if "@" not in source else "(malformed URL)"
