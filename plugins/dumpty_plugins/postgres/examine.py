"""Reads a stored dump to its end, as its own tools would, and counts what it holds: no database is needed."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import CommandError, IntegrityError
from dumpty.process import BLOCK
from dumpty_plugins.postgres.dumping.script_reader import Script
from dumpty_plugins.postgres.dumping.stored import (
    archive_of,
    count_part,
    count_script_rows,
    parts_of_rows,
    read_archive,
    require_counted_rows,
)
from dumpty_plugins.postgres.server.clients import choose_client, find_clients
from dumpty_plugins.postgres.server.programs import program_output

if TYPE_CHECKING:
    from dumpty import Dump, Evidence, Options
    from dumpty_plugins.postgres.dumping.archive import Contents


def examine_dump(dump: Dump, options: Options) -> Evidence:
    """Read ``dump`` to its end and return what it holds.

    An archive goes through ``pg_restore``, which decompresses everything and writes it as a script. That script is
    read as a plain dump is: statement by statement, with the rows of every table, to the marker at its end.

    Raises:
        CommandError: pg_restore is missing, or too old for the archive.
        IntegrityError: the dump is not whole, or not what was counted when it was made.
    """
    if dump.format == "sql":
        with closing(dump.open()) as reader:
            script = Script(lambda: reader.read(BLOCK))
            row_counts = count_script_rows(script)
        versions = script.versions
    else:
        contents = read_archive(dump)
        versions = contents.versions
        script, row_counts = _through_pg_restore(dump, contents, options)
    if not script.complete:
        raise IntegrityError("the dump ends without pg_dump's end marker: it is cut off")
    for part in parts_of_rows(dump):
        path, rows = count_part(part)
        row_counts[path] = row_counts.get(path, 0) + rows
    evidence = require_counted_rows(row_counts, dump.evidence.objects, subject="the dump")
    return replace(evidence, versions=versions)


def _through_pg_restore(dump: Dump, contents: Contents, options: Options) -> tuple[Script, dict[str, int]]:
    client_version = contents.versions["pg_dump"].split(".")[0]
    major = int(client_version) if client_version.isdigit() else 0
    client = choose_client(find_clients("pg_restore", str(options["bindir"])), major, subject="the archive")
    try:
        with program_output([client.path, "--file=-"], archive_of(dump).path()) as read:
            script = Script(read)
            return script, count_script_rows(script)
    except CommandError as error:
        if error.returncode is None or error.returncode < 0:
            raise  # it could not be started, or was ended by somebody: that says nothing of the archive
        raise IntegrityError(f"pg_restore cannot read the archive to its end: {error}") from error
