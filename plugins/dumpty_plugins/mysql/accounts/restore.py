"""Restores accounts: what is missing is created, what exists is compared, and changed by nobody who did not insist.

No transaction holds statements about accounts: all is checked first, then done, and undone where something fails.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import (
    DumptyError,
    Evidence,
    IntegrityError,
    NotProvable,
    Source,
    SourceError,
    TargetNotEmpty,
    Unfinished,
    commit_point,
)
from dumpty_plugins.mysql.accounts import statements
from dumpty_plugins.mysql.accounts.catalog import read_accounts
from dumpty_plugins.mysql.accounts.facts import Name, count_evidence, without_hashes
from dumpty_plugins.mysql.accounts.plan import Circumstances, plan
from dumpty_plugins.mysql.accounts.script import read_script
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.privileges import account, held_privileges
from dumpty_plugins.mysql.server.session import StatementError, address, decode, versions
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty import Dump, Options
    from dumpty_plugins.mysql.accounts.facts import Accounts
    from dumpty_plugins.mysql.accounts.plan import Plan
    from dumpty_plugins.mysql.server.session import Session

_MAX_SHOWN = 30
_NO_ADMIN = 1698
_KILL_ATTEMPTS, _KILL_SECONDS = 100, 0.1
_UNLOGGED = ("sql_log_off=1", "slow_query_log=0", "long_query_time=31536000")
"""Settings of a session that keep its statements out of the general log and the slow one."""
_PLUGINS = """SELECT PLUGIN_NAME FROM information_schema.PLUGINS
              WHERE PLUGIN_TYPE='AUTHENTICATION' AND PLUGIN_STATUS='ACTIVE'"""


class AccountsDrillTarget(Source, frozen=True, kw_only=True):
    """The server that a drill has for itself: what it lacks is no fault of the backup."""


def restore_accounts(target: Source, dump: Dump, *, overwrite: bool, options: Options) -> Evidence:
    """Restore accounts on a server, all or none, and return what of the dump is there then.

    Raises:
        DependencyError: pymysql is not installed.
        IntegrityError: the dump is damaged, or the server made something else of it.
        SourceError: the server cannot be reached, lacks something, or refuses.
        TargetNotEmpty: what is there differs, and ``overwrite`` is False.
    """
    accounts = read_script(dump)
    if options["hashes"] == "off":
        accounts = without_hashes(accounts)
    session = connect(target, None)
    try:
        return _Restore(target, session, accounts).run(overwrite=overwrite)
    finally:
        session.close()


class _Restore:
    def __init__(self, target: Source, session: Session, accounts: Accounts) -> None:
        self._target = target
        self._session = session
        self._accounts = accounts

    def run(self, *, overwrite: bool) -> Evidence:
        """Compare, refuse, or apply, compare once more; and undo where anything fails."""
        session = self._session
        self._require_kind()
        before = read_accounts(session)
        self._require_same_patterns(before)
        private = isinstance(self._target, AccountsDrillTarget)
        todo = plan(self._accounts, before, circumstances(session, private=private))
        if todo.differs and not overwrite:
            more = f"; and {len(todo.differs) - _MAX_SHOWN} more" if len(todo.differs) > _MAX_SHOWN else ""
            raise TargetNotEmpty(
                f"accounts on {address(self._target)} differ from those of the backup, so nothing was restored: "
                f"{'; '.join(todo.differs[:_MAX_SHOWN])}{more}. To make them what they were, insist: --overwrite "
                "(overwrite=True); what the backup does not know is left as it is"
            )
        self._require_able(todo, before)
        creating = {statement: name for name, statement in todo.created.items()}
        created: list[Name] = []
        unfinished = Unfinished(f"accounts on {address(self._target)}, which may be restored in part: restore again")
        try:
            prepare(session)
            for statement in (*todo.creations, *todo.changes):
                self._execute(statement)
                if statement in creating:
                    created.append(creating[statement])
            evidence = self._evidence(todo)
            commit_point()
        except BaseException:
            number = session.connection_id
            session.abandon()
            _undo(self._target, number, before, self._accounts, created)
            unfinished.settle()
            raise
        unfinished.settle()
        return evidence

    def _require_kind(self) -> None:
        """Check what no statement could mend: that the server is of the kind that the accounts are of."""
        if self._session.mariadb != self._accounts.mariadb:
            flavour = "MariaDB" if self._session.mariadb else "MySQL"
            raise SourceError(
                f"{address(self._target)} is {flavour} {self._session.version}, and the accounts are of "
                f"{self._accounts.header.flavour} {self._accounts.header.version}: passwords, roles and privileges of "
                "the two are not the same; create them there by hand"
            )

    def _require_same_patterns(self, there: Accounts) -> None:
        """Check that the names of databases in privileges would mean what they did."""
        ours = self._accounts.header.partial_revokes
        patterns = self._accounts.patterns
        if patterns and ours != there.header.partial_revokes:
            value, meaning = ("ON", "no wildcards") if ours else ("OFF", "wildcards")
            first = patterns[0]
            self._lacks(
                f"the accounts hold privileges on databases ({statements.target(first)} of "
                f"{statements.name_sql(first.member)}) in whose names _ and % are {meaning}, and on "
                f"{address(self._target)} they are not so: SET PERSIST partial_revokes={value} there"
            )

    def _require_able(self, todo: Plan, there: Accounts) -> None:
        """Check, before anything is done, that the server knows what is needed, and that this account may do it.

        Raises:
            SourceError: it does not, or may not; the text says what is missing.
        """
        session, server = self._session, address(self._target)
        if not todo.creations and not todo.changes:
            return
        active = {decode(name) for (name,) in session.rows(_PLUGINS)}
        unknown = {f.plugin: u.name for u in self._accounts.users for f in u.factors if f.plugin not in active}
        if unknown:
            names = ", ".join(f"{plugin} (of {statements.name_sql(name)})" for plugin, name in sorted(unknown.items()))
            self._lacks(
                f"{server} has not the plugins by which accounts of the backup authenticate: {names}; load them"
            )
        privileges = {decode(row[0]).upper() for row in session.rows("SHOW PRIVILEGES")} | {"ALL PRIVILEGES"}
        synonyms = {"REPLICATION CLIENT", "SLAVE MONITOR", "DELETE HISTORY", "DELETE VERSIONING ROWS"}
        if missing := sorted(todo.privileges - privileges - synonyms):
            self._lacks(f"{server} ({session.version}) does not know the privileges {', '.join(missing)}")
        if any(g.revoked for g in self._accounts.grants) and not there.header.partial_revokes:
            self._lacks(f"{server} takes no exceptions from privileges: SET PERSIST partial_revokes=ON there")
        held = held_privileges(session, "mysql").on_server
        needed = {"CREATE USER", *todo.privileges} - {"ALL PRIVILEGES"}
        lacking = sorted(needed - held) if not held & {"ALL PRIVILEGES", "ALL"} else []
        grants = [decode(row[0]) for row in session.rows("SHOW GRANTS")]
        grantable = any(" ON *.* TO " in g and re.search(r" WITH (.* )?GRANT OPTION", g) for g in grants)
        if lacking or (todo.privileges and not grantable):
            what = ", ".join([*lacking, *["GRANT OPTION"] * (not grantable)])
            raise SourceError(
                f"this account may not restore accounts on {server}, for it lacks {what}: "
                f"GRANT ALL PRIVILEGES ON *.* TO {account(session)} WITH GRANT OPTION, or restore as who has that"
            )

    def _lacks(self, text: str) -> None:
        error = NotProvable if isinstance(self._target, AccountsDrillTarget) else SourceError
        raise error(f"{text}, and restore again; nothing was restored")

    def _evidence(self, todo: Plan) -> Evidence:
        """Read what is there now, and see that it is what was backed up."""
        rest = plan(self._accounts, read_accounts(self._session), circumstances(self._session))
        if problems := [*rest.differs, *map(_shown, rest.creations)]:
            raise IntegrityError(
                f"{address(self._target)} made something else of the accounts than was backed up, so what was done is "
                f"undone: {'; '.join(problems[:_MAX_SHOWN])}"
            )
        uncounted = frozenset(rest.uncounted | todo.uncounted)
        return Evidence(
            objects=count_evidence(self._accounts.counts, uncounted=uncounted),
            versions=versions(self._session),
            notes=tuple(dict.fromkeys((*todo.notes, *rest.notes))),
        )

    def _execute(self, statement: str) -> None:
        try:
            self._session.execute(statement)
        except StatementError as error:
            # Nor is the cause kept: it may quote the statement, and with it the hash of a password.
            advice = "; only who has it WITH ADMIN OPTION grants a role on MariaDB" if error.code == _NO_ADMIN else ""
            text = f"restoring accounts ({_shown(statement)}) failed: {error}{advice}; what was done is undone"
            raise StatementError(text, error.code) from None


def circumstances(session: Session, *, spare: bool = True, private: bool = False) -> Circumstances:
    """Return where accounts are restored, whether the server's own are left, and whether anybody uses others."""
    user, _, host = session.text("SELECT CURRENT_USER()").rpartition("@")

    def exists(kind: str, database: str, name: str) -> bool:
        if not kind:
            schema, column, of_kind = "TABLES", "TABLE", ""
        elif kind == "LIBRARY":
            if not session.number("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME='LIBRARIES'"):
                return False
            schema, column, of_kind = "LIBRARIES", "LIBRARY", ""
        else:
            schema, column, of_kind = "ROUTINES", "ROUTINE", f" AND ROUTINE_TYPE={literal(kind)}"
        where = f"{column}_SCHEMA={literal(database)} AND {column}_NAME={literal(name)}{of_kind}"
        return bool(session.number(f"SELECT COUNT(*) FROM information_schema.{schema} WHERE {where}"))  # noqa: S608

    return Circumstances(user=Name(user=user, host=host), exists=exists, spare=spare, private=private)


def prepare(session: Session) -> None:
    """Let the server read statements as they are meant, and keep them and the hashes in them out of its logs.

    Where this account may not ask for that, or the server does not know it, they are logged.
    """
    for setting in _UNLOGGED:
        with contextlib.suppress(StatementError):  # no privilege for it, or of the other kind of server
            session.execute(f"SET SESSION {setting}")
    mode = statements.MODES["MariaDB" if session.mariadb else "MySQL"]
    session.execute(f"SET SESSION sql_mode='{mode}'")


def _shown(statement: str) -> str:
    """Return what a statement is about, without the hash of a password."""
    return re.split(r" IDENTIFIED ", statement, maxsplit=1)[0]


def _end_session(session: Session, number: int) -> None:
    """End another session, and wait until it is gone: it may be at work on what nobody waits for any more.

    Raises:
        SourceError: it is still there.
    """
    with contextlib.suppress(StatementError):
        session.execute(f"KILL {number}")
    for _ in range(_KILL_ATTEMPTS):
        if not session.number(f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID={number}"):  # noqa: S608
            return
        time.sleep(_KILL_SECONDS)  # a call that was cancelled has to be undone, too
    raise SourceError(f"the session {number}, which restores, does not end, and may still change accounts")


def _undo(target: Source, number: int, before: Accounts, restored: Accounts, created: list[Name]) -> None:
    """Make the accounts of a restore that failed what they were before it; ``number`` is its session.

    All that it ``created`` are dropped, even where the server reads them back under another name.

    Raises:
        SourceError: that failed, too.
    """
    names = {u.name for u in restored.users}
    users = tuple(u for u in before.users if u.name in names)
    existed = {u.name for u in users}

    def touched(facts: Iterable[object]) -> tuple[object, ...]:
        return tuple(f for f in facts if f.member in existed or f.member.user == "PUBLIC")  # type: ignore[attr-defined]

    wanted = replace(
        before,
        users=users,
        memberships=touched(before.memberships),
        default_roles=touched(before.default_roles),
        grants=touched(before.grants),
        proxies=touched(before.proxies),
    )
    done = [statements.drop(name) for name in created]
    failed: list[str] = []
    try:
        session = connect(target, None)
        try:
            _end_session(session, number)
            now = read_accounts(session)
            prepare(session)
            # What was created when the session ended is told by what is there alone.
            done += [statements.drop(u.name) for u in now.users if u.name in names - existed - set(created)]
            for statement in reversed(done):
                try:
                    session.execute(statement)
                except StatementError as error:
                    if error.lost:
                        raise
                    failed.append(f"{statement}: {error}")
            todo = plan(wanted, read_accounts(session), circumstances(session, spare=False))
            for statement in (*todo.creations, *todo.changes):
                session.execute(statement)
        finally:
            session.close()
        if failed:
            raise SourceError("; ".join(failed))
    except DumptyError as error:
        raise SourceError(
            f"accounts on {address(target)} were restored in part, and that could not be undone ({error}); look at "
            f"them before they are used: {'; '.join(done) or 'SHOW CREATE USER, SHOW GRANTS'}"
        ) from None
