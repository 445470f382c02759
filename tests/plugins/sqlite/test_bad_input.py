"""What cannot be backed up or restored: one line each, saying what is wrong and what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from plugins.sqlite.contents import contents, dumped, make, open_database, restored, rows_of, source
from support.drive import FilePart, FileSink, defaults, dump

import dumpty_plugins.sqlite.plugin as driver
from dumpty import DumptyError, IntegrityError, Locked, MissingFile, Source, SourceError, TargetNotEmpty

FORMATS = ("sql", "native", "parallel")
SMALL = "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), ('x');"


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


def failure(path, tmp_path, form, error=SourceError, **options) -> str:
    with pytest.raises(error) as caught:
        dumped(path, tmp_path / "dump", form, busy_timeout=0.1, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert isinstance(caught.value, DumptyError)
    return text


def test_missing_file_is_named_and_not_created(tmp_path, form):
    assert str(tmp_path / "gone.db") in failure(tmp_path / "gone.db", tmp_path, form, MissingFile)
    assert failure(tmp_path / "no" / "gone.db", tmp_path, form, MissingFile)
    assert not (tmp_path / "gone.db").exists()


def test_directory_is_refused(tmp_path, form):
    assert "is a directory" in failure(tmp_path, tmp_path, form)


def test_device_is_refused(tmp_path, form):
    assert "not a regular file" in failure("/dev/null", tmp_path, form)


def test_empty_file_is_refused(tmp_path, form):
    (tmp_path / "empty.db").touch()
    assert "empty file (0 bytes)" in failure(tmp_path / "empty.db", tmp_path, form)


def test_other_files_and_encrypted_ones_are_refused(tmp_path, form):
    (tmp_path / "noise.db").write_bytes(os.urandom(8192))
    assert "not a SQLite database, or it is encrypted" in failure(tmp_path / "noise.db", tmp_path, form)


def test_truncated_database_is_corrupt(tmp_path, form):
    path = make(tmp_path / "a.db", "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(90000)), (1), (2);")
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)
    assert "corrupt" in failure(path, tmp_path, form)


@pytest.fixture
def damaged(tmp_path):
    """A database with noise in the place of a page of its table; counting goes through the index and sees nothing."""
    path = make(tmp_path / "a.db", "CREATE TABLE t(a, b)")
    with open_database(path) as database:
        database.executemany("INSERT INTO t VALUES(?, ?)", [(b"x" * 3000, i) for i in range(50)])
        database.execute("CREATE INDEX i ON t(b)")
    with path.open("r+b") as stream:
        stream.seek(4096 * 5)
        stream.write(b"\xa5" * 4096)
    with open_database(path) as database:
        assert database.execute("SELECT count(*) FROM t").fetchone() == (50,)
    return path


def test_damaged_page_is_found_before_a_backup_is_called_good(damaged, tmp_path, form):
    assert "corrupt" in failure(damaged, tmp_path, form)


def test_damage_that_no_query_stumbles_over_is_found_by_the_check(tmp_path, form):
    path = make(tmp_path / "b.db", "CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)")
    with path.open("r+b") as stream:
        stream.seek(4096 + 7)  # in the header of the table's page: bytes lost to fragments
        stream.write(b"\x2a")
    assert rows_of(path, "SELECT a FROM t") == [(1,), (2,)]
    assert "page 2" in failure(path, tmp_path, form).lower()
    made = dumped(path, tmp_path / "dump", form, check=False)
    if form == "native":
        with pytest.raises(IntegrityError, match=r"(?i)page 2"):
            restored(made, tmp_path / "back.db")


def test_damaged_database_can_be_copied_as_it_is_when_asked_for(damaged, tmp_path):
    made = dumped(damaged, tmp_path / "dump", "native", check=False)
    assert any("without a check" in note for note in made.evidence.notes)
    assert made.file.stat().st_size == damaged.stat().st_size
    restored(made, tmp_path / "back.db", check=False)
    assert (tmp_path / "back.db").read_bytes() == made.file.read_bytes()
    with pytest.raises(IntegrityError, match=r"corrupt|malformed"):
        restored(made, tmp_path / "checked.db")
    with pytest.raises(SourceError, match="corrupt"):
        dumped(damaged, tmp_path / "dump.sql", "sql", check=False)


def test_rows_lost_from_a_damaged_index_are_noticed(tmp_path):
    # quick_check does not compare indexes with their table, but counting through one disagrees with the rows.
    path = make(tmp_path / "a.db", "CREATE TABLE t(a, b); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1, 2), (3, 4);")
    with open_database(path) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("CREATE TABLE u(a, b)")
        database.execute("CREATE INDEX j ON u(a)")
        database.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'j') WHERE name = 'i'"
        )
        database.execute("DELETE FROM sqlite_master WHERE name IN ('u', 'j')")
    with open_database(path) as database:
        assert database.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with pytest.raises(IntegrityError, match="gave 2 rows, but counts 0"):
        dumped(path, tmp_path / "dump.sql", "sql", check=False)


def test_exclusive_lock_is_waited_for_and_then_reported(tmp_path, form):
    path = make(tmp_path / "a.db", SMALL)
    with open_database(path) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert "locked" in failure(path, tmp_path, form, Locked)
        with pytest.raises(Locked):
            driver.inspect(source=source(path), options={"busy_timeout": 0.05})
        with pytest.raises(Locked):
            dump(driver, source(path, timeout="0.05"), tmp_path / "dump", form, busy_timeout=60.0)


def unprivileged(call) -> str:
    """Run ``call`` in a child process as a user without rights, and return what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "no error"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            call()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return stream.read()


@pytest.fixture
def public():
    with tempfile.TemporaryDirectory(prefix="dumpty-test-") as directory:
        os.chmod(directory, 0o755)
        scratch = Path(directory) / "scratch"
        scratch.mkdir()
        os.chmod(scratch, 0o777)
        yield Path(directory)


def test_unreadable_file_says_that_permission_is_missing(public, form):
    path = make(public / "a.db", SMALL)
    os.chmod(path, 0o000)
    assert "SourceError: no permission to read" in unprivileged(lambda: dumped(path, public / "scratch" / "d", form))


def test_wal_database_in_a_directory_that_may_not_be_written_is_explained(public, form):
    path = make(public / "a.db", "PRAGMA journal_mode=WAL;" + SMALL)
    os.chmod(path, 0o644)
    text = unprivileged(lambda: dumped(path, public / "scratch" / "d", form))
    assert "SourceError" in text
    assert "where SQLite has to write too if the database is in WAL mode" in text


def test_rollback_mode_database_that_may_only_be_read_is_backed_up(public, form):
    path = make(public / "a.db", SMALL)
    os.chmod(path, 0o444)
    assert unprivileged(lambda: dumped(path, public / "scratch" / "d", form)) == "no error"
    assert sum(entry.stat().st_size for entry in (public / "scratch").iterdir() if entry.is_file()) > 0


def test_target_directory_that_may_not_be_written_is_explained(public, form):
    made = dumped(make(public / "a.db", SMALL), public / "scratch" / "d", form)
    os.chmod(public / "scratch" / "d", 0o644)
    shutil.rmtree(made.workspace(), ignore_errors=True)
    assert "cannot be written" in unprivileged(lambda: restored(made, public / "b.db"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (Source(scheme="sqlite", url="sqlite://", database=None), "names no file"),
        (Source(scheme="sqlite", url="sqlite:///:memory:", database=":memory:"), "names no file"),
        (source("a.db", mode="memory"), "names no file"),
        (source("a.db", mode="rwx"), "mode=rwx"),
        (source("a.db", cache="shared", immutable="1"), "unknown parameter cache, immutable"),
        (source("a.db", timeout="soon"), "'soon'"),
        (source("a.db", timeout="-1"), "'-1'"),
        (source("a\0.db"), "NUL"),
        (Source(scheme="sqlite", url="sqlite://host/a.db", host="host", database="a.db"), "names a host"),
    ],
)
def test_urls_that_sqlite_cannot_mean_are_refused(url, message, tmp_path, form, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("a.db", SMALL)
    with pytest.raises(SourceError, match=message):
        dump(driver, url, tmp_path / "dump", form)


def test_relative_paths_and_odd_names_work(tmp_path, form, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a b?c#d%20&mode=ro é😀;'\".db"
    make(name, SMALL)
    restored(dumped(name, tmp_path / "dump", form), "back.db")
    assert contents("back.db") == contents(name)


NEEDS_NATIVE = {
    "collation": "CREATE TABLE t(a COLLATE mine);",
    "function_in_an_index": "CREATE TABLE t(a); CREATE INDEX i ON t(own(a));",
    "function_in_a_generated_column": "CREATE TABLE t(a, b AS (own(a)));",
    "crlf_in_a_default": "CREATE TABLE t(a DEFAULT 'x\r\ny');",
    "a_line_that_ends_a_statement": "CREATE VIEW t AS SELECT 4\n/\n2 AS a;",
    "null_where_none_may_be": "CREATE TABLE t(a); INSERT INTO t VALUES(NULL); PRAGMA writable_schema=ON;"
    "UPDATE sqlite_master SET sql = 'CREATE TABLE t(a NOT NULL)';",
    "text_in_a_column_that_became_a_number": "CREATE TABLE t(a TEXT); INSERT INTO t VALUES('5');"
    "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = 'CREATE TABLE t(a INTEGER)';",
    "virtual_table_without_its_module": "CREATE TABLE d(a); PRAGMA writable_schema=ON; INSERT INTO sqlite_master"
    " VALUES('table', 't', 't', 0, 'CREATE VIRTUAL TABLE t USING gone(a)');",
    "bytes_in_a_name": "CREATE TABLE d(a); PRAGMA writable_schema=ON; UPDATE sqlite_master SET name = name ||"
    " CAST(x'ff' AS TEXT), tbl_name = name || CAST(x'ff' AS TEXT), sql = 'CREATE TABLE \"d' || CAST(x'ff22' AS TEXT)"
    " || '(a)';",
}


@pytest.mark.parametrize("name", NEEDS_NATIVE)
def test_what_text_cannot_carry_is_refused_by_name_and_native_takes_it(name, tmp_path):
    path = tmp_path / "a.db"
    with open_database(path) as database:
        database.create_collation("mine", lambda a, b: (a > b) - (a < b))
        database.create_function("own", 1, lambda a: a, deterministic=True)
        database.executescript(NEEDS_NATIVE[name])
    text = failure(path, tmp_path, "sql")
    assert "--format native" in text
    made = dumped(path, tmp_path / "dump", "native")
    restored(made, tmp_path / "back.db")
    assert (tmp_path / "back.db").read_bytes()[100:] == path.read_bytes()[100:]


def test_giant_row_is_refused_by_name(tmp_path):
    path = make(tmp_path / "a.db", "CREATE TABLE photos(a); INSERT INTO photos VALUES(zeroblob(135000000));")
    text = failure(path, tmp_path, "sql")
    assert "'photos'" in text
    assert "--format native" in text


def test_error_of_the_sink_stops_a_backup_and_reaches_the_caller(tmp_path, form):
    class FullPart(FilePart):
        def write(self, data):
            raise OSError(28, "No space left on device")

    class Full(FileSink):
        write = FullPart.write

        @contextlib.contextmanager
        def part(self, **keywords):
            yield FullPart(self.file, **keywords)

    path = make(tmp_path / "a.db", SMALL)
    sink = Full(tmp_path / "dump")
    try:
        with pytest.raises(OSError, match="No space left"):
            driver.backup(source=source(path), sink=sink, format=form, options=defaults(driver, "backup"))
    finally:
        sink.close()
    with open_database(path) as database:  # no lock is left
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("INSERT INTO t VALUES(9)")


def test_error_of_the_reader_leaves_the_target_as_it_was(tmp_path, form):
    class Broken(FilePart):
        def open(self):
            class Reader:
                def __init__(self):
                    self.pieces = [last.file.read_bytes()[:-10]]

                def read(self, size=-1):
                    if self.pieces:
                        return self.pieces.pop()
                    raise IntegrityError("the stored bytes are not what was stored")

                def close(self):
                    pass

            return Reader()

    made = dumped(make(tmp_path / "a.db", SMALL), tmp_path / "dump", form)
    *others, last = made.parts
    made.parts = (*others, Broken(last.file, last.section))
    target = make(tmp_path / "b.db", "CREATE TABLE old(a)")
    original = target.read_bytes()
    with pytest.raises(IntegrityError, match="not what was stored"):
        restored(made, target, overwrite=True)
    with pytest.raises(IntegrityError, match="not what was stored"):
        restored(made, tmp_path / "new.db")
    assert target.read_bytes() == original
    assert sorted(entry.name for entry in tmp_path.iterdir() if "b.db" in entry.name or "new.db" in entry.name) == [
        "b.db"
    ]


def test_inspect_tells_missing_empty_full_and_foreign_apart(tmp_path):
    def look(path):
        return driver.inspect(source=source(path), options={"busy_timeout": 1.0})

    missing = look(tmp_path / "shop.db")
    assert (missing.exists, missing.empty, missing.name) == (False, True, "shop")
    assert not (tmp_path / "shop.db").exists()
    (tmp_path / "shop.db").touch()
    assert (look(tmp_path / "shop.db").exists, look(tmp_path / "shop.db").empty) == (True, True)
    make(tmp_path / "shop.db", "PRAGMA user_version=1")
    assert look(tmp_path / "shop.db").empty
    make(tmp_path / "shop.db", SMALL)
    full = look(tmp_path / "shop.db")
    assert (full.exists, full.empty, full.estimated_bytes) == (True, False, (tmp_path / "shop.db").stat().st_size)
    (tmp_path / "link.db").symlink_to("shop.db")
    assert look(tmp_path / "link.db").identity == full.identity == f"sqlite:{(tmp_path / 'shop.db').resolve()}"
    (tmp_path / "noise.db").write_bytes(os.urandom(5000))
    noise = look(tmp_path / "noise.db")
    assert (noise.exists, noise.empty) == (True, False)
    assert "not a SQLite database" in noise.notes[0]
    with pytest.raises(SourceError, match="directory"):
        look(tmp_path)


def test_reading_an_idle_wal_database_leaves_nothing_beside_it(tmp_path, form):
    path = make(tmp_path / "a.db", "PRAGMA journal_mode=WAL;" + SMALL)
    assert os.listdir(tmp_path) == ["a.db"]
    driver.inspect(source=source(path), options={"busy_timeout": 1.0})
    assert os.listdir(tmp_path) == ["a.db"]
    dumped(path, tmp_path / "dump", form)
    assert [name for name in sorted(os.listdir(tmp_path)) if not name.startswith("dump")] == ["a.db"]


def test_hot_journal_of_a_crashed_writer_is_rolled_back_before_reading(tmp_path, form):
    path = make(tmp_path / "a.db", "CREATE TABLE t(a); INSERT INTO t VALUES('committed');")
    if (writer := os.fork()) == 0:  # dies in the middle of a transaction, its changes already in the file
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA cache_size=2")
        database.execute("PRAGMA cache_spill=2")
        database.execute("BEGIN")
        database.execute("UPDATE t SET a = 'half'")
        database.execute("CREATE TABLE u(a)")
        database.executemany("INSERT INTO u VALUES(?)", [("x" * 3000,)] * 200)
        os._exit(0)
    os.waitpid(writer, 0)
    assert (tmp_path / "a.db-journal").stat().st_size > 0
    made = dumped(path, tmp_path / "dump", form)
    assert [(table.path, table.rows) for table in made.evidence.objects] == [("t", 1)]
    restored(made, tmp_path / "b.db")
    with open_database(tmp_path / "b.db") as database:
        assert database.execute("SELECT a FROM t").fetchall() == [("committed",)]


def test_refused_target_says_how_to_insist(tmp_path, form):
    made = dumped(make(tmp_path / "a.db", SMALL), tmp_path / "dump", form)
    with pytest.raises(TargetNotEmpty, match="overwrite"):
        restored(made, tmp_path / "a.db")
