"""Everything a SQLite database holds, in a form that is equal only for equal databases."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import subprocess
from pathlib import Path

from support.drive import FileDump, dump, load

import dumpty_plugins.sqlite.plugin as driver
from dumpty import Evidence, Source

PRAGMAS = ("user_version", "application_id", "encoding", "page_size", "auto_vacuum", "journal_mode")


def source(path, **query: str) -> Source:
    return Source(scheme="sqlite", url=f"sqlite:///{path}", database=str(path), query=query)


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextlib.contextmanager
def open_database(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")  # tests survive no power failure
        yield database


def make(path, script: str) -> Path:
    with open_database(path) as database:
        database.executescript(script)
    return Path(path)


def rows_of(path, sql: str, *values):
    with open_database(path) as database:
        return database.execute(sql, values).fetchall()


def _exact(value):
    return struct.pack(">d", value) if isinstance(value, float) else value


def contents(path) -> dict[str, object]:
    """Return schema, pragmas and every cell with its type and bytes, rowids included."""
    with open_database(path) as database:
        schema = sorted(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"), key=repr)
        content: dict[str, object] = {
            "schema": schema,
            "pragmas": {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS},
            "integrity": database.execute("PRAGMA integrity_check").fetchall(),
        }
        kinds = {
            name: (kind, without)
            for name, kind, without in database.execute(
                "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'"
            )
        }
        for table in [row[1] for row in schema if row[0] == "table" and kinds[row[1]][0] != "virtual"]:
            names = [
                row[0] for row in database.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1", (table,))
            ]
            lower_names = {name.lower() for name in names}
            alias = next((a for a in ("rowid", "_rowid_", "oid") if a not in lower_names), None)
            cells = [
                f"typeof({c}), CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END"
                for c in map(identifier, names)
            ]
            if alias and not kinds[table][1]:
                cells.append(alias)
            # In portions: a result has at most 2000 columns.
            content[f"rows of {table}"] = [
                tuple(map(_exact, row))
                for first in range(0, len(cells), 900)
                for row in database.execute(
                    f"SELECT {', '.join(cells[first : first + 900])} FROM {identifier(table)} NOT INDEXED"
                )
            ]
    return content


def evidence_of(path) -> dict[str, int]:
    """Count, independently of the driver, every table that is not SQLite's own and not virtual."""
    with open_database(path) as database:
        names = database.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')"
        ).fetchall()
        return {
            name: database.execute(f"SELECT count(*) FROM {identifier(name)}").fetchone()[0]
            for (name,) in names
            if not name.startswith("sqlite_")
        }


def dumped(path, file: Path, format: str, **options) -> FileDump:
    return dump(driver, source(path), file, format, **options)


def restored(made: FileDump, path, *, overwrite: bool = False, **options) -> Evidence:
    return load(driver, source(path), made, overwrite=overwrite, **options)


def through_program(made: FileDump, path) -> None:
    """Load a SQL dump, or its parts, with the sqlite3 program, as somebody without dumpty would."""
    text = b"".join(part.file.read_bytes() for part in made.parts)
    process = subprocess.run(["sqlite3", "-bail", str(path)], input=text, capture_output=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stderr == b""


def require_round_trip(path, tmp: Path) -> None:
    """Dump, load and compare: every format, and the sqlite3 program for SQL."""
    original = contents(path)
    counted = evidence_of(path)
    for form in ("sql", "native", "parallel"):
        made = dumped(path, tmp / f"dump.{form}", form, part_size=100)
        assert {table.path: table.rows for table in made.evidence.objects if table.rows is not None} == counted
        restored_path = tmp / f"{form}.db"
        restored_path.unlink(missing_ok=True)
        loaded = restored(made, restored_path)
        assert contents(restored_path) == original
        assert loaded.objects == made.evidence.objects
        if form != "native":
            restored_path.unlink()
            through_program(made, restored_path)
            assert contents(restored_path) == original
