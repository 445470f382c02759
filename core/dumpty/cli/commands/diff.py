"""``dumpty diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
from dumpty.cli.status import NeedsAttention
from dumpty.cli.urls import read_url

if TYPE_CHECKING:
    from dumpty.operations.differences import Diff
    from dumpty.operations.result import Backup
    from dumpty.toolkit.evidence import Difference

EXAMPLES = """
dumpty diff 1a2b3c4d latest
dumpty diff latest:shop postgresql://admin@db.example.org/shop
dumpty diff latest env:SHOP_URL --counts --json
"""

_SHOWN = 3


def diff(
    backup_id: Id,
    other: Annotated[str, typer.Argument(metavar="ID|URL", help=f"Another backup, or a live database. {URL_HELP}")],
    counts: Annotated[
        bool,
        typer.Option("--counts", help="Compare numbers of rows, and fingerprints that are there: restore nothing."),
    ] = False,
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
    without. The exit status is 12 where anything differs.
    """
    server = None if on is None else read_url(on)[0]
    identities, options = read_identities(identity), parse_options(option, reserved={"counts", "on"})
    manager = open_existing(directory)
    first = manager.find(backup_id, database=database, source=source)
    second = _second(other)
    second_id = second or manager.find(other, database=database, source=source).id
    with progress_bar(f"diff {first.id[:8]}", quiet=quiet) as progress:
        how = {"counts": counts, "on": server, "progress": progress, "identities": identities, "via": via, **options}
        found = manager.diff(first.id, second_id, **how)  # type: ignore[arg-type]
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


def _sides(found: Diff) -> str:
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
