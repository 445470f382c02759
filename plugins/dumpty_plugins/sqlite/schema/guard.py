"""What a dump may do to the database that is being built from it.

A dump is text from elsewhere, and SQL can open other files. SQLite asks an authorizer about every action while it
compiles a statement (https://www.sqlite.org/c3ref/set_authorizer.html); whatever is not on these lists is refused.
"""

from __future__ import annotations

import sqlite3

_MODULES = {"fts3", "fts4", "fts5", "fts5vocab", "fts4aux", "fts3tokenize", "rtree", "rtree_i32", "geopoly"}
"""The virtual tables that SQLite brings along. They reach nothing outside their own database."""

_PRAGMAS = {
    "page_size",
    "encoding",
    "auto_vacuum",
    "user_version",
    "application_id",
    "foreign_keys",
    "ignore_check_constraints",
}
_FUNCTIONS = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
_ACTIONS = {
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_ANALYZE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_UPDATE,
}
"""Those that stay inside the database being built."""


class Guard:
    """An authorizer on a connection. ``refusal`` says what it last refused, or is ""."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.refusal = ""
        database.set_authorizer(self._decide)

    def _decide(self, action: int, argument: str | None, second_argument: str | None, *_: str | None) -> int:
        reason = _objection(action, argument, second_argument)
        if not reason:
            return sqlite3.SQLITE_OK
        self.refusal = reason
        return sqlite3.SQLITE_DENY


def _objection(action: int, argument: str | None, second_argument: str | None) -> str:
    if action in _ACTIONS:
        return ""
    if action == sqlite3.SQLITE_FUNCTION:
        return (
            f"the function {second_argument}() is not allowed in a dump"
            if (second_argument or "").lower() in _FUNCTIONS
            else ""
        )
    if action == sqlite3.SQLITE_PRAGMA:
        wal = (argument or "").lower() == "journal_mode" and (second_argument or "").lower() == "wal"
        allowed = second_argument is None or wal or (argument or "").lower() in _PRAGMAS
        return "" if allowed else f"PRAGMA {argument} is not allowed in a dump"
    if action == sqlite3.SQLITE_CREATE_VTABLE:
        return (
            ""
            if (second_argument or "").lower() in _MODULES
            else f"virtual tables of module {second_argument} are not known to SQLite itself"
        )
    if action == sqlite3.SQLITE_ATTACH:
        return "ATTACH is not allowed in a dump"
    return f"action {action} ({argument}) is not allowed in a dump"
