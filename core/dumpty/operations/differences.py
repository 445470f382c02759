"""What differs between two backups, or between a backup and a live database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import NotProvable, OptionError, SourceError
from dumpty.operations.evidence import ask_evidence, divided_tables
from dumpty.operations.proving import Request
from dumpty.operations.reach import reached, read_way, require_way
from dumpty.operations.restore import driver_for, driver_of
from dumpty.operations.result import require_text
from dumpty.operations.subjects import inspect_subject, require_comparable, require_tables_of
from dumpty.redaction import one_line
from dumpty.toolkit.evidence import compare_evidence
from dumpty.url import parse_url

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from dumpty.operations.place import Place
    from dumpty.operations.proving import Prover
    from dumpty.operations.result import Backup
    from dumpty.operations.sealing import Keyring
    from dumpty.process.cancellation import Cancellation
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.toolkit.evidence import Difference
    from dumpty.types import Evidence, Identity, ProgressCallback, Record

__all__ = ["Diff", "Differences"]


@dataclass(frozen=True, kw_only=True)
class Diff:
    """What differs between a backup and another one, or a database.

    ``second`` is None where that is a live database, whose URL is ``second_url``, secrets masked. A difference that is
    ``missing`` is of a table that only the first has, ``added`` of one that only the second has. ``not_compared`` are
    the paths of tables with as many rows on both sides (or with rows that nobody counted) whose content could not be
    compared, and ``reason`` says why not. ``restored`` are the ids of backups that were restored to find out.
    """

    first: Backup
    second: Backup | None
    second_url: str
    differences: tuple[Difference, ...]
    compared: int
    not_compared: tuple[str, ...] = ()
    reason: str = ""
    restored: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not self.differences


class Differences:
    """The part of ``BackupManager`` that compares backups."""

    _host: Host
    _place: Place
    _prover: Prover
    _keyring: Keyring

    def diff(
        self,
        first: str,
        second: str,
        *,
        counts: bool = False,
        on: str | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancellation | None = None,
        identities: Iterable[str | os.PathLike[str] | Identity] = (),
        via: str | Sequence[str] | None = None,
        **options: object,
    ) -> Diff:
        """Compare a backup with another one, or with a live database: which tables differ, and in what.

        Counts and fingerprints of rows are in the manifests. Where a fingerprint is missing for tables that have as
        many rows on both sides, the backup is restored into a scratch database, as by a drill, and taken there.

        Args:
            first: the whole id of a backup.
            second: that of another one of the same kind of database, or a database's URL.
            counts: compare by what the manifests say alone; a live database is asked for numbers of rows, no more.
            on: the URL of a server for the scratch databases, instead of one that the driver starts.
            progress: as for ``create_backup``; begins anew with each backup that is restored.
            cancel: ends it.
            identities: what opens backups that are encrypted, as for ``restore``.
            via: as for ``create_backup``, to a live database.
            options: those declared by the driver for ``inspect``, ``scratch`` and ``restore``.

        Raises:
            UnknownBackup: there is no such backup.
            OptionError: they are of two kinds of database, or of a server; or nobody counted anything.
            IntegrityError: a backup is not what it should be.
            DumptyError: one of the two cannot be read.
        """
        require_text("a backup's id, or a database's URL", second)
        require_way(via)
        keys = self._keyring.identities(identities)
        how = {"on": on, "progress": progress, "cancel": cancel, "identities": keys}
        request = Request(level="restore", overrides=options, **how)  # type: ignore[arg-type]
        sides = [self._backup_side(first, keys, request)]
        if "://" in second:
            sides.append(self._live_side(sides[0], second, via, request, counts=counts))
        else:
            sides.append(self._backup_side(second, keys, request))
            require_comparable([(side.id, side.driver) for side in sides])
        for side in sides:
            side.require_tables(counts=counts)
        return self._found(sides, "only numbers of rows were asked for" if counts else _look_closer(sides))

    def _backup_side(self, backup_id: str, keys: Sequence[Identity], request: Request) -> _Side:
        require_text("a backup's id", backup_id)
        record = self._keyring.open_facts(self._place.repository.get(backup_id), keys)
        driver = driver_of(self._host, record)
        require_tables_of(driver, record)
        return _Side(self._host, self._prover, driver, request, record.evidence, record=record)

    def _live_side(
        self, first: _Side, url: str, via: str | Sequence[str] | None, request: Request, *, counts: bool
    ) -> _Side:
        target = parse_url(url)
        assert first.record is not None  # noqa: S101 - for the type checker
        driver = driver_for(self._host, target, first.record)
        options = self._host.options({"inspect": driver, "scratch": driver, "restore": driver}, request.overrides)
        with reached(driver, target, read_way(self._host, via)) as near:
            if not inspect_subject(self._host, driver, near, options["inspect"], first.record.format).exists:
                raise SourceError(f"{target.url} does not exist: there is nothing to compare with")
            level = "counts" if counts else "fingerprint"
            evidence = ask_evidence(self._host, driver, near, options["inspect"], level)  # type: ignore[arg-type]
        if evidence is None:
            raise OptionError(f"{driver} cannot tell what a database holds: compare two backups")
        return _Side(self._host, self._prover, driver, request, evidence, url=target.url)

    def _found(self, sides: Sequence[_Side], reason: str) -> Diff:
        first, second = sides
        comparison = compare_evidence(expected=first.evidence, found=second.evidence)
        uncertain = _uncertain(first, second)
        lister, repository = self._place.lister, self._place.repository
        return Diff(
            first=lister.backup(repository.get(first.id)),
            second=lister.backup(repository.get(second.id)) if second.record is not None else None,
            second_url=second.url,
            differences=tuple(d for d in comparison.differences if d.kind != "uncounted"),
            compared=comparison.objects,
            not_compared=uncertain,
            reason=reason if uncertain else "",
            restored=tuple(side.id for side in sides if side.restored),
        )


class _Side:
    """One of the two that are compared: a backup (``record``), or what was found in a live database (``url``)."""

    def __init__(
        self,
        host: Host,
        prover: Prover,
        driver: Plugin,
        request: Request,
        evidence: Evidence,
        *,
        record: Record | None = None,
        url: str = "",
    ) -> None:
        self._host = host
        self._prover = prover
        self.driver = driver
        self._request = request
        self.evidence = evidence
        self.record = record
        self.url = url
        self.restored = False

    @property
    def id(self) -> str:
        """The backup's id; "" of a live database."""
        return "" if self.record is None else self.record.id

    def require_tables(self, *, counts: bool) -> None:
        """See that its tables are known: a backup without any may be of nothing, or nobody counted.

        Raises:
            OptionError: they are not, and ``counts`` says to restore nothing.
            NotProvable: they are not, and this machine cannot restore it.
        """
        if self.evidence.objects or self.record is None:
            return
        if counts:
            raise OptionError(f"no table was counted in backup {self.id}, so it has to be restored: leave --counts out")
        if reason := self.look_closer():
            raise NotProvable(f"no table was counted in backup {self.id}, and it cannot be restored here: {reason}")

    def counts(self, path: str) -> bool:
        """Whether the rows of this table are known, or none of any table, which a look at it would change."""
        rows = {entry.path: entry.rows for entry in self.evidence.objects}
        return rows.get(path) is not None or all(number is None for number in rows.values())

    def lacks_prints(self, paths: Iterable[str]) -> bool:
        """Whether it has no fingerprint of one of these tables."""
        wanted = set(paths)
        return any(entry.fingerprint is None for entry in self.evidence.objects if entry.path in wanted)

    def look_closer(self) -> str:
        """Restore a backup into a scratch database, and take fingerprints there; return why that cannot be, or "".

        Raises:
            IntegrityError: the backup is not what it should be.
        """
        if self.record is None:
            return f"{self.driver} takes no fingerprints"
        try:
            with self._prover.trial(self.id, self._request, shell=False) as (_, trial):
                options = self._host.options(
                    {"inspect": self.driver, "scratch": self.driver, "restore": self.driver}, self._request.overrides
                )
                found = ask_evidence(self._host, self.driver, parse_url(trial.url), options["inspect"], "fingerprint")
        except NotProvable as error:
            return one_line(error)
        if found is None:
            return f"{self.driver} takes no fingerprints"
        self.evidence, self.restored = replace(self.evidence, objects=found.objects), True
        return ""


def _look_closer(sides: Sequence[_Side]) -> str:
    """Take fingerprints where they are missing, and would tell; return why they cannot be taken, or why not all do."""
    wanted = _counted(sides)
    reasons = [side.look_closer() for side in sides if side.lacks_prints(wanted)]
    if reason := next(filter(None, reasons), ""):
        return reason
    return "their fingerprints were taken by different methods" if _counted(sides) else "nobody counts what is in it"


def _counted(sides: Sequence[_Side]) -> list[str]:
    """Return the paths of tables of which nobody knows whether they differ, though somebody counts their rows."""
    return [path for path in _uncertain(*sides) if any(side.counts(path) for side in sides)]


def _uncertain(first: _Side, second: _Side) -> tuple[str, ...]:
    """Return the paths of tables that both have, and of which nobody knows whether they differ."""
    comparison = compare_evidence(expected=first.evidence, found=second.evidence)
    differing = {d.path for d in comparison.differences if d.kind != "uncounted"}
    unknown = set(comparison.unfingerprinted) - differing
    there = {entry.path: entry.rows for entry in second.evidence.objects}
    unknown -= divided_tables(first.evidence)
    return tuple(
        entry.path
        for entry in first.evidence.objects
        if entry.path in unknown and (entry.rows, there.get(entry.path)) != (0, 0)
    )
