"""Random schemas and values come back equal, cell by cell, with type and bytes."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins.sqlite.contents import identifier, open_database, require_round_trip

_OWN = " extra of "
"""What no other name has in it: a table that is called as an index or view could not be made."""
_NAMES = st.one_of(
    st.sampled_from(
        ["rowid", "oid", "_rowid_", "a", "b", "select", "x'y", 'q"r', "[z]", "`t`", "sp ace", "l\nf", "; --"]
    ),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1, max_size=6),
).filter(lambda name: not name.lower().startswith(("sqlite_", "dumpty")))

_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(
        ["a\r\nb", "\r\n\\r", "'", "it''s", "a\0b", "\0", "1", " 2.50", "1e400", "-0", "\ufeffbom", "\ufffe"]
    ),
)
_REALS = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([-0.0, 0.0, 5e-324, 1e15, 0.1]))
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_RAW = st.one_of(st.binary(max_size=9), st.sampled_from([b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\x00\xd8"]))

_VALUES = st.one_of(
    st.none().map(lambda v: ("?", v)),
    _INTEGERS.map(lambda v: ("?", v)),
    _REALS.map(lambda v: ("?", v)),
    _TEXT.map(lambda v: ("?", v)),
    st.binary(max_size=12).map(lambda v: ("?", v)),
    _RAW.map(lambda v: ("CAST(? AS TEXT)", v)),
)

_TYPES = st.sampled_from(["", "INTEGER", "INT", "TEXT", "REAL", "BLOB", "NUMERIC", "VARCHAR(9)", "DOUBLE", "ANY"])
_STRICT_TYPES = st.sampled_from(["INTEGER", "INT", "TEXT", "REAL", "BLOB", "ANY"])
_CONSTRAINTS = st.sampled_from(
    [
        "",
        "",
        "",
        "UNIQUE",
        "COLLATE NOCASE",
        "COLLATE RTRIM",
        "DEFAULT (1+2)",
        "DEFAULT 'it''s; ok'",
        "DEFAULT x'00ff'",
        "DEFAULT -1.5",
        "NOT NULL ON CONFLICT IGNORE DEFAULT ''",
        "CHECK (1)",
    ]
)


@st.composite
def _tables(draw, name):
    names = draw(st.lists(_NAMES, min_size=1, max_size=4, unique_by=str.lower))
    strict = draw(st.booleans())
    columns = [f"{identifier(n)} {draw(_STRICT_TYPES if strict else _TYPES)} {draw(_CONSTRAINTS)}" for n in names]
    key = draw(st.sampled_from(["none", "alias", "autoincrement", "descending", "without"]))
    options = ["STRICT"] if strict else []
    if key == "without":
        columns.append(f"PRIMARY KEY ({', '.join(map(identifier, names[: draw(st.integers(1, len(names)))]))})")
        options.append("WITHOUT ROWID")
    elif key != "none":
        word = {"alias": "", "autoincrement": "AUTOINCREMENT", "descending": "DESC"}[key]
        columns[0] = f"{identifier(names[0])} INTEGER PRIMARY KEY {word}"
    if draw(st.booleans()):
        stored = draw(st.sampled_from(["STORED", "VIRTUAL"]))
        columns.insert(
            draw(st.integers(1, len(columns) - (key == "without"))),
            f'"gen ""1""" {draw(st.sampled_from(["ANY", "TEXT"]))} AS (coalesce(typeof({identifier(names[0])}), 0)) {stored}',
        )
    rows = draw(st.lists(st.tuples(*[_VALUES] * len(names)), max_size=6))
    statement = f"CREATE TABLE {identifier(name)} ({', '.join(columns)}) {', '.join(options)}"
    extras = [
        (
            f"CREATE {draw(st.sampled_from(['', 'UNIQUE']))} INDEX {identifier('i' + _OWN + name)} ON {identifier(name)}"
            f"({identifier(names[-1])} {draw(st.sampled_from(['', 'DESC', 'COLLATE NOCASE']))}, typeof({identifier(names[0])}))"
            f"{draw(st.sampled_from(['', f' WHERE {identifier(names[0])} IS NOT NULL']))}"
        ),
        f"CREATE VIEW {identifier('v' + _OWN + name)} AS\n SELECT ';\n' AS x, * FROM {identifier(name)} -- end",
        (
            f"CREATE TRIGGER {identifier('t' + _OWN + name)} AFTER DELETE ON {identifier(name)} BEGIN\n"
            "  SELECT CASE WHEN 1 THEN ';END;' ELSE 2 END;\n  SELECT 3;\nEND"
        ),
    ]
    return statement, name, names, rows, draw(st.lists(st.sampled_from(extras), unique=True))


@st.composite
def _databases(draw):
    names = draw(st.lists(_NAMES, min_size=0, max_size=3, unique_by=str.lower))
    return {
        "encoding": draw(st.sampled_from(["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"])),
        "page_size": draw(st.sampled_from([512, 1024, 4096, 65536])),
        "auto_vacuum": draw(st.integers(0, 2)),
        "user_version": draw(st.integers(-(2**31), 2**31 - 1)),
        "application_id": draw(st.integers(-(2**31), 2**31 - 1)),
        "journal_mode": draw(st.sampled_from(["DELETE", "WAL"])),
        "tables": [draw(_tables(name)) for name in names],
    }


def _build(path: Path, content: dict) -> None:
    with open_database(path) as database:
        database.execute("PRAGMA synchronous=OFF")
        for pragma, value in content.items():
            if pragma != "tables":
                database.execute(f"PRAGMA {pragma}='{value}'" if pragma == "encoding" else f"PRAGMA {pragma}={value}")
        database.execute("BEGIN")
        for statement, name, names, rows, extras in content["tables"]:
            database.execute(statement)
            for extra in extras:
                with contextlib.suppress(sqlite3.OperationalError):  # two names that collide
                    database.execute(extra)
            for row in rows:
                # What the column's own rules refuse is not a row.
                with contextlib.suppress(sqlite3.IntegrityError, sqlite3.OperationalError):
                    database.execute(
                        f"INSERT INTO {identifier(name)}({', '.join(map(identifier, names))})"
                        f" VALUES ({', '.join(how for how, _ in row)})",
                        [value for _, value in row],
                    )
            if len(rows) > 3:  # a gap in the implicit rowids
                database.execute(
                    f"DELETE FROM {identifier(name)} WHERE {identifier(names[0])} IS"
                    f" (SELECT {identifier(names[0])} FROM {identifier(name)} LIMIT 1)"
                )
        database.execute("COMMIT")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_databases())
def test_random_databases_come_back_equal_in_every_cell(content):
    with tempfile.TemporaryDirectory(prefix="dumpty-test-") as directory:
        _build(Path(directory) / "original.db", content)
        require_round_trip(Path(directory) / "original.db", Path(directory))
