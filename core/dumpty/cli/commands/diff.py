"""``dumpty diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from dumpty.cli.arguments import (
    DIRECTORY,
    URL_HELP,
    Database,
    Directory,
    Id,
    Json,
    PluginOptions,
    Quiet,
    Source,
    Via,
    open_existing,
    parse_options,
)
from dumpty.cli.keys import Identities, read_identities
from dumpty.cli.output import Line, Report, Table, count, moment
from dumpty.cli.progress import progress_bar
from dumpty.cli.status import NeedsAttention, UsageError
from dumpty.cli.urls import read_url

if TYPE_CHECKING:
    from dumpty.operations.differences import Diff
    from dumpty.operations.result import Backup
    from dumpty.operations.row_changes import RowDifference
    from dumpty.operations.row_differences import RowDiff
    from dumpty.toolkit.evidence import Difference

EXAMPLES = """
dumpty diff 1a2b3c4d latest
dumpty diff latest:shop postgresql://admin@db.example.org/shop
dumpty diff latest env:SHOP_URL --counts --json
dumpty diff 1a2b3c4d latest --rows public.orders --limit 100
"""

_SHOWN = 3
_LISTED = 20


def diff(
    backup_id: Id,
    other: Annotated[str, typer.Argument(metavar="ID|URL", help=f"Another backup, or a live database. {URL_HELP}")],
    counts: Annotated[
        bool,
        typer.Option("--counts", help="Compare numbers of rows, and fingerprints that are there: restore nothing."),
    ] = False,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="TABLE", help="Compare the rows of one table, restored from both.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="How many rows to list with --rows; 0: all.")
    ] = _LISTED,
    on: Annotated[
        str | None, typer.Option("--on", metavar="URL", help="A server for scratch databases, as for drill.")
    ] = None,
    database: Database = "",
    source: Source = "",
    identity: Identities = None,
    via: Via = None,
    option: PluginOptions = None,
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Tell which tables differ between two backups, or between a backup and a live database.

    Numbers of rows and fingerprints are in the backups' manifests. Tables with as many rows on both sides, of which one
    has no fingerprint, are told apart by restoring that backup into a scratch database, as a drill does; --counts does
    without. With --rows the rows of one table are compared: which keys are gone, new or changed. The exit status is 12
    where anything differs.
    """
    if rows is not None and counts:
        raise UsageError("--counts compares tables, and --rows their rows: give one of them")
    if limit != _LISTED and rows is None:
        raise UsageError("--limit is of the rows that --rows lists: name a table with it")
    server = None if on is None else read_url(on)[0]
    identities, options = read_identities(identity), parse_options(option, reserved={"counts", "on", "limit", "table"})
    manager = open_existing(directory)
    first = manager.find(backup_id, database=database, source=source)
    second = _second(other)
    second_id = second or manager.find(other, database=database, source=source).id
    with progress_bar(f"diff {first.id[:8]}", quiet=quiet) as progress:
        how = {"on": server, "progress": progress, "identities": identities, "via": via, **options}
        if rows is not None:
            rows_found = manager.diff_rows(first.id, second_id, rows, limit=limit, **how)  # type: ignore[arg-type]
            return _report_rows(rows_found, json=json, quiet=quiet)
        found = manager.diff(first.id, second_id, counts=counts, **how)  # type: ignore[arg-type]
    return _report(found, json=json, quiet=quiet)


def _second(text: str) -> str:
    """Return the URL that is meant, from wherever it is to be read; "" where a backup is."""
    return read_url(text)[0] if "://" in text or text.startswith(("env:", "file:", "cmd:")) or text == "-" else ""


def _report(found: Diff, *, json: bool, quiet: bool) -> Report:
    from dumpty.replies.backups import as_json
    from dumpty.replies.differences import DiffReply, TableDifference

    differences = [
        TableDifference(path=d.path, kind=_KINDS[d.kind], rows_before=d.expected, rows_after=d.found)
        for d in found.differences
    ]
    backups = [found.first, *([found.second] if found.second is not None else [])]
    error = NeedsAttention(f"{count(len(differences), 'table')} of {_sides(found)} differ") if differences else None
    return Report(
        reply=DiffReply(
            backups=[as_json(backup) for backup in backups],
            other_url=found.second_url or None,
            differences=differences,
            compared=found.compared,
            not_compared=list(found.not_compared),
            restored=list(found.restored),
        ),
        lines=_lines(found),
        error=error,
        json=json,
        quiet=quiet,
        shows_error=True,
    )


_KINDS: dict[str, Any] = {"missing": "removed", "added": "added", "rows": "rows", "content": "content"}


def _sides(found: Diff | RowDiff) -> str:
    second = found.second_url if found.second is None else _named(found.second)
    return f"{_named(found.first)} and {second}"


def _named(backup: Backup) -> str:
    return f"backup {backup.id[:8]} of {backup.database_name}, taken {moment(backup.timestamp)},"


def _lines(found: Diff) -> list[Line]:
    tables = count(found.compared, "table")
    lines: list[Line] = []
    if found.differences:
        lines.append(f"{_sides(found)} differ in {count(len(found.differences), 'table')}:")
        rows = [(d.path, _rows(d.expected), _rows(d.found), _what(d)) for d in found.differences]
        lines.append(Table(("TABLE", "FIRST", "SECOND", "DIFFERENCE"), rows, frozenset({1, 2})))
    else:
        lines.append(
            f"{_sides(found)} do not differ in any of {tables}"
            + " as far as they were compared" * bool(found.not_compared)
        )
    if found.not_compared:
        named = ", ".join(found.not_compared[:_SHOWN])
        more = len(found.not_compared) - _SHOWN
        lines.append(f"not compared: the content of {named}{f' and {more} more' if more > 0 else ''}: {found.reason}")
    return lines


def _rows(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _what(difference: Difference) -> str:
    if difference.kind == "rows":
        change = (difference.found or 0) - (difference.expected or 0)
        return f"{abs(change):,} {'more' if change > 0 else 'fewer'}"
    return {"missing": "only in the first", "added": "only in the second", "content": "other content"}[difference.kind]


def _report_rows(found: RowDiff, *, json: bool, quiet: bool) -> Report:
    from dumpty.replies import differences
    from dumpty.replies.backups import as_json

    backups = [found.first, *([found.second] if found.second is not None else [])]
    what = f"the rows of {found.table} in {_sides(found)} differ: {_summary(found)}"
    return Report(
        reply=differences.RowDiffReply(
            backups=[as_json(backup) for backup in backups],
            other_url=found.second_url or None,
            table=found.table,
            key=list(found.key),
            columns_removed=list(found.columns_removed),
            columns_added=list(found.columns_added),
            rows_before=found.rows_first,
            rows_after=found.rows_second,
            removed=found.removed,
            added=found.added,
            changed=found.changed,
            rows=[
                differences.RowDifference(
                    kind=cast("Any", r.kind), key=list(r.key), columns=list(r.columns), count=r.count
                )
                for r in found.rows
            ],
            restored=list(found.restored),
        ),
        lines=_row_lines(found),
        error=None if found.same else NeedsAttention(what),
        json=json,
        quiet=quiet,
        shows_error=True,
    )


def _summary(found: RowDiff) -> str:
    changed = f", {found.changed:,} changed" if found.key else ""
    return f"{found.removed:,} only in the first, {found.added:,} only in the second{changed}"


def _row_lines(found: RowDiff) -> list[Line]:
    if found.same:
        return [f"the {count(found.rows_first, 'row')} of {found.table} in {_sides(found)} are the same"]
    numbers = f"{found.rows_first:,} and {found.rows_second:,} rows"
    lines: list[Line] = [f"{_sides(found)} differ in {found.table}, which has {numbers}: {_summary(found)}"]
    for names, side in ((found.columns_removed, "first"), (found.columns_added, "second")):
        if names:
            lines.append(f"not compared: {', '.join(names)}, only in the {side}")
    if found.rows:
        columns = found.key or ("ROW",)
        rows = [(*_key(row, keyed=bool(found.key)), _what_of_row(row)) for row in found.rows]
        lines.append(Table((*columns, "DIFFERENCE"), rows))
    if (more := found.differing - sum(row.count for row in found.rows)) > 0:
        lines.append(f"and {count(more, 'row')} more: --limit 0 lists all")
    return lines


def _key(row: RowDifference, *, keyed: bool) -> tuple[str, ...]:
    values = tuple("NULL" if value is None else str(value) for value in row.key)
    return values if keyed else (", ".join(values),)


def _what_of_row(row: RowDifference) -> str:
    times = f", {row.count:,} times" if row.count > 1 else ""
    if row.kind == "changed":
        return ": ".join(("changed", *filter(None, [", ".join(row.columns)])))
    return f"only in the {'first' if row.kind == 'removed' else 'second'}{times}"
