"""Loads a dump into one database: rows first, checked against the evidence, and only then the stored objects."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, NotProvable, ObjectEvidence, SourceError, require_same_evidence
from dumpty_plugins.mysql.loading.allowlist import sql_words
from dumpty_plugins.mysql.loading.dump_reader import DumpReader
from dumpty_plugins.mysql.loading.parallel import Loaders
from dumpty_plugins.mysql.loading.tables import TableFiller
from dumpty_plugins.mysql.schema.binary_log import check_binary_log
from dumpty_plugins.mysql.schema.catalog import base_tables, drop_statements, listing, rows_from
from dumpty_plugins.mysql.schema.character_sets import CharacterSets
from dumpty_plugins.mysql.schema.statement_edits import disabled_event, without_definer
from dumpty_plugins.mysql.server.confinement import ignore_directories, is_drill, refuse_outside
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.privileges import definer_advice
from dumpty_plugins.mysql.server.refusals import refusal_error
from dumpty_plugins.mysql.server.session import LOCK_ERRORS, Session, StatementError, address
from dumpty_plugins.mysql.server.sql import identifier
from dumpty_plugins.mysql.server.sql_modes import LOOSE, is_needless_setting, set_mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty import Dump, DumptyError, Source
    from dumpty_plugins.mysql.dumping.script_writer import Totals
    from dumpty_plugins.mysql.loading.allowlist import Statement

SESSION = ("SET NAMES utf8mb4", "SET time_zone='+00:00'", f"SET sql_mode='{LOOSE}'")
"""What a session is set to before tables and stored objects."""
_TABLES = (
    "explicit_defaults_for_timestamp=1",  # or a TIMESTAMP that has no default would be given one
    "sql_require_primary_key=0",
    "sql_generate_invisible_primary_key=0",
    "restrict_fk_on_non_standard_key=0",
)
"""What takes a table as it was, whatever a server asks of new ones."""


class Loader:
    """Executes a dump's statements in the default database of ``session``, its rows in up to ``jobs`` more sessions.

    ``created_tables`` lists the tables and sequences that were made. ``stored_objects`` are the statements of views,
    routines, triggers and events, which wait; ``created_objects`` those of them that were executed where that was done
    last, as far as the server was heard. ``notes`` says what of the stored objects is not as it was.
    """

    def __init__(
        self, session: Session, target: Source, database: str, *, jobs: int, keep_definers: bool = True
    ) -> None:
        self._session = session
        self._keep_definers = keep_definers
        self._target = target
        self._database = database
        self._jobs = jobs
        self._in_drill = is_drill(target)
        self._packet = session.number("SELECT @@max_allowed_packet")
        self._charsets = CharacterSets(session)
        self.created_tables: list[Statement] = []
        self.stored_objects: list[Statement] = []
        self.created_objects: list[Statement] = []
        self.notes: set[str] = set()

    def load(self, dump: Dump) -> tuple[ObjectEvidence, ...]:
        """Load everything but the stored objects, to the verified end of the dump, and compare it with the evidence.

        Raises:
            IntegrityError: the dump is damaged, a row did not go in as it is, or counts differ.
            SourceError: the server refused a statement, or the connection was lost.
            NotProvable: the server of a drill lacks what the backup needs.
        """
        self._check_server(dump.evidence)
        accept_any_table(self._session)
        statements = DumpReader(dump)
        pool = Loaders(lambda: connect(self._target, self._database), self._database, self._jobs)
        try:
            # Who gives up on a silent server would give up on a large index.
            defer_indexes = "read_timeout" not in self._target.query
            with contextlib.closing(statements):
                tables = TableFiller(self._session, pool, self._database, defer_indexes=defer_indexes)
                self._load(self._choose(statements), tables)
            pool.close()
        except BaseException:
            pool.stop()
            raise
        # What comes before the first stored object of a dump is the session that it was written in.
        for setting in SESSION:
            self._session.execute(setting)
        objects = self._count(statements.totals, dump.evidence)
        require_same_evidence(
            expected=dump.evidence,
            found=Evidence(objects=objects),
            subject="what was loaded",
            advice="the target was left as it was; restore another backup",
        )
        return objects

    def _check_server(self, expected: Evidence) -> None:
        """See that the server forbids nothing that the backup says it needs."""
        check_binary_log(self._session, self._target, expected.properties, in_drill=self._in_drill)

    def _choose(self, statements: Iterable[Statement]) -> Iterable[Statement]:
        """Return those of a dump's statements that are to be executed: all of them."""
        return statements

    def _count(self, totals: Totals, expected: Evidence) -> tuple[ObjectEvidence, ...]:  # noqa: ARG002 - for others
        """Count what is there, and compare it with the dump's last lines."""
        objects = counts(self._session, self._database)
        loaded = len(objects), sum(o.rows or 0 for o in objects)
        if loaded != (totals.tables, totals.rows):
            raise IntegrityError(
                f"{loaded[0]} tables with {loaded[1]} rows were loaded, but the dump's last line says "
                f"{totals.tables} with {totals.rows}"
            )
        return objects

    def create_stored_objects(self, session: Session, *, events_disabled: bool = False, attempts: int = 1) -> None:
        """Create views, routines, triggers and events over ``session``.

        Args:
            session: its default database is theirs.
            events_disabled: create events such that they do not run, and none where its text does not show that.
            attempts: how often to ask for a lock that somebody holds.

        Raises:
            SourceError: the server refused a statement.
        """
        for setting in SESSION:
            session.execute(setting)
        self.created_objects = []
        for index, statement in enumerate(self.stored_objects):
            if statement.kind == "SET":
                self._set(
                    session,
                    statement,
                    next((s for s in self.stored_objects[index:] if s.creates_stored_object), statement),
                )
                continue
            text = disabled_event(statement.text) if events_disabled and statement.kind == "EVENT" else statement.text
            if text is None:
                continue
            self.created_objects.append(statement)
            try:
                session.execute_retrying(text, attempts)
            except StatementError as error:
                if not error.lost:
                    self.created_objects.pop()
                if error.code in LOCK_ERRORS:
                    raise
                advice = definer_advice(session, error)
                extra_advice = f"; {advice}or become the definer of everything with the option definer=current" * bool(
                    advice
                )
                raise self._refusal(statement, error, extra_advice) from error

    def _refusal(self, statement: Statement, error: StatementError, extra_advice: str = "") -> DumptyError:
        label = f"{statement.kind.lower()} {statement.name} of the dump cannot be created on {address(self._target)}"
        return refusal_error(label, error, in_drill=self._in_drill, extra_advice=extra_advice)

    def _set(self, session: Session, statement: Statement, stored_object: Statement) -> None:
        """Make the session what ``stored_object`` was written in."""
        try:
            unknown, needed = set_mode(session, statement.text)
        except StatementError as error:
            raise self._refusal(stored_object, error) from error
        if needed:
            raise (NotProvable if self._in_drill else SourceError)(
                f"{stored_object.kind.lower()} {stored_object.name} of the dump was written in the sql_mode "
                f"{', '.join(needed)}, which {address(self._target)} does not know: there it would mean something "
                "else; restore on a server that knows it"
            )
        if unknown:
            self.notes.add(
                f"stored objects were created without the sql_mode {', '.join(unknown)}, which means nothing there"
            )

    def _load(self, statements: Iterable[Statement], tables: TableFiller) -> None:
        settings: list[Statement] = []
        for statement in statements:
            if self.stored_objects or statement.creates_stored_object:
                # Settings right before the stored objects belong to them: tables are made without them.
                self.stored_objects += [*settings, self._with_definer(self._with_decoded_name(statement))]
                settings = []
            elif statement.kind in {"SET", "DATABASE"}:
                settings.append(statement)
            else:
                for item in (*settings, statement):
                    self._run(item, tables)
                settings = []
        for item in settings:
            self._run(item, tables)
        tables.finish()

    def _with_decoded_name(self, statement: Statement) -> Statement:
        """Return a statement with its name as everybody knows it, whatever character set it is written in.

        Raises:
            SourceError: the database's name cannot be said in it, and the server would put question marks in a view.
        """
        if not statement.charset:
            return statement
        if statement.kind == "VIEW" and self._charsets.encode(self._database.encode(), statement.charset) is None:
            raise SourceError(
                f"view {statement.name} of the dump is written in the character set {statement.charset}, which cannot "
                f"say the name of the database {self._database}: restore into another name"
            )
        name = self._charsets.decode(statement.name.encode("utf-8", "surrogateescape"), statement.charset)
        return replace(statement, name=name)

    def _with_definer(self, statement: Statement) -> Statement:
        if self._keep_definers or not statement.creates_stored_object:
            return statement
        return replace(statement, text=without_definer(statement.text))

    def _execute(self, statement: Statement) -> None:
        """Execute a statement; what was refused was not made, and one of that name is somebody else's."""
        makes = statement.kind in {"SEQUENCE", "TABLE"}
        self.created_tables += [statement] * makes
        try:
            self._session.execute(statement.text)
        except StatementError as error:
            if makes and not error.lost:
                self.created_tables.pop()
            raise

    def _run(self, statement: Statement, tables: TableFiller) -> None:
        if len(statement.text) + 1 > self._packet:
            raise SourceError(
                f"a row of {statement.name} needs {len(statement.text) + 1} bytes at once, and {address(self._target)} "
                f"takes {self._packet}: raise max_allowed_packet there (SET GLOBAL max_allowed_packet=…)"
            )
        if statement.kind == "INSERT":
            tables.add(statement)
            return
        if statement.kind == "TABLE":
            if self._in_drill:
                refuse_outside(statement.name, sql_words(statement.text), ignored=self._session.mariadb)
            tables.begin(statement)
        try:
            self._execute(statement)
        except StatementError as error:
            if is_needless_setting(statement.text, error):
                return
            label = f"{statement.kind} {statement.name}".strip()
            raise refusal_error(
                f"the dump cannot be loaded into {self._database}, at {label}",
                error,
                in_drill=self._in_drill,
                encrypted=b"ENCRYPTED" in statement.text,
            ) from error
        if statement.kind == "SET":
            if self._in_drill and b"sql_mode" in statement.text:
                ignore_directories(self._session)
            tables.set(statement.text)


def accept_any_table(session: Session) -> None:
    """Let a session make, and move, a table as it was, whatever the server asks of new ones."""
    for setting in _TABLES:
        with contextlib.suppress(StatementError):  # not known, read-only or not allowed there
            session.execute(f"SET SESSION {setting}")


def drop(session: Session, kind: str, database: str, name: str, *, attempts: int = 1) -> None:
    """Drop one object of ``database``, if it is there."""
    for statement in drop_statements(kind, database, name):
        session.execute_retrying(statement, attempts)


def check_stored_objects(session: Session, database: str, statements: Iterable[Statement]) -> list[str]:
    """See that every view, routine, trigger and event of a dump is there now, and return notes on those that may lack.

    Raises:
        IntegrityError: one is not there.
    """
    existing = {(("VIEW" if e[0] == "table" else e[0].upper()), e[1].lower()) for e in listing(session, database)}
    notes = []
    for statement in statements:
        if statement.creates_stored_object and (statement.kind, statement.name.lower()) not in existing:
            if statement.kind != "EVENT":
                raise IntegrityError(f"{statement.kind.lower()} {statement.name} was created, but is not there")
            notes.append(f"event {statement.name} is over: its time has passed, and the server drops such an event")
    return notes


def counts(session: Session, database: str) -> tuple[ObjectEvidence, ...]:
    """Count the rows of every table of ``database``, rows of the past included, rows that are others' left out."""
    entries = listing(session, database)
    merged = {e[1] for e in entries if e[0] == "table" and e[2] == "MERGE TABLE"}
    versioned = {e[1] for e in entries if e[0] == "table" and e[2] == "SYSTEM VERSIONED"}
    return tuple(
        ObjectEvidence(
            path=name,
            rows=None
            if name in merged
            else session.number(
                f"SELECT COUNT(*) FROM {identifier(database)}.{rows_from(name, versioned=name in versioned)}"
            ),
        )
        for name in base_tables(entries)
    )
