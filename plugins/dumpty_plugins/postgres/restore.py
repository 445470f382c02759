"""Restores: into a new database beside the old one, checked and swapped in by rename; or in one transaction.

The old database is dropped only after the new one stands in its place. Without the right to create databases, an
existing empty database is filled in a single transaction, which is committed when everything was found right.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dumpty import CommandError, Evidence, IntegrityError, ObjectEvidence, SourceError, TargetNotEmpty
from dumpty.process import BLOCK, Child
from dumpty_plugins.postgres.dumping.archive import Contents, TarCheck, check_directory, read_contents
from dumpty_plugins.postgres.loading.confinement import confinement_of, stages
from dumpty_plugins.postgres.loading.loader import load
from dumpty_plugins.postgres.loading.parts import Parts, advised
from dumpty_plugins.postgres.loading.swap import ThreadedWriter, may_create
from dumpty_plugins.postgres.schema.properties import DROPPED
from dumpty_plugins.postgres.schema.recovery import leftovers
from dumpty_plugins.postgres.schema.tables import compare, count, list_tables, unforced
from dumpty_plugins.postgres.server.clients import Client, choose, find, jobs, own_words
from dumpty_plugins.postgres.server.connection import interruptible, prepare, psycopg2, rows, version
from dumpty_plugins.postgres.server.errors import explained
from dumpty_plugins.postgres.server.programs import watching
from dumpty_plugins.postgres.server.target import database_name, holding, open_maintenance, open_target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, Options
    from dumpty_plugins.postgres.server.connection import Address


_COMMON = {"SCHEMA public": ("GRANT USAGE ON SCHEMA public TO PUBLIC",), "EXTENSION plpgsql": ()}
"""What every new database holds, with what else a new one has of it."""


def put_back(address: Address, dump: Dump, *, overwrite: bool, options: Options) -> Evidence:
    """Restore ``dump`` into ``address`` and return what was counted there.

    Raises:
        CommandError: pg_restore is missing, too old, or failed.
        DependencyError: psycopg2 is not installed.
        IntegrityError: the dump is cut off, or what it gave is not what the backup's evidence says.
        Locked: somebody uses the database that is to be replaced.
        SourceError: the server cannot be reached, refuses, or lacks roles, extensions or a locale that are needed.
        TargetNotEmpty: the database holds something, and ``overwrite`` is False.
    """
    psycopg2()
    target = open_target(address)
    found = ""
    if target is not None:
        with closing(target), explained(address, "looking at"):
            address = address.pinned(target)
            found = holding(target)
    name = database_name(address)
    if found and not overwrite:
        raise TargetNotEmpty(
            f"the database {name} of {address.label} is not empty (it holds {found}); "
            "restore into a new one, or insist with overwrite"
        )
    job = _Job(address, dump, options)
    server = open_maintenance(address)
    if server is not None:
        with closing(server), explained(address, "restoring into"):
            job.check_requirements(server)
            if may_create(server, name):
                return job.beside(server, name, exists=target is not None)
    if target is None:
        raise SourceError(f"the database {name} of {address.label} does not exist, and this user may not create it")
    if found:
        raise SourceError(
            f"the database {name} of {address.label} cannot be replaced without the right to create databases and to "
            "rename this one; grant CREATEDB to its owner and use that, or restore into an empty database"
        )
    return job.in_one_transaction()


class _Job:
    def __init__(self, address: Address, dump: Dump, options: Options) -> None:
        self._address = address
        self._dump = dump
        self._options = options
        self._parts = Parts.of(options)
        self._confinement = confinement_of(address)
        self._contents = None if dump.format == "sql" else _contents(dump)

    def check_requirements(self, server: Connection) -> None:
        """Check, before anything is loaded, that the server has the roles and extensions that the dump needs."""
        known = self._dump.evidence.properties
        contents = self._contents
        roles = self._roles()
        extensions = set(known.get("extensions", contents.extensions if contents else []))
        roles -= {r for (r,) in rows(server, "SELECT rolname FROM pg_roles")}
        extensions -= {e for (e,) in rows(server, "SELECT name FROM pg_available_extensions")}
        tablespaces = set(known.get("tablespaces", ())) if "tablespaces" not in self._parts.absent else set()
        tablespaces -= {t for (t,) in rows(server, "SELECT spcname FROM pg_tablespace")}
        missing = [
            f"the {kind} {', '.join(sorted(names))}"
            for kind, names in (("roles", roles), ("extensions", extensions), ("tablespaces", tablespaces))
            if names
        ]
        if missing:
            mends = (
                (roles, "CREATE ROLE, or leave them out: -o owner=off -o privileges=off"),
                (extensions, "install its packages"),
                (tablespaces, "CREATE TABLESPACE, or leave them out: -o tablespaces=off"),
            )
            advice = [text for names, text in mends if names]
            raise SourceError(
                f"the server of {self._address.label} lacks {' and '.join(missing)}, which the dump needs; "
                f"add them first ({', '.join(advice)}), then restore again"
            )

    def _roles(self) -> set[str]:
        """Return the roles that the dump needs, less those that only parts need which are left out."""
        known = self._dump.evidence.properties
        absent = self._parts.absent
        if "roles" not in known:
            return set(self._contents.roles) if self._contents and "owner" not in absent else set()
        roles = set(known["roles"])
        by_part = known.get("roles_by_part")
        if by_part is None:
            return set() if absent >= {"owner", "privileges"} else roles
        needed = {r for part, names in by_part.items() if part not in absent for r in names}
        # The server's first superuser is the only role on which nothing is said to depend.
        pinned = {known.get("superuser")} if "owner" in absent else set()
        return needed | (roles - {r for names in by_part.values() for r in names} - pinned)

    def beside(self, server: Connection, name: str, *, exists: bool) -> Evidence:
        """Load into a new database, check it, and give it the name."""
        left = leftovers(server, name)
        with ThreadedWriter(self._address, server, name, exists=exists, parts=self._parts) as new:
            new.create(self._properties())
            place = self._address.at(new.name)
            lacks = self._drop(place)
            if self._contents is None:
                with closing(self._dump.open()) as reader:
                    self._load(place, lambda: reader.read(BLOCK))
            else:
                self._pg_restore(place, self._contents, version(server)[0])
            with closing(place.connect()) as loaded:
                evidence = self._evidence(place, loaded)
            notes = (*left, *lacks, *new.swap(), *self._parts.notes)
        return Evidence(objects=evidence.objects, versions=evidence.versions, notes=notes)

    def in_one_transaction(self) -> Evidence:
        """Load into the existing empty database; nothing is there before the last check has passed."""
        with closing(self._address.connect()) as target, explained(self._address, "restoring into"):
            if not rows(target, "SELECT has_database_privilege(current_database(), 'CREATE')")[0][0]:
                raise SourceError(f"this user may not create anything in {self._address.label}: grant it CREATE there")
            self.check_requirements(target)
            rows(target, "BEGIN")
            self._create_common(target)
            if self._contents is None:
                with closing(self._dump.open()) as reader:
                    load(self._address, target, lambda: reader.read(BLOCK), whole=True, parts=self._parts)
            else:
                client = self._client(self._contents, version(target)[0])
                self._scripted(client, lambda read: load(self._address, target, read, whole=True, parts=self._parts))
            rows(target, "RESET ALL")
            rows(target, "SET client_encoding = 'UTF8'")
            prepare(target)
            evidence = self._evidence(self._address, target)
            rows(target, "COMMIT")
            return replace(evidence, notes=(*evidence.notes, *self._parts.notes))

    def _drop(self, place: Address) -> tuple[str, ...]:
        """Drop from the new database what the original had not, though every new one has it; return notes."""
        notes = []
        dropped = [d for d in self._dump.evidence.properties.get("dropped", ()) if d in _COMMON]
        with closing(place.connect()) as connection:
            for what in dropped:
                try:
                    rows(connection, f"DROP {what}")
                except psycopg2().Error as error:
                    if connection.closed:
                        raise
                    notes.append(f"the original has no {what}, the new database does: {place.scrub(str(error))}")
        return tuple(notes)

    def _create_common(self, target: Connection) -> None:
        """Create what no dump creates, because every new database has it, where somebody dropped it."""
        lacking = {d for (d,) in rows(target, DROPPED)} - set(self._dump.evidence.properties.get("dropped", ()))
        for what, more in _COMMON.items():
            if what in lacking:
                for statement in (f"CREATE {what}", *more):
                    rows(target, statement)

    def _properties(self) -> dict[str, Any]:
        known = dict(self._dump.evidence.properties)
        if "encoding" not in known and self._contents is not None and self._contents.encoding:
            known["encoding"] = self._contents.encoding
        return known

    def _load(self, place: Address, read: Callable[[], bytes]) -> None:
        with closing(place.connect()) as connection:
            # A crash loses this database, not the old one: only the swap itself has to be on disk when it returns,
            # and the log that it waits for holds everything before it.
            rows(connection, "SET synchronous_commit = off")
            load(place, connection, read, whole=False, parts=self._parts, confinement=self._confinement)

    def _evidence(self, place: Address, connection: Connection) -> Evidence:
        with explained(place, "counting the rows of"):
            rows(connection, "SET row_security = off")
            tables = list_tables(connection)
            with unforced(connection):
                objects = interruptible(connection, lambda: count(connection, tables))
            expected: tuple[ObjectEvidence, ...] = self._dump.evidence.objects
            compare(expected, {o.path: o.rows for o in objects}, what="the restored database")
            versions = {"server": version(connection)[1], "psycopg2": psycopg2().__version__.split()[0]}
            return Evidence(objects=objects, versions=versions)

    def _client(self, contents: Contents, server: int) -> Client:
        made_by = contents.versions["pg_dump"].split(".")[0]
        needed = max(server, int(made_by)) if made_by.isdigit() else server
        return choose(find("pg_restore", str(self._options["bindir"])), needed, what="the archive or its target")

    def _pg_restore(self, place: Address, contents: Contents, server: int) -> None:
        client = self._client(contents, server)
        if client.major > server:
            # A newer pg_restore sets what an older server does not know: have it write a script, and load that.
            self._scripted(client, lambda read: self._load(place, read))
            return
        if self._confinement is None:
            self._in_parallel(client, place, contents)
            return
        # In the dump's order but for its rights, which come last: only a statement of our own tells why it was refused.
        before, data, after = (self._listed(name, ids) for name, ids in stages(contents))
        self._scripted(client, lambda read: self._load(place, read), before)
        try:
            self._in_parallel(client, place, contents, data)
        except CommandError as error:
            raise self._confinement.judge(error) from error
        self._scripted(client, lambda read: self._load(place, read), after)

    def _listed(self, name: str, ids: Sequence[int]) -> tuple[str, ...]:
        path = self._dump.workspace() / name
        path.write_text("".join(f"{one};\n" for one in ids), encoding="ascii")
        return (f"--use-list={path}",)

    def _in_parallel(self, client: Client, place: Address, contents: Contents, more: Sequence[str] = ()) -> None:
        with place.for_programs() as (conninfo, environment):
            if "options" not in place.parameters:
                environment["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} -c synchronous_commit=off".strip()
            argv = [client.path, *self._parts.flags, "--exit-on-error", "--no-password", f"--dbname={conninfo}", *more]
            if contents.format != "tar":
                argv.append(f"--jobs={jobs(self._options)}")
            argv.append(str(self._dump.path()))
            secrets = place.source.secrets
            with (
                advised(),
                own_words(secrets),
                Child(argv, env=environment, secrets=secrets, stdout=False) as child,
                watching(child, place) as watched,
            ):
                watched.wait()

    def _scripted(
        self, client: Client, loading: Callable[[Callable[[], bytes]], None], more: Sequence[str] = ()
    ) -> None:
        argv = [client.path, *self._parts.flags, "--file=-", *more, str(self._dump.path())]
        with own_words(), Child(argv, env={"LC_ALL": "C"}) as child:

            def read() -> bytes:
                piece = child.read()
                if not piece:
                    child.wait()
                return piece

            loading(read)


def _contents(dump: Dump) -> Contents:
    if dump.format == "directory":
        return check_directory(str(dump.path()))
    with closing(dump.open()) as reader:
        if dump.format == "tar":
            # Looked at to its end: pg_restore 15 loops for ever over a tar archive that was cut off.
            tar = TarCheck()
            while block := reader.read(BLOCK):
                tar.feed(block)
            return tar.finish()
        head = reader.read(BLOCK)
        contents = read_contents(head)
        while contents is None:
            more = reader.read(max(len(head), BLOCK))
            if not more:
                raise IntegrityError("the archive ends inside its table of contents: it is cut off")
            head += more
            contents = read_contents(head)
    return contents
