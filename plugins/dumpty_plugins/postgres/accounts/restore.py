"""Restores accounts: what is missing is created, what exists is compared, and changed by nobody who did not insist."""

from __future__ import annotations

import contextlib
import dataclasses
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, Source, SourceError, TargetNotEmpty, Unfinished, commit_point
from dumpty_plugins.postgres.accounts.catalog import open_server, read_accounts, require_hashes
from dumpty_plugins.postgres.accounts.facts import count_evidence
from dumpty_plugins.postgres.accounts.plan import Circumstances, plan
from dumpty_plugins.postgres.accounts.script import read_script
from dumpty_plugins.postgres.accounts.statements import create_tablespace, name_sql, shown
from dumpty_plugins.postgres.server.connection import psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import commit_restore, translate_errors, translated_error
from dumpty_plugins.postgres.server.waiting import shorten_stall, was_dropped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options
    from dumpty_plugins.postgres.accounts.facts import Accounts, Tablespace
    from dumpty_plugins.postgres.accounts.plan import Plan
    from dumpty_plugins.postgres.server.connection import Address

_MAX_SHOWN = 30
_NOT_PERMITTED = "42501"
_TABLESPACE_ADVICE = (
    "; make the directory, empty and the server's own, or create the tablespace elsewhere, and restore again; or leave "
    "tablespaces out: -o tablespaces=off"
)
# What keeps statements with hashes in them out of the server's log, and out of what extensions record of them. What a
# server does not know, or does not let this user set, is left as it is.
_UNRECORDED = (
    "log_statement = 'none'",
    "log_min_duration_statement = -1",
    "log_min_duration_sample = -1",
    "log_transaction_sample_rate = 0",
    "log_min_error_statement = 'panic'",
    "auto_explain.log_min_duration = -1",
    "pg_stat_statements.track = 'none'",
    "pgaudit.log = 'none'",
)
_REFUSALS = {_NOT_PERMITTED, "42704", "42602", "22023", "55P02"}
"""Not permitted, unknown, no name, no value of it, not to be set now."""


@dataclasses.dataclass
class DrillRecord:
    """How a drill's restore went about it, for whoever checks what is there afterwards."""

    where: Circumstances | None = None


class AccountsDrillTarget(Source, frozen=True, kw_only=True):
    """The server that a drill has for itself: it lacks the directories that tablespaces were in."""

    record: DrillRecord


def restore_accounts(address: Address, dump: Dump, *, overwrite: bool, options: Options) -> Evidence:
    """Restore accounts on a server, all or none, and return what of the dump is there then.

    Raises:
        DependencyError: psycopg2 is not installed.
        IntegrityError: the dump is damaged, or the server made something else of it.
        SourceError: the server cannot be reached, or refuses.
        TargetNotEmpty: what is there differs, and ``overwrite`` is False.
    """
    accounts = read_script(dump)
    with closing(open_server(address)) as connection, translate_errors(address, "restoring the accounts of"):
        return _Restore(address, connection, accounts, options).run(overwrite=overwrite)


class _Restore:
    def __init__(self, address: Address, connection: Connection, accounts: Accounts, options: Options) -> None:
        self._address = address
        self._connection = connection
        self._accounts = accounts
        self._committing = False
        sql = "SELECT rolname, session_user, rolsuper FROM pg_roles WHERE rolname = current_user"
        user, login, superuser = rows(connection, sql)[0]
        self._where = Circumstances(
            user=user,
            login=login,
            superuser=superuser,
            databases={d for (d,) in rows(connection, "SELECT datname FROM pg_database")},
            passwords=options["hashes"] != "off" and accounts.header.hashes,
            comments=bool(options["comments"]),
            tablespaces=bool(options["tablespaces"]),
            in_place=isinstance(address.source, AccountsDrillTarget),
        )
        if isinstance(address.source, AccountsDrillTarget):
            address.source.record.where = self._where

    def run(self, *, overwrite: bool) -> Evidence:
        """Compare, refuse, or apply, compare once more, and commit."""
        connection, address = self._connection, self._address
        if self._where.passwords:
            require_hashes(address, connection)
        rows(connection, "SET standard_conforming_strings = on")
        self._keep_unrecorded()
        todo = self._plan()
        self._require_same(todo, overwrite=overwrite)
        with self._tablespaces(todo.tablespaces):
            rows(connection, "BEGIN")
            todo = self._plan()  # as it is now, and the tablespaces among it
            self._require_same(todo, overwrite=overwrite)
            for statement in (*todo.creations, *todo.changes):
                self._execute(statement)
            evidence = self._evidence()
            commit_point()
            self._committing = True
            commit_restore(address, connection)
        return evidence

    def _keep_unrecorded(self) -> None:
        for setting in _UNRECORDED:
            try:
                rows(self._connection, f"SET {setting}")
            except psycopg2().Error as error:
                if error.pgcode not in _REFUSALS:
                    raise

    def _plan(self) -> Plan:
        found = read_accounts(self._connection, hashes=self._where.passwords)
        return plan(self._accounts, found, self._where)

    def _require_same(self, todo: Plan, *, overwrite: bool) -> None:
        if todo.differs and not overwrite:
            more = f"; and {len(todo.differs) - _MAX_SHOWN} more" if len(todo.differs) > _MAX_SHOWN else ""
            raise TargetNotEmpty(
                f"accounts on the server of {self._address.label} differ from those of the backup, so nothing was "
                f"restored: {'; '.join(todo.differs[:_MAX_SHOWN])}{more}. To make them what they were, insist: "
                "--overwrite (overwrite=True); what the backup does not know is left as it is"
            )

    def _evidence(self) -> Evidence:
        """Read what is there now, and see that it is what was backed up."""
        rest = self._plan()
        if problems := [*rest.differs, *rest.creations, *(f"tablespace {t.name}" for t in rest.tablespaces)]:
            texts = [shown(problem) for problem in problems]
            raise IntegrityError(
                f"the server of {self._address.label} made something else of the accounts than was backed up, so "
                f"nothing was restored: {'; '.join(texts[:_MAX_SHOWN])}"
            )
        counts = self._accounts.counts
        return Evidence(
            objects=count_evidence(counts, uncounted=frozenset(rest.uncounted)),
            versions={"server": version(self._connection)[1], "psycopg2": psycopg2().__version__.split()[0]},
            notes=tuple(rest.notes),
        )

    @contextmanager
    def _tablespaces(self, missing: Sequence[Tablespace]) -> Iterator[None]:
        """Create tablespaces, for no transaction does; drop them again where what follows fails."""
        if not missing:
            yield
            return
        if not self._where.superuser:
            names = ", ".join(name_sql(t.name) for t in missing)
            raise SourceError(
                f"the tablespaces {names} are missing on the server of {self._address.label}, and only a superuser "
                "creates any; restore as one, or leave them out: -o tablespaces=off"
            )
        drops = "; ".join(f"DROP TABLESPACE {name_sql(t.name)}" for t in missing)
        unfinished = Unfinished(f"tablespaces on the server of {self._address.label} ({drops})")
        created: list[str] = []
        try:
            for tablespace in missing:
                in_place = self._where.in_place or not tablespace.location
                if in_place:
                    rows(self._connection, "SET allow_in_place_tablespaces = on")
                self._execute(create_tablespace(tablespace, owner=False, in_place=in_place), _TABLESPACE_ADVICE)
                created.append(tablespace.name)
            self._where = dataclasses.replace(self._where, new_tablespaces=created)
            yield
        except BaseException as error:
            if self._committing and (self._connection.closed or was_dropped(self._connection)):
                raise  # they may be of accounts that are there: nobody knows
            self._drop(created)
            if isinstance(error, Exception):  # whoever interrupted the creation of one did not hear how it went
                unfinished.settle()
            raise
        unfinished.settle()

    def _drop(self, names: Sequence[str]) -> None:
        """Drop tablespaces that were created for nothing, over a session of its own: the other may be at its end."""
        with contextlib.suppress(psycopg2().Error):
            rows(self._connection, "ROLLBACK")
        if names:
            with closing(open_server(self._address)) as connection:
                shorten_stall(connection)
                for name in names:
                    rows(connection, f"DROP TABLESPACE IF EXISTS {name_sql(name)}")

    def _execute(self, statement: str, advice: str = "") -> None:
        try:
            rows(self._connection, statement)
        except psycopg2().Error as error:
            # Nor is the cause kept: it may quote the statement, and with it the hash of a password.
            failure = translated_error(self._address, f"restoring accounts ({shown(statement)}) on", error)
            detail = error.diag.message_detail if error.pgcode == _NOT_PERMITTED else None
            reason = f" ({self._address.scrub(detail)})" if detail else ""
            raise type(failure)(f"{failure}{reason}{advice}") from None
