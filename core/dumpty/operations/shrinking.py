"""What a new backup has lost, compared with the last good ones of its database: pure, each finding in a sentence."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dumpty.types import ObjectEvidence, Record, ShrinkRules

__all__ = ["Finding", "findings", "uncounted_tables"]


class Finding(Struct, frozen=True, kw_only=True):
    """What a backup has lost; ``str()`` says it in a sentence, with the backup that had it.

    ``kind`` is ``rows`` (of a table, or with the path "" of all together), ``gone`` (a table that is not there),
    ``tables`` (how many there are) or ``size`` (in bytes). ``found`` is None where there is no number.
    """

    kind: str
    path: str = ""
    found: int | None = None
    text: str

    def __str__(self) -> str:
        return self.text


class _Pair(NamedTuple):
    """How much there is now, and how much there was in an earlier backup."""

    now: int
    before: int
    earlier: Record


class _Table(NamedTuple):
    """The rows of one table with those of its partitions; None where nobody counted any of them.

    ``holds_none``: it holds no rows itself, but its partitions do.
    """

    rows: int | None
    holds_none: bool


def findings(new: Record, earlier: Sequence[Record], rules: ShrinkRules) -> tuple[Finding, ...]:
    """Return what ``new`` has lost.

    Args:
        new: the new backup; nothing of it is sealed.
        earlier: good backups of the same database; of those that are sealed only totals are compared.
        rules: how much may be lost, and how many of the newest of ``earlier`` count.
    """
    newest = sorted(earlier, key=lambda record: (record.started, record.id), reverse=True)[: rules.backups]
    if not newest:
        return ()
    known = [record for record in newest if record.sealed is None]
    return (
        *_of_all_rows(new, newest, rules),
        *_of_size(new, newest, rules),
        *(_of_tables(new, known, rules) if known else _of_table_numbers(new, newest, rules)),
    )


def uncounted_tables(new: Record, earlier: Iterable[Record]) -> list[str]:
    """Return the tables of ``new`` that nobody counted, and whose rows are known of every earlier backup."""
    now = _tables(new)
    before = [_tables(record) for record in earlier if record.sealed is None]
    common = set.intersection(set(now), *map(set, before)) if before else set()
    return sorted(path for path in common if all(_is_uncounted(now[path], tables[path]) for tables in before))


def _of_all_rows(new: Record, newest: Sequence[Record], rules: ShrinkRules) -> list[Finding]:
    now = _tables(new)
    counted = any(table.rows is not None for table in now.values()) or not now
    pairs = []
    for record in newest:
        if record.sealed is not None:
            pairs += [_Pair(new.rows, record.rows, record)] * counted
            continue
        before = {path: table for path, table in _tables(record).items() if not _is_ignored(path, rules)}
        unknown = {p for p in before if p in now and _is_uncounted(now[p], before[p])}
        rows = sum(table.rows or 0 for path, table in now.items() if not _is_ignored(path, rules))
        pairs.append(_Pair(rows, sum(t.rows or 0 for p, t in before.items() if p not in unknown), record))
    lost = len(pairs) == len(newest) and _fell(pairs, rules.rows, rules.least_rows)
    return [_finding("rows", "all tables together", pairs, " rows")] if lost else []


def _of_size(new: Record, newest: Sequence[Record], rules: ShrinkRules) -> list[Finding]:
    alike = [record for record in newest if record.format == new.format]
    size = new.plain_size or 0
    pairs = [_Pair(size, record.plain_size, record) for record in alike if record.plain_size is not None]
    what = "the dump"
    if not pairs:
        stored = [record for record in alike if _stages(record) == _stages(new)]
        pairs, what = [_Pair(new.stored_size, record.stored_size, record) for record in stored], "what is stored"
    return [_finding("size", what, pairs, " bytes")] if _fell(pairs, rules.size, rules.least_bytes) else []


def _of_table_numbers(new: Record, newest: Sequence[Record], rules: ShrinkRules) -> list[Finding]:
    """Compare how many tables there are, which is known of what is sealed, too."""
    pairs = [_Pair(new.tables, record.tables, record) for record in newest]
    share = 1.0 if rules.rows is None else rules.rows
    return [_finding("tables", "tables", pairs, "")] if rules.gone and _fell(pairs, share, 0) else []


def _of_tables(new: Record, known: Sequence[Record], rules: ShrinkRules) -> list[Finding]:
    """Compare each table that all of ``known`` have: what is not in one of them comes and goes."""
    now, before = _tables(new), [_tables(record) for record in known]
    common = sorted(path for path in set.intersection(*map(set, before)) if not _is_ignored(path, rules))
    if common and not now:
        return _of_table_numbers(new, known, rules)
    found = []
    for path in common:
        rows = [(tables[path].rows, record) for tables, record in zip(before, known, strict=True)]
        there = now.get(path)
        is_uncounted = there is not None and any(_is_uncounted(there, tables[path]) for tables in before)
        held = (there.rows or 0) if there is not None else 0
        pairs = [_Pair(held, number, record) for number, record in rows if number is not None]
        counted = len(pairs) == len(known)
        if there is None:
            if rules.gone and not (counted and any(pair.before == 0 for pair in pairs)):
                found.append(_gone(path, pairs if counted else [], known[0]))
        elif counted and not is_uncounted and _fell(pairs, rules.table_rows, rules.least_rows, may_vary=True):
            found.append(_finding("rows", f"table {path}", pairs, " rows", path))
    return found


def _fell(pairs: Sequence[_Pair], share: float | None, least: int, *, may_vary: bool = False) -> bool:
    """Return whether there is less by ``share``, or more, than in each of the earlier backups.

    Where one of them had fewer than ``least``, all must be lost; and where that may vary, they must not have varied so
    much before.
    """
    if share is None or not pairs or not all(pair.now < pair.before for pair in pairs):
        return False
    smallest, largest = (extreme(pair.before for pair in pairs) for extreme in (min, max))
    if smallest < least:
        return all(pair.now == 0 for pair in pairs) and not (may_vary and _is_less(smallest, largest, share))
    return all(_is_less(pair.now, pair.before, share) for pair in pairs)


def _is_less(now: int, before: int, share: float) -> bool:
    return before - now >= before * share


def _tables(record: Record) -> dict[str, _Table]:
    """Return the tables of a backup, each with its partitions."""
    members: dict[str, list[ObjectEvidence]] = {}
    for entry in record.evidence.objects:
        members.setdefault(entry.part_of or entry.path, []).append(entry)
    tables = {}
    for path, entries in members.items():
        rows = [entry.rows for entry in entries if entry.rows is not None]
        holds_none = bool(rows) and all(entry.rows is None for entry in entries if entry.path == path)
        tables[path] = _Table(sum(rows) if rows else None, holds_none)
    return tables


def _is_uncounted(now: _Table, before: _Table) -> bool:
    """Return whether a table was counted once, and now is not.

    One that held all of its rows in partitions, and has no more of these, has none.
    """
    return now.rows is None and before.rows is not None and not before.holds_none


def _is_ignored(path: str, rules: ShrinkRules) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in rules.ignore)


def _stages(record: Record) -> list[str]:
    return [stage.plugin.name for stage in record.objects[0].stages]


def _finding(kind: str, what: str, pairs: Sequence[_Pair], unit: str, path: str = "") -> Finding:
    pair = min(pairs, key=lambda pair: pair.before)
    text = f"{what}: {pair.now:,}{unit}, had {pair.before:,} in {_named(pair.earlier)}"
    return Finding(kind=kind, path=path, found=pair.now, text=text)


def _gone(path: str, pairs: Sequence[_Pair], newest: Record) -> Finding:
    if not pairs:
        return Finding(kind="gone", path=path, text=f"table {path}: gone, was there in {_named(newest)}")
    pair = min(pairs, key=lambda pair: pair.before)
    text = f"table {path}: gone, had {pair.before:,} rows in {_named(pair.earlier)}"
    return Finding(kind="gone", path=path, text=text)


def _named(record: Record) -> str:
    return f"backup {record.id[:8]} of {record.started:%Y-%m-%d %H:%M}Z"
