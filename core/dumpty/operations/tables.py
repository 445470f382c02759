"""Which tables of a backup are asked for, by what names they go back, and which of its objects hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import OptionError
from dumpty.registry.suggestions import did_you_mean

if TYPE_CHECKING:
    from dumpty.streaming.stored import Stored
    from dumpty.types import Evidence

__all__ = ["evidence_of", "find_table", "read_tables", "select_tables", "stored_of_tables"]

_SHOWN = 5
_PATH = re.compile(r'"(?:[^"]|"")*"|[^".]+')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def read_tables(tables: Iterable[str] | Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return tables that are asked for, each with the name that it is to have; "" for its own.

    Args:
        tables: their names, or ``OLD=NEW``; or a mapping of old names to new ones.

    Raises:
        TypeError: they are one str, or not all are str.
    """
    if isinstance(tables, (str, bytes)):
        raise TypeError("tables are several, in a list, not one")
    pairs = list(tables.items()) if isinstance(tables, Mapping) else [(table, "") for table in tables]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise TypeError("each table is a str")
    return tuple(pairs)


def select_tables(evidence: Evidence, asked: Iterable[tuple[str, str]], backup: str) -> dict[str, str]:
    """Return the tables that are meant, by their paths in a backup, each with the name that it is to have.

    A name without what stands before the path's last dot (a schema) is enough where only one table has it. The name of
    a partitioned table means its partitions, too.

    Args:
        evidence: the backup's.
        asked: as from ``read_tables``.
        backup: its id, for messages.

    Raises:
        OptionError: none is asked for; the backup has no such table, or several; or two are to have one name.
    """
    if not (asked := tuple(asked)):
        raise OptionError("no table is named: name one at least, or leave tables out to restore all of the backup")
    partitions: dict[str, list[str]] = {}
    for entry in evidence.objects:
        if entry.part_of is not None:
            partitions.setdefault(entry.part_of, []).append(entry.path)
    known = _known(evidence)
    named: dict[str, str] = {}
    for old, given in asked:
        path, new = _split(old, given, known, backup)
        if path in named:
            raise OptionError(f"the table {path} is named twice")
        named[path] = new or path
    with_them = {
        partition: _after(partition, path, new) for path, new in named.items() for partition in partitions.get(path, ())
    }
    selected = {**with_them, **named}
    names = list(selected.values())
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"two tables are to be called {repeated}: give each a name of its own")
    return selected


def find_table(evidence: Evidence, name: str, backup: str) -> str:
    """Return the path of the one table that is meant; the arguments are those of ``select_tables``.

    Raises:
        OptionError: the backup has no such table, or several.
    """
    if not name:
        raise OptionError("the name of a table is empty")
    known = _known(evidence)
    return _only(name, known, backup) if known else name


def _known(evidence: Evidence) -> list[str]:
    """Return the paths of all tables, and of those whose partitions hold their rows."""
    return sorted({path for entry in evidence.objects for path in (entry.path, entry.part_of) if path is not None})


def _split(old: str, new: str, known: list[str], backup: str) -> tuple[str, str]:
    """Return the path that is meant, and the new name, which may stand behind ``=`` in ``old``."""
    if not old:
        raise OptionError("the name of a table is empty")
    if not known:  # nobody knows which tables it has: the driver will see
        name, _, renamed = (old, "", new) if new else old.partition("=")
        return name, renamed
    if not new and not _matches(old, known) and "=" in old:
        old, _, new = old.rpartition("=")
        if not new:
            raise OptionError(f"the table {old} is to have no name: write {old}=NEW")
    return _only(old, known, backup), new


def _only(name: str, known: list[str], backup: str) -> str:
    """Return the one path that a name means."""
    matches = _matches(name, known)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise OptionError(f"the backup {backup} has several tables called {name}: {', '.join(matches)}; say which")
    more = f" and {len(known) - _SHOWN} more (dumpty show {backup})" if len(known) > _SHOWN else ""
    raise OptionError(
        f"the backup {backup} has no table {name}; it has {', '.join(known[:_SHOWN])}{more}.{did_you_mean(name, known)}"
    )


def _matches(name: str, known: list[str]) -> list[str]:
    """Return the paths that a name may mean, which need not have the quotes that a path has."""
    if name in known:
        return [name]
    wanted = _parts(name)
    return [path for path in known if (parts := _parts(path))[-1:] == [name] or wanted in (parts, parts[-1:])]


def _parts(path: str) -> list[str]:
    """Return the names in a path, unquoted; of what is none, all as one."""
    found = _PATH.findall(path)
    if ".".join(found) != path:
        return [path]
    return [text[1:-1].replace('""', '"') if text.startswith('"') else text for text in found]


def _after(partition: str, table: str, new: str) -> str:
    """Return what a partition is called whose table is called otherwise: ``m_2025`` of ``m`` after that."""
    if new == table:
        return partition
    (*schemas, own), (*table_schemas, old) = _parts(partition), _parts(table)
    *new_schemas, name = _parts(new)
    name += own.removeprefix(old) if own.startswith(old) else f"_{own}"
    where = (new_schemas or table_schemas) if schemas == table_schemas else schemas
    return ".".join(text if _PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"' for text in (*where, name))


def evidence_of(evidence: Evidence, tables: Mapping[str, str]) -> Evidence:
    """Return what is known of some tables alone, and of all that stands around them."""
    return replace(evidence, objects=tuple(entry for entry in evidence.objects if entry.path in tables))


def stored_of_tables(stored: Stored, tables: Mapping[str, str]) -> Stored:
    """Return what is needed of a stored dump for some of its tables: of objects that hold only others, nothing."""
    parts = [part for part in stored.parts if not part.tables or any(t.path in tables for t in part.tables)]
    return replace(stored, parts=tuple(parts), evidence=evidence_of(stored.evidence, tables))
