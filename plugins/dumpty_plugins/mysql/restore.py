"""One restore: what stands at the target decides the way.

A missing database is created and, after a failure, dropped again; an existing empty one is filled and emptied again.
One that holds anything is refused, or with ``overwrite`` replaced as ``swap`` describes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import DumptyError, Evidence, SourceError, Unfinished, commit_point, refuse_full_target
from dumpty_plugins.mysql.loading.loader import Loader, check_stored_objects, drop
from dumpty_plugins.mysql.loading.restore_lock import restore_lock
from dumpty_plugins.mysql.loading.swap import Swap
from dumpty_plugins.mysql.schema.catalog import alter_database, database_settings, listing
from dumpty_plugins.mysql.schema.recovery import clear_killed_restore, exists
from dumpty_plugins.mysql.server.connection import connect, database_of
from dumpty_plugins.mysql.server.session import Session, StatementError, address, versions
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from dumpty import Dump, Options, Source
    from dumpty_plugins.mysql.schema.catalog import Settings


def restore(target: Source, dump: Dump, *, overwrite: bool, options: Options) -> Evidence:
    """Load ``dump`` into ``target``.

    Raises:
        TargetNotEmpty: it holds something and ``overwrite`` is False, or an interrupted restore left its databases.
        IntegrityError: the dump is damaged or not what the evidence says; the target is as it was.
        SourceError: the server refused something; the target is as it was.
        Locked: another restore of this target is running.
    """
    database = database_of(target)
    lock_timeout = int(str(options["lock_timeout"]))
    jobs = max(1, int(str(options["jobs"])))
    keep_definers = options["definer"] == "keep"
    control = connect(target, None)
    try:
        control.execute(f"SET SESSION lock_wait_timeout={lock_timeout}")
        with restore_lock(control, target, database):
            clear_killed_restore(control, target, database)
            database_exists = exists(control, database)
            if database_exists and listing(control, database):
                refuse_full_target(target=f"database {database} on {address(target)}", empty=False, overwrite=overwrite)
                swap = Swap(
                    target, control, database, lock_timeout=lock_timeout, jobs=jobs, keep_definers=keep_definers
                )
                return swap.restore(dump)
            return _fill(
                target, control, database, dump, database_exists=database_exists, jobs=jobs, keep_definers=keep_definers
            )
    finally:
        control.close()


def _fill(
    target: Source,
    control: Session,
    database: str,
    dump: Dump,
    *,
    database_exists: bool,
    jobs: int,
    keep_definers: bool,
) -> Evidence:
    """Load into a database that is missing or empty; whatever fails, it is so again."""
    before = database_settings(control, database) if database_exists else None
    unfinished = Unfinished(
        f"what was loaded into {database} on {address(target)} (DROP DATABASE {identifier(database)})"
    )
    if before is None:
        _create(control, target, database, unfinished)
    session: Session | None = None
    loader: Loader | None = None
    try:
        session = connect(target, database)
        loader = Loader(session, target, database, jobs=jobs, keep_definers=keep_definers)
        objects = loader.load(dump)
        loader.create_stored_objects(session)
        notes = [*check_stored_objects(session, database, loader.stored_objects), *sorted(loader.notes)]
        evidence = Evidence(objects=objects, versions=versions(session), notes=tuple(notes))
        commit_point()
    except BaseException as error:
        if session:
            session.abandon()
        try:
            _undo(target, database, before, loader, error)
        finally:
            unfinished.settle()  # it is gone, or the error says that it is not
        raise
    unfinished.settle()
    session.close()
    return evidence


def _create(control: Session, target: Source, database: str, unfinished: Unfinished) -> None:
    try:
        control.execute(f"CREATE DATABASE {identifier(database)}")
    except StatementError as error:
        if not error.lost:
            unfinished.settle()
        raise SourceError(
            f"database {database} does not exist on {address(target)} and cannot be created: {error}; create it or "
            f"grant CREATE ON {identifier(database)}.*"
        ) from error


def _undo(target: Source, database: str, before: Settings | None, loader: Loader | None, error: BaseException) -> None:
    """Bring back nothing: over a fresh session, for the old one may be what failed."""
    try:
        session = connect(target, None)
        try:
            if before is None:
                session.execute(f"DROP DATABASE IF EXISTS {identifier(database)}")
            else:
                _empty(session, database, loader)
                alter_database(session, database, before)
        finally:
            session.close()
    except DumptyError as cleanup_error:
        raise SourceError(
            f"the restore failed ({error}), and what it had loaded into {database} could not be removed "
            f"({cleanup_error}): {database} is incomplete; drop it before you try again"
        ) from error


def _empty(session: Session, database: str, loader: Loader | None) -> None:
    """Drop what this restore created, and nothing that somebody else put there meanwhile."""
    if loader is None:
        return
    session.execute("SET FOREIGN_KEY_CHECKS=0")
    for statement in [*loader.created_objects, *reversed(loader.created_tables)]:
        if statement.creates_stored_object or statement.kind in {"TABLE", "SEQUENCE"}:
            drop(session, statement.kind, database, statement.name)
