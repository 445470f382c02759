"""Reads a stored dump to its end, as its own tools would, and counts what it holds: no database is needed."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import CommandError, Evidence, IntegrityError, ObjectEvidence
from dumpty.process import BLOCK, Child
from dumpty_plugins.postgres.dumping.script import Script
from dumpty_plugins.postgres.dumping.stored import read_archive, tally
from dumpty_plugins.postgres.schema.tables import compare
from dumpty_plugins.postgres.server.clients import choose, find, own_words

if TYPE_CHECKING:
    from dumpty import Dump, Options
    from dumpty_plugins.postgres.dumping.archive import Contents


def read_through(dump: Dump, options: Options) -> Evidence:
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
            found = tally(script)
        versions = script.versions
    else:
        contents = read_archive(dump)
        versions = contents.versions
        script, found = _through_pg_restore(dump, contents, options)
    if not script.complete:
        raise IntegrityError("the dump ends without pg_dump's end marker: it is cut off")
    compare([o for o in dump.evidence.objects if o.rows is not None], found, what="the dump")
    objects = tuple(ObjectEvidence(path=path, rows=rows) for path, rows in sorted(found.items()))
    return Evidence(objects=objects, versions=versions)


def _through_pg_restore(dump: Dump, contents: Contents, options: Options) -> tuple[Script, dict[str, int]]:
    made_by = contents.versions["pg_dump"].split(".")[0]
    major = int(made_by) if made_by.isdigit() else 0
    client = choose(find("pg_restore", str(options["bindir"])), major, what="the archive")
    try:
        with own_words(), Child([client.path, "--file=-", str(dump.path())], env={"LC_ALL": "C"}) as child:

            def read() -> bytes:
                piece = child.read()
                if not piece:
                    child.wait()
                return piece

            script = Script(read)
            return script, tally(script)
    except CommandError as error:
        if error.returncode is None or error.returncode < 0:
            raise  # it could not be started, or was ended by somebody: that says nothing of the archive
        raise IntegrityError(f"pg_restore cannot read the archive to its end: {error}") from error
