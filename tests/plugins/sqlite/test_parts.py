"""The parallel format: text in parts that say which rows they hold, of which single tables read no others."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from pathlib import Path

import pytest
from msgspec import structs
from plugins.sqlite.contents import contents, dumped, make, open_database, restored, rows_of, source
from plugins.sqlite.tables import backed_up, cells, put_back, refused
from support.drive import FilePart, FileSink, defaults

import dumpty_plugins.sqlite.plugin as driver
from dumpty import IntegrityError, OptionError, SourceError
from dumpty_plugins.sqlite.dumping import parts, text_dump

WORDS = "CREATE VIRTUAL TABLE words USING fts5(word); INSERT INTO words VALUES ('egg'), ('wall');"


@pytest.fixture
def long(tmp_path):
    """A database with a table that takes several parts between two that take one, and an index of words."""
    path = make(
        tmp_path / "long.db",
        "CREATE TABLE first (id INTEGER PRIMARY KEY AUTOINCREMENT, a); CREATE TABLE big (id INTEGER PRIMARY KEY, a);"
        f"CREATE TABLE none (a); CREATE TABLE last (a REFERENCES first); {WORDS} CREATE INDEX by_a ON big (a);"
        "INSERT INTO first (a) VALUES ('one'), ('two'); INSERT INTO last VALUES (1), (2);",
    )
    with open_database(path) as database:
        database.execute("BEGIN")
        database.executemany("INSERT INTO big (a) VALUES (?)", ((f"{n:x}" * 500,) for n in range(3000)))
        database.execute("COMMIT")
    return path


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_BYTES", (1 << 20, 1 << 20))


def holding(made):
    return [[(t.path, t.rows, t.range) for t in part.tables] for part in made.parts]


# -- what is where -------------------------------------------------------------------------------------------------


def test_small_tables_share_a_part_and_a_large_one_has_ranges_in_several(long, tmp_path):
    made = dumped(long, tmp_path / "dump", "parallel", part_size=1 << 20)
    assert [part.section for part in made.parts] == ["pre-data", *["data"] * (len(made.parts) - 2), "post-data"]
    assert [part.suffix for part in made.parts][1:] == [*[".rows.sql"] * (len(made.parts) - 2), ".objects.sql"]
    first, *others, last = [table for table in holding(made) if table]
    assert first[0] == ("first", 2, "")
    big = [table for held in (first, *others, last) for table in held if table[0] == "big"]
    assert len(big) == len(made.parts) - 2 > 3
    assert sum(rows for _, rows, _ in big) == 3000
    bounds = [tuple(map(int, re.fullmatch(r"rows (\d+) to (\d+)", text).groups())) for _, _, text in big]
    assert [low for low, _ in bounds] == [1, *(high + 1 for _, high in bounds[:-1])]
    assert bounds[-1][1] == 3000
    assert {("none", 0, ""), ("last", 2, "")} < set(last)
    assert all(part.size < 1.3 * (1 << 20) for part in made.parts)
    assert all(part.size > 1 << 20 for part in made.parts[1:-2])
    assert "sqlite_sequence" not in {path for held in holding(made) for path, *_ in held}


def test_a_part_has_eight_megabytes_unless_another_size_is_asked_for(long, tmp_path):
    assert len(dumped(long, tmp_path / "dump", "parallel").parts) == 3
    with pytest.raises(OptionError, match="part_size is a number of bytes"):
        dumped(long, tmp_path / "other", "parallel", part_size=-1)


def test_however_small_parts_are_to_be_a_manifest_can_tell_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_MOST_PARTS", 20)
    path = make(tmp_path / "x.db", "CREATE TABLE t (a);")
    with open_database(path) as database:
        database.execute("BEGIN")
        database.executemany("INSERT INTO t VALUES (?)", (("x" * 1000,) for _ in range(3000)))
        database.execute("COMMIT")
    assert 10 < len(dumped(path, tmp_path / "dump", "parallel", part_size=1).parts) < 40


def test_without_being_named_it_is_never_taken(manager, long):
    made = manager.create_backup(f"sqlite:///{long}", format="auto")
    assert made.backup.format == "native"


def test_each_part_says_what_it_is_and_that_it_is_whole(long, tmp_path):
    made = dumped(long, tmp_path / "dump", "parallel", part_size=1 << 20)
    for part in made.parts:
        text = part.file.read_bytes()
        assert text.startswith(b"-- dumpty: SQLite dump 1, made by SQLite ")
        assert text.rsplit(b"\n", 2)[1].startswith(b"-- dumpty: end of ")


def test_a_table_that_is_emptied_first_is_not_cut_behind_that(long, tmp_path):
    made = dumped(long, tmp_path / "dump", "parallel", part_size=1)
    held = [table for tables in holding(made) for table in tables]
    assert ("words_content", 2, "") in held
    assert not [table for table in held if table[1] == 0 and table[2]]


# -- one table -----------------------------------------------------------------------------------------------------


def test_of_the_parts_only_those_that_hold_the_table_are_read(manager, long, small_parts, tmp_path):
    backup = backed_up(manager, long, "parallel")
    stored = manager.get_backup(backup)
    others = [Path(name) for name in stored.files if ".rows." in name][1:-1]
    assert len(others) > 2
    for path in others:  # damaged, so that nobody could read them
        path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
    put_back(manager, backup, tmp_path / "new.db", ["first", "last"])
    assert cells(tmp_path / "new.db", "first") == [(1, "one"), (2, "two")]
    assert rows_of(tmp_path / "new.db", "SELECT seq FROM sqlite_sequence WHERE name = 'first'") == [(2,)]
    text = refused(manager, backup, tmp_path / "other.db", ["big"], IntegrityError)
    assert re.search(r"\.p\d+\.rows\.sql\.gz \(big, rows \d+ to \d+\)", text)
    whole = manager.restore(backup, f"sqlite:///{tmp_path / 'whole.db'}")
    assert isinstance(whole.exception, IntegrityError)


def test_a_table_of_several_parts_comes_back_whole_with_its_index(manager, long, small_parts, tmp_path):
    put_back(manager, backed_up(manager, long, "parallel", fingerprint=True), tmp_path / "new.db", ["big=large"])
    assert cells(tmp_path / "new.db", "large") == cells(long, "big")
    assert rows_of(tmp_path / "new.db", "SELECT name FROM sqlite_schema WHERE type = 'index'") == [("by_a",)]


def test_a_full_text_index_of_which_only_a_half_would_be_read_is_left_alone(manager, long, tmp_path):
    backup = backed_up(manager, long, "parallel")
    put_back(manager, backup, tmp_path / "new.db", ["last", "first"])
    assert "is a virtual table" in refused(manager, backup, tmp_path / "other.db", ["words"], SourceError)


def test_rows_that_no_part_says_it_holds_are_not_taken_for_none(long, tmp_path):
    made = dumped(long, tmp_path / "dump", "parallel")
    made.evidence = structs.replace(made.evidence, objects=())
    for part in made.parts:
        part.tables = tuple(structs.replace(t, path="big" if t.path == "last" else t.path) for t in part.tables)
    options = defaults(driver, "restore_tables")
    with pytest.raises(IntegrityError, match="no part of the dump says that it holds rows of last"):
        driver.restore_tables(
            target=source(tmp_path / "n.db"), dump=made, tables={"last": "last"}, overwrite=False, options=options
        )
    assert not (tmp_path / "n.db").exists()


def test_a_part_that_is_missing_is_noticed_without_evidence(long, tmp_path):
    made = dumped(long, tmp_path / "dump", "parallel", part_size=1 << 20)
    made.evidence = structs.replace(made.evidence, objects=())
    [table] = made.parts[3].tables
    made.parts[3].tables = (structs.replace(table, rows=table.rows + 1),)
    with pytest.raises(IntegrityError, match="say that they hold 3001 rows of big, and 3000 were loaded"):
        restored(made, tmp_path / "n.db")
    with pytest.raises(IntegrityError, match="say that they hold 3001 rows of big, and 3000 were loaded"):
        driver.restore_tables(
            target=source(tmp_path / "n.db"),
            dump=made,
            tables={"big": "big"},
            overwrite=False,
            options=defaults(driver, "restore_tables"),
        )


def test_a_reference_into_no_table_at_all_is_as_it_was(manager, tmp_path):
    script = "CREATE TABLE c (x REFERENCES never (z)); INSERT INTO c VALUES (1), (NULL);"
    path = make(tmp_path / "odd.db", script)
    put_back(manager, backed_up(manager, path, "parallel"), path, ["c=d"])
    assert cells(path, "d") == [(1,), (None,)]


# -- what goes wrong -----------------------------------------------------------------------------------------------


class Lacking(FileSink):
    """A sink that has no room for its ``number``-th part, from 0."""

    number = 2

    def part(self, **keywords):
        if len(self.parts) == self.number:
            raise OSError(28, "No space left on device")
        return super().part(**keywords)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_a_part_that_cannot_be_written_ends_the_backup(long, tmp_path, number):
    sink = Lacking(tmp_path / "dump")
    sink.number = number
    options = defaults(driver, "backup", part_size=1 << 20)
    with contextlib.closing(sink), pytest.raises(OSError, match="No space left"):
        driver.backup(source=source(long), sink=sink, format="parallel", options=options)
    assert len(sink.parts) == number
    with open_database(long) as database:  # no lock is left
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("INSERT INTO none VALUES (1)")


@pytest.mark.parametrize("form", ["sql", "parallel"])
def test_a_row_that_text_cannot_carry_leaves_no_lock_while_its_error_is_kept(manager, tmp_path, monkeypatch, form):
    monkeypatch.setattr(text_dump, "LARGEST_ROW", 500)
    path = make(tmp_path / "x.db", f"CREATE TABLE t (a); INSERT INTO t VALUES ('{'x' * 600}'), (1), (2);")
    result = manager.create_backup(f"sqlite:///{path}", format=form)
    assert "is longer than" in result.error
    with open_database(path) as database:
        database.execute("CREATE TABLE more (a)")
    assert result.exception is not None


def test_ctrl_c_ends_a_backup_and_leaves_nothing(manager, long, small_parts, monkeypatch):
    begun, going_on = threading.Event(), threading.Event()
    fill = parts._RowsWriter._fill

    def slow(writer, part):
        begun.set()
        going_on.wait(20)
        fill(writer, part)

    def press():
        begun.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        going_on.set()

    monkeypatch.setattr(parts._RowsWriter, "_fill", slow)
    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        manager.create_backup(f"sqlite:///{long}", format="parallel")
    thread.join()
    assert not manager.list_backups()
    assert not [path for path in (long.parent / "backups").rglob("*") if ".sql" in path.name]


def without(number):
    return lambda held: held[:number] + held[number + 1 :]


def changed(number, old, new):
    def change(held):
        text = held[number].file.read_bytes()
        assert old in text
        held[number].file.write_bytes(text.replace(old, new))
        return held

    return change


def called(number, *tables):
    def change(held):
        held[number].tables = tuple(structs.replace(held[1].tables[0], path=name) for name in tables)
        return held

    return change


END = b"-- dumpty: end of part\n"
FORGED = {
    "no tables": (without(0), "has 0, 1 and 0 others"),
    "no end": (lambda held: held[:-1], "has 1, 0 and 0 others"),
    "no rows of some": (without(2), "by saying that it holds|is not what was dumped"),
    "the same twice": (lambda held: [*held[:2], held[1], *held[2:]], "UNIQUE constraint failed"),
    "of no table": (called(1), "does not say which rows it holds"),
    "tables with rows": (called(0, "first"), "should hold none"),
    "fewer tables than it has": (called(1, "first"), "no statement begins here"),
    "more tables than it has": (called(1, "first", "big", "none"), "no statement begins here"),
    "cut off": (changed(2, END, b""), "cut short"),
    "an end of all in between": (changed(2, END, b"-- dumpty: end of dump, 0 tables, 0 rows\n"), "as if it were the last"),
    "no end of all": (
        lambda held: [*held[:-1], cut(held[-1])],
        "cut short",
    ),
    "text behind its end": (changed(2, END, END + b"SELECT 1;\n"), "goes on after its end"),
    "rows before any table": (changed(2, b"-- dumpty: rows of table 1\n", b""), "no statement begins here"),
    "tables in another order": (changed(1, b"rows of table 2\n", b"rows of table 3\n"), "no statement begins here"),
    "another file": (changed(2, b"-- dumpty: SQLite dump 1", b"-- dumpty: SQLite dump 9"), "is not a SQL dump made by"),
}  # fmt: skip


def cut(part):
    text = part.file.read_bytes()
    part.file.write_bytes(text[: text.rindex(b"-- dumpty: end of dump")] + END)
    return part


@pytest.mark.parametrize("what", FORGED)
def test_parts_that_no_backup_makes_are_refused(long, tmp_path, what):
    change, message = FORGED[what]
    made = dumped(long, tmp_path / "dump", "parallel", part_size=1 << 20)
    made.parts = tuple(change(list(made.parts)))
    target = make(tmp_path / "old.db", "CREATE TABLE old (a)")
    before = contents(target)
    with pytest.raises(IntegrityError, match=message) as caught:
        restored(made, target, overwrite=True)
    assert "\n" not in str(caught.value)
    assert contents(target) == before


def test_a_part_that_breaks_off_under_the_reader_leaves_the_target_as_it_was(long, tmp_path):
    class Broken(FilePart):
        def open(self):
            raise IntegrityError("the stored bytes are not what was stored")

    made = dumped(long, tmp_path / "dump", "parallel", part_size=1 << 20)
    broken = Broken(made.parts[3].file, made.parts[3].section)
    broken.tables = made.parts[3].tables
    made.parts = (*made.parts[:3], broken, *made.parts[4:])
    with pytest.raises(IntegrityError, match="not what was stored"):
        restored(made, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
