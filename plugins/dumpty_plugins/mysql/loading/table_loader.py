"""Loads some tables of a dump into a database beside their own, checked against the evidence."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql.loading.loader import SESSION, Loader, counts
from dumpty_plugins.mysql.schema.catalog import listing
from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader
from dumpty_plugins.mysql.schema.fingerprint import fingerprint
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.session import Session, decode
from dumpty_plugins.mysql.server.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty import Evidence, ObjectEvidence, Source
    from dumpty_plugins.mysql.dumping.script_writer import Totals
    from dumpty_plugins.mysql.loading.allowlist import Statement
    from dumpty_plugins.mysql.loading.table_statements import TableStatements


class TableLoader(Loader):
    """Executes those of a dump's statements that are of some tables; all of the dump is read, whatever it holds.

    Args:
        session: its default database is ``database``.
        target: where that is.
        database: a database beside the target, for nothing but these tables.
        chosen: chooses the statements, and knows the tables' names.
        tables: the paths of the tables in the backup.
        jobs: how many sessions load rows.
        keep_definers: whether triggers keep the definers that the dump names.
    """

    def __init__(
        self,
        session: Session,
        target: Source,
        database: str,
        chosen: TableStatements,
        tables: Iterable[str],
        *,
        jobs: int,
        keep_definers: bool,
    ) -> None:
        super().__init__(session, target, database, jobs=jobs, keep_definers=keep_definers)
        self.chosen = chosen
        self._paths = frozenset(tables)

    def point_to_target(self) -> None:
        """From now on ``stored_objects`` are the triggers of the tables as they are called in the target."""
        self.stored_objects = [self.chosen.in_target(s) if s.kind == "TRIGGER" else s for s in self.stored_objects]
        self.created_objects = []

    def create_stored_objects(self, session: Session, *, events_disabled: bool = False, attempts: int = 1) -> None:
        """Create the triggers as ``Loader`` does; the session is as before afterwards."""
        super().create_stored_objects(session, events_disabled=events_disabled, attempts=attempts)
        for setting in SESSION:  # a dump sets it back behind its last object, which need not be one of ours
            session.execute(setting)

    def _check_server(self, expected: Evidence) -> None:
        """Triggers are created beside the target before anything is moved: that says what the server forbids."""

    def _choose(self, statements: Iterable[Statement]) -> Iterable[Statement]:
        return self.chosen.choose(statements)

    def _count(self, totals: Totals, expected: Evidence) -> tuple[ObjectEvidence, ...]:
        read = self.chosen.tables_read, self.chosen.rows_read
        if read != (totals.tables, totals.rows):
            raise IntegrityError(
                f"{read[0]} tables with {read[1]} rows were read, but the dump's last line says {totals.tables} with "
                f"{totals.rows}"
            )
        if missing := sorted(self._paths - set(self.chosen.paths.values())):
            raise SourceError(f"the backup has no table {', '.join(missing)} that could be restored alone")
        self._require_no_links_out()
        found = counts(self._session, self._database)
        return self._fingerprinted([replace(o, path=self._path(o.path)) for o in found], expected)

    def _path(self, name: str) -> str:
        """Return the path in the backup of a table here, whose name may be in lower case."""
        paths = self.chosen.paths
        return paths.get(name) or next((p for n, p in paths.items() if n.casefold() == name.casefold()), name)

    def _require_no_links_out(self) -> None:
        """See that foreign keys refer to these tables alone, however the dump made them."""
        made = {statement.name.casefold() for statement in self.created_tables}
        for row in self._session.rows(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME "
            f"FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA={literal(self._database)}"
        ):
            table, name, schema, other = (decode(v) for v in row)
            if schema.casefold() != self._database.casefold() or other.casefold() not in made:
                raise IntegrityError(
                    f"the dump makes the foreign key {name} of {table} to {schema}.{other} in a way in which no dump "
                    "by this driver says it: it was altered, or made by another program"
                )

    def _fingerprinted(self, objects: Iterable[ObjectEvidence], expected: Evidence) -> tuple[ObjectEvidence, ...]:
        """Return what was counted, with the fingerprint of each table of which the backup has one."""
        wanted = {entry.path for entry in expected.objects if entry.fingerprint is not None}
        if not wanted:
            return tuple(objects)
        session = connect(self._target, self._database)
        try:
            reader = CatalogReader(session, self._database, listing(session, self._database), ())
            digests = {}
            for table in reader.tables():
                if (path := self._path(table.name)) in wanted:
                    digests[path] = fingerprint(session, table)[1]
        finally:
            session.close()
        return tuple(replace(o, fingerprint=digests.get(o.path)) for o in objects)
