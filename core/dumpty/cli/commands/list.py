"""``dumpty list``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dumpty.cli import description
from dumpty.cli.arguments import DIRECTORY, Database, Json, Quiet, Source, open_existing, short_ids
from dumpty.cli.output import Line, Report, Table, moment, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.errors import DumptyError
    from dumpty.operations.locations import LocatedBackup
    from dumpty.operations.result import Backup, Listing
    from dumpty.operations.selection import Filter
    from dumpty.replies.verbs import Reply

EXAMPLES = """
dumpty list
dumpty list --database shop
dumpty list --dir /srv/backups --json
dumpty list --dir backups --dir /mnt/vault
"""

_Everything = Annotated[
    bool, typer.Option("--all", help="Every backup: the default. --database and --source narrow it.")
]
_Tables = Annotated[bool, typer.Option("--tables", help="With --json: tell the tables of each backup, too.")]
_Directories = Annotated[
    list[str] | None,
    typer.Option(
        "--dir",
        "-d",
        metavar="REPO",
        help="The repository: a directory, or a URL; of several it is told in which of them each backup lies "
        "[env var: DUMPTY_DIR; default: backups].",
    ),
]


class _Listings(NamedTuple):
    """Several repositories and what they hold, by their names, and what kept others from being listed."""

    managers: dict[str, BackupManager]
    listings: dict[str, Listing]
    errors: dict[str, DumptyError]


def list_(
    database: Database = "",
    source: Source = "",
    _everything: _Everything = False,
    tables: _Tables = False,
    directories: _Directories = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """List the backups in a repository, or in several, oldest first."""
    from dumpty.operations.locations import locate_backups
    from dumpty.operations.selection import Filter
    from dumpty.replies.backups import as_json, with_tables
    from dumpty.replies.verbs import ListReply, TablesReply
    from dumpty.url import shown_address

    selection = Filter(database=database, source=source)
    names = list(dict.fromkeys(directories or [os.environ.get("DUMPTY_DIR") or DIRECTORY]))
    managers, listings, errors = _look(names)
    selected = {name: selection.filter(listing.backups) for name, listing in listings.items()}
    located = locate_backups(selected, lambda one, other, i: managers[one].is_same_place(managers[other], i))
    shown = located if json else []
    copies = [(backup, [shown_address(place) for place in places[1:]]) for backup, places in shown]
    reply: Reply = (
        TablesReply(backups=[with_tables(b, others) for b, others in copies])
        if tables
        else ListReply(backups=[as_json(b, others) for b, others in copies])
    )
    line = _table(located, len(names)) if located else _nothing(names, listings, selection)
    problems = [problem for listing in listings.values() for problem in (*listing.problems, *listing.lost_proofs)]
    lost = [text for backups in selected.values() for text in description.lost_warnings(backups)]
    unread = [f"{name} is not listed: {error}" for name, error in list(errors.items())[1:]]
    return Report(
        reply=reply,
        lines=(line,),
        warnings=[*map(str, problems), *lost, *unread],
        error=next(iter(errors.values()), None),
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def _look(names: Sequence[str]) -> _Listings:
    """List repositories; of several each that can be, of one it or the error."""
    from dumpty.errors import DumptyError

    found = _Listings({}, {}, {})
    for name in names:
        try:
            found.managers[name] = manager = open_existing(name)
            found.listings[name] = manager.listing()
        except DumptyError as error:
            if len(names) == 1:
                raise
            found.errors[name] = error
    return found


def _table(located: Sequence[LocatedBackup], repositories: int) -> Line:
    short = short_ids([backup for backup, _ in located])
    columns = ["ID", "TAKEN", "DATABASE", "SOURCE", "FORMAT", "SIZE", "LAST PROVEN"]
    columns += ["FILE"] if repositories == 1 else ["COPIES", "WHOLE IN"]
    rows = [(*_cells(b, short), *_places(b, places, repositories)) for b, places in located]
    return Table(tuple(columns), rows, frozenset({5} if repositories == 1 else {5, 7}))


def _cells(backup: Backup, short: dict[str, str]) -> tuple[str, ...]:
    return (
        short[backup.id],
        moment(backup.timestamp),
        backup.database_name,
        backup.source,
        description.form(backup),
        size(backup.size_bytes),
        description.last_proven(backup) + (", pinned" if backup.pinned else ""),
    )


def _places(backup: Backup, places: Sequence[str], repositories: int) -> tuple[str, ...]:
    from dumpty.url import shown_address

    if repositories == 1:
        return (description.location(backup, os.path.basename(backup.file_path)),)
    return str(len(places)), ", ".join(map(shown_address, places)) or f"none: {backup.state}"


def _nothing(names: Sequence[str], listings: dict[str, Listing], selection: Filter) -> Line:
    from dumpty.url import shown_address

    where = ", ".join(shown_address(name) if "://" in name else os.path.abspath(name) for name in names)
    everything = [backup for listing in listings.values() for backup in listing.backups]
    return f"no backups{selection} in {where}{selection.suggestion(everything)}"
