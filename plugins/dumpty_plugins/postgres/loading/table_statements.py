r"""Which statements of a dump belong to some of its tables, and the same under other names.

pg_dump's statements have few forms, and every name in them comes with its schema: each belongs to the table that it
names at its head, or to a sequence of such a table's. What has none of these forms belongs to no table, and is left
out. Names are changed where they stand as names, in what pg_dump makes of a default (``nextval('…'::regclass)``) and
of a sequence's value; never inside another string, a body or a comment.

A name in a schema may be taken in the target: an index, a sequence or statistics is then called otherwise. So it is
where its table is: ``orders_pkey`` of ``orders`` becomes ``orders_before_pkey`` with ``orders_before``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dumpty import SourceError
from dumpty_plugins.postgres.schema.tables import identifier, table_path
from dumpty_plugins.postgres.server.encodings import decode_name, encode_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dumpty_plugins.postgres.dumping.script_reader import Statement

__all__ = ["Name", "TableStatements", "name_of_path"]

_QUOTED = rb'"(?:[^"]|"")+"'
_NAME = rb"(?:" + _QUOTED + rb"|[A-Za-z_\x80-\xff][\w$\x80-\xff]*)"
_FULL = _NAME + rb"\." + _NAME
_ANY = rb"(?:" + _QUOTED + rb'|[^"])*?'
"""Whatever stands between, and no end of it inside a quoted name."""


def _form(text: bytes) -> re.Pattern[bytes]:
    names = {b"FULL": b"(?P<full>" + _FULL + b")", b"NAME": _NAME, b"ANY": _ANY, b"OTHER": b"(?P<other>" + _FULL + b")"}
    for word, pattern in names.items():
        text = text.replace(b"<" + word + b">", pattern)
    return re.compile(text, re.DOTALL)


_INDEX = _form(rb"CREATE (?:UNIQUE )?INDEX (?P<index><NAME>) ON (?:ONLY )?<FULL>\s")
_COMMENT_ON_CONSTRAINT = _form(rb"COMMENT ON CONSTRAINT (?P<index><NAME>) ON <FULL>\s")
_OF_TABLES = (
    _INDEX,
    _COMMENT_ON_CONSTRAINT,
    *map(
        _form,
        (
            rb"CREATE (?:UNLOGGED )?TABLE <FULL>\s",
            rb"ALTER TABLE (?:ONLY )?<FULL>\s",
            rb"COPY <FULL>\s",
            rb"CREATE (?P<trigger>(?:CONSTRAINT )?TRIGGER) <NAME> (?:BEFORE|AFTER)\s<ANY>\sON <FULL>\s",
            rb"CREATE RULE <NAME> AS\s+ON [A-Z]+ TO <FULL>\s",
            rb"CREATE POLICY <NAME> ON <FULL>[\s;]",
            rb"CREATE STATISTICS (?P<statistics>" + _FULL + rb")\s<ANY>\sFROM <FULL>;",
            rb"(?:COMMENT|SECURITY LABEL(?: FOR <NAME>)?) ON (?:TABLE|COLUMN) <FULL>[\s.]",
            rb"COMMENT ON (?P<trigger>TRIGGER) <NAME> ON <FULL>\s",
            rb"COMMENT ON (?:RULE|POLICY) <NAME> ON <FULL>\s",
            rb"(?:GRANT|REVOKE)\s<ANY>\sON TABLE <FULL>\s",
        ),
    ),
)
_OF_SEQUENCES = tuple(
    map(
        _form,
        (
            rb"CREATE (?:UNLOGGED )?SEQUENCE <FULL>\s",
            rb"ALTER (?:SEQUENCE|TABLE) <FULL>\s",
            rb"(?:COMMENT|SECURITY LABEL(?: FOR <NAME>)?) ON SEQUENCE <FULL>\s",
            rb"(?:GRANT|REVOKE)\s<ANY>\sON SEQUENCE <FULL>\s",
        ),
    )
)
_OF_OTHERS = tuple(map(_form, (rb"(?:ALTER|COMMENT ON) (?:INDEX|STATISTICS) <FULL>\s",)))
_SETVAL = re.compile(rb"SELECT pg_catalog\.setval\('((?:[^']|'')+)', [0-9-]+, (?:true|false)\);")
_OWNED = _form(rb"ALTER SEQUENCE <FULL> OWNED BY <OTHER>\.<NAME>;")
_IDENTITY = re.compile(rb"\sADD GENERATED (?:ALWAYS|BY DEFAULT) AS IDENTITY \(\s*SEQUENCE NAME (" + _FULL + rb")\s")
_ATTACHED = _form(rb"ALTER TABLE (?:ONLY )?" + _FULL + rb" ATTACH PARTITION <OTHER>\s")
_ATTACHED_INDEX = _form(rb"ALTER INDEX " + _FULL + rb" ATTACH PARTITION <OTHER>;")
_REFERENCES = _form(
    rb"ALTER TABLE (?:ONLY )?" + _FULL + rb"\s+ADD CONSTRAINT (?P<constraint><NAME>) FOREIGN KEY \(<ANY>\) "
    rb"REFERENCES <OTHER>\("
)
_CONSTRAINT_INDEX = _form(
    rb"ALTER TABLE (?:ONLY )?" + _FULL + rb"\s+ADD CONSTRAINT (?P<index><NAME>) (?:PRIMARY KEY|UNIQUE|EXCLUDE)\s"
)
_USES_INDEX = _form(
    rb"ALTER TABLE (?:ONLY )?" + _FULL + rb"\s+(?:CLUSTER ON|REPLICA IDENTITY USING INDEX) (?P<index><NAME>);"
)
_FIRES = re.compile(rb"\s(?:ENABLE|DISABLE)(?: ALWAYS| REPLICA)? TRIGGER\s")
_SETTINGS = re.compile(
    rb"SET (?:statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout|client_encoding"
    rb"|standard_conforming_strings|check_function_bodies|xmloption|client_min_messages|row_security|default_tablespace"
    rb"|default_table_access_method|default_with_oids) = [\w'\" -]+;"
    rb"|SELECT pg_catalog\.set_config\('search_path', '', false\);",
    re.ASCII,
)
_TOKENS = re.compile(
    rb"(?P<regclass>'(?:[^']|'')*')(?=::(?:pg_catalog\.)?regclass\b)"
    rb"|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'"
    rb"|(?P<tag>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$).*?(?P=tag)"
    rb"|--[^\n]*|(?P<full>" + _FULL + rb")|" + _NAME,
    re.DOTALL,
)


class Name(NamedTuple):
    """A name in a schema, unquoted."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """It as SQL, quoted."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def name_of_path(path: str, schema: str = "") -> Name:
    """Return the name that a path says, or that somebody wrote: ``schema.name``, each quoted where it needs to be.

    ``schema`` is that of a name without any.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r'(?:("(?:[^"]|"")+"|[^".]+)\.)?("(?:[^"]|"")+"|[^".]+)', path)
    if match is None or not (match[1] or schema):
        raise ValueError(path)
    before, name = (_unquoted(text) if text else schema for text in match.groups())
    return Name(before, name)


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


class TableStatements:
    """Chooses the statements of some tables, and gives what they make its names in the target.

    ``created`` has the paths, in the dump, of the tables that a chosen statement makes; ``notes`` says what of a table
    is not as it was. ``unselected`` are partitions that belong to a chosen table, and are not chosen.

    Args:
        tables: the paths of the tables in the dump, each with its name in the target.
        triggers: whether to choose triggers.
        free: returns a name like the one given which nothing in the target has; ``statistics`` for that kind.
    """

    def __init__(self, tables: Mapping[str, Name], *, triggers: bool, free: Callable[[Name, bool], Name]) -> None:
        self._tables = tables
        self._triggers = triggers
        self._free = free
        self._owners: dict[str, str] = {}
        self._named: dict[str, Name] = dict(tables)
        self.created: set[str] = set()
        self.unselected: set[str] = set()
        self.notes: dict[str, None] = {}

    def learn(self, statements: Iterable[Statement]) -> None:
        """Take note of the sequences that belong to the tables."""
        for statement in statements:
            text, encoding = statement.text, statement.encoding
            if match := _OWNED.match(text):
                self._own(match["full"], table_path(match["other"], encoding), encoding)
            elif (identity := _IDENTITY.search(text)) and (path := self._table_of(text, encoding)):
                self._own(identity[1], path, encoding)

    def _own(self, sequence: bytes, table: str, encoding: str) -> None:
        path = table_path(sequence, encoding)
        if table in self._tables and path not in self._owners:
            self._owners[path] = table
            self._call(path, name_of(sequence, encoding), table)

    def may_choose(self, statement: Statement) -> bool:
        """Return whether a statement is one that ``choose`` may choose once all are learned from."""
        text = statement.text
        if _SETTINGS.fullmatch(text) or _SETVAL.fullmatch(text):
            return True
        others = (*_OF_SEQUENCES, *_OF_OTHERS)
        return self._table_of(text, statement.encoding) is not None or any(form.match(text) for form in others)

    def table_of(self, statement: Statement) -> str | None:
        """Return the path of that of our tables which a statement, or its sequence, belongs to; None for none."""
        text, encoding = statement.text, statement.encoding
        if (path := self._table_of(text, encoding)) is not None:
            return path
        found = (form.match(text) for form in _OF_SEQUENCES)
        return next((self._owners.get(table_path(match["full"], encoding)) for match in found if match), None)

    def choose(self, statement: Statement) -> bytes | None:
        """Return a statement as it is to be run, or None where it belongs to none of the tables.

        Raises:
            SourceError: a name cannot be said in the encoding of the dump.
        """
        try:
            return self._choose(statement.text, statement.encoding)
        except UnicodeError as error:
            raise SourceError(
                f"a new name cannot be said in {statement.encoding}, which the backup is in ({error}): give another one"
            ) from error

    def _choose(self, text: bytes, encoding: str) -> bytes | None:
        if _SETTINGS.fullmatch(text):
            return text
        if match := _SETVAL.fullmatch(text):
            return self._setval(text, match, encoding)
        if (path := self._table_of(text, encoding)) is not None:
            return self._of_table(text, path, encoding)
        for form in (*_OF_SEQUENCES, *_OF_OTHERS):
            match = form.match(text)
            if match and table_path(match["full"], encoding) in self._named:
                attached = _ATTACHED_INDEX.match(text)
                if attached and table_path(attached["other"], encoding) not in self._named:
                    return None
                return self._renamed(text, encoding)
        return None

    def _table_of(self, text: bytes, encoding: str) -> str | None:
        """Return the path of the table that a statement belongs to, if that is one of ours."""
        for form in _OF_TABLES:
            if match := form.match(text):
                path = table_path(match["full"], encoding)
                if path in self._tables:
                    return path
        return None

    def _of_table(self, text: bytes, path: str, encoding: str) -> bytes | None:
        if not self._triggers and (_FIRES.search(text) or any("trigger" in m for m in _groups(text))):
            self.notes["triggers were left out, as asked"] = None
            return None
        if match := _ATTACHED.match(text):
            partition = table_path(match["other"], encoding)
            if partition not in self._tables:
                self.unselected.add(partition)
                return None
        if (match := _REFERENCES.match(text)) and table_path(match["other"], encoding) not in self._tables:
            other = table_path(match["other"], encoding)
            constraint = decode_name(match["constraint"], encoding)
            self.notes[f"{path}: the foreign key {constraint} was left out, for it refers to {other}"] = None
            return None
        if text.startswith((b"CREATE TABLE", b"CREATE UNLOGGED TABLE")):
            self.created.add(path)
        return self._renamed(self._with_names(text, path, encoding), encoding)

    def _with_names(self, text: bytes, path: str, encoding: str) -> bytes:
        """Give an index or statistics its name in the target, in what makes or mentions it."""
        schema = name_of_path(path).schema
        for found in _groups(text):
            if statistics := found.get("statistics"):
                self._call(table_path(statistics, encoding), name_of(statistics, encoding), path, statistics=True)
        makes = _CONSTRAINT_INDEX.match(text) or _INDEX.match(text)
        match = makes or _USES_INDEX.match(text) or _COMMENT_ON_CONSTRAINT.match(text)
        if match is None:
            return text
        old = Name(schema, decode_name(match["index"], encoding))
        key = table_path(old.sql.encode("utf-8", "surrogateescape"), "UTF8")
        if makes:
            self._call(key, old, path)
        new = self._named.get(key, old)
        if new.name == old.name:
            return text
        start, end = match.span("index")
        return text[:start] + encode_name(identifier(new.name), encoding) + text[end:]

    def _call(self, path: str, old: Name, table: str, *, statistics: bool = False) -> None:
        """Choose the name in the target of what belongs to a table."""
        if path in self._named:
            return
        old_table, new_table = name_of_path(table), self._tables[table]
        name = old.name
        if new_table.name != old_table.name and name.startswith(old_table.name):
            name = new_table.name + name.removeprefix(old_table.name)
        wanted = Name(new_table.schema if old.schema == old_table.schema else old.schema, name)
        self._named[path] = new = self._free(wanted, statistics)
        if new != wanted:
            self.notes[f"{old} is called {new.name}, for there is another {wanted} in the target"] = None

    def _setval(self, text: bytes, match: re.Match[bytes], encoding: str) -> bytes | None:
        path = table_path(match[1].replace(b"''", b"'"), encoding)
        if path not in self._owners:
            return None
        start, end = match.span(1)
        return text[:start] + self._full(path, match[1], encoding, in_string=True) + text[end:]

    def _renamed(self, text: bytes, encoding: str) -> bytes:
        def replace(match: re.Match[bytes]) -> bytes:
            if full := match["full"]:
                return self._full(table_path(full, encoding), full, encoding)
            if regclass := match["regclass"]:
                inside = regclass[1:-1]
                path = table_path(inside.replace(b"''", b"'"), encoding)
                return b"'" + self._full(path, inside, encoding, in_string=True) + b"'"
            return match[0]

        return _TOKENS.sub(replace, text)

    def _full(self, path: str, text: bytes, encoding: str, *, in_string: bool = False) -> bytes:
        """Return the name in the target of what has a path in the dump; ``text``, its name there, where it is kept."""
        new = self._named.get(path)
        if new is None or new == name_of(text.replace(b"''", b"'") if in_string else text, encoding):
            return text
        encoded = encode_name(new.sql, encoding)
        return encoded.replace(b"'", b"''") if in_string else encoded


def name_of(full: bytes, encoding: str) -> Name:
    """Return the name that SQL in an encoding says, schema included."""
    first, second = re.fullmatch(rb"(" + _NAME + rb")\.(" + _NAME + rb")", full).groups()  # type: ignore[union-attr]
    return Name(decode_name(first, encoding), decode_name(second, encoding))


def _groups(text: bytes) -> list[dict[str, bytes]]:
    """Return the named parts of a table's statement."""
    found = [form.match(text) for form in _OF_TABLES]
    return [{k: v for k, v in m.groupdict().items() if v is not None} for m in found if m]
