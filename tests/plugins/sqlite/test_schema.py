"""Definitions that SQL text can carry although they look as if it could not."""

from __future__ import annotations

import pytest
from plugins.sqlite.contents import contents, dumped, make, require_round_trip, restored, rows_of, through_program


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TRIGGER t AFTER INSERT ON t BEGIN INSERT INTO log VALUES(new.a); END;",
        "CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER v INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES(new.a); END;",
        "CREATE INDEX i ON t(a); CREATE TRIGGER i AFTER INSERT ON t BEGIN SELECT 1; END;",
    ],
)
def test_trigger_named_like_something_else(tmp_path, script):
    make(tmp_path / "x.db", f"CREATE TABLE t(a); CREATE TABLE log(x); {script} INSERT INTO t VALUES(1);")
    require_round_trip(tmp_path / "x.db", tmp_path)


@pytest.mark.parametrize(
    "definition",
    [
        "y(autoincrement_flag)",
        "y($autoincrement$)",
        'y("AUTOINCREMENT")',
        "y(a /* autoincrement */)",
        "y(a DEFAULT 'autoincrement')",
        "y(éautoincrement)",
    ],
)
def test_word_autoincrement_where_the_last_such_table_was_dropped(tmp_path, definition):
    make(
        tmp_path / "x.db",
        "CREATE TABLE x(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO x VALUES(5); DROP TABLE x;"
        f"CREATE TABLE {definition}; INSERT INTO y VALUES(1);".replace("($auto", "([$auto").replace(
            "ment$)", "ment$])"
        ),
    )
    assert rows_of(tmp_path / "x.db", "SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'")
    require_round_trip(tmp_path / "x.db", tmp_path)


@pytest.mark.parametrize("module", ["fts5", "fts4", "fts3", "rtree"])
@pytest.mark.parametrize("name", ["g", 'it\'s "g"'])
def test_renamed_virtual_table(tmp_path, module, name):
    columns, row = ("id, a, b", "1, 2, 3") if module == "rtree" else ("a", "'hello world'")
    new = '"' + name.replace('"', '""') + '"'
    make(
        tmp_path / "x.db",
        f"CREATE VIRTUAL TABLE f USING {module}({columns}); INSERT INTO f VALUES({row});ALTER TABLE f RENAME TO {new};",
    )

    def alike(path):
        content = contents(path)
        # The module that makes the shadow tables again quotes their names in its own way.
        content["schema"] = [
            (*definition[:3], definition[3] and definition[3].replace("''", "'").replace('""', '"').replace("'", '"'))
            for definition in content["schema"]
        ]
        return content

    made = dumped(tmp_path / "x.db", tmp_path / "dump", "sql")
    restored(made, tmp_path / "back.db")
    through_program(made, tmp_path / "program.db")
    assert alike(tmp_path / "back.db") == alike(tmp_path / "program.db") == alike(tmp_path / "x.db")
    assert rows_of(tmp_path / "back.db", f"SELECT * FROM {new}") == rows_of(tmp_path / "x.db", f"SELECT * FROM {new}")
