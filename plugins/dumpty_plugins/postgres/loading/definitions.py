"""What makes tables of a dump, by other names if need be: PostgreSQL itself says it, of a scratch database.

All definitions of the dump, and no rows, go into a database that nobody sees. There the tables are cut loose from what
is not restored with them, and called what they are to be called, by statements whose meaning PostgreSQL knows; then
pg_dump writes what makes them. So no text of a dump reaches the target, nothing but the rows of these tables.
"""

from __future__ import annotations

import functools
import re
from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import IntegrityError, OptionError, SourceError
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.loading.loader import SKIPPABLE, statement_failure
from dumpty_plugins.postgres.loading.names import OWNED_SEQUENCES, Name, Renaming
from dumpty_plugins.postgres.loading.types import facts
from dumpty_plugins.postgres.schema.tables import identifier, list_tables, literal, outermost
from dumpty_plugins.postgres.server.clients import choose_client
from dumpty_plugins.postgres.server.connection import psycopg2, rows, version
from dumpty_plugins.postgres.server.programs import connected_program, find_programs
from dumpty_plugins.postgres.server.waiting import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Options, Remote
    from dumpty_plugins.postgres.dumping.script_reader import Statement
    from dumpty_plugins.postgres.loading.optional_parts import Parts
    from dumpty_plugins.postgres.schema.tables import Table
    from dumpty_plugins.postgres.server.connection import Address

__all__ = ["Definitions"]

_OF_DUMPS = {(word,) for word in (b"create", b"alter", b"comment", b"grant", b"revoke", b"set", b"select", b"security")}
"""What pg_dump's statements begin with, those that only undo or compute something left out."""
_CALLS = re.compile(rb"SELECT pg_catalog\.(?:set_config\('search_path'|setval\()")
_OF_SERVERS = (b"role", b"user", b"group", b"database", b"tablespace", b"system")
_ELSEWHERE = {
    *((verb, kind) for verb in (b"create", b"alter") for kind in (b"event", b"publication", b"subscription")),
    *((verb, kind) for verb in (b"create", b"alter") for kind in _OF_SERVERS),
} - {(b"create", b"user")}
"""Beginnings of statements that tables need not: what they make would act on its own, or on others."""
_STATISTICS = """
    SELECT format('%%I.%%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid), pg_get_userbyid(s.stxowner),
           obj_description(s.oid, 'pg_statistic_ext'), TARGET
    FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid IN %s ORDER BY 1"""
_HAS_TARGETS = 13
_BY_TEXT = """
    SELECT a.attrelid::regclass::text, a.attname FROM pg_attrdef d
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid IN %s AND pg_get_expr(d.adbin, d.adrelid) LIKE '%%::text)::regclass%%'"""
_GRANTS = ((b"grant",), (b"revoke",))
_PRIVILEGES = {
    *((b"select",), (b"insert",), (b"update",), (b"delete",), (b"truncate",), (b"references",), (b"trigger",)),
    *((b"usage",), (b"create",), (b"connect",), (b"temporary",), (b"execute",), (b"set",), (b"alter",)),
    *((b"maintain",), (b"all",), (b"grant",)),
}
"""What stands behind GRANT where it is about an object."""
_OF_LARGE_OBJECTS = re.compile(
    rb"(?:ALTER|COMMENT ON|(?:GRANT|REVOKE) [A-Z, ]+ ON|SECURITY LABEL [^;]*?ON) LARGE OBJECT "
)
_PARENTS = """
    SELECT i.inhrelid::regclass::text, i.inhparent::regclass::text, c.relispartition FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhrelid IN %s AND i.inhparent NOT IN %s ORDER BY 1, i.inhseqno"""
_PARTITIONS = """
    SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent IN %s AND c.relispartition AND i.inhrelid NOT IN %s ORDER BY 1"""
_FOREIGN_KEYS = """
    SELECT conrelid::regclass::text, conname, confrelid::regclass::text, conrelid IN %s, confrelid FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0 AND (conrelid IN %s) <> (confrelid IN %s) ORDER BY 1, 2"""
_TRIGGERS = """
    SELECT t.tgrelid::regclass::text, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgrelid IN %s AND NOT t.tgisinternal ORDER BY c.relkind <> 'p'"""


class Definitions:
    """The definitions of a dump in a scratch database, and there some tables of it.

    ``notes`` says what of the tables is not as it was.

    Args:
        address: the scratch database's.
        connection: a session in it.
        options: those of the restore.
        parts: what is left out.
        remote: where pg_dump runs; None for this machine.
    """

    def __init__(
        self, address: Address, connection: Connection, options: Options, parts: Parts, remote: Remote | None
    ) -> None:
        self._address = address
        self._connection = connection
        self._options = options
        self._parts = parts
        self._remote = remote
        self._settings = {name.encode() for (name,) in rows(connection, "SELECT name FROM pg_settings")}
        self._names: Mapping[str, Name] = {}
        self._tables: dict[str, Table] = {}
        self._oids: tuple[int, ...] = ()
        self.notes: list[str] = []

    def load(self, read: Callable[[], bytes]) -> None:
        """Run the definitions of a plain dump; rows are passed over.

        Raises:
            IntegrityError: it is cut off, or holds what no dump of pg_dump's holds.
            SourceError: the server refused a statement.
        """
        script = Script(read)
        for statement in script:
            if statement.copy:
                for _ in script.data():
                    pass
            elif self._is_wanted(statement):
                self._run(statement.text, statement)
        if not script.complete:
            raise IntegrityError("the dump ends without pg_dump's end marker: it is cut off")

    def _is_wanted(self, statement: Statement) -> bool:
        """Return whether a statement is one of pg_dump's that define something in the database itself."""
        keywords, text = statement.keywords, statement.text
        makes_user = keywords[:2] == (b"create", b"user") and keywords[2:3] != (b"mapping",)
        about_elsewhere = keywords[:2] == (b"comment", b"on") and (b"create", *keywords[2:3]) in _ELSEWHERE
        if keywords[:1] not in _OF_DUMPS or keywords[:2] in _ELSEWHERE or makes_user or about_elsewhere:
            return False
        if _OF_LARGE_OBJECTS.match(text) or (keywords[:1] == (b"select",) and not _CALLS.match(text)):
            return False
        makes_member = keywords[:1] in _GRANTS and keywords[1:2] not in _PRIVILEGES
        return not makes_member and not self._is_unknown_setting(statement) and self._parts.include(text)

    def _run(self, text: bytes, statement: Statement) -> None:
        with closing(self._connection.cursor()) as cursor:
            try:
                run_watched(self._connection, functools.partial(cursor.execute, text))
            except (psycopg2().Error, UnicodeError) as error:
                raise statement_failure(self._address, statement, error) from error

    # -- the tables ----------------------------------------------------------------------------------------------

    def choose(self, names: Mapping[str, Name], *, triggers: bool) -> None:
        """Find the tables, and cut them loose from everything that does not come with them.

        ``names`` are those that they are to have in the target, by their paths in the dump.

        Raises:
            OptionError: a table has partitions that are not chosen.
            SourceError: there is no such table, or it is none that can be restored alone.
        """
        connection = self._connection
        rows(connection, "RESET ALL")
        rows(connection, "SET search_path = ''")
        rows(connection, "SET client_encoding = 'UTF8'")
        tables = list_tables(connection)
        there = {table.path: table for table in tables if table.kind != "m"}
        self._names = names
        self._tables = {path: there[path] for path in names if path in there}
        if missing := sorted(set(names) - self._tables.keys()):
            raise SourceError(
                f"the backup has no table {', '.join(missing)} that could be restored alone: views, foreign tables, "
                "large objects and what belongs to extensions come back with all of the backup"
            )
        self._oids = tuple(table.oid for table in self._tables.values())
        self._require_partitions()
        self._require_roots(tables)
        self._leave_parents()
        self._leave_foreign_keys()
        if not triggers:
            self._leave_triggers()

    def _require_partitions(self) -> None:
        unchosen = [name for (name,) in rows(self._connection, _PARTITIONS, self._oids, self._oids)]
        if unchosen:
            raise OptionError(
                f"a table that is asked for has partitions that are not, or that are foreign tables: "
                f"{', '.join(unchosen)}; name the outermost table, whose partitions then come along"
            )

    def _require_roots(self, tables: Sequence[Table]) -> None:
        roots = outermost(tables)
        for path, table in self._tables.items():
            root = roots[table.oid]
            if table.through_root and root.oid not in self._oids:
                raise OptionError(
                    f"the rows of {path} are in the backup among those of {root.path}, because they are partitioned by "
                    f"the hash of an enum: name {root.path}, whose partitions then come along"
                )

    def _leave_parents(self) -> None:
        for child, parent, partition in rows(self._connection, _PARENTS, self._oids, self._oids):
            if partition:
                rows(self._connection, f"ALTER TABLE {parent} DETACH PARTITION {child}")
                self.notes.append(f"{child} was a partition of {parent}, and is a table of its own now")
            else:
                rows(self._connection, f"ALTER TABLE {child} NO INHERIT {parent}")
                self.notes.append(f"{child} inherited from {parent}, and is a table of its own now")

    def _leave_foreign_keys(self) -> None:
        kept = {
            table.oid for path, table in self._tables.items() if self._names[path] == Name(table.schema, table.name)
        }
        found = rows(self._connection, _FOREIGN_KEYS, self._oids, self._oids, self._oids)
        for table, name, other, ours, referred in found:
            if ours:
                rows(self._connection, f"ALTER TABLE {table} DROP CONSTRAINT {identifier(name)}")
                self.notes.append(f"{table}: the foreign key {name} was left out, for it refers to {other}")
            elif referred in kept:
                self.notes.append(f"the foreign key {name} of {table}, which referred to {other}, is not made again")

    def _leave_triggers(self) -> None:
        found = rows(self._connection, _TRIGGERS, self._oids)
        for table, name in found:
            rows(self._connection, f"DROP TRIGGER IF EXISTS {identifier(name)} ON {table}")
        if found:
            self.notes.append("triggers were left out, as asked")

    def rename(self, free: Callable[[Name, str], Name]) -> None:
        """Give the tables, and what is theirs, the names that they are to have in the target.

        ``free`` returns a name for an index, a sequence or statistics that nothing in the target has.
        """
        names = {table.oid: self._names[path] for path, table in self._tables.items()}
        renamed = [t.oid for t in self._tables.values() if names[t.oid] != Name(t.schema, t.name)]
        renaming = Renaming(self._connection, free)
        renaming.run(names)
        self.notes += renaming.notes
        for table, column in rows(self._connection, _BY_TEXT, tuple(renamed) or (0,)):
            self.notes.append(f"{table}: the default of {column} names its sequence by a text, which is what it was")

    def statements(self, section: str) -> list[Statement]:
        """Return pg_dump's statements for the tables: those before their rows ("pre-data"), or behind ("post-data").

        Raises:
            CommandError: pg_dump is missing, too old, or failed.
            IntegrityError: it wrote less than it should have.
        """
        server = version(self._connection)[0]
        clients = find_programs("pg_dump", self._options, self._remote)
        client = choose_client(clients, server, subject="the server", place=self._remote.shown if self._remote else "")
        encoding = rows(self._connection, "SHOW server_encoding")[0][0]
        argv = [
            client.path,
            "--schema-only",
            f"--section={section}",
            "--strict-names",
            "--no-publications",
            "--no-subscriptions",
            f"--encoding={'SQL_ASCII' if encoding == 'SQL_ASCII' else 'UTF8'}",
            *(flag for flag in self._parts.flags if flag not in {"--no-publications", "--no-subscriptions"}),
            *(f"--table={name.sql}" for name in self._names.values()),
        ]
        with connected_program(argv, self._address, self._remote, stdout=True) as watched:
            script = Script(watched.read)
            statements = [s for s in script if s.text != b";" and not self._is_unknown_setting(s)]
        if not script.complete:
            raise IntegrityError("pg_dump's output ends without its end marker: it is cut off")
        if section == "post-data" and not any(s.keywords[:2] == (b"create", b"statistics") for s in statements):
            statements += self._statistics()
        return statements

    def _statistics(self) -> list[Statement]:
        """Return what makes the tables' statistics, which most versions of pg_dump leave out where tables are named."""
        texts: list[str] = []
        target = "stxstattarget" if version(self._connection)[0] >= _HAS_TARGETS else "NULL"
        for name, definition, owner, comment, number in rows(
            self._connection, _STATISTICS.replace("TARGET", target), self._oids
        ):
            texts.append(f"{definition};")
            if "owner" not in self._parts.excluded:
                texts.append(f"ALTER STATISTICS {name} OWNER TO {identifier(owner)};")
            if number is not None and number >= 0:
                texts.append(f"ALTER STATISTICS {name} SET STATISTICS {number};")
            if comment is not None and "comments" not in self._parts.excluded:
                texts.append(f"COMMENT ON STATISTICS {name} IS {literal(comment)};")
        pieces = iter(["\n".join(texts).encode("utf-8", "surrogateescape"), b"\n"])
        return list(Script(lambda: next(pieces, b"")))

    def _is_unknown_setting(self, statement: Statement) -> bool:
        keywords = statement.keywords
        return keywords[:1] == (b"set",) and bool(keywords[1:2]) and keywords[1] in SKIPPABLE - self._settings

    def facts(self) -> dict[str, str]:
        """Return what the tables' columns, and the types that they use, are made of."""
        return facts(self._connection, [name.sql for name in self._names.values()])

    def sequence_values(self) -> list[tuple[str, int, bool]]:
        """Return the sequences of the tables, each as SQL, with its last value and whether that was handed out."""
        names = [name for (name,) in rows(self._connection, OWNED_SEQUENCES, self._oids)]
        return [(name, *rows(self._connection, f"SELECT last_value, is_called FROM {name}")[0]) for name in names]  # noqa: S608 - quoted
