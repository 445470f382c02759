"""Fills the tables of a dump: its rows in batches, side by side, and then the indexes that large tables do without."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql.loading import parallel
from dumpty_plugins.mysql.schema.columns import is_generated
from dumpty_plugins.mysql.schema.indexes import Deferral, definition, referenced
from dumpty_plugins.mysql.server.session import StatementError, decode
from dumpty_plugins.mysql.server.sql import literal
from dumpty_plugins.mysql.server.sql_modes import LOOSE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from dumpty_plugins.mysql.loading.allowlist import Statement
    from dumpty_plugins.mysql.server.session import Session

_CUT_SHORT = 1265
_OVERFLOW = 1916
_COLUMN_NAMED = re.compile(r"\bcolumn ['`].*['`]", re.IGNORECASE | re.DOTALL)
_UTC = b"SET time_zone='+00:00'"
_OUTDATED_WARNINGS = frozenset({1287, 1681, 3719, 3720, 3778})
"""Warnings of MySQL that a word of the statement, such as a character set's name, will not be known for ever."""
_INTRODUCED_LITERAL = re.compile(rb"[(,]_\w+ X'")
_DEADLOCK = 1213
_ATTEMPTS = 10


class TableFiller:
    """Gives the rows of one table after the other to the sessions that load them.

    Args:
        session: where the tables are made.
        pool: the sessions that load.
        database: the name of the database, for messages.
        defer_indexes: whether a statement may take as long as an index does.
    """

    def __init__(self, session: Session, pool: parallel.Loaders, database: str, *, defer_indexes: bool) -> None:
        self._session = session
        self._pool = pool
        self._database = database
        self._defer_indexes = defer_indexes
        self._settings: dict[str, bytes] = {}
        self._linked: dict[str, set[str]] = {}
        self._indexing: dict[str, Future[None]] = {}
        self._empty: dict[str, Statement] = {}
        self._table: Statement | None = None
        self._begin("")

    def set(self, text: bytes) -> None:
        """From now on, rows are loaded under what this SET says."""
        self._flush()
        name = text.split()[1].split(b"=")[0].decode().lower()
        # The dump puts it off for programs that load one row at a time. Here it would let equal rows pass, and make
        # each table's first batch lock the whole table.
        self._settings[name] = b"SET UNIQUE_CHECKS=1" if name == "unique_checks" else text

    def begin(self, statement: Statement) -> None:
        """Get ready to make the table of ``statement``: everything that must come before has been done."""
        self.finish()
        self._empty[statement.name] = statement
        name = statement.name.lower()
        for related in referenced(statement.text):
            self._linked.setdefault(name, set()).add(related)
            self._linked.setdefault(related, set()).add(name)
        self._wait_for_related(name)

    def _wait_for_related(self, name: str) -> None:
        # A key that a foreign key stands on: both tables at once are more than the server should have to sort out.
        for related in self._linked.get(name, ()):
            if related in self._indexing:
                self._indexing.pop(related).result()

    def add(self, statement: Statement) -> None:
        """Load the rows of one INSERT, some time before ``finish`` of all returns."""
        if statement.name != self._name:
            self.finish()
            self._begin(statement.name)
            self._table = self._empty.pop(statement.name, None)
            self._wait_for_related(statement.name.lower())
        elif self._size >= parallel.BATCH_BYTES:
            # There is more to come: only now it is worth while to look at the table.
            self._plan()
            self._flush()
        self._zone = self._settings.get("time_zone", _UTC)
        self._batch.append(statement)
        self._size += len(statement.text)

    def finish(self) -> None:
        """See that the rows of the table at hand are on their way, and its indexes after them."""
        self._flush()
        deferral = self._deferral
        if deferral:

            def index(session: Session) -> None:
                try:
                    deferral.add(session)
                except SourceError as error:
                    raise SourceError(f"the dump cannot be loaded into {self._database}: {error}") from error

            # In the mode of tables: there a key is made of whatever the rows hold. In the time zone of the rows: where
            # the server copies the table, it computes them again.
            index_settings = {"sql_mode": f"SET sql_mode='{LOOSE}'".encode(), "time_zone": self._zone}
            self._indexing[self._name.lower()] = self._pool.submit(
                index, self._settings | index_settings, after=self._rows
            )
        self._begin("")

    def _begin(self, name: str) -> None:
        self._name = name
        self._table = None
        self._zone = _UTC
        self._planned = False
        self._rows_begun = False
        self._side_by_side = False
        self._deferral: Deferral | None = None
        self._rows: list[Future[None]] = []
        self._batch: list[Statement] = []
        self._size: int = 0

    def _plan(self) -> None:
        if self._planned:
            return
        self._planned = True
        if self._table is None:
            return  # rows of an earlier table again: no dump of ours, so nothing is known
        before = definition(self._session, self._name)
        if self._defer_indexes and not self._rows_begun:
            self._deferral = Deferral(self._session, self._name, self._table.text, before)
        # Looking for equal rows locks what lies beside them: two sessions could wait for each other.
        self._side_by_side = before.ordered and not before.unique(self._deferral.names if self._deferral else ())

    def _flush(self) -> None:
        batch, size = self._batch, self._size
        self._batch, self._size = [], 0
        if not batch:
            return
        self._rows_begun = True
        self._rows = [r for r in self._rows if not r.done() or r.exception()]
        # Rows that lie as they were inserted are inserted in their order.
        before = [] if self._side_by_side else self._rows[-1:]
        strict = b"STRICT" in self._settings.get("sql_mode", b"")

        def insert(session: Session) -> None:
            _insert_all(session, batch, self._database, strict=strict)

        self._rows.append(self._pool.submit(insert, self._settings, size, before))


def _insert_all(session: Session, batch: Sequence[Statement], database: str, *, strict: bool) -> None:
    for remaining in reversed(range(_ATTEMPTS)):
        try:
            for statement in batch:
                for text in _pieces(session, statement.text, strict=strict):
                    _insert(session, statement, text, database)
        except StatementError as error:
            if error.code != _DEADLOCK or not remaining:
                raise
            session.execute("ROLLBACK")  # all of the batch, and nothing else
        else:
            return


def _pieces(session: Session, text: bytes, *, strict: bool) -> Iterator[bytes]:
    """Split an INSERT that may give more warnings than the server shows: what is not shown might be a row's loss."""
    header, _, rows = text.partition(b"\n")
    values = (rows.count(b"\n") + 1) * (header.count(b"`,`") + 1)
    if values < session.warnings_shown or (strict and not _INTRODUCED_LITERAL.search(rows)):
        yield text
        return
    lines = rows.split(b",\n")  # within a string no line break is written
    size = max(1, (session.warnings_shown - 1) * len(lines) // values)
    for start in range(0, len(lines), size):
        yield header + b"\n" + b",\n".join(lines[start : start + size])


def _insert(session: Session, statement: Statement, text: bytes, database: str) -> None:
    try:
        _, warnings = session.execute(text)
    except StatementError as error:
        message = f"the dump cannot be loaded into {database}, at INSERT {statement.name}: {error}"
        raise StatementError(message, error.code) from error
    if warnings:
        _check_warnings(session, statement, warnings)


def _check_warnings(session: Session, statement: Statement, count: int) -> None:
    """Let pass an ENUM's error value, what comes of columns that the server computes, outdated words; nothing else."""
    warnings = session.rows("SHOW WARNINGS")  # before any other statement: each begins a list of its own
    enums, computed, float_counter = set[str](), set[str](), False
    for row in session.rows(
        "SELECT COLUMN_NAME, DATA_TYPE, EXTRA FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE() "
        f"AND TABLE_NAME={literal(statement.name)}"
    ):
        name, kind, extra = (decode(v) for v in row)
        if is_generated(extra):
            computed.add(name)
        elif kind.lower() == "enum":
            enums.add(name)
        float_counter = float_counter or (kind.lower() in {"float", "double"} and "auto_increment" in extra.lower())
    if len(warnings) < count or count >= parallel.WARNINGS_KEPT:
        raise IntegrityError(
            f"rows of {statement.name} gave more warnings than the server keeps, and it hid some of them: nobody knows "
            "whether those rows went in as they stand in the dump; raise max_error_count there"
        )
    for level, number, message in warnings:
        code, text = int(number or 0), decode(message)
        harmless = code in _OUTDATED_WARNINGS or (code == _CUT_SHORT and _names(text, enums))
        # Rows are plain values: what names no column comes of an expression.
        harmless = harmless or bool(computed and (_names(text, computed) or not _COLUMN_NAMED.search(text)))
        # The next number, which such a counter cannot say; the value itself is stored.
        harmless = harmless or (float_counter and code == _OVERFLOW)
        if not harmless and decode(level) != "Note":
            raise IntegrityError(f"a row of {statement.name} did not go in as it stands in the dump: {text}")


def _names(text: str, columns: set[str]) -> bool:
    return any(f"column '{c}'" in text or f".`{c}`" in text for c in columns)
