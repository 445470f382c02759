"""Begins one snapshot on several connections, without keeping the writers of other databases waiting.

MariaDB with a binary log tells each snapshot's place in it: equal places are equal snapshots. That needs every write to
be in the binary log. Elsewhere the tables of this one database are locked for reading while each connection begins, at
a moment when nobody writes: looked for during a second, and never waited for. Whoever waits for locks keeps others
waiting behind them, and the server ends a transaction of theirs where each waits for the other; the global lock
even waits for the longest statement of the whole server.

A transaction that was prepared (XA) is in the binary log some time before its rows can be seen, and holds no lock on
its tables once its session has ended: while there is one, neither way is taken.

MySQL has neither such positions nor locks that are not waited for: there one connection reads.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.session import LOCK_ERRORS, StatementError, decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty_plugins.mysql.server.session import Session

BEGIN = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
LOG_POSITION, TABLE_LOCKS, ONE_CONNECTION = "binary log position", "table locks", "one connection"
"""How the connections of a backup came to share one snapshot, as a backup's property ``snapshot`` says it."""
_ATTEMPTS = 50
_LOCK_ATTEMPTS, _LOCK_PAUSE_SECONDS = 50, 0.02
"""How often a moment without writers is looked for, and the seconds between."""
_NO_QUIET_MOMENT = "there was no moment at which nobody was writing, and the server has no binary log to compare"
_SYNTAX = 1064
_NO_PRIVILEGE = frozenset({1044, 1045, 1142, 1227})


def everything_is_logged(session: Session) -> bool:
    """Return whether every write of the server is known to go to its binary log, as far as it can be asked.

    A session that was set to leave its writes out (``sql_log_bin=0``) cannot be asked for.
    """
    if not session.mariadb or session.text("SELECT @@log_bin") != "1":
        return False
    try:
        status = session.rows("SHOW MASTER STATUS")
        if not status or any(status[0][2:4]):  # some databases are left out
            return False
        if session.text("SELECT @@log_slave_updates") == "1":
            return True
        cluster = session.rows("SHOW VARIABLES LIKE 'wsrep_on'")
        if cluster and decode(cluster[0][1]).upper() == "ON":
            return False
        return not session.rows("SHOW ALL SLAVES STATUS")
    except StatementError as error:
        if error.lost:
            raise
        return False  # no privilege to know


def begin_at_one_position(sessions: Sequence[Session]) -> bool:
    """Begin snapshots until all are at one place of the binary log; False where that was not to be had."""
    for _ in range(_ATTEMPTS):
        commits = _prepared_commits(sessions[0])
        none_prepared = not _has_prepared(sessions[0])
        for session in sessions:
            session.execute(BEGIN)
        positions = {tuple(session.rows("SHOW STATUS LIKE 'Binlog_snapshot_%'")) for session in sessions}
        same_position = (
            len(positions) == 1 and all(value for _, value in next(iter(positions))) and next(iter(positions))
        )
        if same_position and none_prepared and _prepared_commits(sessions[0]) == commits:
            return True
        for session in sessions:
            session.execute("ROLLBACK")
    return False


def _has_prepared(session: Session) -> bool:
    """Return whether a transaction is prepared, and may be committed by anybody at any moment."""
    try:
        return bool(session.rows("XA RECOVER"))
    except StatementError as error:
        if error.lost:
            raise
        return True  # no privilege to know


def _prepared_commits(session: Session) -> str:
    """Return how often a prepared transaction was committed on this server."""
    return decode(session.rows("SHOW GLOBAL STATUS LIKE 'Com_xa_commit'")[0][1])


def long_writer(session: Session, database: str) -> str:
    """Return what would outlast the wait for the tables of ``database``, "" where nothing is known to."""
    name = literal(database)
    for query in (
        (
            "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Query','Execute') AND TIME>=1 "
            f"AND ID<>CONNECTION_ID() AND INFO NOT LIKE 'SELECT%' AND (DB={name} OR LOCATE({name}, INFO))"
        ),
        (
            "SELECT p.ID FROM information_schema.INNODB_TRX t JOIN information_schema.PROCESSLIST p "
            f"ON p.ID=t.trx_mysql_thread_id WHERE p.DB={name} AND t.trx_rows_modified>0 AND p.TIME>=1"
        ),
    ):
        try:
            rows = session.rows(query)
        except StatementError as error:
            if error.lost:
                raise
            continue  # no privilege to look; the wait is short anyway
        if rows:
            return f"connection {decode(rows[0][0])} has been writing for more than a second"
    return ""


def lock_at_one_moment(parts: Sequence[tuple[Session, Sequence[str]]]) -> str:
    """Lock tables for reading, each part over a session of its own, at a moment when nobody writes any of them.

    No part waits, and no part stays locked while another cannot be had: a writer who came in between and waits for the
    one may hold the other, or stand before it in the line.

    Args:
        parts: sessions, and names of tables in the session's default database, none twice.

    Returns:
        "" where all are locked, else why that was not to be had; then none is.
    """
    lock_statements = [
        (s, "LOCK TABLES " + ", ".join(f"{identifier(n)} READ" for n in t) + " NOWAIT") for s, t in parts if t
    ]
    for _ in range(_LOCK_ATTEMPTS):
        locked_sessions: list[Session] = []
        reason = ""
        for session, statement in lock_statements:
            reason = _lock_refusal(session, statement)
            if reason:
                break
            locked_sessions.append(session)
        else:
            if not _has_prepared(parts[0][0]):
                return ""
            reason = "transactions are prepared (XA RECOVER shows them), whose commits no lock keeps waiting"
        for session in locked_sessions:
            session.execute("UNLOCK TABLES")
        if reason != _NO_QUIET_MOMENT:
            return reason
        time.sleep(_LOCK_PAUSE_SECONDS)
    return _NO_QUIET_MOMENT


def _lock_refusal(session: Session, statement: str) -> str:
    """Return why the server did not lock what ``statement`` names, "" where it did."""
    try:
        session.execute(statement)
    except StatementError as error:
        if error.code in _NO_PRIVILEGE:
            return "the account lacks the right LOCK TABLES"
        if error.code == _SYNTAX:
            return "the server is older than MariaDB 10.3"
        if error.code not in LOCK_ERRORS:
            raise
        return _NO_QUIET_MOMENT
    return ""
