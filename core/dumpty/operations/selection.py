"""Which backup is meant: by its id or the beginning of it, or as the latest, of whatever databases are in question."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import ManifestError, SourceError, UnknownBackup
from dumpty.operations.result import log
from dumpty.registry.suggestions import did_you_mean
from dumpty.repository.names import slug
from dumpty.url import is_of_server, parse_url, raw_path, with_database

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from dumpty.operations.result import Backup
    from dumpty.types import Candidate

__all__ = ["LATEST", "Filter", "select"]

LATEST = ("latest", "latest-verified")
"""What is selected otherwise than by its id; each may be followed by ``:DATABASE``."""

_MAX_NAMED = 10
"""How many databases a message names."""


class Filter(Struct, frozen=True, kw_only=True):
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

    def suggestion(self, backups: Iterable[Backup]) -> str:
        """Return the sentence that suggests a database of ``backups``, where none has the name; else ""."""
        return _suggestion(self.database, {b.database_name for b in backups})

    @property
    def by_url(self) -> bool:
        """Whether backups of one database may be in question or not, by the URL that each was made of."""
        return "://" in self.source

    def _matches_database(self, backup: Backup) -> bool:
        return self.database in {"", backup.database_name, backup.source.rpartition("/")[2]}

    def _matches_source(self, backup: Backup) -> bool:
        if self.source in {"", backup.source}:
            return True
        if self.by_url:
            url = _masked_source(self.source)
            if is_of_server(backup.source, backup.format) and not raw_path(url):
                url = with_database(url, "")  # spelled as it was kept, with a slash
            return backup.database_url == url
        if self.source.startswith((".", "/")):
            paths = (os.path.abspath(self.source), os.path.realpath(self.source))
            return any(backup.source.endswith(f":{path}") for path in paths)
        return backup.source.endswith(f"/{self.source}")

    def __str__(self) -> str:
        descriptions = [f"of the database {self.database!r}"] * bool(self.database)
        descriptions += [f"from {_masked_source(self.source)!r}"] * bool(self.source)
        return "".join(f" {text}" for text in descriptions)


def select(
    candidates: Sequence[Candidate],
    query: str,
    scope: Filter,
    *,
    load: Callable[[Candidate], Backup],
    location: str,
    alone: bool = False,
) -> Backup:
    """Return the backup that ``query`` means, of those that are in question. No more are loaded than that takes.

    Args:
        candidates: all that are in ``location``, oldest first.
        query: an id or its beginning; ``latest``, the newest; ``latest-verified``, the newest that a proof holds of;
            or one of those with ``:DATABASE`` behind it.
        scope: which backups are in question.
        load: returns all that is known of one, and raises what ``Candidate.load`` does.
        location: of the store, for messages.
        alone: the latest must be that of the only database in question.

    Raises:
        UnknownBackup: none is meant, or more than one.
    """
    keyword, colon, name = query.partition(":")
    searched = f"{location}{scope}"
    if keyword not in LATEST:
        return _by_id(_Search(_of_id(candidates, query), [scope], load), query, searched)
    in_question = _of_databases(candidates, {scope.database, name} - {""}) if name or not colon else []
    search = _Search(in_question, [scope, Filter(database=name)], load, query)
    if alone:
        _require_one_database(search.newest_of_each_database(), query)
    chosen = _without_lost(search.newest_first())
    newest = next(chosen, None)
    if newest is None:
        text = f"no backup {query!r} in {searched}{search.damage}; dumpty list shows what is there"
        raise UnknownBackup(text + _suggestion(name or scope.database, search.database_names))
    if keyword == "latest":
        return newest
    for backup in itertools.chain([newest], chosen):
        if backup.verification_status.proven:
            return backup
    raise UnknownBackup(
        f"no backup {query!r} in {searched}: none has a proof that still holds; "
        "dumpty verify or dumpty drill proves one"
    )


class _Search:
    """Candidates, each of which is loaded when it is looked at, and whether it is in question.

    Args:
        candidates: oldest first.
        scopes: all of them must match.
        load: as for ``select``.
        query: what is meant by a backup that cannot be read, if anything.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        scopes: Sequence[Filter],
        load: Callable[[Candidate], Backup],
        query: str = "",
    ) -> None:
        self._candidates = candidates
        self._scopes = scopes
        self._load_candidate = load
        self._query = query
        self._loaded: dict[Candidate, Backup | None] = {}
        self._other_groups: set[str] = set()
        self._damaged = 0
        self.database_names: set[str] = set()
        """Of what was looked at; where no database has the name that is meant, of all."""

    @property
    def damage(self) -> str:
        """What to add to a message where manifests could not be read."""
        return f"; {self._damaged} manifests there are damaged" if self._damaged else ""

    def newest_first(self) -> Iterator[Backup]:
        """Yield the backups in question."""
        for _, candidates in itertools.groupby(reversed(self._candidates), key=lambda c: c.started):
            backups = [b for b in map(self._load, candidates) if b is not None]
            yield from sorted(backups, key=lambda b: (b.timestamp, b.id), reverse=True)

    def newest_of_each_database(self) -> list[Backup]:
        """Return a backup of every database in question."""
        groups: dict[str, Backup] = {}
        for candidate in reversed(self._candidates):
            if candidate.group not in groups and (backup := self._load(candidate)) is not None:
                groups[candidate.group] = backup
        return list(groups.values())

    def _load(self, candidate: Candidate) -> Backup | None:
        """Return a backup; None where it is not in question, cannot be read, or went meanwhile."""
        if candidate.group in self._other_groups:
            return None
        if candidate not in self._loaded:
            self._loaded[candidate] = self._load_anew(candidate)
        return self._loaded[candidate]

    def _load_anew(self, candidate: Candidate) -> Backup | None:
        try:
            backup = self._load_candidate(candidate)
        except UnknownBackup:
            return None
        except ManifestError as error:
            self._damaged += 1
            if self._query:
                text = "a backup that is not listed could be the one that %s means: %s"
                log.warning(text, self._query, error, extra={"event": "manifest-damaged"})
            return None
        self.database_names.add(backup.database_name)
        if all(scope.matches(backup) for scope in self._scopes):
            return backup
        if not any(scope.by_url for scope in self._scopes):
            self._other_groups.add(candidate.group)
        return None


def _of_id(candidates: Iterable[Candidate], query: str) -> list[Candidate]:
    return [c for c in candidates if query and (c.id_start.startswith(query) or query.startswith(c.id_start))]


def _of_databases(candidates: Sequence[Candidate], names: Collection[str]) -> Sequence[Candidate]:
    """Return the backups of databases that may be called that; all, where none is.

    The last part of a source is no name that a repository knows, but the name is mostly made of it: ``shop.db``.
    """
    for name in names:
        slugs = {"", slug(name), slug(PurePath(name).stem)}
        candidates = [c for c in candidates if c.database in slugs] or candidates
    return candidates


def _without_lost(backups: Iterable[Backup]) -> Iterator[Backup]:
    """Yield, of ``backups`` (newest first), those that are not lost; log the lost that are newer than all of them.

    Where all are lost all are yielded: whatever is then tried with one says what it lacks.
    """
    lost: list[Backup] = []
    found = False
    for backup in backups:
        if backup.state == "lost":
            lost += [] if found else [backup]
            continue
        for newer in [] if found else reversed(lost):
            text = "passed over, for it is lost: the newer backup %s of %s: %s"
            log.warning(text, newer.id, newer.database_name, newer.state_reason, extra={"event": "backup-lost"})
        found = True
        yield backup
    if not found:
        yield from lost


def _by_id(search: _Search, query: str, location: str) -> Backup:
    backups = list(search.newest_first())
    found = [b for b in backups if b.id == query] or [b for b in backups if b.id.startswith(query)]
    if not found:
        text = f"no backup {query!r} in {location}{search.damage}; dumpty list shows what is there"
        raise UnknownBackup(text + _suggestion(query.partition(":")[0], LATEST))
    if (several := len({b.id for b in found})) > 1:
        raise UnknownBackup(f"{several} backups in {location} begin with {query!r}; give more of the id")
    if len(found) == 1:
        return found[0]
    # It lies there twice, and is whole where either is, and pinned, or accepted, where either is.
    whole = next((b for b in found if b.state not in {"lost", "suspicious"}), None)
    whole = whole or next((b for b in found if b.state != "lost"), found[0])
    return replace(whole, pinned=next((b.pinned for b in found if b.pinned), ""))


def _suggestion(name: str, names: Collection[str]) -> str:
    """Return the sentence that suggests what is much like a ``name`` that is not among ``names``, after a full stop."""
    close = "" if name in names else did_you_mean(name, names)
    return f".{close}" if close else ""


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


def _masked_source(source: str) -> str:
    """Return a source without the password that a URL may hold."""
    if "://" not in source:
        return source
    try:
        return parse_url(source).url
    except SourceError:
        return source if "@" not in source else "(malformed URL)"
