"""Which rows of one table differ between two backups, or between a backup and a live database."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty.errors import NotProvable, OptionError, SourceError
from dumpty.operations.proving import Request
from dumpty.operations.reach import reached, read_way, require_way
from dumpty.operations.restore import driver_for, driver_of
from dumpty.operations.result import require_text
from dumpty.operations.row_changes import Changes
from dumpty.operations.subjects import inspect_subject, require_comparable, require_tables_of
from dumpty.operations.tables import find_table
from dumpty.process.cancellation import cancellable
from dumpty.streaming.reporter import Reporter
from dumpty.types import Phase
from dumpty.url import parse_url

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dumpty.operations.place import Place
    from dumpty.operations.proving import Prover
    from dumpty.operations.result import Backup
    from dumpty.operations.row_changes import RowDifference
    from dumpty.operations.sealing import Keyring
    from dumpty.process.cancellation import Cancellation
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.registry.proxies import CheckedRows
    from dumpty.types import Identity, ObjectEvidence, Options, ProgressCallback, Record, RowValue, Verb

__all__ = ["RowDiff", "RowDifferences"]


@dataclass(frozen=True, kw_only=True)
class RowDiff:
    """Which rows of a table differ between a backup and another one, or a database.

    ``second`` is None where that is a live database, whose URL is ``second_url``, secrets masked. ``table`` is the
    table's path. ``key`` are the columns that tell its rows apart; () where none do on both sides, so that a row which
    was changed is one that is gone and one that is new. ``columns_removed`` are only on the first side,
    ``columns_added`` only on the second; the others are compared. ``rows_first`` and ``rows_second`` are how many rows
    there are, ``removed``, ``added`` and ``changed`` how many differ, and ``rows`` the first of those. ``restored`` are
    the ids of backups that were restored to find out: none where the fingerprints in both manifests are equal, and then
    ``key`` is not known either.
    """

    first: Backup
    second: Backup | None
    second_url: str
    table: str
    key: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    columns_added: tuple[str, ...] = ()
    rows_first: int
    rows_second: int
    removed: int = 0
    added: int = 0
    changed: int = 0
    rows: tuple[RowDifference, ...] = ()
    restored: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not (self.differing or self.columns_removed or self.columns_added)

    @property
    def differing(self) -> int:
        """How many rows differ."""
        return self.removed + self.added + self.changed


class RowDifferences:
    """The part of ``BackupManager`` that compares the rows of a table."""

    _host: Host
    _place: Place
    _prover: Prover
    _keyring: Keyring

    def diff_rows(
        self,
        first: str,
        second: str,
        table: str,
        *,
        limit: int = 20,
        on: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        via: str | Sequence[str] | None = None,
        **options: object,
    ) -> RowDiff:
        """Compare one table of a backup with that of another one, or of a live database, row by row.

        A backup is restored into a scratch database, as by a drill, unless fingerprints in both manifests show that the
        table is the same. Of a table with a key rows are told apart by that, of another one as a whole. What is kept of
        them lies in a temporary file: about 100 bytes each, without a key more, and as much again to sort them.

        Args:
            first: the whole id of a backup.
            second: that of another one of the same kind of database, or a database's URL.
            table: its path, or its name where only one schema has a table of that.
            limit: how many of the rows that differ are returned; 0: all of them.
            on: the URL of a server for the scratch databases, instead of one that the driver starts.
            progress: as for ``create_backup``; begins anew with each backup that is restored, and counts rows then.
            cancel: ends it.
            identities: what opens backups that are encrypted, as for ``restore``.
            via: as for ``create_backup``, to a live database.
            options: those declared by the driver for ``inspect``, ``scratch`` and ``restore``.

        Raises:
            UnknownBackup: there is no such backup.
            OptionError: they are of two kinds of database, or of a server; or one has no such table.
            NotProvable: a backup cannot be restored here, or its driver gives no rows.
            IntegrityError: a backup is not what it should be.
            DumptyError: one of the two cannot be read, or there is no room for what is kept of the rows.
        """
        _require_sense(table, limit)
        keys = self._keyring.identities(identities)
        request = Request(level="restore", overrides=options, on=on, progress=progress, cancel=cancel, identities=keys)
        one = self._table_of(first, table, keys, request)
        other = self._table_beside(one, second, keys, request, via)
        if (known := one.known_rows(other)) is not None:
            return self._told(one, other, _Figures(rows=(known, known)))
        with cancellable(cancel, f"the comparison of the rows of {one.path}") as call:
            figures = _compared(one, other, limit, Reporter(progress), call.check)
        return self._told(one, other, figures)

    def _table_beside(
        self, one: _Side, second: str, keys: Sequence[Identity], request: Request, via: str | Sequence[str] | None
    ) -> _Side:
        require_text("a backup's id, or a database's URL", second)
        require_way(via)
        if "://" in second:
            return self._live_table(one, second, via, request)
        other = self._table_of(second, one.path, keys, request)
        require_comparable([(side.id, side.driver) for side in (one, other)])
        return other

    def _table_of(self, backup_id: str, name: str, keys: Sequence[Identity], request: Request) -> _Side:
        require_text("a backup's id", backup_id)
        record = self._keyring.open_facts(self._place.repository.get(backup_id), keys)
        driver = driver_of(self._host, record)
        require_tables_of(driver, record)
        if not self._host.can(driver, "read_rows"):
            raise NotProvable(f"{driver} does not give the rows of a table: compare tables as a whole (without --rows)")
        path = find_table(record.evidence, name, record.id)

        @contextlib.contextmanager
        def opened() -> Iterator[CheckedRows]:
            options = _options(self._host, driver, request)
            with (
                self._prover.trial(record.id, request, shell=False) as (_, trial),
                self._host.read_rows(driver, source=parse_url(trial.url), table=path, options=options) as rows,
            ):
                yield rows

        return _Side(driver=driver, record=record, path=path, open=opened, id=record.id)

    def _live_table(self, first: _Side, url: str, via: str | Sequence[str] | None, request: Request) -> _Side:
        target = parse_url(url)
        driver = driver_for(self._host, target, first.record)

        @contextlib.contextmanager
        def opened() -> Iterator[CheckedRows]:
            options = _options(self._host, driver, request)
            with reached(driver, target, read_way(self._host, via)) as near:
                if not inspect_subject(self._host, driver, near, options, first.record.format).exists:
                    raise SourceError(f"{target.url} does not exist: there is nothing to compare with")
                with self._host.read_rows(driver, source=near, table=first.path, options=options) as rows:
                    yield rows

        return _Side(driver=driver, record=first.record, path=first.path, open=opened, url=target.url)

    def _told(self, first: _Side, second: _Side, figures: _Figures) -> RowDiff:
        lister, repository = self._place.lister, self._place.repository
        changes = figures.changes
        return RowDiff(
            first=lister.backup(repository.get(first.id)),
            second=lister.backup(repository.get(second.id)) if second.id else None,
            second_url=second.url,
            table=first.path,
            key=figures.key,
            columns_removed=figures.removed,
            columns_added=figures.added,
            rows_first=figures.rows[0],
            rows_second=figures.rows[1],
            removed=changes.removed,
            added=changes.added,
            changed=changes.changed,
            rows=changes.rows,
            restored=tuple(side.id for side in (first, second) if side.id and figures.read),
        )


def _options(host: Host, driver: Plugin, request: Request) -> Options:
    """Return the options to read a table by."""
    verbs: dict[Verb, Plugin] = {"inspect": driver, "scratch": driver, "restore": driver}
    return host.options(verbs, request.overrides)["inspect"]


def _require_sense(table: str, limit: int) -> None:
    require_text("a table's name", table)
    if not isinstance(limit, int) or limit < 0:
        raise OptionError(f"the limit is a number of rows, or 0 for all; not {limit}")


_NONE = Changes(removed=0, added=0, changed=0, rows=())


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """What was found: the numbers of rows on both sides, columns that only one has, and what differs in the others."""

    rows: tuple[int, int]
    key: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changes: Changes = _NONE
    read: bool = False


@dataclass(frozen=True, kw_only=True)
class _Side:
    """The table on one of the two sides, which ``open`` lends the rows of.

    ``record`` is the backup's, of a live database (``url``) that of the backup that it is compared with.
    """

    driver: Plugin
    record: Record
    path: str
    open: Callable[[], contextlib.AbstractContextManager[CheckedRows]]
    id: str = ""
    url: str = ""

    def known_rows(self, other: _Side) -> int | None:
        """Return how many rows both tables have, if both are of backups, and fingerprints in both equal; else None.

        Of a table with partitions its own entry tells only a part, or nothing.
        """
        if not other.id or self._has_partitions() or other._has_partitions():
            return None
        mine, theirs = self._evidence(), other._evidence()
        if mine is None or theirs is None or None in {mine.rows, mine.fingerprint}:
            return None
        return mine.rows if (mine.rows, mine.fingerprint) == (theirs.rows, theirs.fingerprint) else None

    def _has_partitions(self) -> bool:
        return any(entry.part_of == self.path for entry in self.record.evidence.objects)

    def _evidence(self) -> ObjectEvidence | None:
        return next((entry for entry in self.record.evidence.objects if entry.path == self.path), None)


def _compared(first: _Side, second: _Side, limit: int, reporter: Reporter, check: Callable[[], None]) -> _Figures:
    from dumpty.operations.row_store import RowStore

    counted = 0

    def tell(more: int) -> None:
        nonlocal counted
        check()
        counted += more
        reporter.items(counted)

    with contextlib.ExitStack() as stack:
        with first.open() as one:
            with second.open() as other:
                reporter.begin(Phase.COMPARING)
                columns, key = _common(first.path, one, other)
                store = stack.enter_context(RowStore(columns, key))
                # First what may be live, which is not to be held for longer than it takes to read it.
                second_rows = store.add(1, _picked(other, columns), tell)
            first_rows = store.add(0, _picked(one, columns), tell)
        changes = store.compare(limit)
        check()
    return _Figures(
        rows=(first_rows, second_rows),
        key=key,
        removed=tuple(name for name in one.columns if name not in columns),
        added=tuple(name for name in other.columns if name not in columns),
        changes=changes,
        read=True,
    )


def _common(path: str, one: CheckedRows, other: CheckedRows) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that both sides have, and those of them that tell rows apart on both.

    Raises:
        OptionError: they have none in common.
    """
    columns = tuple(name for name in one.columns if name in set(other.columns))
    if not columns and (one.columns or other.columns):
        raise OptionError(f"the table {path} has no column of the same name on both sides: nothing to compare")
    return columns, one.key if set(one.key) == set(other.key) else ()


def _picked(rows: CheckedRows, columns: Sequence[str]) -> Iterable[tuple[RowValue, ...]]:
    """Return the rows with the values of these columns, in this order."""
    if rows.columns == tuple(columns):
        return rows
    places = [rows.columns.index(name) for name in columns]
    return (tuple([row[place] for place in places]) for row in rows)
