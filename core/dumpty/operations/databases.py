"""Several databases behind one URL: which of them a URL with wildcards means, and the URL of each."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dumpty.errors import OptionError, SourceError
from dumpty.operations.addressing import destination_of
from dumpty.operations.reach import reached, read_way
from dumpty.operations.result import log, require_text
from dumpty.redaction import redact_name
from dumpty.repository.protocol.layout import split_name
from dumpty.types import ListedDatabase
from dumpty.url import MalformedURL, parse_url, raw_path, with_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dumpty.operations.reach import Way
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Source

__all__ = ["DatabaseFinder", "find_databases", "has_wildcards"]

_WILDCARD = re.compile(r"\*|\[!?.[^\]]*\]", re.DOTALL)
_ENCODED = re.compile(r"((?:%[0-9A-Fa-f]{2})+)")
_MOST_SHOWN = 10


class DatabaseFinder:
    """The part of ``BackupManager`` that finds the databases of a server."""

    _host: Host

    def databases(
        self,
        database_url: str,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        via: str | Sequence[str] | None = None,
        **options: object,
    ) -> list[ListedDatabase]:
        """Return the databases that a URL with wildcards means, each with its own URL; of any other URL, that alone.

        ``postgresql://host/*`` means every database of the server but its own, ``mysql://host/shop_*`` those of such
        names, ``sqlite:////srv/apps/**/*.db`` files. ``*``, ``?`` and ``[…]`` are those of Python's ``fnmatch``, but a
        ``?`` ends a URL's path, and ``%2A`` is a star that belongs to a name. A file whose name is as it stands in the
        URL is that file. What a repository stores is never meant::

            for database in manager.databases("postgresql://backup@db1/*", exclude=["*_test"]):
                manager.create_backup(database.url)

        Args:
            database_url: as for ``create_backup``.
            include: of those only the ones whose name, or path, one of these patterns matches. Case counts. One that
                matches nothing is logged, as a warning.
            exclude: and none that one of these matches.
            via: as for ``create_backup``.
            options: those declared by the driver; what it does not take for this is left out.

        Raises:
            MalformedURL: it is no URL, or there are wildcards in it, and its driver cannot tell what there is.
            SourceError: the server cannot be reached, or nothing is left to back up; the text says what there is.
            OptionError: ``include`` or ``exclude`` are given where the URL names one database.
            TypeError: an argument is of another type.
        """
        require_text("a database URL", database_url)
        return find_databases(self._host, database_url, include=include, exclude=exclude, via=via, overrides=options)


def has_wildcards(host: Host, url: str) -> bool:
    """Return whether a URL may mean several databases: wildcards stand in its path, and it is no file's own name.

    Raises:
        MalformedURL, PluginNotFound: it is none, or nobody answers its scheme.
    """
    source = parse_url(url)
    if _WILDCARD.search(raw_path(url)) is None:
        return False
    is_file = host.driver(source.scheme).described.files and os.path.lexists(source.database or "")
    return not is_file


def find_databases(
    host: Host,
    url: str,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    via: str | Sequence[str] | None = None,
    overrides: Mapping[str, object] = MappingProxyType({}),
) -> list[ListedDatabase]:
    """Return the databases that ``url`` means, ordered by name; the arguments are those of ``BackupManager.databases``.

    There is at least one. Without wildcards it is the URL as it is, and nothing is asked of anybody.

    Raises:
        MalformedURL, SourceError, OptionError, TypeError: as ``BackupManager.databases``.
        PluginError: the driver failed, or listed what is no database of this server.
    """
    included, excluded = _patterns("include", include), _patterns("exclude", exclude)
    source, way = parse_url(url), read_way(host, via)
    if way is not None:
        destination_of(host.driver(source.scheme), source)
    if not has_wildcards(host, url):
        if included or excluded:
            raise OptionError(
                f"{source.url} names one database, and include and exclude choose among several: "
                "write a * in the place of its name, or leave them out"
            )
        return [ListedDatabase(url=url, source=source)]
    driver = host.driver(source.scheme)
    files = driver.described.files
    matching = _files(host, driver, url, overrides) if files else _on_server(host, driver, url, way, overrides)
    chosen = [
        found
        for found in matching
        if (not included or _is_meant(found, included, files)) and not _is_meant(found, excluded, files)
    ]
    if not chosen:
        raise SourceError(
            f"include and exclude leave none of the databases that {source.url} means: {_names(matching, source)}; "
            "they match whole names, and case counts"
        )
    for pattern in included:  # of a name that is mistyped there is no backup, which should be seen
        if not any(_is_meant(found, [pattern], files) for found in matching):
            fields = {"event": "include-unmatched", "url": source.url}
            log.warning("none of the databases that %s means is called %s", source.url, pattern, extra=fields)
    return [
        ListedDatabase(url=with_database(url, str(found.database), slashes=files), source=found) for found in chosen
    ]


def _patterns(label: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"{label} are several patterns, in a list, not one str")
    patterns = tuple(values)
    for pattern in patterns:
        require_text(f"a pattern of {label}", pattern)
    return patterns


def _listed(
    host: Host,
    driver: Plugin,
    source: Source,
    database: str | None,
    overrides: Mapping[str, object],
    way: Way | None = None,
) -> Sequence[Source]:
    """Ask the driver; options that it does not take for this are for the backups."""
    if not host.can(driver, "databases"):
        raise MalformedURL(
            f"{source.url} has wildcards, and {driver} cannot tell which databases there are (it implements no "
            "databases): name one database; a * that belongs to its name is written %2A, a [ is %5B"
        )
    taken = {option.name for option in driver.described.options if "databases" in option.verbs}
    names = {name for name in overrides if name in taken or name in {f"{driver.name}.{option}" for option in taken}}
    options = host.options({"databases": driver}, {name: overrides[name] for name in names})
    with reached(driver, source.replace(database=database), way) as near:
        found = host.databases(driver, source=near, options=options["databases"])
    if way is not None:  # what the driver was given is of this moment alone
        found = tuple(source.replace(database=each.database) for each in found)
    return sorted(found, key=lambda each: str(each.database))


def _files(host: Host, driver: Plugin, url: str, overrides: Mapping[str, object]) -> Sequence[Source]:
    source = parse_url(url)
    listed = _listed(host, driver, source, _as_glob(raw_path(url)), overrides)
    # A pattern may well lead into a repository, whose uncompressed backups would be backed up, and those the next time.
    found = [entry for entry in listed if not _is_stored(str(entry.database))]
    if not found:
        raise SourceError(
            f"no file matches {source.url}: check the path, which * does not leave, but ** does, and write %2A or %5B "
            "for a star or a bracket that belongs to a name"
        )
    return found


def _is_stored(path: str) -> bool:
    """Return whether a path is that of an object in a repository: its name is one that nothing else has."""
    return split_name("/".join(os.path.abspath(path).split("/")[-2:])) is not None


def _on_server(
    host: Host, driver: Plugin, url: str, way: Way | None, overrides: Mapping[str, object]
) -> Sequence[Source]:
    source = parse_url(url)
    pattern = _as_glob(raw_path(url))
    found = _listed(host, driver, source, None, overrides, way)
    # What is called as the URL spells it is meant in any case: shop[1] is a name, too.
    matching = [s for s in found if s.database == source.database or fnmatch.fnmatchcase(str(s.database), pattern)]
    if not matching:
        listed = f"there are {_names(found, source)}" if found else "there is none that this account sees"
        raise SourceError(
            f"no database is called as {source.url} says: {listed}; a pattern matches whole names, and case counts"
        )
    return matching


def _as_glob(path: str) -> str:
    """Return what a URL's path, as it is spelled, means as a pattern: what is percent-encoded there is no wildcard."""
    pieces = _ENCODED.split(path)
    return "".join(glob.escape(unquote(piece)) if index % 2 else piece for index, piece in enumerate(pieces))


def _is_meant(found: Source, patterns: Sequence[str], files: bool) -> bool:
    name = str(found.database)
    names = {name, os.path.basename(name), os.path.abspath(name)} if files else {name}
    return any(fnmatch.fnmatchcase(n, pattern) for n in names for pattern in patterns)


def _names(found: Sequence[Source], source: Source) -> str:
    names = [redact_name(str(f.database), source.secrets, source.url) for f in found[:_MOST_SHOWN]]
    more = f" and {len(found) - _MOST_SHOWN:,} more" if len(found) > _MOST_SHOWN else ""
    return ", ".join(names) + more
