"""Backs up: pg_dump beside a held snapshot, its output checked while it passes."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dumpty import CommandError, DependencyError, Evidence, IntegrityError, Locked, OptionError, SourceError
from dumpty.process import Child
from dumpty_plugins.postgres.archive import CustomCheck, TarCheck, check_directory
from dumpty_plugins.postgres.clients import Client, choose, find, jobs, own_words
from dumpty_plugins.postgres.connection import Address, explained, interruptible, psycopg2, version
from dumpty_plugins.postgres.fingerprint import OLDEST
from dumpty_plugins.postgres.properties import estimate, read_properties
from dumpty_plugins.postgres.reading import tally
from dumpty_plugins.postgres.script import Script
from dumpty_plugins.postgres.snapshot import Snapshot, snapshot
from dumpty_plugins.postgres.tables import compare

if TYPE_CHECKING:
    from dumpty import Options, Sink

ARGUMENTS = {
    "sql": ("--format=plain",),
    "native": ("--format=custom", "--compress=0"),
    "custom": ("--format=custom",),
    "tar": ("--format=tar",),
    "directory": ("--format=directory",),
}

_ATTEMPTS = 4
_QUEUED_SECONDS = 10
_LOCK_FAILURE = re.compile(r"canceling statement due to (statement|lock) timeout")
_WARNING = re.compile(r"^pg_dump: (warning: .*)$", re.MULTILINE)
_MISMATCH = re.compile(r"server version: (\d+)")


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What pg_dump's own output says: versions, and for a plain dump the rows of each table (None elsewhere)."""

    versions: dict[str, str]
    copied: dict[str, int] | None
    warnings: tuple[str, ...] = ()


def back_up(address: Address, sink: Sink, form: str, options: Options) -> Evidence:
    """Write a dump of ``address`` in format ``form`` to ``sink``.

    With the option ``counts`` on, the evidence holds the rows of each table, counted in the dump's own snapshot.

    Raises:
        CommandError: pg_dump is missing, too old, or failed.
        DependencyError: psycopg2 is needed and not installed.
        IntegrityError: what pg_dump wrote is not whole, or not what the snapshot holds.
        Locked: the tables' locks were not to be had.
        SourceError: the database cannot be reached or read.
    """
    clients = find("pg_dump", str(options["bindir"]))
    run = _Run(address, sink, form, options, clients)
    if options["fingerprint"] and options["counts"] == "off":
        raise OptionError("fingerprint=on counts the rows, too: leave counts=off out")
    if options["counts"] == "off":
        return run.alone("rows were not counted: counts=off")
    lenient = options["counts"] == "auto" and not options["fingerprint"]
    with ExitStack() as stack:
        try:
            connection = address.connect()
            stack.callback(connection.close)
        except (DependencyError, SourceError) as error:
            if not lenient:
                raise
            return run.alone(f"rows were not counted: {error}")
        address = run.address = address.pinned(connection)
        for _attempt in range(_ATTEMPTS):
            with ExitStack() as held:
                try:
                    with explained(address, "reading the catalog of"):
                        properties = interruptible(connection, lambda: read_properties(connection))
                        sink.expect(estimate(connection))
                        major, server = version(connection)
                    if options["fingerprint"] and major < OLDEST:
                        raise OptionError(
                            f"fingerprints need PostgreSQL {OLDEST} or newer, and {address.label} is {server}"
                        )
                    client = choose(clients, major, what=address.label)
                    shot = held.enter_context(
                        snapshot(
                            address,
                            connection,
                            lock_timeout=int(options["lock_timeout"]),  # type: ignore[arg-type]
                            prints=bool(options["fingerprint"]),
                        )
                    )
                except (SourceError, Locked) as error:
                    if not lenient:
                        raise
                    held.close()
                    return run.alone(f"rows were not counted: {error}")
                evidence = run.beside(shot, client, major, server, properties)
                if evidence is not None:
                    return evidence
    raise Locked(
        f"pg_dump cannot lock the tables of {address.label}: every time, somebody waits for an exclusive lock; "
        "back it up when no schema change or TRUNCATE is under way"
    )


class _Run:
    def __init__(self, address: Address, sink: Sink, form: str, options: Options, clients: list[Client]) -> None:
        self.address = address
        self._sink = sink
        self._form = form
        self._jobs = jobs(options)
        self._lock_timeout = int(options["lock_timeout"])  # type: ignore[arg-type]
        self._clients = clients

    def alone(self, note: str) -> Evidence:
        """Run pg_dump without a snapshot of ours, so without counts."""
        client = self._clients[0]
        try:
            output = self._pg_dump(client, self._lock_timeout)
        except CommandError as error:
            mismatch = _MISMATCH.search(error.stderr_tail)
            if mismatch is None:
                raise
            # It refused before it wrote anything; now the server's version is known.
            client = choose(self._clients, int(mismatch[1]), what=self.address.label)
            if client == self._clients[0]:
                raise
            output = self._pg_dump(client, self._lock_timeout)
        return Evidence(versions=output.versions | {"pg_dump": client.version}, notes=(note, *output.warnings))

    def beside(
        self, shot: Snapshot, client: Client, major: int, server: str, properties: dict[str, Any]
    ) -> Evidence | None:
        """Run pg_dump in a held snapshot; None where it had to queue for a lock and nothing was written."""
        timeout = min(_QUEUED_SECONDS, self._lock_timeout)
        try:
            output = self._pg_dump(client, timeout, "--snapshot=" + shot.id)
        except CommandError as error:
            # We hold the locks it wants, so it can wait only behind somebody who waits for us: let that one pass.
            if _LOCK_FAILURE.search(error.stderr_tail):
                return None
            shot.counted()  # if the session was lost, that is the reason
            raise
        counted = shot.counted()
        if output.copied is not None:
            compare([o for o in counted if o.rows is not None], output.copied, what="pg_dump's output")
        notes = output.warnings
        if client.major > major:
            note = (
                f"made by pg_dump {client.version} for a server {server}, because that version's own was not found; "
                "dumpty restores it to such a server, psql alone may not"
            )
            notes = (note, *notes)
        return Evidence(
            objects=counted,
            snapshot=shot.name,
            versions={"server": server, "pg_dump": client.version, "psycopg2": psycopg2().__version__.split()[0]},
            notes=notes,
            properties=properties,
        )

    def _pg_dump(self, client: Client, lock_timeout: int, *more: str) -> _Output:
        directory = str(self._sink.directory()) if self._form == "directory" else None
        with self.address.for_programs() as (conninfo, environment):
            argv = [client.path, *ARGUMENTS[self._form], "--no-password", f"--dbname={conninfo}"]
            argv += [f"--lock-wait-timeout={lock_timeout * 1000}", *more]
            if directory:
                argv += [f"--file={directory}", f"--jobs={self._jobs}"]
            secrets = self.address.source.secrets
            with own_words(secrets), Child(argv, env=environment, secrets=secrets, stdout=directory is None) as child:
                if directory:
                    child.wait()
                    output = _Output(versions=check_directory(directory).versions, copied=None)
                else:
                    output = self._stream(child)
                # What pg_dump leaves out (subscriptions, without the right to see them) it says, and exits with 0.
                warned = tuple(f"pg_dump: {self.address.scrub(w)}" for w in _WARNING.findall(child.stderr_tail()))
                return replace(output, warnings=warned)

    def _stream(self, child: Child) -> _Output:
        def block() -> bytes:
            piece = child.read()
            if piece:
                self._sink.write(piece)
            else:
                child.wait()  # a failed pg_dump also ends too early: its own words say more than ours would
            return piece

        if self._form == "sql":
            script = Script(block)
            copied = tally(script)
            if not script.complete:
                raise IntegrityError("pg_dump's output ends without its end marker: it is cut off")
            return _Output(versions=script.versions, copied=copied)
        check = TarCheck() if self._form == "tar" else CustomCheck()
        while piece := block():
            check.feed(piece)
        return _Output(versions=check.finish().versions, copied=None)
