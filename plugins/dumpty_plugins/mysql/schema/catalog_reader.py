"""Reads the definitions of everything in a database, and refuses by name what could not be restored."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.mysql.schema.catalog import (
    Catalog,
    SequenceDefinition,
    StoredObject,
    StoredObjectKind,
    Table,
    base_tables,
    database_settings,
)
from dumpty_plugins.mysql.schema.character_sets import CharacterSets, check_readable, encoder, in_one_charset
from dumpty_plugins.mysql.schema.columns import Column, column, described_column, is_generated, is_stored
from dumpty_plugins.mysql.schema.generated_columns import computed_column
from dumpty_plugins.mysql.schema.languages import foreign_routines, refuse_libraries
from dumpty_plugins.mysql.server.session import StatementError, decode
from dumpty_plugins.mysql.server.sql import UNSAFE_CHARSETS, identifier, literal, unqualify

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dumpty_plugins.mysql.server.session import Session

_NO_PRIVILEGE = frozenset({1044, 1142, 1143, 1227, 1370})
_COLUMN_FACTS = (
    *("COLUMN_NAME", "DATA_TYPE", "CHARACTER_SET_NAME", "EXTRA", "COLUMN_TYPE", "CHARACTER_MAXIMUM_LENGTH"),
    *("NUMERIC_PRECISION", "NUMERIC_SCALE", "DATETIME_PRECISION", "GENERATION_EXPRESSION"),
    *("IS_NULLABLE", "CHARACTER_OCTET_LENGTH"),
)
"""What is asked of each column."""
_PERIOD = ("ROW START", "ROW END")


class BrokenViews(SourceError):
    """Views that the server cannot read, all of them named."""


class CatalogReader:
    """Reads the definitions of one database's objects.

    Args:
        session: its default database is ``database``, and it holds the metadata locks that keep tables still.
        database: the database's name.
        entries: its listing.
        skip: kinds that the user left out: "view", "trigger", "routine", "event".
    """

    def __init__(
        self, session: Session, database: str, entries: frozenset[tuple[str, ...]], skip: Collection[str]
    ) -> None:
        self._session = session
        self._database = database
        self._entries = entries
        self._skip = skip
        self._objects = {e[1].encode("utf-8", "surrogateescape") for e in entries}
        self._charsets = CharacterSets(session)
        self._fold = session.number("SELECT @@lower_case_table_names") != 0
        self._notes: list[str] = []
        self._foreign_routines: set[tuple[str, str]] = set()

    def read(self) -> Catalog:
        """Read everything.

        Raises:
            SourceError: a privilege is missing, a view is broken, or a column is of an unknown type.
        """
        kinds = {e[1]: e[2] for e in self._entries if e[0] == "table"}
        sequences = tuple(self._sequence(n) for n, kind in sorted(kinds.items()) if kind == "SEQUENCE")
        tables = self.tables()
        stored_objects = (*self._routines(), *self._views(), *self.triggers(), *self._events())
        return Catalog(
            settings=database_settings(self._session, self._database),
            sequences=sequences,
            tables=tables,
            stored_objects=stored_objects,
            listing=self._entries,
            notes=tuple(self._notes),
        )

    def tables(self) -> tuple[Table, ...]:
        """Read the tables alone."""
        return self._tables(base_tables(self._entries), {e[1]: e[2] for e in self._entries if e[0] == "table"})

    def _sequence(self, name: str) -> SequenceDefinition:
        create = self._session.rows(f"SHOW CREATE SEQUENCE {identifier(name)}")[0][1] or b""
        next_value, rounds = self._session.rows(f"SELECT next_not_cached_value, cycle_count FROM {identifier(name)}")[0]
        state = f"DO SETVAL({identifier(name)}, {decode(next_value)}, 0, {decode(rounds)})".encode()
        return SequenceDefinition(name=name, create=create, state=state)

    def _tables(self, names: Sequence[str], kinds: dict[str, str]) -> tuple[Table, ...]:
        where = f"TABLE_SCHEMA={literal(self._database)}"
        columns: dict[str, list[dict[str, str]]] = {}
        for row in self._session.rows(
            f"SELECT TABLE_NAME, {', '.join(_COLUMN_FACTS)} FROM information_schema.COLUMNS "
            f"WHERE {where} ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ):
            table, *facts = (decode(v) for v in row)
            columns.setdefault(table, []).append(dict(zip(_COLUMN_FACTS, facts, strict=True)))
        keys: dict[str, dict[str, list[tuple[str, bool]]]] = {}
        for row in self._session.rows(
            f"SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE, INDEX_TYPE, {self._hidden_index_sql()} "
            f"FROM information_schema.STATISTICS WHERE {where} AND NON_UNIQUE=0 ORDER BY TABLE_NAME, INDEX_NAME, "
            "SEQ_IN_INDEX"
        ):
            table, index, name, part, nullable, method, hidden = (decode(v) for v in row)
            usable = not part and nullable != "YES" and method == "BTREE" and hidden == "0"
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

    def _hidden_index_sql(self) -> str:
        """Return SQL for whether the server's planner may not use an index, not even when it is told to."""
        columns = self._session.rows(
            "SHOW COLUMNS FROM information_schema.STATISTICS WHERE Field IN ('IS_VISIBLE','IGNORED')"
        )
        hides = {"IS_VISIBLE": "IS_VISIBLE='NO'", "IGNORED": "IGNORED='YES'"}
        return hides[decode(columns[0][0]).upper()] if columns else "0"

    def _table(
        self,
        name: str,
        described: Sequence[dict[str, str]],
        keys: dict[str, list[tuple[str, bool]]],
        size: tuple[bytes | None, ...],
        *,
        versioned: bool,
    ) -> Table:
        with self._session.raw():  # MySQL shows literals in the character set that their introducer names
            rows = self._session.rows(f"SHOW CREATE TABLE {identifier(name)}")
        create, _ = unqualify(rows[0][1] or b"", self._database.encode(), self._objects, fold=self._fold, aliases=False)
        described = [f for f in described if f["GENERATION_EXPRESSION"] not in _PERIOD]
        not_generated = [f for f in described if not is_generated(f["EXTRA"])]
        columns = [described_column(name, f) for f in not_generated]
        stored = [f for f in described if is_stored(f["EXTRA"])]
        period = self._period(name) if versioned else []
        columns += period
        key, index = self._key(columns, {} if versioned else keys)
        return Table(
            name=name,
            engine=decode(size[0]),
            create=self._without_counter(name, decode(size[0]), create),
            columns=tuple(columns),
            key=key,
            index=index,
            row_bytes=int(size[1] or 0),
            data_bytes=int(size[2] or 0),
            versioned=versioned,
            period=(period[0].name, period[1].name) if period else ("", ""),
            generated=len(not_generated) < len(described),
            stored=tuple(described_column(name, f) for f in stored),
            computed=tuple(computed_column(f, create) for f in stored),
            float_counter=any(
                f["DATA_TYPE"] in {"float", "double"} and "auto_increment" in f["EXTRA"] for f in not_generated
            ),
        )

    def _without_counter(self, name: str, engine: str, create: bytes) -> bytes:
        """Return a definition without its counter where the rows say it: ARCHIVE takes no row below it."""
        if engine.upper() != "ARCHIVE" or not self._session.rows(f"SELECT 1 FROM {identifier(name)} LIMIT 1"):
            return create
        front, options, rest = create.rpartition(b"\n) ENGINE=")
        return front + options + re.sub(rb"\A(\w+) AUTO_INCREMENT=\d+", rb"\1", rest)

    def _period(self, table: str) -> list[Column]:
        """Return the two columns that say from when to when a version of a row was valid."""
        rows = self._session.rows(
            "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA="
            f"{literal(self._database)} AND TABLE_NAME={literal(table)} "
            f"AND GENERATION_EXPRESSION IN {_PERIOD} ORDER BY GENERATION_EXPRESSION='ROW END'"
        )
        columns = [(decode(n), decode(t).lower()) for n, t in rows] or [
            ("row_start", "timestamp"),
            ("row_end", "timestamp"),
        ]
        if any(t != "timestamp" for _, t in columns):
            raise SourceError(
                f"table {table} keeps its history by transaction, which no dump can carry: convert it to timestamps"
            )
        return [column(table, n, t, "") for n, t in columns]

    @staticmethod
    def _key(columns: Sequence[Column], keys: dict[str, list[tuple[str, bool]]]) -> tuple[tuple[Column, ...], str]:
        by_name = {c.name: c for c in columns}
        for index in sorted(keys, key=lambda k: (k != "PRIMARY", len(keys[k]), k)):
            parts = keys[index]
            if all(usable and n in by_name and by_name[n].rangeable for n, usable in parts):
                return tuple(by_name[n] for n, _ in parts), index
        return (), ""

    def _views(self) -> list[StoredObject]:
        if "view" in self._skip:
            return []
        views, broken = [], []
        for name in sorted(e[1] for e in self._entries if e[0] == "table" and e[2] == "VIEW"):
            try:
                names = tuple(decode(r[0]) for r in self._session.rows(f"SHOW COLUMNS FROM {identifier(name)}"))
                with self._session.raw():
                    row = self._session.rows(f"SHOW CREATE VIEW {identifier(name)}")[0]
            except StatementError as error:
                if error.lost:
                    raise
                broken.append((name, error))
                continue
            views.append(
                self._stored_object(
                    "view", name, row[1], (b"", b""), charset=decode(row[2]), collation=decode(row[3]), columns=names
                )
            )
        if broken:
            raise self._broken_views_error(broken)
        return views

    def _broken_views_error(self, views: list[tuple[str, StatementError]]) -> SourceError:
        if any(error.code in _NO_PRIVILEGE for _, error in views):
            name, error = next(v for v in views if v[1].code in _NO_PRIVILEGE)
            return self._unreadable_error(error, "view", name, "SHOW VIEW")
        names = ", ".join(name for name, _ in views)
        label = f"view {self._database}.{names} is" if len(views) == 1 else f"views of {self._database} are"
        return BrokenViews(
            f"{label} broken and could not be restored{'' if len(views) == 1 else f' ({names})'}: what they refer to "
            f"is gone or forbidden to their definers; drop or mend them ({views[0][1]})"
        )

    def triggers(self, tables: Collection[str] = ()) -> list[StoredObject]:
        """Read the triggers alone, of all tables or of some."""
        if "trigger" in self._skip:
            return []
        only = f"AND EVENT_OBJECT_TABLE IN ({', '.join(map(literal, sorted(tables)))}) " if tables else ""
        names = self._session.rows(
            "SELECT TRIGGER_NAME, DEFINER, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS "
            f"WHERE TRIGGER_SCHEMA={literal(self._database)} {only}"
            "ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
        )
        return [
            self._read_object("trigger", decode(n), "TRIGGER", trigger_parts=(d or b"", t or b"")) for n, d, t in names
        ]

    def _routines(self) -> list[StoredObject]:
        if "routine" in self._skip:
            return []
        refuse_libraries(self._session, self._database)
        self._foreign_routines = foreign_routines(self._session, self._database)
        kinds: tuple[StoredObjectKind, ...] = ("package", "package body", "function", "procedure")
        return [
            self._read_object(kind, name, "SHOW CREATE ROUTINE (SELECT on mysql.proc; SHOW_ROUTINE in MySQL)")
            for kind in kinds
            for name in sorted(e[1] for e in self._entries if e[0] == kind.upper())
        ]

    def _events(self) -> list[StoredObject]:
        if "event" in self._skip:
            return []
        return [self._read_object("event", n, "EVENT") for n in sorted(e[1] for e in self._entries if e[0] == "event")]

    def _read_object(
        self, kind: StoredObjectKind, name: str, privilege: str, trigger_parts: tuple[bytes, bytes] = (b"", b"")
    ) -> StoredObject:
        """Read what SHOW CREATE says; ``trigger_parts`` are the definer and the table of a trigger."""
        try:
            with self._session.raw():
                row = self._session.rows(f"SHOW CREATE {kind.upper()} {identifier(name)}")[0]
        except StatementError as error:
            raise self._unreadable_error(error, kind, name, privilege) from error
        zone = ""
        if kind == "event":
            zone, row = decode(row[2]), (*row[:2], *row[3:])
        return self._stored_object(
            kind,
            name,
            row[2],
            trigger_parts,
            charset=decode(row[3]),
            collation=decode(row[4]),
            sql_mode=decode(row[1]),
            database_collation=decode(row[5]),
            time_zone=zone,
        )

    def _stored_object(
        self,
        kind: StoredObjectKind,
        name: str,
        create: bytes | None,
        trigger_parts: tuple[bytes, bytes],
        *,
        charset: str,
        sql_mode: str | None = None,
        **session_settings: object,
    ) -> StoredObject:
        label = f"{kind} {self._database}.{name}"
        if create is None:
            raise SourceError(
                f"the body of {label} is hidden from the account: grant it SELECT on mysql.proc "
                "(MySQL 8: SHOW_ROUTINE), or leave routines out with the option routines=off"
            )
        if charset.lower() in UNSAFE_CHARSETS and not create.isascii():
            raise SourceError(
                f"{label} was written in {charset} with characters beyond ASCII and cannot be "
                "split safely: create it again from a session in utf8mb4"
            )
        check_readable(create, charset, sql_mode or "", label)
        encode = encoder(self._charsets, charset, label)
        utf8_names = not self._session.mariadb
        create = in_one_charset(
            kind,
            create,
            sql_mode or "",
            encode,
            name=name.encode("utf-8", "surrogateescape"),
            definer=trigger_parts[0],
            table=trigger_parts[1],
            utf8_names=utf8_names,
        )
        database_name, *objects = self._charsets.encode_all([self._database.encode(), *self._objects], charset)
        object_names = {o for o in objects if o}
        if (kind, name) in self._foreign_routines:  # no SQL: a reader of SQL would take names for what they are not
            text, still_named = create, bool(database_name and database_name in create)
        else:
            text, still_named = unqualify(
                create, database_name or b"", object_names, fold=self._fold, sql_mode=sql_mode or ""
            )
        if still_named:
            self._notes.append(
                f"{kind} {name} names its own database {self._database}: under another name it may still use that"
            )
        return StoredObject(kind=kind, name=name, create=text, charset=charset, sql_mode=sql_mode, **session_settings)  # type: ignore[arg-type]

    def _unreadable_error(self, error: StatementError, kind: str, name: str, privilege: str) -> SourceError:
        if error.code in _NO_PRIVILEGE:
            return SourceError(
                f"{kind} {self._database}.{name} cannot be read: the account lacks the right {privilege} ({error})"
            )
        return SourceError(f"{kind} {self._database}.{name} cannot be read: {error}")
