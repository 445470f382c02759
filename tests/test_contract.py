"""The facades' contract, line by line, through its own names alone.

Real databases throughout. Each test is named after the sentence it holds dumpty to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dumpty import (
    Backup,
    BackupFormat,
    BackupManager,
    BackupMetadata,
    BackupResult,
    DatabaseBackup,
    backup_database,
)


def execute(path: Path, *statements: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows: list[tuple] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    execute(
        path,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
        "INSERT INTO item SELECT i, 'item ' || i, i / 7.0 FROM n",
    )
    return path


def items(path: Path) -> list[tuple]:
    return execute(path, "SELECT * FROM item ORDER BY id")


# -- DatabaseBackup: the table ---------------------------------------------------------------------------------------


def test_init_creates_the_directory_and_loads_its_manifest(tmp_path, shop):
    directory = tmp_path / "a" / "b"
    metadata = DatabaseBackup(str(directory)).backup_sqlite(str(shop), "one")
    assert (directory / "backup_manifest.json").is_file()
    assert DatabaseBackup(str(directory)).list_backups() == [metadata]


def test_backup_sqlite_puts_a_copy_into_the_directory_and_records_it(tmp_path, shop):
    metadata = DatabaseBackup(str(tmp_path / "b")).backup_sqlite(str(shop), "one")
    assert isinstance(metadata, BackupMetadata)
    assert Path(metadata.file_path).parent == tmp_path / "b"
    assert items(Path(metadata.file_path)) == items(shop)
    assert (metadata.name, metadata.format, metadata.database_name) == ("one", "sqlite", "shop")
    assert metadata.size_bytes == os.path.getsize(metadata.file_path)


def test_a_timestamp_is_iso_8601_in_utc(tmp_path, shop):
    started = datetime.now(UTC)
    metadata = DatabaseBackup(str(tmp_path / "b")).backup_sqlite(str(shop), "one")
    moment = datetime.fromisoformat(metadata.timestamp)
    assert moment.utcoffset() == timedelta(0)
    assert started <= moment <= datetime.now(UTC)


def test_metadata_begins_with_the_six_fields_of_the_contract(tmp_path, shop):
    metadata = BackupMetadata("n", "2026-01-01T00:00:00+00:00", "d", "sqlite", 7, "/x")
    assert (metadata.name, metadata.timestamp, metadata.database_name) == ("n", "2026-01-01T00:00:00+00:00", "d")
    assert (metadata.format, metadata.size_bytes, metadata.file_path) == ("sqlite", 7, "/x")


def test_restore_sqlite_puts_the_backup_at_the_target(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    backups.backup_sqlite(str(shop), "one")
    target = tmp_path / "restored.db"
    assert backups.restore_sqlite("one", str(target)) is True
    assert items(target) == items(shop)


def test_restore_sqlite_of_an_unknown_name_is_false_and_touches_nothing(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    assert backups.restore_sqlite("nothing", str(tmp_path / "x.db")) is False
    assert not (tmp_path / "x.db").exists()


def test_list_backups_has_all_backups(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    assert backups.list_backups() == []
    entries = [backups.backup_sqlite(str(shop), name) for name in ("one", "two", "three")]
    assert backups.list_backups() == entries


def test_prune_removes_from_disk_and_manifest_and_says_how_many(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    entries = [backups.backup_sqlite(str(shop), f"n{i}") for i in range(4)]
    assert backups.prune(max_age_days=30, max_backups=3) == 1
    assert backups.list_backups() == entries[1:]
    assert [os.path.exists(m.file_path) for m in entries] == [False, True, True, True]


@pytest.mark.parametrize("form", list(BackupFormat))
def test_backup_postgres_runs_pg_dump_in_every_format(tmp_path, postgres, form):
    name = postgres.create()
    postgres.execute("CREATE TABLE t (i int PRIMARY KEY, x text)", database=name)
    postgres.execute("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 300) g", database=name)
    metadata = DatabaseBackup(str(tmp_path)).backup_postgres(postgres.url(name), "pg", form)
    assert (metadata.format, metadata.database_name) == (form.value, name)
    path = Path(metadata.file_path)
    if form is BackupFormat.DIRECTORY:
        assert metadata.size_bytes == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    else:
        assert metadata.size_bytes == path.stat().st_size
    if form is BackupFormat.SQL:
        assert "row 300" in path.read_text()
    else:
        listing = subprocess.run(
            [postgres.bindir / "pg_restore", "-l", path], capture_output=True, text=True, check=True
        )
        assert "TABLE DATA public t" in listing.stdout


def test_backup_postgres_takes_a_libpq_dsn(tmp_path, postgres):
    name = postgres.create()
    dsn = f"host={postgres.sockets} port={postgres.port} dbname={name} user=postgres"
    metadata = DatabaseBackup(str(tmp_path)).backup_postgres(dsn, "pg", BackupFormat.CUSTOM)
    assert metadata.database_name == name


def test_backup_postgres_needs_no_psycopg2(tmp_path, postgres):
    name = postgres.create()
    program = (
        "import sys; sys.modules['psycopg2'] = None\n"
        "from dumpty import DatabaseBackup, BackupFormat\n"
        "print(DatabaseBackup(sys.argv[1]).backup_postgres(sys.argv[2], 'pg', BackupFormat.SQL).size_bytes)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, tmp_path, postgres.url(name)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 0


def test_backup_formats_have_the_values_of_pg_dump():
    assert {f.name: f.value for f in BackupFormat} == {
        "SQL": "sql",
        "CUSTOM": "custom",
        "DIRECTORY": "directory",
        "TAR": "tar",
    }


# -- DatabaseBackup: errors ------------------------------------------------------------------------------------------


def test_a_missing_source_file_is_file_not_found(tmp_path):
    backups = DatabaseBackup(str(tmp_path / "b"))
    with pytest.raises(FileNotFoundError):
        backups.backup_sqlite(str(tmp_path / "none.db"), "one")
    assert backups.list_backups() == []
    assert not (tmp_path / "none.db").exists()


def test_a_failed_pg_dump_is_a_runtime_error(tmp_path, postgres):
    backups = DatabaseBackup(str(tmp_path / "b"))
    with pytest.raises(RuntimeError, match="pg_dump"):
        backups.backup_postgres(postgres.url("no_such_database"), "pg", BackupFormat.SQL)
    assert backups.list_backups() == []


def test_a_server_that_is_down_is_a_runtime_error(tmp_path):
    with pytest.raises(RuntimeError, match="pg_dump"):
        DatabaseBackup(str(tmp_path / "b")).backup_postgres(
            f"postgresql:///x?host={tmp_path}", "pg", BackupFormat.CUSTOM
        )


def test_a_missing_pg_dump_is_a_runtime_error(tmp_path, postgres, monkeypatch):
    name = postgres.create()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"pg_dump.*not found"):
        DatabaseBackup(str(tmp_path / "b")).backup_postgres(postgres.url(name), "pg", BackupFormat.SQL)


def test_an_entry_whose_file_is_gone_raises_file_not_found(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    os.unlink(backups.backup_sqlite(str(shop), "one").file_path)
    with pytest.raises(FileNotFoundError):
        backups.restore_sqlite("one", str(tmp_path / "x.db"))
    assert not (tmp_path / "x.db").exists()


def test_an_entry_whose_bytes_have_changed_raises_and_restores_nothing(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    metadata = backups.backup_sqlite(str(shop), "one")
    data = bytearray(Path(metadata.file_path).read_bytes())
    data[-100] ^= 1
    Path(metadata.file_path).write_bytes(data)
    target = tmp_path / "x.db"
    execute(target, "CREATE TABLE old (x)")
    with pytest.raises(Exception, match="SHA-256"):
        backups.restore_sqlite("one", str(target))
    assert execute(target, "SELECT name FROM sqlite_master") == [("old",)]


# -- DatabaseBackup: better than the letter --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_copy_of_a_live_database_is_consistent(tmp_path, mode):
    path = tmp_path / "live.db"
    execute(path, f"PRAGMA journal_mode={mode}", "CREATE TABLE a (x)", "CREATE TABLE b (x)")
    stop = threading.Event()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            while not stop.is_set():
                connection.executescript("BEGIN IMMEDIATE; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); COMMIT")

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        backups = DatabaseBackup(str(tmp_path / "b"))
        for number in range(5):
            metadata = backups.backup_sqlite(str(path), f"n{number}")
            [(rows_of_a, rows_of_b)] = execute(
                Path(metadata.file_path), "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"
            )
            assert rows_of_a == rows_of_b
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_restore_sqlite_replaces_its_target_atomically_and_leaves_nothing_beside(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    backups.backup_sqlite(str(shop), "one")
    target = tmp_path / "t" / "x.db"
    target.parent.mkdir()
    execute(target, "CREATE TABLE old (x)")
    assert backups.restore_sqlite("one", str(target))
    assert items(target) == items(shop)
    assert os.listdir(target.parent) == ["x.db"]


def test_restoring_over_a_database_in_use_is_an_error_and_changes_nothing(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    backups.backup_sqlite(str(shop), "one")
    target = tmp_path / "x.db"
    execute(target, "CREATE TABLE old (x)")
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as user:
        user.execute("BEGIN IMMEDIATE")
        user.execute("INSERT INTO old VALUES (1)")
        with pytest.raises(Exception, match=r"in use|locked"):
            backups.restore_sqlite("one", str(target))
        user.execute("COMMIT")
    assert execute(target, "SELECT * FROM old") == [(1,)]


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_a_stale_file_beside_the_target_neither_corrupts_nor_brings_back_the_old(tmp_path, shop, suffix):
    backups = DatabaseBackup(str(tmp_path / "b"))
    backups.backup_sqlite(str(shop), "one")
    target = tmp_path / "x.db"
    crashed = (
        "import sqlite3, os, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode=' + sys.argv[2]); c.execute('CREATE TABLE old (x)')\n"
        "c.execute('PRAGMA cache_size=5'); c.execute('BEGIN')\n"
        'c.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) "\n'
        '          "INSERT INTO old SELECT randomblob(300) FROM n")\n'
        "c.execute('COMMIT') if sys.argv[2] == 'wal' else None\n"
        "os._exit(1)\n"
    )
    mode = "delete" if suffix == "-journal" else "wal"
    subprocess.run([sys.executable, "-c", crashed, target, mode], check=False)
    assert os.path.exists(f"{target}{suffix}")
    assert backups.restore_sqlite("one", str(target))
    assert items(target) == items(shop)
    assert execute(target, "PRAGMA integrity_check") == [("ok",)]


def test_two_processes_may_use_one_directory_and_no_entry_is_lost(tmp_path, shop):
    program = (
        "import sys\nfrom dumpty import DatabaseBackup\nb = DatabaseBackup(sys.argv[1])\n"
        "for i in range(8): b.backup_sqlite(sys.argv[2], f'{sys.argv[3]}-{i}')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, tmp_path / "b", shop, prefix]) for prefix in "xy"]
    assert [process.wait(120) for process in processes] == [0, 0]
    names = {m.name for m in DatabaseBackup(str(tmp_path / "b")).list_backups()}
    assert names == {f"{prefix}-{i}" for prefix in "xy" for i in range(8)}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"dumpty_manifest": 1, "backups": []}', b"\xff\xfe"])
def test_a_damaged_manifest_is_a_clear_error_and_never_overwritten(tmp_path, shop, damage):
    backups = DatabaseBackup(str(tmp_path))
    backups.backup_sqlite(str(shop), "one")
    path = tmp_path / "backup_manifest.json"
    path.write_bytes(damage)
    for call in (
        lambda: DatabaseBackup(str(tmp_path)),
        lambda: backups.backup_sqlite(str(shop), "two"),
        backups.list_backups,
        lambda: backups.prune(1, 1),
        lambda: backups.restore_sqlite("one", str(tmp_path / "x.db")),
    ):
        with pytest.raises(Exception, match=r"backup_manifest\.json is damaged"):
            call()
    assert path.read_bytes() == damage


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a/b", "../a", "a\\b", "/etc/x", "a\0b", "a\nb", "x" * 300, "backup_manifest.json", "\ud800"],
)
def test_a_backup_name_that_could_reach_the_file_system_is_refused(tmp_path, shop, name):
    backups = DatabaseBackup(str(tmp_path / "b"))
    with pytest.raises(ValueError, match="backup name"):
        backups.backup_sqlite(str(shop), name)
    assert backups.list_backups() == []


@pytest.mark.parametrize("name", ["nightly", "with space", "été 🥚", "a.b-c_d", "con", "x" * 200, "-rf", "$(reboot)"])
def test_any_other_name_is_data(tmp_path, shop, name):
    backups = DatabaseBackup(str(tmp_path / "b"))
    metadata = backups.backup_sqlite(str(shop), name)
    assert metadata.name == name
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", os.path.basename(metadata.file_path))
    assert backups.restore_sqlite(name, str(tmp_path / "x.db"))


def test_taking_a_name_again_replaces_that_backup_only_once_the_new_one_is_complete(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    first = backups.backup_sqlite(str(shop), "one")
    with pytest.raises(FileNotFoundError):
        backups.backup_sqlite(str(tmp_path / "none.db"), "one")
    assert backups.list_backups() == [first]
    execute(shop, "INSERT INTO item VALUES (1000, 'new', 1.0)")
    second = backups.backup_sqlite(str(shop), "one")
    assert second.file_path != first.file_path
    assert not os.path.exists(first.file_path)
    assert backups.list_backups() == [second]
    assert backups.restore_sqlite("one", str(tmp_path / "x.db"))
    assert len(items(tmp_path / "x.db")) == 501


def aged(directory: Path, ages: dict[str, float]) -> None:
    """Rewrite the timestamps of a manifest, through dumpty's own seal."""
    from dumpty.repository import sealed

    path = directory / "backup_manifest.json"
    content = sealed.unseal(path.read_bytes(), "x")
    content.pop("dumpty_manifest")
    for entry in content["backups"]:
        moment = datetime.now(UTC) - timedelta(days=ages.get(entry["name"], 0))
        entry["timestamp"] = moment.isoformat()
    path.write_bytes(sealed.seal(content))


def test_prune_removes_what_is_older_than_the_age(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    for name in ("old", "young"):
        backups.backup_sqlite(str(shop), name)
    aged(tmp_path / "b", {"old": 10.01, "young": 9.99})
    assert backups.prune(10, 100) == 1
    assert [m.name for m in backups.list_backups()] == ["young"]


def test_prune_counts_each_source_by_itself_even_of_one_name(tmp_path, shop):
    twin = tmp_path / "other" / "shop.db"
    twin.parent.mkdir()
    execute(twin, "CREATE TABLE t (x)")
    backups = DatabaseBackup(str(tmp_path / "b"))
    for number in range(3):
        backups.backup_sqlite(str(shop), f"a{number}")
        backups.backup_sqlite(str(twin), f"b{number}")
    assert backups.prune(30, 2) == 2
    assert {m.name for m in backups.list_backups()} == {"a1", "a2", "b1", "b2"}


def test_prune_knows_a_postgres_database_by_any_spelling(tmp_path, postgres):
    name = postgres.create()
    spellings = [
        postgres.url(name),
        postgres.url(name).replace("postgresql://", "postgres://"),
        f"host={postgres.sockets} port={postgres.port} dbname={name} user=postgres",
    ]
    backups = DatabaseBackup(str(tmp_path))
    entries = [backups.backup_postgres(s, f"n{i}", BackupFormat.CUSTOM) for i, s in enumerate(spellings)]
    assert len({m.source for m in entries}) == 1
    assert backups.prune(30, 1) == 2
    assert [m.name for m in backups.list_backups()] == ["n2"]


@pytest.mark.parametrize("limits", [(-1, 1), (1, -1)])
def test_a_negative_limit_is_a_value_error(tmp_path, shop, limits):
    backups = DatabaseBackup(str(tmp_path / "b"))
    backups.backup_sqlite(str(shop), "one")
    with pytest.raises(ValueError, match="negative"):
        backups.prune(*limits)
    assert len(backups.list_backups()) == 1


def test_prune_of_nothing_and_of_everything(tmp_path, shop):
    backups = DatabaseBackup(str(tmp_path / "b"))
    backups.backup_sqlite(str(shop), "one")
    assert backups.prune(10**9, 10**9) == 0
    assert backups.prune(10, 0) == 1
    assert backups.list_backups() == []


def test_a_file_that_cannot_be_removed_keeps_its_entry(tmp_path, shop, monkeypatch):
    backups = DatabaseBackup(str(tmp_path / "b"))
    entries = [backups.backup_sqlite(str(shop), name) for name in ("one", "two")]
    unlink = os.unlink

    # Stands for every reason why a removal may fail, for root as well.
    def refuse(path, **options):
        if os.path.basename(path) == os.path.basename(entries[0].file_path):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(OSError, match=r"removed 1 backups, but 1 could not be removed: cannot"):
        backups.prune(30, 0)
    monkeypatch.undo()
    assert [m.name for m in backups.list_backups()] == ["one"]
    assert backups.restore_sqlite("one", str(tmp_path / "x.db"))
    assert backups.prune(30, 0) == 1


# -- BackupManager: the table ----------------------------------------------------------------------------------------


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def take_backup(manager: BackupManager, database_url: str, **options: object) -> Backup:
    result = manager.create_backup(database_url, **options)
    assert result.success, result.error
    assert result.backup is not None
    return result.backup


def test_init_creates_the_directory_and_the_list_is_empty(tmp_path):
    manager = BackupManager(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    assert manager.list_backups() == []


def test_create_backup_compresses_with_gzip_and_computes_sha256(tmp_path, shop):
    result = BackupManager(str(tmp_path / "b")).create_backup(url(shop))
    assert isinstance(result, BackupResult)
    assert (result.success, result.error) == (True, None)
    assert result.duration_seconds > 0
    backup = result.backup
    assert isinstance(backup, Backup)
    assert str(uuid.UUID(backup.id, version=4)) == backup.id
    assert backup.database_url == url(shop)
    assert backup.timestamp.utcoffset() == timedelta(0)
    stored = Path(backup.file_path).read_bytes()
    assert backup.file_path.endswith(".sql.gz")
    assert stored[:2] == b"\x1f\x8b"
    assert backup.size_bytes == len(stored)
    assert backup.checksum == hashlib.sha256(stored).hexdigest()


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def pair(request, tmp_path):
    """A database with 300 rows in ``t``, a target that does not exist, and a way to look at either."""
    name = f"c_{uuid.uuid4().hex[:8]}"
    if request.param == "sqlite":
        source, target = tmp_path / "s.db", tmp_path / "t.db"
        execute(source, "CREATE TABLE t (i INTEGER PRIMARY KEY, x TEXT)")
        execute(
            source,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t SELECT i, 'row ' || i FROM n",
        )
        yield url(source), url(target), lambda u, sql: execute(Path(u.removeprefix("sqlite:///")), sql)
    elif request.param == "postgres":
        server = request.getfixturevalue("postgres")
        server.create(name)
        server.execute("CREATE TABLE t (i int PRIMARY KEY, x text)", database=name)
        server.execute("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 300) g", database=name)
        of = {server.url(n): n for n in (name, name + "_t")}
        yield server.url(name), server.url(name + "_t"), lambda u, sql: server.execute(sql, database=of[u])
        for database in of.values():
            server.drop(database)
    else:
        server = request.getfixturevalue("mariadb")
        server.run(f"CREATE DATABASE {name}")
        server.run("CREATE TABLE t (i int PRIMARY KEY, x text)", database=name)
        server.run("INSERT INTO t SELECT seq, concat('row ', seq) FROM seq_1_to_300", database=name)
        of = {server.url(n): n for n in (name, name + "_t")}
        yield server.url(name), server.url(name + "_t"), lambda u, sql: list(server.run(sql, database=of[u]))
        for database in of.values():
            server.run(f"DROP DATABASE IF EXISTS {database}")


ROWS = "SELECT i, x FROM t ORDER BY i"


@pytest.mark.parametrize("form", [None, "sql", "native"])
def test_restore_brings_every_engine_back_in_every_format(tmp_path, pair, form):
    source, target, ask = pair
    manager = BackupManager(str(tmp_path / "b"))
    backup = take_backup(manager, source, format=form)
    assert backup.format == (form or "sql")
    result = manager.restore(backup.id, target)
    assert result.success, result.error
    assert result.backup == backup
    assert ask(target, ROWS) == ask(source, ROWS)


def test_list_and_get_find_every_tracked_backup_and_outlive_the_process(tmp_path, pair):
    source, target, ask = pair
    manager = BackupManager(str(tmp_path / "b"))
    backups = [take_backup(manager, source) for _ in range(2)]
    later = BackupManager(str(tmp_path / "b"))
    assert later.list_backups() == backups
    assert later.get_backup(backups[0].id) == backups[0]
    assert later.get_backup("nothing") is None
    assert later.restore(backups[1].id, target).success
    assert ask(target, ROWS) == ask(source, ROWS)


def test_restore_into_a_target_that_holds_anything_is_refused_and_says_how_to_insist(tmp_path, pair):
    source, _, ask = pair
    manager = BackupManager(str(tmp_path / "b"))
    backup = take_backup(manager, source)
    rows = ask(source, ROWS)
    result = manager.restore(backup.id, source)
    assert not result.success
    assert "overwrite" in (result.error or "")
    assert ask(source, ROWS) == rows


def test_overwrite_replaces_what_the_target_holds(tmp_path, pair):
    source, _, ask = pair
    manager = BackupManager(str(tmp_path / "b"))
    backup = take_backup(manager, source)
    rows = ask(source, ROWS)
    ask(source, "DELETE FROM t WHERE i > 10")
    ask(source, "CREATE TABLE later (x int)")
    result = manager.restore(backup.id, source, overwrite=True)
    assert result.success, result.error
    assert ask(source, ROWS) == rows
    with pytest.raises(Exception, match="later"):
        ask(source, "SELECT * FROM later")


def test_an_overwrite_that_fails_leaves_the_old_content(tmp_path, pair):
    source, _, ask = pair
    manager = BackupManager(str(tmp_path / "b"))
    backup = take_backup(manager, source)
    data = bytearray(Path(backup.file_path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(backup.file_path).write_bytes(data)
    rows = ask(source, ROWS)
    result = manager.restore(backup.id, source, overwrite=True)
    assert not result.success
    assert "SHA-256" in (result.error or "")
    assert ask(source, ROWS) == rows


def test_every_stored_backup_is_plain_sql_in_gzip(tmp_path, pair):
    source, _, _ = pair
    backup = take_backup(BackupManager(str(tmp_path / "b")), source)
    assert subprocess.run(["gzip", "-t", backup.file_path], check=False).returncode == 0
    process = subprocess.run(["sha256sum", backup.file_path], capture_output=True, text=True, check=True)
    assert process.stdout.split()[0] == backup.checksum
    text = subprocess.run(["zcat", backup.file_path], capture_output=True, text=True, check=True).stdout
    assert "CREATE TABLE" in text
    assert "row 300" in text


def test_the_one_call_form(tmp_path, shop, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = backup_database(url(shop))
    assert result.success
    assert result.backup is not None
    assert tmp_path / "backups" in Path(result.backup.file_path).parents
    result = backup_database(url(shop), backup_dir=str(tmp_path / "other"), format="native")
    assert result.backup is not None
    assert result.backup.file_path.startswith(str(tmp_path / "other"))
    assert result.backup.format == "native"


# -- BackupManager: failures are results -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad_url",
    [
        "sqlite:////nonexistent/x.db",
        "postgresql:///x?host=/nonexistent",
        "mysql:///x?unix_socket=/nonexistent/s",
        "mysql://127.0.0.1:1/x",
        "newdb://x/y",
        "no url at all",
        "",
        "sqlite://",
        "://",
        "postgresql://[::1/x",
        "postgresql://h:port/x",
    ],
)
def test_failures_are_wrapped_and_logged_with_structured_fields(tmp_path, caplog, bad_url):
    manager = BackupManager(str(tmp_path / "b"))
    with caplog.at_level(logging.ERROR, logger="dumpty"):
        result = manager.create_backup(bad_url)
    assert (result.success, result.backup) == (False, None)
    assert result.error
    assert "\n" not in result.error
    assert manager.list_backups() == []
    [record] = [r for r in caplog.records if r.name == "dumpty"]
    assert record.event == "backup"
    assert record.error_type
    assert backup_database(bad_url, str(tmp_path / "c")).success is False


def test_an_unusable_directory_is_wrapped_by_the_one_call_form_and_raised_by_the_constructor(tmp_path, shop):
    (tmp_path / "file").touch()
    assert backup_database(url(shop), str(tmp_path / "file")).success is False
    with pytest.raises(OSError, match=r"is a file"):
        BackupManager(str(tmp_path / "file"))


def test_an_unknown_id_is_wrapped(tmp_path):
    result = BackupManager(str(tmp_path)).restore("nothing", "sqlite:///x.db")
    assert not result.success
    assert "nothing" in (result.error or "")


def test_an_unknown_option_lists_the_valid_ones(tmp_path, shop):
    result = BackupManager(str(tmp_path / "b")).create_backup(url(shop), lvel=9)
    assert not result.success
    assert "level" in (result.error or "")


@pytest.mark.parametrize("wrong_call", [None, 7, b"sqlite:///x.db", Path("x.db")])
def test_wrong_calls_raise_type_error(tmp_path, wrong_call):
    manager = BackupManager(str(tmp_path))
    with pytest.raises(TypeError):
        manager.create_backup(wrong_call)
    with pytest.raises(TypeError):
        manager.restore("x", wrong_call)
    with pytest.raises(TypeError):
        manager.restore(wrong_call, "sqlite:///x.db")
    with pytest.raises(TypeError):
        backup_database(wrong_call, str(tmp_path))


@pytest.mark.parametrize(
    ("scheme", "module", "extra"), [("postgresql", "psycopg2", "postgres"), ("mysql", "pymysql", "mysql")]
)
def test_a_missing_driver_library_is_an_import_error_at_the_call_that_says_what_mends_it(
    tmp_path, scheme, module, extra
):
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import dumpty\n"
        f"r = dumpty.BackupManager(sys.argv[1]).create_backup('{scheme}://127.0.0.1:1/x')\n"
        "print(isinstance(r.exception, ImportError), r.error)\n"
    )
    process = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert process.stdout.startswith("True ")
    assert f'pip install "dumpty[{extra}]"' in process.stdout


def test_a_password_never_reaches_a_stored_field_a_log_line_or_an_error(tmp_path, postgres, caplog):
    secret = "hunter2-marker"
    name = postgres.create()
    role = f"r_{uuid.uuid4().hex[:8]}"
    postgres.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{secret}'")
    manager = BackupManager(str(tmp_path))
    with caplog.at_level(logging.DEBUG):
        backed_up = manager.create_backup(postgres.url(name, role, secret))
        refused = manager.create_backup(postgres.url(name, role, secret + "x"))
    assert backed_up.success, backed_up.error
    assert not refused.success
    assert backed_up.backup is not None
    assert backed_up.backup.database_url == postgres.url(name, role, "***")
    assert secret not in repr((backed_up, refused)) + caplog.text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_a_backup_directory_and_its_files_are_for_their_owner_alone(tmp_path, shop):
    backup = take_backup(BackupManager(str(tmp_path / "b")), url(shop))
    assert stat.S_IMODE(os.stat(tmp_path / "b").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(backup.file_path).st_mode) == 0o600


def test_another_verifiers_digest_goes_beside_the_checksum(tmp_path, shop):
    from dumpty import PluginInfo, hookimpl

    class Md5:
        name = "md5"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="verifier")

        @hookimpl
        def verify(self):
            return hashlib.md5()

    backup = take_backup(BackupManager(str(tmp_path / "b"), verifier="md5", plugins=[Md5()]), url(shop))
    stored = Path(backup.file_path).read_bytes()
    assert backup.checksum == hashlib.sha256(stored).hexdigest()
    assert backup.digests == {"md5": hashlib.md5(stored).hexdigest()}


def test_both_facades_share_a_directory_and_neither_lists_or_removes_the_others_files(tmp_path, shop):
    named, managed = DatabaseBackup(str(tmp_path / "b")), BackupManager(str(tmp_path / "b"))
    named_backup = named.backup_sqlite(str(shop), "one")
    two = take_backup(managed, url(shop))
    assert named.list_backups() == [named_backup]
    assert managed.list_backups() == [two]
    assert named.prune(30, 0) == 1
    assert managed.list_backups() == [two]
    assert managed.restore(two.id, url(tmp_path / "x.db")).success


# -- plugins ---------------------------------------------------------------------------------------------------------

DRIVER = """
from dumpty import Evidence, Format, PluginInfo, hookimpl

@hookimpl
def describe():
    return PluginInfo(kind="driver", schemes=("newdb",), formats=(Format(name="text", suffix=".txt"),))

@hookimpl
def backup(source, sink):
    sink.write(b"all of " + source.database.encode())
    return Evidence()
"""


@pytest.fixture
def newdb(tmp_path, monkeypatch):
    """A third party's package, as pip installs one: a module and its metadata on sys.path."""
    site = tmp_path / "site"
    info = site / "dumpty_newdb-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "dumpty_newdb.py").write_text(DRIVER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dumpty-newdb\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dumpty]\nnewdb = dumpty_newdb\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("dumpty_newdb", None)


def test_a_driver_works_through_the_unchanged_facade_as_soon_as_it_is_installed(tmp_path, newdb):
    manager = BackupManager(str(tmp_path / "b"))
    backup = take_backup(manager, "newdb://host/things")
    text = subprocess.run(["zcat", backup.file_path], capture_output=True, check=True).stdout
    assert text == b"all of things"
    manifest = next((tmp_path / "b").rglob("*.json"))
    assert json.loads(manifest.read_text())["clear"]["driver"]["distribution"] == "dumpty-newdb"


def test_a_driver_without_restore_gets_not_implemented_error_wrapped(tmp_path, newdb):
    manager = BackupManager(str(tmp_path / "b"))
    backup = take_backup(manager, "newdb://host/things")
    result = manager.restore(backup.id, "newdb://host/others")
    assert not result.success
    assert isinstance(result.exception, NotImplementedError)
    assert "dumpty-newdb" in (result.error or "")
