"""What a database holds: its tables with their columns and keys, and everything that is code, as the server tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dumpty import SourceError

from .columns import Column, column, generated
from .connection import StatementError, decode
from .names import UNSAFE_CHARSETS, identifier, literal, relative

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .connection import Session

CodeKind = Literal["view", "trigger", "procedure", "function", "package", "package body", "event"]

TRANSACTIONAL = frozenset({"innodb", "rocksdb", "tokudb", "ndbcluster"})
"""Engines whose rows a snapshot freezes, in lower case."""
_NO_RIGHT = frozenset({1044, 1142, 1143, 1227, 1370})
_BROKEN_VIEW = 1356


@dataclass(frozen=True, kw_only=True)
class Table:
    """A base table, and how to write its rows.

    ``key``: the columns of a key that orders every row (primary, or unique without NULL), empty where there is none
    or it cannot be cut into ranges; ``index`` its name. ``versioned``: rows of the past are kept and dumped, too.
    ``enums``: a value may be the error value 0, which strict modes refuse to load.
    """

    name: str
    engine: str
    create: bytes
    columns: tuple[Column, ...]
    key: tuple[Column, ...] = ()
    index: str = ""
    row_bytes: int = 0
    data_bytes: int = 0
    versioned: bool = False

    @property
    def enums(self) -> bool:
        """Whether a column is an ENUM."""
        return any(c.type == "enum" for c in self.columns)

    @property
    def transactional(self) -> bool:
        """Whether a snapshot freezes its rows."""
        return self.engine.lower() in TRANSACTIONAL

    @property
    def rows_from(self) -> str:
        """The table as it stands after FROM, rows of the past included."""
        return rows_from(self.name, versioned=self.versioned)


@dataclass(frozen=True, kw_only=True)
class Sequence_:
    """A sequence of MariaDB, and the statement that brings it to its state."""

    name: str
    create: bytes
    state: bytes


@dataclass(frozen=True, kw_only=True)
class Code:
    """A view, trigger, routine or event: its statement, and the session that it was written in.

    ``columns`` are those of a view. ``charset`` is the statement's own, in which its bytes stand.
    """

    kind: CodeKind
    name: str
    create: bytes
    charset: str
    collation: str
    sql_mode: str | None = None
    database_collation: str = ""
    time_zone: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Everything in one database. ``listing`` is what must not change while the rest is read."""

    charset: str
    collation: str
    comment: str
    sequences: tuple[Sequence_, ...]
    tables: tuple[Table, ...]
    code: tuple[Code, ...]
    listing: frozenset[tuple[str, ...]]
    notes: tuple[str, ...] = field(default=())


def rows_from(name: str, *, versioned: bool) -> str:
    """Return the table ``name`` as it stands after FROM."""
    return identifier(name) + (" FOR SYSTEM_TIME ALL" if versioned else "")


def listing(session: Session, database: str) -> frozenset[tuple[str, ...]]:
    """Return every object of ``database`` by kind and name, with the time of its last change where there is one."""
    where = literal(database)
    found: set[tuple[str, ...]] = set()
    for sql in (
        "SELECT 'table', TABLE_NAME, TABLE_TYPE, IF(ENGINE IN ('InnoDB','MyISAM','Aria'),CREATE_TIME,'') "
        f"FROM information_schema.TABLES WHERE TABLE_SCHEMA={where}",
        "SELECT 'view', TABLE_NAME, MD5(VIEW_DEFINITION), DEFINER, SECURITY_TYPE FROM information_schema.VIEWS "
        f"WHERE TABLE_SCHEMA={where}",
        "SELECT 'trigger', TRIGGER_NAME, CREATED, ACTION_ORDER FROM information_schema.TRIGGERS "
        f"WHERE TRIGGER_SCHEMA={where}",
        f"SELECT ROUTINE_TYPE, ROUTINE_NAME, LAST_ALTERED FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA={where}",
        f"SELECT 'event', EVENT_NAME, LAST_ALTERED FROM information_schema.EVENTS WHERE EVENT_SCHEMA={where}",
    ):
        found |= {tuple(decode(v) for v in row) for row in session.rows(sql)}
    return frozenset(found)


def base_tables(entries: Collection[tuple[str, ...]]) -> list[str]:
    """Return the names of the tables in a listing, sequences and views apart."""
    return sorted(e[1] for e in entries if e[0] == "table" and e[2] not in {"VIEW", "SYSTEM VIEW", "SEQUENCE"})


class CatalogReader:
    """Reads the definitions of one database's objects.

    Args:
        session: its default database is ``database``, and it holds the metadata locks that keep tables still.
        database: the database's name.
        entries: its listing.
        skip: kinds that the user left out: "trigger", "routine", "event".
    """

    def __init__(
        self, session: Session, database: str, entries: frozenset[tuple[str, ...]], skip: Collection[str]
    ) -> None:
        self._session = session
        self._database = database
        self._entries = entries
        self._skip = skip
        self._objects = {e[1] for e in entries}
        self._fold = session.number("SELECT @@lower_case_table_names") != 0
        self._notes: list[str] = []

    def read(self) -> Catalog:
        """Read everything.

        Raises:
            SourceError: a right is missing, a view is broken, or a column is of an unknown type.
        """
        kinds = {e[1]: e[2] for e in self._entries if e[0] == "table"}
        charset, collation = self._session.rows(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
            f"WHERE SCHEMA_NAME={literal(self._database)}"
        )[0]
        comment = ""
        if self._session.rows("SHOW COLUMNS FROM information_schema.SCHEMATA LIKE 'SCHEMA_COMMENT'"):
            comment = self._session.text(
                f"SELECT SCHEMA_COMMENT FROM information_schema.SCHEMATA WHERE SCHEMA_NAME={literal(self._database)}"
            )
        sequences = tuple(self._sequence(n) for n, kind in sorted(kinds.items()) if kind == "SEQUENCE")
        tables = self._tables(base_tables(self._entries), kinds)
        code = (*self._routines(), *self._views(), *self._triggers(), *self._events())
        return Catalog(
            charset=decode(charset),
            collation=decode(collation),
            comment=comment,
            sequences=sequences,
            tables=tables,
            code=code,
            listing=self._entries,
            notes=tuple(self._notes),
        )

    def _sequence(self, name: str) -> Sequence_:
        create = self._session.rows(f"SHOW CREATE SEQUENCE {identifier(name)}")[0][1] or b""
        following, rounds = self._session.rows(
            f"SELECT next_not_cached_value, cycle_count FROM {identifier(name)}"
        )[0]
        state = f"DO SETVAL({identifier(name)}, {decode(following)}, 0, {decode(rounds)})".encode()
        return Sequence_(name=name, create=create, state=state)

    def _tables(self, names: Sequence[str], kinds: dict[str, str]) -> tuple[Table, ...]:
        where = f"TABLE_SCHEMA={literal(self._database)}"
        columns: dict[str, list[tuple[str, str, str, str]]] = {}
        for row in self._session.rows(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME, EXTRA FROM information_schema.COLUMNS "
            f"WHERE {where} ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ):
            table, *rest = (decode(v) for v in row)
            columns.setdefault(table, []).append((rest[0], rest[1].lower(), rest[2], rest[3]))
        keys: dict[str, dict[str, list[tuple[str, bool]]]] = {}
        for row in self._session.rows(
            "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE, INDEX_TYPE FROM "
            f"information_schema.STATISTICS WHERE {where} AND NON_UNIQUE=0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
        ):
            table, index, name, part, nullable, method = (decode(v) for v in row)
            usable = not part and nullable != "YES" and method == "BTREE"
            keys.setdefault(table, {}).setdefault(index, []).append((name, usable))
        sizes = {
            decode(row[0]): row[1:]
            for row in self._session.rows(
                f"SELECT TABLE_NAME, ENGINE, AVG_ROW_LENGTH, DATA_LENGTH FROM information_schema.TABLES WHERE {where}"
            )
        }
        return tuple(
            self._table(n, columns.get(n, []), keys.get(n, {}), sizes[n], versioned=kinds[n] == "SYSTEM VERSIONED")
            for n in names
        )

    def _table(  # noqa: PLR0913 - one row of four lists
        self,
        name: str,
        described: Sequence[tuple[str, str, str, str]],
        keys: dict[str, list[tuple[str, bool]]],
        size: tuple[bytes | None, ...],
        *,
        versioned: bool,
    ) -> Table:
        rows = self._session.rows(f"SHOW CREATE TABLE {identifier(name)}")
        create, _ = relative(
            rows[0][1] or b"", self._database, self._objects, fold=self._fold, aliases=False
        )
        columns = [column(name, n, t, charset) for n, t, charset, extra in described if not generated(extra)]
        if versioned:
            columns += self._period(name)
        key, index = self._key(columns, {} if versioned else keys)
        return Table(
            name=name,
            engine=decode(size[0]),
            create=create,
            columns=tuple(columns),
            key=key,
            index=index,
            row_bytes=int(size[1] or 0),
            data_bytes=int(size[2] or 0),
            versioned=versioned,
        )

    def _period(self, table: str) -> list[Column]:
        """Return the two columns that say from when to when a version of a row was valid."""
        rows = self._session.rows(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA="
            f"{literal(self._database)} AND TABLE_NAME={literal(table)} AND GENERATION_EXPRESSION IN ('ROW START','ROW END')"
        )
        named = [(decode(n), decode(t).lower()) for n, t in rows] or [("row_start", "timestamp"), ("row_end", "timestamp")]
        if any(t != "timestamp" for _, t in named):
            raise SourceError(
                f"table {table} keeps its history by transaction, which no dump can carry: convert it to timestamps"
            )
        return [column(table, n, t, "") for n, t in named]

    @staticmethod
    def _key(
        columns: Sequence[Column], keys: dict[str, list[tuple[str, bool]]]
    ) -> tuple[tuple[Column, ...], str]:
        by_name = {c.name: c for c in columns}
        for index in sorted(keys, key=lambda k: (k != "PRIMARY", len(keys[k]), k)):
            parts = keys[index]
            if all(usable and n in by_name and by_name[n].orderly for n, usable in parts):
                return tuple(by_name[n] for n, _ in parts), index
        return (), ""

    def _views(self) -> list[Code]:
        found = []
        for name in sorted(e[1] for e in self._entries if e[0] == "table" and e[2] == "VIEW"):
            try:
                names = tuple(decode(r[0]) for r in self._session.rows(f"SHOW COLUMNS FROM {identifier(name)}"))
                with self._session.raw():
                    row = self._session.rows(f"SHOW CREATE VIEW {identifier(name)}")[0]
            except StatementError as error:
                raise self._refused(error, "view", name, "SHOW VIEW") from error
            found.append(
                self._code("view", name, row[1], charset=decode(row[2]), collation=decode(row[3]), columns=names)
            )
        return found

    def _triggers(self) -> list[Code]:
        if "trigger" in self._skip:
            return []
        names = self._session.rows(
            f"SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA={literal(self._database)} "
            "ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
        )
        return [self._shown("trigger", decode(n), "TRIGGER") for (n,) in names]

    def _routines(self) -> list[Code]:
        if "routine" in self._skip:
            return []
        kinds: tuple[CodeKind, ...] = ("package", "package body", "function", "procedure")
        return [
            self._shown(kind, name, "SHOW CREATE ROUTINE (SELECT on mysql.proc; SHOW_ROUTINE in MySQL)")
            for kind in kinds
            for name in sorted(e[1] for e in self._entries if e[0] == kind.upper())
        ]

    def _events(self) -> list[Code]:
        if "event" in self._skip:
            return []
        return [self._shown("event", n, "EVENT") for n in sorted(e[1] for e in self._entries if e[0] == "event")]

    def _shown(self, kind: CodeKind, name: str, right: str) -> Code:
        try:
            with self._session.raw():
                row = self._session.rows(f"SHOW CREATE {kind.upper()} {identifier(name)}")[0]
        except StatementError as error:
            raise self._refused(error, kind, name, right) from error
        zone = ""
        if kind == "event":
            zone, row = decode(row[2]), (*row[:2], *row[3:])
        return self._code(
            kind,
            name,
            row[2],
            charset=decode(row[3]),
            collation=decode(row[4]),
            sql_mode=decode(row[1]),
            database_collation=decode(row[5]),
            time_zone=zone,
        )

    def _code(self, kind: CodeKind, name: str, create: bytes | None, *, charset: str, **more: object) -> Code:
        if create is None:
            raise SourceError(
                f"the body of {kind} {self._database}.{name} is hidden from this account: grant it SELECT on mysql.proc "
                "(MySQL 8: SHOW_ROUTINE), or leave routines out with the option routines=off"
            )
        if charset.lower() in UNSAFE_CHARSETS and not create.isascii():
            raise SourceError(
                f"{kind} {self._database}.{name} was written in {charset} with characters beyond ASCII, which cannot be "
                "split safely: create it again from a session in utf8mb4"
            )
        text, left = relative(create, self._database, self._objects, fold=self._fold)
        if left:
            self._notes.append(
                f"{kind} {name} names its own database {self._database}: restored under another name it may still use it"
            )
        return Code(kind=kind, name=name, create=text, charset=charset, **more)  # type: ignore[arg-type]

    def _refused(self, error: StatementError, kind: str, name: str, right: str) -> SourceError:
        if error.code in _NO_RIGHT:
            return SourceError(
                f"{kind} {self._database}.{name} cannot be read: the account lacks the right {right} ({error})"
            )
        if error.code == _BROKEN_VIEW:
            return SourceError(
                f"view {self._database}.{name} is broken and could not be restored: it refers to something that is gone "
                f"or forbidden to its definer; drop or mend it ({error})"
            )
        return SourceError(f"{kind} {self._database}.{name} cannot be read: {error}")
