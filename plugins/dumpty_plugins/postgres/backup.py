"""Backs up: pg_dump beside a held snapshot, its output checked while it passes."""

from __future__ import annotations

import contextlib
import functools
import re
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

from dumpty import (
    CommandError,
    DependencyError,
    Evidence,
    FormatNotSupported,
    IntegrityError,
    Locked,
    OptionError,
    SourceError,
)
from dumpty_plugins.postgres.dumping.archive import CustomCheck, TarCheck, check_directory
from dumpty_plugins.postgres.dumping.parallel import (
    RowSessions,
    excluded_rows,
    require_each_table_once,
    require_no_pooler,
    with_counts,
    write_parts,
)
from dumpty_plugins.postgres.dumping.plan import plan_parts
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.dumping.snapshot import Snapshot, hold_snapshot
from dumpty_plugins.postgres.dumping.stored import count_script_rows, require_counted_rows
from dumpty_plugins.postgres.schema.fingerprint import OLDEST
from dumpty_plugins.postgres.schema.privileges import omission_notes
from dumpty_plugins.postgres.schema.properties import estimate, read_properties
from dumpty_plugins.postgres.server.clients import Client, choose_client, job_count
from dumpty_plugins.postgres.server.connection import Address, interruptible, prepare, psycopg2, version
from dumpty_plugins.postgres.server.encodings import dump_encoding
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.programs import connected_program, find_programs
from dumpty_plugins.postgres.server.psql import open_psql, session_version
from dumpty_plugins.postgres.server.remote_programs import remote_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Options, Remote, Sink
    from dumpty_plugins.postgres.dumping.plan import Plan
    from dumpty_plugins.postgres.schema.tables import Table
    from dumpty_plugins.postgres.server.programs import WatchedProgram

ARGUMENTS = {
    "sql": ("--format=plain",),
    "native": ("--format=custom", "--compress=0"),
    "custom": ("--format=custom",),
    "tar": ("--format=tar",),
    "directory": ("--format=directory",),
    "parallel": ("--format=custom", "--compress=0"),
}

_ATTEMPTS = 4
_QUEUED_SECONDS = 10
_MOST_JOBS = 8
"""Where nobody says how many: the server has others to serve, however many processors there are here."""
_LOCK_FAILURE = re.compile(r"canceling statement due to (statement|lock) timeout|could not obtain lock on relation")
_NOT_CONNECTED = re.compile(r"pg_dump: error: connection to .* failed: ")
_WARNING = re.compile(r"pg_dump: (warning: .*)")


@dataclass(frozen=True, kw_only=True)
class _Output:
    """What pg_dump's own output says: versions, and for a plain dump the rows of each table (None elsewhere).

    ``part_counts`` are those of tables that came in parts.
    """

    versions: dict[str, str]
    row_counts: dict[str, int] | None
    part_counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def back_up(address: Address, sink: Sink, format_name: str, options: Options) -> Evidence:
    """Write a dump of ``address`` in ``format_name`` to ``sink``: of one moment, whatever the option ``counts`` says.

    pg_dump takes its snapshot before its locks, so that it may write a state that never was. Hence it always runs in
    a snapshot of a session of ours, which took the locks first: psycopg2's, or where ``counts`` is not on, a psql's.

    Raises:
        CommandError: pg_dump, or the psql that is needed, is missing, too old, or failed.
        DependencyError: psycopg2 is needed and not installed.
        FormatNotSupported: the server cannot be dumped in parallel, as it is reached.
        IntegrityError: what pg_dump wrote is not whole, or not what the snapshot holds.
        Locked: the tables' locks were not to be had.
        SourceError: the database cannot be reached or read.
    """
    remote = remote_of(address.source, options)
    clients = find_programs("pg_dump", options, remote)
    if options["fingerprint"] and options["counts"] == "off":
        raise OptionError("fingerprint=on counts the rows, too: leave counts=off out")
    if int(options["part_size"]) < 0:  # type: ignore[arg-type]
        raise OptionError("part_size is a number of bytes, or 0 for what suits")
    if format_name == "parallel" and remote is not None:
        raise FormatNotSupported("a parallel dump needs its programs on this machine: leave programs=there out")
    timeout = int(options["lock_timeout"])  # type: ignore[arg-type]
    with closing(_open_session(address, options)) as connection:
        address = address.pinned(connection)
        if format_name == "parallel":
            require_no_pooler(address, connection)
        run = _Run(address, remote, sink, format_name, options)
        for attempt in range(_ATTEMPTS):
            with translate_errors(address, "reading the catalog of"):
                prepare(connection)
                properties = interruptible(connection, lambda: read_properties(connection))
                sink.expect(estimate(connection))
                major, server = version(connection)
            if options["fingerprint"] and major < OLDEST:
                raise OptionError(f"fingerprints need PostgreSQL {OLDEST} or newer, and {address.label} is {server}")
            place = remote.shown if remote is not None else ""
            client = choose_client(clients, major, subject=address.label, place=place)
            with hold_snapshot(
                address,
                connection,
                lock_timeout=timeout,
                counts=options["counts"] != "off",
                fingerprints=bool(options["fingerprint"]),
                make_plan=run.plan(properties) if format_name == "parallel" else None,
            ) as snapshot:
                evidence = run.run_in_snapshot(snapshot, client, properties, retry=attempt > 0)
            if evidence is not None:
                with translate_errors(address, "looking at what this user sees of"):
                    return _with_notes(evidence, client, connection, options)
    raise Locked(
        f"pg_dump cannot lock the tables of {address.label}: every time, somebody waits for an exclusive lock; "
        "back it up when no schema change or TRUNCATE is under way"
    )


def _open_session(address: Address, options: Options) -> Connection:
    """Return a session to hold locks and snapshot in: psycopg2's, or without it a psql's."""
    try:
        psycopg2()
        psql_only = False
    except DependencyError:
        if options["counts"] == "on":
            raise
        psql_only = True
    try:
        return open_psql(address, str(options["bindir"])) if psql_only else address.connect()
    except SourceError as error:
        raise SourceError(f"{error}; pg_dump was not run") from error


def _with_notes(evidence: Evidence, client: Client, connection: Connection, options: Options) -> Evidence:
    """Return ``evidence`` with versions, and with notes on what is not as it is by default."""
    major, server = version(connection)
    versions = {"server": server, "pg_dump": client.version, **session_version(connection)}
    notes = (*evidence.notes, *omission_notes(connection))
    if options["counts"] == "off":
        notes = ("rows were not counted: counts=off", *notes)
    if client.major > major:
        note = (
            f"made by pg_dump {client.version} for a server {server}, because that version's own was not found; "
            "dumpty restores it to such a server, psql alone may not"
        )
        notes = (note, *notes)
    return structs.replace(evidence, versions=versions, notes=notes)


class _Run:
    def __init__(self, address: Address, remote: Remote | None, sink: Sink, format_name: str, options: Options) -> None:
        self._address = address
        self._sink = sink
        self._format_name = format_name
        self._remote = remote
        self._directory = sink.directory() if format_name == "directory" else None
        self._asked = bool(options["jobs"])
        self._jobs = job_count(options) if self._asked else min(job_count(options), _MOST_JOBS)
        self._bindir = str(options["bindir"])
        self._part_size = int(options["part_size"])  # type: ignore[arg-type]
        self._lock_timeout = int(options["lock_timeout"])  # type: ignore[arg-type]

    def run_in_snapshot(
        self, snapshot: Snapshot, client: Client, properties: dict[str, Any], *, retry: bool
    ) -> Evidence | None:
        """Run pg_dump in a held snapshot; None where it met a lock that somebody waits for, and nothing was kept.

        ``retry``: the parallel jobs of a directory dump lock each table anew, behind whoever waits meanwhile; one job
        does not.
        """
        timeout = min(_QUEUED_SECONDS, self._lock_timeout or _QUEUED_SECONDS)
        try:
            encoding = dump_encoding(properties["encoding"])
            arguments = ("--snapshot=" + snapshot.id, f"--encoding={encoding}")
            if self._format_name == "parallel":
                output = self._in_parts(snapshot, client, timeout, encoding, arguments)
            else:
                output = self._pg_dump(client, timeout, 1 if retry else self._jobs, arguments)
        except CommandError as error:
            # We hold the locks it wants, so it can wait only behind somebody who waits for us: let that one pass.
            if _LOCK_FAILURE.search(error.stderr_tail):
                self._clear()
                return None
            snapshot.wait_for_counts()  # if the session was lost, that is the reason
            if self._format_name == "parallel" and _NOT_CONNECTED.search(error.stderr_tail):
                raise FormatNotSupported(f"beside a session that reads its rows: {error}") from error
            raise
        if output is None:
            return None
        objects = with_counts(snapshot.wait_for_counts(), output.part_counts)
        if output.row_counts is not None:
            words = {"subject": "pg_dump's output", "advice": "take the backup again"}
            require_counted_rows(output.row_counts, objects, **words)
        return Evidence(objects=objects, snapshot=snapshot.name, notes=output.warnings, properties=properties)

    def plan(self, properties: dict[str, Any]) -> Callable[[Connection, list[Table]], Plan]:
        """Return what tells which rows of a database's tables are to come in parts."""
        encoding = dump_encoding(properties["encoding"])
        return functools.partial(
            plan_parts, jobs=self._jobs, asked=self._asked, encoding=encoding, part_size=self._part_size
        )

    def _in_parts(
        self, snapshot: Snapshot, client: Client, lock_timeout: int, encoding: str, arguments: tuple[str, ...]
    ) -> _Output | None:
        """Dump in parts; None where sessions met a lock that somebody waits for, and nothing was written."""
        how = {"bindir": self._bindir, "encoding": encoding, "lock_timeout": lock_timeout}
        with contextlib.ExitStack() as stack:
            try:
                sessions = stack.enter_context(RowSessions(self._address, snapshot, **how))  # type: ignore[arg-type]
            except Locked:
                return None
            arguments = (*excluded_rows(snapshot.plan), *arguments)
            watched, warnings = stack.enter_context(self._running(client, lock_timeout, arguments))
            ranges = snapshot.plan.ranges
            contents, counts = write_parts(watched, self._sink, self._address, sessions, ranges, encoding)
        require_each_table_once(contents, snapshot, counts)
        return _Output(versions=contents.versions, row_counts=None, part_counts=counts, warnings=tuple(warnings))

    def _clear(self) -> None:
        """Remove what a pg_dump that failed wrote into the directory of a directory dump."""
        if self._directory:
            for path in self._directory.iterdir():
                path.unlink()

    def _pg_dump(self, client: Client, lock_timeout: int, jobs: int, arguments: tuple[str, ...]) -> _Output:
        directory = str(self._directory) if self._directory else None
        if directory:
            arguments = (*arguments, f"--file={directory}", f"--jobs={jobs}")
        with self._running(client, lock_timeout, arguments) as (watched, warnings):
            if directory:
                watched.wait()
                output = _Output(versions=check_directory(directory).versions, row_counts=None)
            else:
                output = self._stream(watched)
            return replace(output, warnings=tuple(warnings))

    @contextlib.contextmanager
    def _running(
        self, client: Client, lock_timeout: int, arguments: tuple[str, ...]
    ) -> Iterator[tuple[WatchedProgram, list[str]]]:
        """Within the block, pg_dump runs; yield it, and the warnings that come of it."""
        argv = [client.path, *ARGUMENTS[self._format_name], f"--lock-wait-timeout={lock_timeout * 1000}", *arguments]
        # What pg_dump leaves out (subscriptions, without the right to see them) it says, and exits with 0.
        warnings: list[str] = []

        def note(line: str) -> None:
            if match := _WARNING.match(line):
                warnings.append(f"pg_dump: {self._address.scrub(match[1])}")

        stdout = self._directory is None
        with connected_program(argv, self._address, self._remote, stdout=stdout, on_line=note) as watched:
            yield watched, warnings

    def _stream(self, child: WatchedProgram) -> _Output:
        def block() -> bytes:
            piece = child.read()
            if piece:
                self._sink.write(piece)
            return piece

        if self._format_name == "sql":
            script = Script(block)
            row_counts = count_script_rows(script)
            if not script.complete:
                raise IntegrityError("pg_dump's output ends without its end marker: it is cut off")
            return _Output(versions=script.versions, row_counts=row_counts)
        check = TarCheck() if self._format_name == "tar" else CustomCheck()
        while piece := block():
            check.feed(piece)
        return _Output(versions=check.finish().versions, row_counts=None)
