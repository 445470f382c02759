"""Throw-away databases for drills: on a private server of local programs, or a new one on a server that was named."""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import uuid
from typing import TYPE_CHECKING

from dumpty import DumptyError, IntegrityError, NotProvable, OptionError, Source, SourceError, Unfinished
from dumpty_plugins.mysql.examine import examine
from dumpty_plugins.mysql.loading.allowlist import sql_words
from dumpty_plugins.mysql.schema.character_sets import CharacterSets
from dumpty_plugins.mysql.schema.checks import DANGLING, check_tables, dangling, foreign_keys
from dumpty_plugins.mysql.server.clients import client_arguments, client_environment
from dumpty_plugins.mysql.server.confinement import (
    DRILL_PREFIX,
    SUPERUSER_OPTION,
    confine_root,
    create_admin,
    drill_target,
    harmful_privilege,
)
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.private_server import PrivateServer
from dumpty_plugins.mysql.server.programs import local_server, rehearsal_of
from dumpty_plugins.mysql.server.session import Session, StatementError, address, decode, versions
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty import Dump, Options
    from dumpty_plugins.mysql.loading.allowlist import Statement

_NOT_COMPARED = (
    "that text sorts and compares as on the original's server: neither MySQL nor MariaDB tells versions of collations",
    "that the server warned of nothing while it loaded the dump: its warnings are not listened to",
)
_LOCK_SECONDS = 30
"""How long the tables of a copy may be locked by sessions of other databases before it is given up."""
_HARMLESS_DATABASES = frozenset({"information_schema", "performance_schema"})


class ScratchDatabase:
    """A database that lives for one drill (``dumpty.types.Scratch``); ``notes`` says under whose privileges."""

    def __init__(
        self,
        target: Source,
        dump: Dump,
        server_versions: Mapping[str, str],
        notes: tuple[str, ...],
        rehearsal: str = "",
    ) -> None:
        self.target = target
        self.notes = notes
        self.rehearsal = rehearsal
        self.differs = (f"the server: it is {rehearsal}",) if rehearsal else ()
        self.not_proved = _NOT_COMPARED if rehearsal else ()
        self.versions = server_versions
        self._database = str(target.database)
        self._dump = dump
        self._properties = dump.evidence.properties

    def check(self) -> tuple[str, ...]:
        """Let the server check every table, and see that every row has the rows it refers to, as when it was dumped."""
        session = connect(self.target, self._database)
        try:
            tables = check_tables(session, self._database)
            keys = len(foreign_keys(session, self._database))
            orphans = dangling(session, self._database)
        finally:
            session.close()
        dumped_orphans = self._properties.get(DANGLING)
        if dumped_orphans is not None and orphans != dumped_orphans:
            raise IntegrityError(
                f"rows without the row they refer to: {orphans or 'none'}, and when dumped: {dumped_orphans}"
            )
        orphan_list = ", ".join(f"{count} of {key}" for key, count in orphans.items())
        orphan_text = f", but for rows without one: {orphan_list}" + (
            " (as when dumped)" if dumped_orphans is not None else " (perhaps as in the original)"
        )
        keys_text = f"foreign key{'' if keys == 1 else 's'}{orphan_text if orphans else ''}"
        return f"CHECK TABLE EXTENDED of {tables} table{'' if tables == 1 else 's'}", f"parents of {keys} {keys_text}"

    def environment(self) -> Mapping[str, str | None]:
        """Return the variables of the clients that lead to its server; none of them names a database or an account."""
        return client_environment(self.target)

    def shell(self) -> tuple[str, ...]:
        """Return the arguments of the server's own client, whose password is in the environment.

        Raises:
            CommandError: there is none.
        """
        return client_arguments(self.target, mariadb="mariadb" in self.versions.get("server", "").lower())

    @contextlib.contextmanager
    def another(self) -> Iterator[ScratchDatabase]:
        """Yield another database of the same server, which does not exist yet: none of these servers copies one."""
        name = f"{DRILL_PREFIX}_{uuid.uuid4().hex[:12]}"
        target = self.target.replace(database=name)
        unfinished = Unfinished(f"the database {name} on {address(target)} ({_drop_statement(name)})")
        try:
            yield ScratchDatabase(target, self._dump, self.versions, self.notes, self.rehearsal)
        except BaseException:
            with contextlib.suppress(DumptyError):  # the failure that led here is the one to report
                _drop(target, name, sessions=True)
                unfinished.settle()
            raise
        _drop(target, name, sessions=True)
        unfinished.settle()

    def ask(self, statement: str, /) -> list[tuple[object, ...]]:
        """Run a query, which can only read; numbers come as numbers, everything else as text or bytes."""
        session = connect(self.target, self._database)
        try:
            session.execute("SET SESSION TRANSACTION READ ONLY")
            return [tuple(_value(v) for v in row) for row in session.rows(statement)]
        finally:
            session.close()


def _value(value: bytes | None) -> object:
    if value is None:
        return None
    text = value.decode("utf-8", "replace")
    if re.fullmatch(r"-?(0|[1-9]\d*)", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text):
        return float(text)
    return text if "\ufffd" not in text else value


def _dumped_on(dump: Dump) -> tuple[str, tuple[int, ...]]:
    """Return the flavour and the version of the server that a dump came from."""
    version = dump.versions.get("server", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise NotProvable("the backup does not say which server it came from, so none can be chosen to restore it on")
    return "MariaDB" if "mariadb" in version.lower() else "MySQL", (int(numbers[1]), int(numbers[2]))


def _require_compatible(dump: Dump, flavour: str, version: tuple[int, ...], server_name: str) -> None:
    dumped_flavour, dumped_version = _dumped_on(dump)
    if flavour != dumped_flavour or version[:2] < dumped_version:
        dumped_on = f"{dumped_flavour} {'.'.join(map(str, dumped_version))}"
        restored_on = f"{flavour} {'.'.join(map(str, version))}"
        raise NotProvable(
            f"the dump came from {dumped_on}, and {server_name} is {restored_on}: name a server of that "
            "version or newer with --on"
        )


@contextlib.contextmanager
def scratch_on_private_server(dump: Dump, options: Options, *, superuser: bool) -> Iterator[ScratchDatabase]:
    """Start a server that nobody else can reach, and stop and remove it whatever happens.

    Raises:
        NotProvable: this machine has no such server, or no room for it.
        OptionError: the version that is asked for is none.
    """
    flavour, dumped_version = _dumped_on(dump)
    program = local_server(flavour, options)
    _require_compatible(dump, program.flavour, program.version, f"{program.program} on this machine")
    with PrivateServer(program, dump_bytes=dump.size) as server:
        target = server.source(DRILL_PREFIX)
        if not superuser:
            target = drill_target(target)
            _confine(server)
        session = connect(target, None)
        try:
            server_versions = versions(session)
        finally:
            session.close()
        scope = "of a superuser of that server" if superuser else "to the drill's database alone"
        yield ScratchDatabase(
            target,
            dump,
            server_versions,
            (f"its server runs {server.account}", f"the dump is loaded with rights {scope}"),
            rehearsal_of(program, flavour, dumped_version, options),
        )


def _confine(server: PrivateServer) -> None:
    """Take from the private server's root, who loads and asks, what goes beyond the drill's database."""
    name, password = f"dumpty_{secrets.token_hex(8)}", secrets.token_hex(16)
    root = connect(server.source(DRILL_PREFIX), None)
    try:
        create_admin(root, name, password)
    finally:
        root.close()
    admin = connect(server.source(DRILL_PREFIX, name, password), None)
    try:
        confine_root(admin, name)
    finally:
        admin.close()


@contextlib.contextmanager
def scratch_on_server(dump: Dump, on: Source, options: Options, *, superuser: bool) -> Iterator[ScratchDatabase]:
    """Make a new database on a server that was named, and drop it whatever happens.

    Raises:
        NotProvable: the server is another one, would run the dump's events, or has databases that the dump names.
        OptionError: the account could harm the server, and nobody insisted; or a version was chosen.
    """
    if options.get("server_version") or options.get("bindir"):
        raise OptionError(
            "a server that is named with --on has the version it has: leave --server-version and --bindir out"
        )
    name = f"{DRILL_PREFIX}_{uuid.uuid4().hex[:12]}"
    target = on.replace(database=name)
    session = connect(on, None)
    try:
        privilege = harmful_privilege(session)
        if privilege and not superuser:
            raise OptionError(
                f"the account of {on.url} has {privilege} on the whole server, and a drill runs what whoever owned the "
                f"database wrote: name one with ALL on `{DRILL_PREFIX}%`.* alone, or insist with {SUPERUSER_OPTION}"
            )
        version = tuple(int(n) for n in re.findall(r"\d+", session.version)[:3])
        _require_compatible(dump, "MariaDB" if session.mariadb else "MySQL", version, f"the server {address(on)}")
        examine(dump, _ReachCheck(session, on).check)
        server_versions = versions(session)
    finally:
        session.close()
    if not superuser:
        target = drill_target(target)
    unfinished = Unfinished(f"the drill's database {name} on {address(on)} ({_drop_statement(name)})")
    try:
        yield ScratchDatabase(
            target,
            dump,
            server_versions,
            (f"it is loaded with {privilege or 'no right'} on the whole server of {on.url}",),
        )
    except BaseException:
        with contextlib.suppress(DumptyError):  # the failure that led here is the one to report
            _drop(on, name)
            unfinished.settle()
        raise
    _drop(on, name)
    unfinished.settle()


def _drop_statement(name: str) -> str:
    return f"DROP DATABASE IF EXISTS {identifier(name)}"


def _drop(on: Source, name: str, *, sessions: bool = False) -> None:
    """Drop a drill's database and what a restore made beside it; ``sessions`` in it, whose locks keep it, end."""
    session = connect(on, None)
    try:
        session.execute("SET FOREIGN_KEY_CHECKS=0")
        if sessions:
            session.execute(f"SET SESSION lock_wait_timeout={_LOCK_SECONDS}")
            _end_sessions(session, name)
        for database in (name, f"{name}__dumpty_new", f"{name}__dumpty_old"):
            session.execute(_drop_statement(database))
    except SourceError as error:
        raise SourceError(f"the database {name} of the drill could not be dropped on {address(on)}: {error}") from error
    finally:
        session.close()


def _end_sessions(session: Session, database: str) -> None:
    for connection, _, _, name, *_ in session.rows("SHOW PROCESSLIST"):
        if decode(name) == database and connection is not None:
            with contextlib.suppress(StatementError):  # it has ended by itself
                session.execute(f"KILL {int(connection)}")


class _ReachCheck:
    """Refuses statements of a dump that could touch what else is on a server."""

    def __init__(self, session: Session, on: Source) -> None:
        self._on = on
        self._runs_events = session.text("SELECT @@event_scheduler").upper() == "ON"
        self._charsets = CharacterSets(session)
        self._other_databases = {decode(n).lower() for (n,) in session.rows("SHOW DATABASES")} - _HARMLESS_DATABASES

    def check(self, statement: Statement) -> None:
        if statement.kind == "EVENT" and self._runs_events:
            raise NotProvable(
                f"event {statement.name} of the dump would run on {address(self._on)}: SET GLOBAL event_scheduler=OFF "
                "there, or drill on a private server (without --on)"
            )
        if statement.kind == "TABLE" or statement.creates_stored_object:
            for name, dot in itertools.pairwise(sql_words(statement.text)):
                if dot != b".":
                    continue
                database = self._charsets.decode(name.strip(b'`"').replace(b"``", b"`"), statement.charset)
                if database.lower() in self._other_databases:
                    raise NotProvable(
                        f"{statement.kind.lower()} {statement.name} of the dump reaches into the database {database}, "
                        f"which is on {address(self._on)}: drill on a private server (without --on)"
                    )
