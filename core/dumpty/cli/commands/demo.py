"""``dumpty demo``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Report, count, seconds, size
from dumpty.cli.status import UsageError, require_success
from dumpty.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = """
dumpty demo
dumpty demo --keep shop-demo
"""


def demo(
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="DIR", help="Work in this new directory, and leave it to look at."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Back up a small database, damage it, restore it, and compare.

    Builds a SQLite database in a temporary directory, backs it up, damages the original, restores it, and compares
    every row with what was there before. Nothing outside that directory is touched.
    """
    from dumpty.backup_manager import BackupManager
    from dumpty.cli import demo_shop
    from dumpty.replies.verbs import DemoReply

    with _directory(keep) as directory:
        path, store = os.path.join(directory, "shop.db"), os.path.join(directory, "backups")
        url, manager = f"sqlite:///{path}", BackupManager(store)
        demo_shop.build(path)
        contents_before = demo_shop.contents(path)
        rows, tables = sum(map(len, contents_before.values())), len(contents_before)
        stored = require_success(backed_up := manager.create_backup(url, format="native"))
        damage_report = demo_shop.damage(path)
        require_success(restored := manager.restore(stored.id, url, overwrite=True))
        integrity, contents_after = demo_shop.check(path), demo_shop.contents(path)
        if integrity != "ok" or contents_after != contents_before:
            raise IntegrityError(f"the restored shop is not the one that was backed up (integrity check: {integrity})")
        stored_size, file = size(stored.size_bytes), os.path.relpath(stored.file_path, directory)
        durations = [seconds(result.duration_seconds) for result in (backed_up, restored)]
        lines = [
            f"1. built     {path}: a shop of {count(tables, 'table')}, {count(rows, 'row')}",
            f"2. backed up in {durations[0]}: {stored_size} in {file}",
            f"3. damaged   every customer deleted, part of the file overwritten; SQLite now says: {damage_report}",
            f"4. restored  in {durations[1]}, in the place of the damaged file",
            f"5. compared  {count(rows, 'row')}: every value and every type is the same; integrity check: {integrity}",
            f"all of it is in {directory}" if keep else f"removed {directory}; --keep DIR leaves it to look at",
        ]
        reply = DemoReply(
            tables=tables,
            rows=rows,
            identical=True,
            damage=damage_report,
            backup_seconds=backed_up.duration_seconds,
            restore_seconds=restored.duration_seconds,
            directory=directory if keep else None,
        )
        return Report(reply=reply, lines=lines, json=json, quiet=quiet)


@contextlib.contextmanager
def _directory(keep: str | None) -> Iterator[str]:
    import tempfile

    if keep is None:
        with tempfile.TemporaryDirectory(prefix="dumpty-demo-") as directory:
            yield directory
        return
    directory = os.path.abspath(keep)
    try:
        os.makedirs(directory, exist_ok=True)
        if os.listdir(directory):
            raise UsageError(f"{directory} is not empty: name a new directory for the demo")
    except OSError as error:
        raise UsageError(f"the demo cannot work in {directory}: {error.strerror}") from None
    yield directory
