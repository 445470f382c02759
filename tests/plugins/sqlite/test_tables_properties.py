"""Tables of random databases come back equal, cell by cell, under their own names and under others."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins.sqlite.contents import contents, dumped, make, open_database
from plugins.sqlite.test_properties import _build, _databases
from plugins.sqlite.test_tables_safety import restored_tables

from dumpty import SourceError


def table_names(path) -> list[str]:
    with open_database(path) as database:
        names = database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        return [name for (name,) in names]


def rows_by_table(content) -> dict[str, object]:
    rows = {key: value for key, value in content.items() if key.startswith("rows of ")}
    if sequences := rows.pop("rows of sqlite_sequence", None):  # whose own numbers nobody asks for
        rows["sequences"] = sorted(row[:-1] for row in sequences)
    return rows


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(_databases(), st.sampled_from(["sql", "native", "parallel"]), st.booleans())
def test_tables_of_random_databases_come_back_equal_in_every_cell(content, form, fingerprint):
    with tempfile.TemporaryDirectory(prefix="dumpty-test-") as directory:
        original, again = Path(directory) / "original.db", Path(directory) / "again.db"
        _build(original, content)
        names = table_names(original)
        if not names:
            return
        made = dumped(original, Path(directory) / "dump", form, fingerprint=fingerprint)
        restored_tables(made, again, {name: name for name in names})
        before, after = contents(original), contents(again)
        views = {row[1] for row in before["schema"] if row[0] == "view"}
        assert after["schema"] == [row for row in before["schema"] if row[1] not in views]
        rows = rows_by_table(before)
        assert rows_by_table(after) == rows
        restored_tables(made, original, {name: f"{name}'\" 2" for name in names})
        after = contents(original)
        for name in names:
            assert after[f"rows of {name}"] == after[f"rows of {name}'\" 2"] == rows[f"rows of {name}"]
        assert after["integrity"] == before["integrity"]
        restored_tables(made, original, {name: name for name in names})
        with open_database(original) as database:
            for name in names:
                quoted = f"{name}'\" 2".replace('"', '""')
                database.execute(f'DROP TABLE "{quoted}"')
        after = contents(original)
        assert (after["schema"], after["integrity"]) == (before["schema"], before["integrity"])
        assert rows_by_table(after) == rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=9),
            st.binary(max_size=9),
            st.floats(),
            st.integers(-(2**63), 2**63 - 1),
            st.none(),
        ),
        max_size=9,
    ),
    st.permutations(["UTF-8", "UTF-16le", "UTF-16be"]),
)
def test_text_goes_from_any_encoding_to_any_other_or_is_refused(values, encodings):
    with tempfile.TemporaryDirectory(prefix="dumpty-test-") as directory, contextlib.suppress(SourceError):
        paths = [Path(directory) / f"{encoding}.db" for encoding in encodings]
        for path, encoding in zip(paths, encodings, strict=True):
            make(path, f"PRAGMA encoding='{encoding}'; CREATE TABLE old (a)")
        with contextlib.closing(sqlite3.connect(paths[0], isolation_level=None)) as database:
            database.execute("CREATE TABLE t (a)")
            database.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
            stored = database.execute("SELECT typeof(a), a FROM t").fetchall()
        for before, after in itertools.pairwise(paths):
            restored_tables(dumped(before, before.with_suffix(".dump"), "native"), after, {"t": "t"})
            with contextlib.closing(sqlite3.connect(after)) as database:
                assert repr(database.execute("SELECT typeof(a), a FROM t").fetchall()) == repr(stored)
