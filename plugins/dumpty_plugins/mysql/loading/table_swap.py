"""Puts some tables of a dump beside what a database holds, or in the place of tables of their names.

They are loaded into ``DB__dumpty_new`` and checked there; their triggers are created there, too, to know that they can
be; only then are they moved (``table_exchange``). Until then nothing in the database has changed.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import OptionError, SourceError, TargetNotEmpty
from dumpty_plugins.mysql.loading.swap import Swap
from dumpty_plugins.mysql.loading.table_exchange import TableExchange
from dumpty_plugins.mysql.loading.table_loader import TableLoader
from dumpty_plugins.mysql.loading.table_statements import TableStatements
from dumpty_plugins.mysql.loading.target_names import LONGEST_NAME, TargetNames
from dumpty_plugins.mysql.schema.catalog import Catalog, Settings, database_settings, listing, movable_names
from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader
from dumpty_plugins.mysql.schema.character_sets import CharacterSets
from dumpty_plugins.mysql.schema.recovery import exists, read_mark
from dumpty_plugins.mysql.server.privileges import account, held_privileges
from dumpty_plugins.mysql.server.session import StatementError, address, decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dumpty import Source
    from dumpty_plugins.mysql.loading.loader import Loader
    from dumpty_plugins.mysql.schema.catalog import StoredObject
    from dumpty_plugins.mysql.server.session import Session

_TABLES = frozenset({"BASE TABLE", "SYSTEM VERSIONED"})
_DENIED = frozenset({1044, 1142, 1227})


class TableSwap(Swap):
    """One restore of some tables; the arguments are those of ``Swap``, and which they are.

    Args:
        tables: their paths in the backup, each with its name in the target.
        overwrite: whether to replace tables of these names.
        triggers: whether to give them their triggers.

    Raises:
        OptionError: a name is none for a table.
    """

    def __init__(
        self,
        target: Source,
        control: Session,
        database: str,
        *,
        lock_timeout: int,
        jobs: int,
        keep_definers: bool,
        tables: Mapping[str, str],
        overwrite: bool,
        triggers: bool,
    ) -> None:
        super().__init__(target, control, database, lock_timeout=lock_timeout, jobs=jobs, keep_definers=keep_definers)
        self._fold = control.number("SELECT @@lower_case_table_names") != 0
        self._tables = tables
        self._overwrite = overwrite
        self._triggers = triggers
        self._replaced: list[str] = []
        self._exists = False
        _require_names(tables, fold=self._fold)

    def _read_old_content(self) -> None:
        """Find the tables that are to be replaced, and read their triggers, to put them back after a failure."""
        self._exists = exists(self._control, self._database)
        self._replaced = self._find_replaced() if self._exists else []
        self._check_references()
        triggers: tuple[StoredObject, ...] = ()
        if self._replaced:
            if not held_privileges(self._control, self._database).has("TRIGGER"):
                raise SourceError(
                    f"overwriting tables of {self._database} needs the right TRIGGER on it: triggers that are hidden "
                    "from this account could not be put back after a failure"
                )
            session = self._connect(self._database)
            try:
                reader = CatalogReader(session, self._database, listing(session, self._database), ())
                triggers = tuple(reader.triggers(self._replaced))
            finally:
                session.close()
        self._before = Catalog(
            settings=self._settings(), sequences=(), tables=(), stored_objects=triggers, listing=frozenset()
        )

    def _settings(self) -> Settings:
        if self._exists:
            return database_settings(self._control, self._database)
        charset, collation = self._control.rows("SELECT @@character_set_server, @@collation_server")[0]
        return Settings(decode(charset), decode(collation), None)

    def _find_replaced(self) -> list[str]:
        """Return the tables in the target that have one of the names.

        Raises:
            TargetNotEmpty: there is one, and it is not to be overwritten, or it is no table.
        """
        wanted = {self._folded(new) for new in self._tables.values()}
        where = f"database {self._database} on {address(self._target)}"
        replaced = []
        for row in self._control.rows(
            "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES "
            f"WHERE TABLE_SCHEMA={literal(self._database)} ORDER BY 1"
        ):
            name, kind = (decode(v) for v in row)
            if self._folded(name) not in wanted:
                continue
            if kind not in _TABLES:
                raise TargetNotEmpty(
                    f"{where} has a {kind.lower()} called {name} already, which is no table: give what is restored "
                    "another name, TABLE=NEW"
                )
            if not self._overwrite:
                raise TargetNotEmpty(
                    f"{where} has a table called {name} already, so nothing was restored; give what is restored "
                    "another name, TABLE=NEW, or insist on replacing that table: --overwrite (overwrite=True)"
                )
            replaced.append(name)
        return replaced

    def _check_references(self) -> None:
        """See that no other table refers to one that is replaced: its foreign key would follow the old one out.

        Raises:
            SourceError: one does.
        """
        if not self._replaced:
            return
        replaced = {self._folded(name) for name in self._replaced}
        referring = []
        for row in self._control.rows(
            "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME "
            "FROM information_schema.REFERENTIAL_CONSTRAINTS "
            f"WHERE UNIQUE_CONSTRAINT_SCHEMA={literal(self._database)}"
        ):
            schema, table, name, parent = (decode(v) for v in row)
            if self._folded(parent) not in replaced:
                continue
            if schema != self._database or self._folded(table) not in replaced:
                referring.append(f"{name} of {schema}.{table} to {parent}")
        if referring:
            raise SourceError(
                f"tables of {self._database} on {address(self._target)} cannot be replaced, for foreign keys of others "
                f"refer to them and would be lost: {'; '.join(sorted(referring))}. Drop those keys and make them again "
                "afterwards, replace those tables, too, or give what is restored another name, TABLE=NEW"
            )

    def _check_references_from_outside(self) -> None:
        """Only of the tables that are replaced: ``_check_references``."""

    def _check_privileges(self, kinds: Iterable[str]) -> None:
        in_steps = bool(self._replaced) or "trigger" in set(kinds)
        needed = {self._database: ["CREATE", "INSERT"]}
        needed[self._database] += ["ALTER", "DROP"] if in_steps else []
        needed[self._database] += ["TRIGGER"] if in_steps else []
        needed[self._new] = ["SELECT", "CREATE", "ALTER", "INSERT", "DROP", *(["TRIGGER"] if in_steps else [])]
        needed |= {self._old: ["SELECT", "CREATE", "DROP", "ALTER", "INSERT"]} if in_steps else {}
        for database, names in needed.items():
            privileges = held_privileges(self._control, database)
            if missing := ", ".join(name for name in names if not privileges.has(name)):
                raise SourceError(
                    f"restoring tables into {self._database} needs more rights than the account has, for they are "
                    f"loaded into a database beside it first: GRANT {missing} ON {identifier(database)}.* TO "
                    f"{account(self._control)}; nothing was changed"
                )

    def _create_new(self) -> None:
        try:
            super()._create_new()
        except StatementError as error:
            if error.code not in _DENIED:
                raise
            raise SourceError(
                f"restoring single tables needs a database beside {self._database}, and this account may not create "
                f"it: GRANT ALL ON {identifier(self._new)}.* TO {account(self._control)} ({error}); nothing was changed"
            ) from error

    def _loader(self, session: Session) -> Loader:
        chosen = TableStatements(
            self._tables,
            TargetNames(self._control, self._database, self._replaced),
            CharacterSets(self._control),
            triggers=self._triggers,
            collation=self._before.settings.collation if self._exists else "",
            fold=self._fold,
        )
        return TableLoader(
            session,
            self._target,
            self._new,
            chosen,
            self._tables,
            jobs=self._jobs,
            keep_definers=self._keep_definers,
        )

    def _exchange(self, loader: Loader) -> None:
        assert isinstance(loader, TableLoader)  # noqa: S101 - made above
        new = movable_names(self._control, self._new)
        loaded = {self._folded(s.name): s.name for s in loader.created_tables}
        if {self._folded(n) for n in new} != set(loaded) or read_mark(self._control, self._new) != self._token:
            raise SourceError(f"somebody changed {self._new} while it was being loaded: nothing was moved; try again")
        self._read_old_content()  # again: loading took its time
        self._check_privileges(["trigger" for s in loader.stored_objects if s.kind == "TRIGGER"])
        names = {name: loader.chosen.new_name(loaded[self._folded(name)]) for name in new}
        exchange = TableExchange(
            self._target,
            self._control,
            self._connect,
            self._database,
            before=self._before,
            loader=loader,
            names=names,
            replaces=bool(self._replaced),
            creates=not self._exists,
        )
        self._notes += [*exchange.run(self._replaced, new), *loader.chosen.notes]

    def _folded(self, name: str) -> str:
        return name.casefold() if self._fold else name


def _require_names(tables: Mapping[str, str], *, fold: bool) -> None:
    """See that what tables are to be called are names, and all different."""
    names: set[str] = set()
    for path, new in tables.items():
        if not new or new != new.rstrip() or "\0" in new or len(new) > LONGEST_NAME:
            raise OptionError(f"{new!r} is no name for a table: {LONGEST_NAME} characters at most, no space at its end")
        if "." in new and "." not in path:
            raise OptionError(f"{new!r} is no name for a table: write it without a database, which is the target's")
        name = new.casefold() if fold else new
        if name in names:
            raise OptionError(f"two tables are to be called {new}: give each a name of its own")
        names.add(name)
