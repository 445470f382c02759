"""The portable format: what EXPORT DATABASE writes, mended, proved, and packed as one tar stream.

``EXPORT DATABASE … (FORMAT parquet)`` alone does not go back together: it orders views by name (one that needs a later
one fails to load), leaves out comments and triggers, and Parquet rounds HUGEINT to double, INTERVAL to milliseconds
and TIME WITH TIME ZONE to UTC. Here views are put in an order that loads, the rest is added, and columns of such types
travel as text, which Parquet readers cast back by themselves. So ``tar xf DUMP && duckdb new.duckdb -c "IMPORT
DATABASE '.'"`` restores without dumpty; triggers, where there are any, are in ``triggers.sql``.
"""

from __future__ import annotations

import contextlib
import os
import re
import tarfile
from typing import TYPE_CHECKING, Any, cast

import duckdb
from msgspec.structs import replace

from dumpty import IntegrityError, SourceError, require_same_evidence
from dumpty_duckdb import content, schema
from dumpty_duckdb.connection import building, first_line, identifier, literal, load_errors, reading

if TYPE_CHECKING:
    from pathlib import Path

    from dumpty import Dump, Evidence, Reader, Sink

BLOCK = 1 << 18
SCHEMA, LOAD, TRIGGERS = "schema.sql", "load.sql", "triggers.sql"

_COPY = re.compile(
    r"\s*COPY (?P<table>.+) FROM '(?P<file>(?:[^']|'')*)' \(FORMAT '?parquet'?\);?\s*", re.DOTALL | re.IGNORECASE
)
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')
_MEMBER = re.compile(r"[^/\\\0]+\.(?:sql|parquet)")
# Types that Parquet rounds. Names of enums and of fields may hold these words, too: text serves for those as well.
_ROUNDED = "HUGEINT|INTERVAL|TIME WITH TIME ZONE|TIMETZ"


def write_parquet(path: str, sink: Sink, *, prove: bool) -> Evidence:
    """Export the database from one transaction, prove the export, and send it.

    Raises:
        SourceError: it holds something that this format cannot carry; the text names it.
        Locked: another process has it open for writing.
    """
    workspace = sink.workspace()
    export = workspace / "export"
    with reading(path, shared=True) as database:
        database.execute("BEGIN TRANSACTION READ ONLY")
        evidence = content.evidence(database)
        database.execute(f"EXPORT DATABASE {literal(str(export))} (FORMAT parquet)")
        tables = _load_list(export)
        for table, file in tables:
            _as_text(database, table, export / file)
        statements = [*schema.split((export / SCHEMA).read_text("utf-8")), *schema.comments(database)]
        triggers = schema.triggers(database)
        database.execute("ROLLBACK")
    _write(export / SCHEMA, schema.in_order(statements))
    _write(export / LOAD, [f"COPY {t} FROM {literal(f)} (FORMAT parquet);" for t, f in tables])
    if triggers:
        _write(export / TRIGGERS, triggers)
    if prove:
        _prove(export, workspace / "proof.duckdb", evidence)
    else:
        evidence = replace(evidence, notes=("not proved: written with prove=false",))
    _send(export, sink)
    return evidence


def _prove(export: Path, scratch: Path, expected: Evidence) -> None:
    try:
        with building(str(scratch), readable=export) as database:
            _load(database, export)
            loaded = content.evidence(database)
        require_same_evidence(
            expected=expected, found=loaded, subject="the export, loaded again,", advice="Parquet does not carry it"
        )
    except (duckdb.Error, IntegrityError) as error:
        text = f"{first_line(error)}; the native format carries every database (--format native)"
        raise SourceError(text) from error
    scratch.unlink()


def _as_text(database: duckdb.DuckDBPyConnection, table: str, file: Path) -> None:
    """Write a table's file anew with those columns as text that Parquet would round."""
    schema_name, table_name = _schema_and_name(table)
    types = dict(
        database.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
            [schema_name, table_name],
        ).fetchall()
    )
    if not any(re.search(_ROUNDED, kind) for kind in types.values()):
        return
    # The file has the columns that hold data: generated ones are not in it.
    stored = [row[0] for row in database.execute(f"DESCRIBE FROM {literal(str(file))}").fetchall()]
    expressions = [
        f"CAST({identifier(c)} AS VARCHAR) AS {identifier(c)}" if re.search(_ROUNDED, types[c]) else identifier(c)
        for c in stored
    ]
    database.execute(f"COPY (SELECT {', '.join(expressions)} FROM {table}) TO {literal(str(file))} (FORMAT parquet)")


def _schema_and_name(table: str) -> tuple[str, str]:
    names = [q.replace('""', '"') or plain for q, plain in _NAME.findall(table)]
    return ("main", names[0]) if len(names) == 1 else (names[-2], names[-1])


def _load_list(directory: Path) -> list[tuple[str, str]]:
    """Return the tables that ``load.sql`` loads, as it spells them, and the file of each."""
    tables = []
    for statement in schema.split((directory / LOAD).read_text("utf-8")):
        match = _COPY.fullmatch(statement)
        file = os.path.basename(match["file"].replace("''", "'")) if match else ""
        if match is None or not _MEMBER.fullmatch(file):
            raise IntegrityError(f"{LOAD} of the dump holds what is no COPY of a table: {statement[:80]!r}")
        tables.append((match["table"], file))
    return tables


def _load(database: duckdb.DuckDBPyConnection, directory: Path) -> None:
    for statement in schema.split((directory / SCHEMA).read_text("utf-8")):
        database.execute(statement)
    for table, file in _load_list(directory):
        try:
            database.execute(f"COPY {table} FROM {literal(str(directory / file))} (FORMAT parquet)")
        except (duckdb.ConversionException, duckdb.BinderException) as error:
            raise IntegrityError(f"the table {table} does not load: {first_line(error)}") from error
    if (directory / TRIGGERS).exists():
        for statement in schema.split((directory / TRIGGERS).read_text("utf-8")):
            database.execute(statement)


def _write(path: Path, statements: list[str]) -> None:
    path.write_text("".join(f"{s}\n" for s in statements), "utf-8")


def _send(export: Path, sink: Sink) -> None:
    # The scripts come last: a tar that has them is whole.
    files = sorted(export.iterdir(), key=lambda f: (f.suffix == ".sql", f.name))
    sink.expect(sum(f.stat().st_size for f in files))
    with tarfile.open(mode="w|", fileobj=cast("Any", sink), bufsize=BLOCK, format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size = file.stat().st_size
            entry.mode = 0o600
            with file.open("rb") as stream:
                archive.addfile(entry, stream)


def load_parquet(dump: Dump, path: str) -> Evidence:
    """Unpack the dump to its verified end, load it into the new file ``path``, and prove it.

    Raises:
        IntegrityError: it is damaged, or not what was dumped.
    """
    directory = dump.workspace()
    with contextlib.closing(dump.open()) as reader:
        _unpack(reader, directory)
    with load_errors(), building(path, readable=directory) as database:
        _load(database, directory)
        evidence = content.evidence(database)
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the restored database")
    return evidence


def _unpack(reader: Reader, directory: Path) -> None:
    try:
        with tarfile.open(mode="r|", fileobj=cast("Any", reader), bufsize=BLOCK) as archive:
            for entry in archive:
                stream = archive.extractfile(entry) if entry.isreg() else None
                if stream is None or not _MEMBER.fullmatch(entry.name):
                    raise IntegrityError(f"the dump holds {entry.name[:80]!r}, which no dump of DuckDB does")
                with (directory / entry.name).open("xb") as file:
                    while block := stream.read(BLOCK):
                        file.write(block)
    except (tarfile.TarError, FileExistsError) as error:
        raise IntegrityError(f"the dump is not the tar stream it should be: {error}") from error
    while reader.read(BLOCK):  # only the stream's end says that all of it is right
        pass
    if not (directory / SCHEMA).exists() or not (directory / LOAD).exists():
        raise IntegrityError(f"the dump lacks {SCHEMA} or {LOAD}: it is not whole")
