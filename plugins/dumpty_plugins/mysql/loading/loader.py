"""Loads a dump into one database: rows first, checked against the evidence, and only then the code."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty import IntegrityError, NotProvable, ObjectEvidence, SourceError
from dumpty.process import masks
from dumpty_plugins.mysql.loading.allowlist import words
from dumpty_plugins.mysql.loading.parallel import Loaders
from dumpty_plugins.mysql.loading.statements import StatementReader
from dumpty_plugins.mysql.loading.tables import Filling
from dumpty_plugins.mysql.schema.binary_log import check_log
from dumpty_plugins.mysql.schema.catalog import base_tables, dropping, listing, rows_from
from dumpty_plugins.mysql.schema.character_sets import CharacterSets
from dumpty_plugins.mysql.schema.definers import disabled, without_definer
from dumpty_plugins.mysql.schema.stored_objects import LOOSE
from dumpty_plugins.mysql.server.confinement import ignore_directories, is_drill, refuse_outside
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.privileges import definer_advice
from dumpty_plugins.mysql.server.refusals import refused
from dumpty_plugins.mysql.server.session import WAITED, Session, StatementError, place
from dumpty_plugins.mysql.server.sql import identifier
from dumpty_plugins.mysql.server.sql_modes import needless, set_mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty import Dump, DumptyError, Source
    from dumpty_plugins.mysql.loading.allowlist import Statement

_SESSION = ("SET NAMES utf8mb4", "SET time_zone='+00:00'", f"SET sql_mode='{LOOSE}'")
_TABLES = (
    "explicit_defaults_for_timestamp=1",  # or a TIMESTAMP that has no default would be given one
    "sql_require_primary_key=0",
    "sql_generate_invisible_primary_key=0",
    "restrict_fk_on_non_standard_key=0",
)
"""What takes a table as it was, whatever a server asks of new ones."""


class Loader:
    """Executes a dump's statements in the default database of ``session``, its rows in up to ``jobs`` more sessions.

    ``created`` lists what was made, ``code`` the statements of views, routines, triggers and events, which wait;
    ``made`` those of them that were made, as far as the server was heard, where code was run last. ``notes`` says
    what of the code is not as it was.
    """

    def __init__(
        self, session: Session, target: Source, database: str, *, jobs: int, keep_definers: bool = True
    ) -> None:
        self._session = session
        self._keep_definers = keep_definers
        self._target = target
        self._database = database
        self._jobs = jobs
        self._drilled = is_drill(target)
        self._packet = session.number("SELECT @@max_allowed_packet")
        self._sets = CharacterSets(session)
        self.created: list[Statement] = []
        self.code: list[Statement] = []
        self.made: list[Statement] = []
        self.notes: set[str] = set()

    def load(self, dump: Dump) -> tuple[ObjectEvidence, ...]:
        """Load everything but the code, to the verified end of the dump, and compare it with the evidence.

        Raises:
            IntegrityError: the dump is damaged, a row did not go in as it is, or counts differ.
            SourceError: the server refused a statement, or the connection was lost.
            NotProvable: the server of a drill lacks what the backup needs.
        """
        check_log(self._session, self._target, dump.evidence.properties, drilled=self._drilled)
        for setting in _TABLES:
            with contextlib.suppress(StatementError):  # not known, read-only or not allowed there
                self._session.execute(f"SET SESSION {setting}")
        pool = Loaders(lambda: connect(self._target, self._database), self._database, self._jobs)
        try:
            # Who gives up on a silent server would give up on a large index.
            patient = "read_timeout" not in self._target.query
            statements = self._load(dump, Filling(self._session, pool, self._database, patient=patient))
            pool.close()
        except BaseException:
            pool.stop()
            raise
        # What comes before the first code of a dump is the session that the code was written in.
        for setting in _SESSION:
            self._session.execute(setting)
        objects = counts(self._session, self._database)
        totals = statements.totals
        found = len(objects), sum(o.rows or 0 for o in objects)
        if totals is None or found != (totals.tables, totals.rows):
            raise IntegrityError(
                f"{found[0]} tables with {found[1]} rows were loaded, but the dump's last line says "
                f"{totals.tables if totals else 0} with {totals.rows if totals else 0}"
            )
        compare(objects, dump.evidence.objects)
        return objects

    def run_code(self, session: Session, *, asleep: bool = False, attempts: int = 1) -> None:
        """Create views, routines, triggers and events over ``session``.

        Args:
            session: its default database is theirs.
            asleep: create events such that they do not run, and none where that cannot be told from its text.
            attempts: how often to ask for a lock that somebody holds.

        Raises:
            SourceError: the server refused a statement.
        """
        for setting in _SESSION:
            session.execute(setting)
        self.made = []
        for index, statement in enumerate(self.code):
            if statement.kind == "SET":
                self._set(session, statement, next((s for s in self.code[index:] if s.code), statement))
                continue
            text = disabled(statement.text) if asleep and statement.kind == "EVENT" else statement.text
            if text is None:
                continue
            self.made.append(statement)
            try:
                session.insist(text, attempts)
            except StatementError as error:
                if not error.lost:
                    self.made.pop()
                if error.code in WAITED:
                    raise
                advice = definer_advice(session, error)
                more = f"; {advice}or become the definer of everything with the option definer=current" * bool(advice)
                raise self._refused(statement, error, more) from error

    def _refused(self, code: Statement, error: StatementError, more: str = "") -> DumptyError:
        what = f"{code.kind.lower()} {code.name} of the dump cannot be created on {place(self._target)}"
        return refused(what, error, drilled=self._drilled, more=more)

    def _set(self, session: Session, statement: Statement, code: Statement) -> None:
        """Make the session what ``code`` was written in."""
        try:
            unknown, needed = set_mode(session, statement.text)
        except StatementError as error:
            raise self._refused(code, error) from error
        if needed:
            raise (NotProvable if self._drilled else SourceError)(
                f"{code.kind.lower()} {code.name} of the dump was written in the sql_mode {', '.join(needed)}, which "
                f"{place(self._target)} does not know: there it would mean something else; restore on a server that "
                "knows it"
            )
        if unknown:
            self.notes.add(f"code was created without the sql_mode {', '.join(unknown)}, which means nothing there")

    def _load(self, dump: Dump, tables: Filling) -> StatementReader:
        stream = dump.open()
        try:
            statements = StatementReader(stream)
            settings: list[Statement] = []
            for statement in statements:
                if self.code or statement.code:
                    # Settings right before the code belong to it: what is done with tables is done without them.
                    self.code += [*settings, self._with_definer(self._named(statement))]
                    settings = []
                elif statement.kind in {"SET", "DATABASE"}:
                    settings.append(statement)
                else:
                    for each in (*settings, statement):
                        self._run(each, tables)
                    settings = []
            for each in settings:
                self._run(each, tables)
            tables.finish()
        finally:
            stream.close()
        return statements

    def _named(self, statement: Statement) -> Statement:
        """Return a statement with its name as everybody knows it, whatever character set it is written in.

        Raises:
            SourceError: the database's name cannot be said in it, and the server would put question marks in a view.
        """
        if not statement.charset:
            return statement
        if statement.kind == "VIEW" and self._sets.encode(self._database.encode(), statement.charset) is None:
            raise SourceError(
                f"view {statement.name} of the dump is written in the character set {statement.charset}, which cannot "
                f"say the name of the database {self._database}: restore into another name"
            )
        name = self._sets.decode(statement.name.encode("utf-8", "surrogateescape"), statement.charset)
        return replace(statement, name=name)

    def _with_definer(self, statement: Statement) -> Statement:
        if self._keep_definers or not statement.code:
            return statement
        return replace(statement, text=without_definer(statement.text))

    def _execute(self, statement: Statement) -> None:
        """Execute a statement; what was refused was not made, and one of that name is somebody else's."""
        makes = statement.kind in {"SEQUENCE", "TABLE"}
        self.created += [statement] * makes
        try:
            self._session.execute(statement.text)
        except StatementError as error:
            if makes and not error.lost:
                self.created.pop()
            raise

    def _run(self, statement: Statement, tables: Filling) -> None:
        if len(statement.text) + 1 > self._packet:
            raise SourceError(
                f"a row of {statement.name} needs {len(statement.text) + 1} bytes at once, and {place(self._target)} "
                f"takes {self._packet}: raise max_allowed_packet there (SET GLOBAL max_allowed_packet=…)"
            )
        if statement.kind == "INSERT":
            tables.add(statement)
            return
        if statement.kind == "TABLE":
            if self._drilled:
                refuse_outside(statement.name, words(statement.text), ignored=self._session.mariadb)
            tables.begin(statement)
        try:
            self._execute(statement)
        except StatementError as error:
            if needless(statement.text, error):
                return
            what = f"{statement.kind} {statement.name}".strip()
            raise refused(
                f"the dump cannot be loaded into {self._database}, at {what}",
                error,
                drilled=self._drilled,
                encrypted=b"ENCRYPTED" in statement.text,
            ) from error
        if statement.kind == "SET":
            if self._drilled and b"sql_mode" in statement.text:
                ignore_directories(self._session)
            tables.set(statement.text)


def drop(session: Session, kind: str, database: str, name: str, *, attempts: int = 1) -> None:
    """Drop one object of ``database``, if it is there."""
    for statement in dropping(kind, database, name):
        session.insist(statement, attempts)


def missing_code(session: Session, database: str, code: Iterable[Statement]) -> list[str]:
    """See that every view, routine, trigger and event of a dump is there now, and return notes on those that may lack.

    Raises:
        IntegrityError: one is not there.
    """
    found = {(("VIEW" if e[0] == "table" else e[0].upper()), e[1].lower()) for e in listing(session, database)}
    notes = []
    for statement in code:
        if statement.code and (statement.kind, statement.name.lower()) not in found:
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


def compare(
    found: tuple[ObjectEvidence, ...],
    expected: tuple[ObjectEvidence, ...],
    *,
    when: str = "after loading",
    outcome: str = ": the target was left as it was",
) -> None:
    """Compare what was loaded, or read, with the evidence of the backup.

    Raises:
        IntegrityError: a table is missing or too many, or has another number of rows.
    """
    if not expected:
        return
    loaded = {o.path: o.rows for o in found}
    alike = {o.path: next((p for p in loaded if masks(o.path, p)), o.path) for o in expected if o.path not in loaded}
    wanted = {alike.get(o.path, o.path): o.rows for o in expected}
    for path in sorted({*loaded, *wanted}):
        if path not in loaded or path not in wanted:
            where = "the dump does not hold" if path in wanted else "the backup's evidence does not know"
            raise IntegrityError(f"table {path}, which {where}{outcome}")
        if wanted[path] is not None and loaded[path] != wanted[path]:
            raise IntegrityError(
                f"table {path} has {loaded[path]} rows {when}, and had {wanted[path]} when the backup was made{outcome}"
            )
