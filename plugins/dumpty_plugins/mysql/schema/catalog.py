"""What a database holds: its tables with columns and keys, and its stored objects, as the server shows them."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dumpty_plugins.mysql.schema.columns import quote
from dumpty_plugins.mysql.server.session import decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty_plugins.mysql.schema.columns import Column
    from dumpty_plugins.mysql.server.session import Session

StoredObjectKind = Literal["view", "trigger", "procedure", "function", "package", "package body", "event"]

TRANSACTIONAL = frozenset({"innodb", "rocksdb", "tokudb"})
"""Engines whose rows a snapshot freezes, in lower case."""
MERGED = "mrg_myisam"
"""The engine whose rows are those of other tables in the same database."""
REMOTE = frozenset({"federated", "connect", "spider", "oqgraph", "s3", "sphinx", "ndbcluster"})
"""Engines whose rows are not in this database, or not only."""


@dataclass(frozen=True, kw_only=True)
class ComputedColumn:
    """A stored generated column: its name, and SQL that is true for a row that stores what its expression gives."""

    name: str
    matches: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """A base table, and how to write its rows.

    ``key``: the columns of a key that orders every row (primary, or unique without NULL), empty where there is none
    or it cannot be cut into ranges; ``index`` its name. ``versioned``: rows of the past are kept and dumped, too, valid
    from and to what ``period`` names. ``generated``: the server computes a column, ``stored`` are those that it stores,
    ``computed`` says how each can be computed again. ``float_counter``: its AUTO_INCREMENT counts in floating point.
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
    period: tuple[str, str] = ("row_start", "row_end")
    generated: bool = False
    stored: tuple[Column, ...] = ()
    computed: tuple[ComputedColumn, ...] = ()
    float_counter: bool = False

    @property
    def lenient(self) -> bool:
        """Whether strict modes may refuse its rows: an ENUM's error value 0, or what the server computes from them."""
        return self.generated or self.float_counter or any(c.type == "enum" for c in self.columns)

    @property
    def transactional(self) -> bool:
        """Whether a snapshot freezes its rows."""
        return self.engine.lower() in TRANSACTIONAL

    @property
    def merged(self) -> bool:
        """Whether its rows are those of other tables, and so no part of a dump."""
        return self.engine.lower() == MERGED

    @property
    def rows_from(self) -> str:
        """The table as it stands after FROM, rows of the past included, but for those that no table takes back."""
        start, end = map(identifier, self.period)
        return rows_from(self.name, versioned=self.versioned) + (f" WHERE {start}<{end}" if self.versioned else "")

    @property
    def momentary_count(self) -> str:
        """SQL that counts the rows of a versioned table that were replaced in the moment in which they were written."""
        start, end = map(identifier, self.period)
        return f"SELECT COUNT(*) FROM {rows_from(self.name, versioned=True)} WHERE NOT {start}<{end}"


@dataclass(frozen=True, kw_only=True)
class SequenceDefinition:
    """A sequence of MariaDB, and the statement that brings it to its state."""

    name: str
    create: bytes
    state: bytes


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """A view, trigger, routine or event (MySQL's word; no object in a store): its statement, and its session.

    ``columns`` are those of a view. ``charset`` is the statement's own, in which its bytes stand.
    """

    kind: StoredObjectKind
    name: str
    create: bytes
    charset: str
    collation: str
    sql_mode: str | None = None
    database_collation: str = ""
    time_zone: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What a database has of its own. ``comment`` is None where the server knows none."""

    charset: str
    collation: str
    comment: str | None


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Everything in one database. ``listing`` is what must not change while the rest is read."""

    settings: Settings
    sequences: tuple[SequenceDefinition, ...]
    tables: tuple[Table, ...]
    stored_objects: tuple[StoredObject, ...]
    listing: frozenset[tuple[str, ...]]
    notes: tuple[str, ...] = field(default=())


def rows_from(name: str, *, versioned: bool) -> str:
    """Return the table ``name`` as it stands after FROM."""
    return identifier(name) + (" FOR SYSTEM_TIME ALL" if versioned else "")


def listing(session: Session, database: str) -> frozenset[tuple[str, ...]]:
    """Return every object of ``database`` by kind and name, with the time of its last change where there is one."""
    where = literal(database)
    entries: set[tuple[str, ...]] = set()
    kind = "IF(ENGINE='MRG_MyISAM','MERGE TABLE',TABLE_TYPE)"
    for columns, source, schema in (
        (
            f"'table', TABLE_NAME, {kind}, IF(ENGINE IN ('InnoDB','MyISAM','Aria'),CREATE_TIME,'')",
            "TABLES",
            "TABLE_SCHEMA",
        ),
        ("'view', TABLE_NAME, SHA2(VIEW_DEFINITION,256), DEFINER, SECURITY_TYPE", "VIEWS", "TABLE_SCHEMA"),
        ("'trigger', TRIGGER_NAME, CREATED, ACTION_ORDER", "TRIGGERS", "TRIGGER_SCHEMA"),
        ("ROUTINE_TYPE, ROUTINE_NAME, LAST_ALTERED", "ROUTINES", "ROUTINE_SCHEMA"),
        ("'event', EVENT_NAME, LAST_ALTERED", "EVENTS", "EVENT_SCHEMA"),
    ):
        rows = session.rows(f"SELECT {columns} FROM information_schema.{source} WHERE {schema}={where}")
        entries |= {tuple(decode(v) for v in row) for row in rows}
    return frozenset(entries)


def drop_statements(kind: str, database: str, name: str) -> tuple[str, ...]:
    """Return the statements that drop one object, if it is there. The body of a package goes with the package."""
    statement = f"DROP {kind.upper()} IF EXISTS {identifier(database)}.{identifier(name)}"
    if kind.upper() == "PACKAGE":  # a word that only this mode knows
        return "SET sql_mode=ORACLE", statement, "SET sql_mode=''"
    return () if kind.upper() == "PACKAGE BODY" else (statement,)


def entry_identity(entry: tuple[str, ...]) -> tuple[str, str]:
    """Return the kind of an entry of a listing, as ``StoredObject`` has it or "table", and its name in lower case."""
    if entry[0] == "table" and entry[2] in {"VIEW", "SYSTEM VIEW"}:
        return "view", entry[1].lower()
    return entry[0].lower(), entry[1].lower()


def base_tables(entries: Collection[tuple[str, ...]]) -> list[str]:
    """Return the names of the tables in a listing, sequences and views apart."""
    return sorted(e[1] for e in entries if e[0] == "table" and e[2] not in {"VIEW", "SYSTEM VIEW", "SEQUENCE"})


def movable_names(session: Session, database: str) -> list[str]:
    """Return the names of what RENAME TABLE can move out of ``database``: its tables and sequences."""
    entries = listing(session, database)
    return sorted([*base_tables(entries), *(e[1] for e in entries if e[0] == "table" and e[2] == "SEQUENCE")])


def database_settings(session: Session, database: str) -> Settings:
    """Return the settings of ``database``."""
    where = f"FROM information_schema.SCHEMATA WHERE SCHEMA_NAME={literal(database)}"
    charset, collation = session.rows(f"SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME {where}")[0]
    comment = None
    if session.rows("SHOW COLUMNS FROM information_schema.SCHEMATA LIKE 'SCHEMA_COMMENT'"):
        comment = session.text(f"SELECT SCHEMA_COMMENT {where}")
    return Settings(decode(charset), decode(collation), comment)


def settings_clause(settings: Settings, *, always: bool = False) -> str:
    """Return ``settings`` as CREATE and ALTER DATABASE take them, an empty comment only if ``always``."""
    comment = ""
    if settings.comment or (always and settings.comment is not None):
        comment = f" COMMENT = {quote(settings.comment.encode()).decode()}"
    return f" CHARACTER SET = {settings.charset} COLLATE = {settings.collation}{comment}"


def alter_database(session: Session, database: str, settings: Settings, *, attempts: int = 1) -> None:
    """Give ``database`` these settings."""
    session.execute_retrying(f"ALTER DATABASE {identifier(database)}{settings_clause(settings, always=True)}", attempts)
