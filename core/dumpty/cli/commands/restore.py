"""``dumpty restore``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dumpty.cli import description
from dumpty.cli.arguments import (
    DIRECTORY,
    URL_HELP,
    Database,
    Directory,
    Id,
    Jobs,
    Json,
    PluginOptions,
    Quiet,
    Source,
    Via,
    open_existing,
    parse_options,
)
from dumpty.cli.keys import Identities, RequireSignature, read_identities, read_requirement
from dumpty.cli.output import Report, count, moment, say, seconds
from dumpty.cli.progress import progress_bar
from dumpty.cli.prompt import confirm, on_terminal
from dumpty.cli.status import require_success
from dumpty.cli.urls import read_url
from dumpty.errors import DumptyError, OtherDatabase

if TYPE_CHECKING:
    from dumpty.operations.result import Backup, BackupResult
    from dumpty.replies.values import RestoredTable

EXAMPLES = """
dumpty restore latest --to sqlite:///restored.db
dumpty restore latest:shop --to postgresql://admin@db.example.org/shop_copy
dumpty restore 1a2b3c4d --to postgresql://admin@db.example.org/shop --overwrite
dumpty restore latest:shop --table public.orders=orders_before --to postgresql://admin@db.example.org/shop
dumpty restore latest --to sqlite:///restored.db --identity key.txt
dumpty restore latest --to sqlite:///restored.db --require-signature signing.key.pub
"""

Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="TABLE[=NEW]",
        help="Restore only this table, beside what the target holds, under its own name or a NEW one; several are "
        "separated by commas, or it is repeated.",
    ),
]


def restore(
    backup_id: Id,
    to: Annotated[str, typer.Option("--to", metavar="URL", help=f"The target. {URL_HELP}")],
    directory: Directory = DIRECTORY,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the target holds, once the new content is complete.")
    ] = False,
    other: Annotated[
        bool, typer.Option("--other", help="Let --overwrite replace another database than the one the backup is of.")
    ] = False,
    create: Annotated[bool, typer.Option("--create", help="Refuse a target that exists, even an empty one.")] = False,
    table: Tables = None,
    database: Database = "",
    source: Source = "",
    identity: Identities = None,
    require_signature: RequireSignature = None,
    jobs: Jobs = None,
    via: Via = None,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Restore a backup into a database.

    A target that does not exist is created, an empty one used, and one that holds anything refused, unless you insist
    with --overwrite. To replace what another database holds than the one that the backup is of, insist with --other,
    too, or say yes on the terminal. A restore that fails leaves its target as it was.
    `latest` alone is refused where the directory holds backups of several databases: say which, as `latest:DATABASE`,
    or with --database or --source.

    With --table only that table comes back, with all that is its own, into a database that has none of this name; with
    --overwrite that table alone is replaced. `dumpty show ID` lists the tables, `dumpty help restoring` says more.
    """
    database_url, target = read_url(to)
    identities, signers = read_identities(identity), read_requirement(require_signature)
    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source, alone=True, require_signature=signers)
    tables = _tables(table, backup, quiet=quiet)
    how: dict[str, Any] = {"overwrite": overwrite, "create": create, "tables": tables, **parse_options(option, jobs)}
    how |= {"identities": identities, "require_signature": signers, "via": via}

    def attempt(*, other: bool) -> BackupResult:
        with progress_bar(f"restore into {target.url}", quiet=quiet) as progress:
            return manager.restore(backup.id, database_url, **how, other=other, progress=progress)

    result = attempt(other=other)
    if _is_confirmed(result, f"Replace what {target.url} holds by the backup of {backup.database_name}?"):
        result = attempt(other=True)
    return _report(result, target.url, tables, json=json, quiet=quiet)


def _tables(table: list[str] | None, backup: Backup, *, quiet: bool) -> list[str] | None:
    """Return the tables that are asked for; None for all of the backup. What has to be read for them is told."""
    if table is None:
        return None
    if len(backup.files) == 1 and not quiet:
        say(f"backup {backup.id} is one file: all of it is read")
    return [name for names in table for name in re.findall(r'(?:"(?:[^"]|"")*"|[^,"])+', names) or [""]]


def _is_confirmed(result: BackupResult, question: str) -> bool:
    """Return whether a restore was refused for its target's sake, and somebody at the terminal says that it is meant.

    Raises:
        DumptyError: somebody says that it is not.
    """
    if not (isinstance(result.exception, OtherDatabase) and on_terminal()):
        return False
    say(str(result.exception))
    if not confirm(question):
        raise DumptyError("nothing was restored: it was not confirmed")
    return True


def _report(result: BackupResult, target_url: str, tables: list[str] | None, *, json: bool, quiet: bool) -> Report:
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import RestoreReply

    stored = require_success(result)
    taken_at, duration = moment(stored.timestamp), seconds(result.duration_seconds)
    restored = None if tables is None else _restored_tables(stored, tables)
    what = "" if restored is None else f"{count(len(restored), 'table')} of "
    verb = "is" if restored is None or len(restored) == 1 else "are"
    held = [f"  holds {description.contents(stored)}"] if restored is None else list(map(_table_line, restored))
    return Report(
        reply=RestoreReply(
            backups=[as_json(stored)],
            target_url=target_url,
            duration_seconds=result.duration_seconds,
            tables=restored,
        ),
        lines=(
            f"{what}backup {stored.id} of {stored.database_name}, taken {taken_at}, {verb} restored in {duration}",
            *held,
            f"  in {target_url}",
        ),
        warnings=description.warnings(stored),
        json=json,
        quiet=quiet,
    )


def _restored_tables(backup: Backup, tables: list[str]) -> list[RestoredTable]:
    from dumpty.operations.tables import read_tables, select_tables
    from dumpty.replies.values import RestoredTable

    rows = {entry.path: entry.rows for entry in backup.evidence.objects}
    selected = select_tables(backup.evidence, read_tables(tables), backup.id)
    return [RestoredTable(path=path, name=name, rows=rows.get(path)) for path, name in selected.items()]


def _table_line(table: RestoredTable) -> str:
    rows = "not counted" if table.rows is None else count(table.rows, "row")
    return f"  {table.path}{'' if table.name == table.path else f' as {table.name}'}: {rows}"
