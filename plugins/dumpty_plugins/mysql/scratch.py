"""Throw-away databases for drills: on a private server of local programs, or a new one on a server that was named."""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from dumpty import DumptyError, IntegrityError, NotProvable, OptionError, Source, SourceError, Unfinished
from dumpty_plugins.mysql.examine import examine
from dumpty_plugins.mysql.loading.allowlist import words
from dumpty_plugins.mysql.schema.character_sets import CharacterSets
from dumpty_plugins.mysql.schema.checks import DANGLING, check_tables, dangling, foreign_keys
from dumpty_plugins.mysql.server.confinement import INSIST, NAME, appoint, drill_target, power, reduce
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.private_server import PrivateServer, local_server
from dumpty_plugins.mysql.server.session import Session, decode, place, versions
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty import Dump
    from dumpty_plugins.mysql.loading.allowlist import Statement

_PLAIN = frozenset({"information_schema", "performance_schema"})


class Place:
    """A database that lives for one drill (``dumpty.types.Scratch``); ``notes`` says under whose rights."""

    def __init__(self, target: Source, dump: Dump, found: Mapping[str, str], notes: tuple[str, ...]) -> None:
        self.target = target
        self.notes = notes
        self.versions = found
        self._database = str(target.database)
        self._properties = dump.evidence.properties

    def check(self) -> tuple[str, ...]:
        """Let the server check every table, and see that every row has the rows it refers to, as when it was dumped."""
        session = connect(self.target, self._database)
        try:
            tables = check_tables(session, self._database)
            keys = len(foreign_keys(session, self._database))
            lonely = dangling(session, self._database)
        finally:
            session.close()
        known = self._properties.get(DANGLING)
        if known is not None and lonely != known:
            raise IntegrityError(f"rows without the row they refer to: {lonely or 'none'}, and when dumped: {known}")
        without = ", ".join(f"{n} of {key}" for key, n in lonely.items())
        said = f", but for rows without one: {without}" + (
            " (as when dumped)" if known is not None else " (perhaps as in the original)"
        )
        what = f"foreign key{'' if keys == 1 else 's'}{said if lonely else ''}"
        return f"CHECK TABLE EXTENDED of {tables} table{'' if tables == 1 else 's'}", f"parents of {keys} {what}"

    def ask(self, statement: str, /) -> list[tuple[object, ...]]:
        """Run a query in the database; numbers come as numbers, everything else as text or bytes."""
        session = connect(self.target, self._database)
        try:
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


def _dumped_by(dump: Dump) -> tuple[str, tuple[int, ...]]:
    """Return the flavour and the version of the server that a dump came from."""
    version = dump.versions.get("server", "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise NotProvable("the backup does not say which server it came from, so none can be chosen to restore it on")
    return "MariaDB" if "mariadb" in version.lower() else "MySQL", (int(numbers[1]), int(numbers[2]))


def _fits(dump: Dump, flavour: str, version: tuple[int, ...], where: str) -> None:
    wanted, at_least = _dumped_by(dump)
    if flavour != wanted or version[:2] < at_least:
        have = f"{flavour} {'.'.join(map(str, version))}"
        raise NotProvable(
            f"the dump came from {wanted} {'.'.join(map(str, at_least))}, and {where} is {have}: name a server of that "
            "version or newer with --on"
        )


@contextlib.contextmanager
def private(dump: Dump, *, insisted: bool) -> Iterator[Place]:
    """Start a server that nobody else can reach, and stop and remove it whatever happens.

    Raises:
        NotProvable: this machine has no such server, or no room for it.
    """
    found = local_server(_dumped_by(dump)[0])
    _fits(dump, found.flavour, found.version, f"{found.program} on this machine")
    with PrivateServer(found, room=dump.size) as server:
        target = server.source(NAME)
        if not insisted:
            target = drill_target(target)
            _confine(server)
        session = connect(target, None)
        try:
            found_there = versions(session)
        finally:
            session.close()
        rights = "of a superuser of that server" if insisted else "to the drill's database alone"
        yield Place(
            target, dump, found_there, (f"its server runs {server.account}", f"the dump is loaded with rights {rights}")
        )


def _confine(server: PrivateServer) -> None:
    """Take from the private server's root, who loads and asks, what goes beyond the drill's database."""
    name, password = f"dumpty_{secrets.token_hex(8)}", secrets.token_hex(16)
    root = connect(server.source(NAME), None)
    try:
        appoint(root, name, password)
    finally:
        root.close()
    admin = connect(server.source(NAME, name, password), None)
    try:
        reduce(admin, name)
    finally:
        admin.close()


@contextlib.contextmanager
def borrowed(dump: Dump, on: Source, *, insisted: bool) -> Iterator[Place]:
    """Make a new database on a server that was named, and drop it whatever happens.

    Raises:
        NotProvable: the server is another one, would run the dump's events, or has databases that the dump names.
        OptionError: the account could harm the server, and nobody insisted.
    """
    name = f"{NAME}_{uuid.uuid4().hex[:12]}"
    url = re.sub(r"^([^:]+://[^/]*)/[^?]*", lambda m: f"{m[1]}/{name}", on.url)
    target = replace(on, database=name, url=url)
    session = connect(on, None)
    try:
        might = power(session)
        if might and not insisted:
            raise OptionError(
                f"the account of {on.url} has {might} on the whole server, and a drill runs what whoever owned the "
                f"database wrote: name one with ALL on `{NAME}%`.* alone, or insist with {INSIST}"
            )
        numbers = tuple(int(n) for n in re.findall(r"\d+", session.version)[:3])
        _fits(dump, "MariaDB" if session.mariadb else "MySQL", numbers, f"the server {place(on)}")
        examine(dump, _Watch(session, on).see)
        found = versions(session)
    finally:
        session.close()
    if not insisted:
        target = drill_target(target)
    left = Unfinished(f"the drill's database {name} on {place(on)} (DROP DATABASE IF EXISTS {identifier(name)})")
    try:
        yield Place(target, dump, found, (f"it is loaded with {might or 'no right'} on the whole server of {on.url}",))
    except BaseException:
        with contextlib.suppress(DumptyError):  # the failure that led here is the one to report
            _drop(on, name)
            left.settle()
        raise
    _drop(on, name)
    left.settle()


def _drop(on: Source, name: str) -> None:
    session = connect(on, None)
    try:
        session.execute("SET FOREIGN_KEY_CHECKS=0")
        for one in (name, f"{name}__dumpty_new", f"{name}__dumpty_old"):
            session.execute(f"DROP DATABASE IF EXISTS {identifier(one)}")
    except SourceError as error:
        raise SourceError(f"the database {name} of the drill could not be dropped on {place(on)}: {error}") from error
    finally:
        session.close()


class _Watch:
    """Refuses statements of a dump that could touch what else is on a server."""

    def __init__(self, session: Session, on: Source) -> None:
        self._on = on
        self._runs_events = session.text("SELECT @@event_scheduler").upper() == "ON"
        self._sets = CharacterSets(session)
        self._others = {decode(n).lower() for (n,) in session.rows("SHOW DATABASES")} - _PLAIN

    def see(self, statement: Statement) -> None:
        if statement.kind == "EVENT" and self._runs_events:
            raise NotProvable(
                f"event {statement.name} of the dump would run on {place(self._on)}: SET GLOBAL event_scheduler=OFF "
                "there, or drill on a private server (without --on)"
            )
        if statement.kind == "TABLE" or statement.code:
            for name, dot in itertools.pairwise(words(statement.text)):
                if dot != b".":
                    continue
                plain = self._sets.decode(name.strip(b'`"').replace(b"``", b"`"), statement.charset)
                if plain.lower() in self._others:
                    raise NotProvable(
                        f"{statement.kind.lower()} {statement.name} of the dump reaches into the database {plain}, "
                        f"which is on {place(self._on)}: drill on a private server (without --on)"
                    )
