"""Loads what pg_restore reads: an archive, and between its rows and its indexes the rows that came in parts."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import CommandError, IntegrityError, OptionError
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.archive import Contents, TarCheck, check_directory, read_contents
from dumpty_plugins.postgres.dumping.stored import archive_of, parts_of_rows
from dumpty_plugins.postgres.loading.optional_parts import advise_options
from dumpty_plugins.postgres.loading.rows import load_rows, load_rows_together
from dumpty_plugins.postgres.loading.stages import sections, stages
from dumpty_plugins.postgres.schema.tables import archived_path
from dumpty_plugins.postgres.server.clients import choose_client, job_count
from dumpty_plugins.postgres.server.connection import version
from dumpty_plugins.postgres.server.programs import connected_program, find_programs, program_output, remote_output

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump, DumpPart, Options, Remote
    from dumpty_plugins.postgres.loading.confinement import Confinement
    from dumpty_plugins.postgres.loading.optional_parts import Parts
    from dumpty_plugins.postgres.server.clients import Client
    from dumpty_plugins.postgres.server.connection import Address

    LoadScript = Callable[[Callable[[], bytes]], None]

__all__ = ["ArchiveLoader"]


class ArchiveLoader:
    """The archive of a dump, and what goes with it. ``contents`` is its table of contents.

    Args:
        address: the target's.
        dump: not one of plain text.
        options: those of the restore.
        parts: what is left out.
        confinement: the bounds of a drill.
        remote: where pg_restore runs; None for this machine.

    Raises:
        IntegrityError: it is no dump of pg_dump's, or of dumpty's.
        OptionError: it is in parts, and pg_restore was to run elsewhere.
    """

    def __init__(
        self,
        address: Address,
        dump: Dump,
        options: Options,
        parts: Parts,
        confinement: Confinement | None,
        remote: Remote | None,
    ) -> None:
        self._address = address
        self._dump = dump
        self._options = options
        self._parts = parts
        self._confinement = confinement
        self._remote = remote
        self._archive = archive_of(dump)
        self._rows = parts_of_rows(dump)
        if self._rows and remote is not None:
            raise OptionError(
                "a dump in parts is loaded by programs on this machine: leave programs=there out, and have pg_restore "
                "here; backups to be restored without it are made with --format native"
            )
        self.contents = _read_contents(dump)

    def load_into(self, new_address: Address, server: int, load_script: LoadScript) -> None:
        """Load it into a new database on a server of a major version; ``load_script`` executes a plain dump there.

        Raises:
            CommandError: pg_restore is missing, too old, or failed.
            NotProvable: a drill's role may not load it.
        """
        client = self._client(server)
        if client.major > server:
            # A newer pg_restore sets what an older server does not know: have it write a script, and load that.
            self._load_scripts(client, load_script, lambda: self._load_rows(new_address))
        elif self._confinement is None:
            self._load_by_stages(client, new_address)
        else:
            self._load_confined(client, new_address, load_script, self._confinement)

    def load_in_order(self, target: Connection, load_script: LoadScript) -> None:
        """Load it over one session, in the transaction that this is in, and that ``load_script`` uses.

        Raises:
            CommandError: as ``load_into``.
        """

        def load_parts() -> None:
            for part in self._rows:
                load_rows(self._address, target, part)

        self._load_scripts(self._client(version(target)[0]), load_script, load_parts)

    def load_definitions(self, server: int, load_script: LoadScript) -> None:
        """Have ``load_script`` load all but rows and large objects: definitions, and what sequences have handed out.

        Raises:
            CommandError, IntegrityError: as ``load_into``.
        """
        kinds = {e.dump_id: e.kind for e in self.contents.entries}
        before, data, rest = sections(self.contents)
        wanted = [i for i in before if not kinds[i].startswith("BLOB")]
        wanted += [i for i in data if kinds[i] == "SEQUENCE SET"]
        wanted += [i for i in rest if not kinds[i].startswith(("BLOB", "MATERIALIZED VIEW DATA"))]
        self._through_script(self._client(server), load_script, self._use_list("definitions", wanted))

    def load_data(self, server: int, paths: Collection[str], load_script: LoadScript) -> None:
        """Have ``load_script`` load the rows in the archive of the tables that have these paths.

        Raises:
            CommandError, IntegrityError: as ``load_into``.
        """
        entries, encoding = self.contents.entries, self.contents.encoding
        tables = ((e, archived_path(e.namespace, e.tag, encoding)) for e in entries if e.kind == "TABLE DATA")
        wanted = [e.dump_id for e, path in tables if path in paths]
        self._through_script(self._client(server), load_script, self._use_list("data", wanted))

    def parts_of(self, paths: Collection[str]) -> list[DumpPart]:
        """Return the parts beside the archive that hold rows of the tables that have these paths."""
        return [part for part in self._rows if any(table.path in paths for table in part.tables)]

    def _client(self, server: int) -> Client:
        client_version = self.contents.versions["pg_dump"].split(".")[0]
        needed = max(server, int(client_version)) if client_version.isdigit() else server
        return choose_client(
            find_programs("pg_restore", self._options, self._remote),
            needed,
            subject="the archive or its target",
            place=self._remote.shown if self._remote is not None else "",
        )

    def _load_by_stages(self, client: Client, new_address: Address) -> None:
        if self._jobs == 1 and not self._rows:
            self._in_parallel(client, new_address)
            return
        staged = stages(self.contents)
        before, parallel = staged.before, staged.parallel
        if not self._rows:
            self._in_parallel(client, new_address, self._use_list("before", [*before, *parallel]))
        else:
            # The rows in the archive come first: a check may look into a small table that large ones refer to.
            data = set(sections(self.contents)[1])
            self._in_parallel(client, new_address, self._use_list("before", before))
            self._in_parallel(client, new_address, self._use_list("data", [i for i in parallel if i in data]))
            self._load_rows(new_address)
            self._in_parallel(client, new_address, self._use_list("indexes", [i for i in parallel if i not in data]))
        if staged.keys:
            self._in_parallel(client, new_address, self._use_list("keys", staged.keys))
        if staged.attachments:
            self._in_parallel(client, new_address, self._use_list("attachments", staged.attachments), jobs=1)
        # With what an archive has no section for, privileges above all: they may forbid to load rows.
        self._in_parallel(client, new_address, self._use_list("behind", staged.behind))

    def _load_confined(
        self, client: Client, new_address: Address, load_script: LoadScript, confinement: Confinement
    ) -> None:
        # In the dump's order but for its grants, which come last: only a statement of our own tells why it was refused.
        staged = stages(self.contents)
        self._through_script(client, load_script, self._use_list("before", staged.before))
        data = set(sections(self.contents)[1])
        runs = [staged.parallel]
        if self._rows:
            runs = [[i for i in staged.parallel if i in data], [i for i in staged.parallel if i not in data]]
        try:
            for number, dump_ids in enumerate(runs):
                if number:
                    self._load_rows(new_address)
                self._in_parallel(client, new_address, self._use_list(f"data{number}", dump_ids))
        except CommandError as error:
            raise confinement.explain_failure(error) from error
        rest = [*staged.keys, *staged.attachments, *staged.behind]
        self._through_script(client, load_script, self._use_list("behind", rest))

    def _load_scripts(self, client: Client, load_script: LoadScript, load_parts: Callable[[], None]) -> None:
        """Load the archive as a script, and the rows that came in parts where they belong."""
        if not self._rows:
            self._through_script(client, load_script)
            return
        before, data, rest = sections(self.contents)
        self._through_script(client, load_script, self._use_list("before", [*before, *data]))
        load_parts()
        self._through_script(client, load_script, self._use_list("rest", rest))

    @property
    def _jobs(self) -> int:
        """How many of pg_restore's jobs: several need a file, and not tar's form (which a directory claims)."""
        return 1 if self._remote is not None or self._dump.format == "tar" else job_count(self._options)

    def _load_rows(self, new_address: Address) -> None:
        jobs = job_count(self._options)
        load_rows_together(new_address, self._rows, jobs=jobs, confinement=self._confinement)

    def _use_list(self, name: str, dump_ids: Sequence[int]) -> tuple[str, ...]:
        path = self._dump.workspace() / name
        path.write_text("".join(f"{dump_id};\n" for dump_id in dump_ids), encoding="ascii")
        return (f"--use-list={path}",)

    def _in_parallel(
        self, client: Client, new_address: Address, arguments: Sequence[str] = (), jobs: int | None = None
    ) -> None:
        environment = {}
        if "options" not in new_address.parameters:
            environment["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} -c synchronous_commit=off".strip()
        argv = [client.path, *self._parts.flags, "--exit-on-error", *arguments]
        hear = None
        if self._confinement is not None and self._confinement.listens:
            hear = self._confinement.hear
            argv.append("--verbose")  # else pg_restore keeps the server's warnings to itself
        path = self._archive.path()
        if self._remote is None:
            if self._dump.format != "tar":
                argv.append(f"--jobs={jobs or self._jobs}")
            argv.append(str(path))
        stdin = path if self._remote is not None else None
        with (
            advise_options(),
            connected_program(
                argv, new_address, self._remote, environment=environment, stdin=stdin, on_line=hear
            ) as watched,
        ):
            watched.wait()

    def _through_script(self, client: Client, load_script: LoadScript, arguments: Sequence[str] = ()) -> None:
        argv = [client.path, *self._parts.flags, "--file=-", *arguments]
        path = self._archive.path()
        with (
            program_output(argv, path)
            if self._remote is None
            else remote_output(argv, path, self._address, self._remote)
        ) as read:
            load_script(read)


def _read_contents(dump: Dump) -> Contents:
    if dump.format == "directory":
        return check_directory(str(dump.path()))
    with closing(archive_of(dump).open()) as reader:
        if dump.format == "tar":
            # Looked at to its end: pg_restore 15 loops for ever over a tar archive that was cut off.
            tar = TarCheck()
            while block := reader.read(BLOCK):
                tar.feed(block)
            return tar.finish()
        head = reader.read(BLOCK)
        contents = read_contents(head)
        while contents is None:
            block = reader.read(max(len(head), BLOCK))
            if not block:
                raise IntegrityError("the archive ends inside its table of contents: it is cut off")
            head += block
            contents = read_contents(head)
    return contents
