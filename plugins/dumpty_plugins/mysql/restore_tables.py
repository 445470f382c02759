"""Restores of single tables: loaded beside the database, checked, and moved into it all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.mysql.loading.restore_lock import restore_lock
from dumpty_plugins.mysql.loading.table_swap import TableSwap
from dumpty_plugins.mysql.schema.recovery import clear_killed_restore
from dumpty_plugins.mysql.server.connection import connect, database_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty import Dump, Evidence, Options, Source


def restore_tables(
    target: Source, dump: Dump, tables: Mapping[str, str], *, overwrite: bool, options: Options
) -> Evidence:
    """Restore tables of ``dump`` into ``target``, and return what was counted in them, by their paths in the dump.

    Raises:
        IntegrityError: the dump is damaged, or what it gave is not what the backup's evidence says.
        Locked: another restore of this target is running, or somebody uses a table that is to be replaced.
        OptionError: a name is none for a table.
        SourceError: the server cannot be reached, refuses, or lacks what the tables need.
        TargetNotEmpty: there is a table of such a name and ``overwrite`` is False, or an interrupted restore left its
            databases.
    """
    database = database_of(target)
    lock_timeout = int(str(options["lock_timeout"]))
    control = connect(target, None)
    try:
        control.execute(f"SET SESSION lock_wait_timeout={lock_timeout}")
        swap = TableSwap(
            target,
            control,
            database,
            lock_timeout=lock_timeout,
            jobs=max(1, int(str(options["jobs"]))),
            keep_definers=options["definer"] == "keep",
            tables=tables,
            overwrite=overwrite,
            triggers=bool(options["triggers"]),
        )
        with restore_lock(control, target, database):
            clear_killed_restore(control, target, database)
            return swap.restore(dump)
    finally:
        control.close()
