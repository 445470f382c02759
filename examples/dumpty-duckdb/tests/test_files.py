"""Files: locked, missing, foreign, damaged, half written, and put in place in one step."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import duckdb
import pytest

from dumpty import (
    BackupManager,
    Evidence,
    IntegrityError,
    Locked,
    MissingFile,
    ObjectEvidence,
    SourceError,
)

FORMATS = ["parquet", "native"]
HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
DIE = """
import duckdb, os, sys
c = duckdb.connect(sys.argv[1])
c.execute("CREATE TABLE t AS SELECT range AS i FROM range(100)"); c.execute("CHECKPOINT")
c.execute("INSERT INTO t SELECT range FROM range(23)")
os._exit(0)
"""


@contextlib.contextmanager
def held_by_another_process(path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout.readline() == "held\n"
            yield
        finally:
            child.kill()


@pytest.mark.parametrize("form", FORMATS)
def test_a_database_that_another_process_holds_is_locked(form, shop, manager):
    with held_by_another_process(shop):
        result = manager.create_backup(f"duckdb:///{shop}", format=form)
    assert isinstance(result.exception, Locked)
    assert str(shop) in result.error
    assert manager.list_backups() == []


def test_native_is_refused_while_this_process_writes_and_parquet_leaves_out_what_is_not_committed(
    shop, manager, take_backup
):
    with duckdb.connect(str(shop)) as database:
        database.execute("BEGIN; DELETE FROM item")
        result = manager.create_backup(f"duckdb:///{shop}", format="native")
        assert isinstance(result.exception, Locked)
        assert take_backup(shop).evidence.objects[0].rows == 1000


@pytest.mark.parametrize("form", FORMATS)
def test_what_stands_in_the_log_of_a_process_that_died_is_in_the_backup(form, tmp_path, take_backup, manager, execute):
    source = tmp_path / "s.duckdb"
    subprocess.run([sys.executable, "-c", DIE, source], check=True)
    assert (tmp_path / "s.duckdb.wal").exists()
    files_before = source.read_bytes(), (tmp_path / "s.duckdb.wal").read_bytes()
    backup = take_backup(source, form)
    assert (source.read_bytes(), (tmp_path / "s.duckdb.wal").read_bytes()) == files_before
    assert manager.restore(backup.id, f"duckdb:///{tmp_path}/t.duckdb").success
    assert execute(tmp_path / "t.duckdb", "SELECT count(*) FROM t") == [(123,)]


def test_a_missing_file_is_missing_and_not_created(tmp_path, manager):
    result = manager.create_backup(f"duckdb:///{tmp_path}/none.duckdb")
    assert isinstance(result.exception, MissingFile)
    assert not (tmp_path / "none.duckdb").exists()


def test_what_is_no_duckdb_database_is_refused(tmp_path, manager):
    (tmp_path / "text").write_text("not a database" * 1000)
    (tmp_path / "empty").touch()
    with contextlib.closing(sqlite3.connect(tmp_path / "lite")) as lite:
        lite.execute("CREATE TABLE t (i)")
    for name in ("text", "empty", "lite", "."):
        result = manager.create_backup(f"duckdb:///{tmp_path}/{name}")
        assert isinstance(result.exception, SourceError), (name, result.error)
        assert "\n" not in result.error


@pytest.mark.parametrize("url", ["duckdb://host/x.duckdb", "duckdb:///:memory:", "duckdb:///", "duckdb:///x.db?a=1"])
def test_a_url_that_names_no_file_is_refused(url, manager):
    assert isinstance(manager.create_backup(url).exception, SourceError)


def test_overwriting_keeps_the_targets_permissions(shop, tmp_path, take_backup, manager, execute):
    target = tmp_path / "t.duckdb"
    execute(target, "CREATE VIEW precious AS SELECT 7")
    target.chmod(0o600)
    assert manager.restore(take_backup(shop, "native").id, f"duckdb:///{target}", overwrite=True).success
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_file_of_no_bytes_is_an_empty_target(shop, tmp_path, take_backup, manager, execute):
    (tmp_path / "zero").touch()
    result = manager.restore(take_backup(shop, "native").id, f"duckdb:///{tmp_path}/zero")
    assert result.success, result.error
    assert execute(tmp_path / "zero", "SELECT count(*) FROM item") == [(1000,)]


def test_a_target_in_use_is_locked_and_stays(shop, tmp_path, take_backup, manager, execute):
    target = tmp_path / "t.duckdb"
    execute(target, "CREATE TABLE old AS SELECT 1 AS i")
    backup = take_backup(shop)
    with held_by_another_process(target):
        result = manager.restore(backup.id, f"duckdb:///{target}", overwrite=True)
        assert isinstance(result.exception, Locked)
    with duckdb.connect(str(target)) as database:
        result = manager.restore(backup.id, f"duckdb:///{target}", overwrite=True)
        assert isinstance(result.exception, Locked)
        assert database.execute("FROM old").fetchall() == [(1,)]
    assert execute(target, "FROM old") == [(1,)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["backups", "shop.duckdb", "t.duckdb"]


def test_a_log_without_its_database_is_not_played_into_the_restored_one(shop, tmp_path, take_backup, manager, execute):
    target = tmp_path / "t.duckdb"
    subprocess.run([sys.executable, "-c", DIE, target], check=True)
    target.unlink()
    assert manager.restore(take_backup(shop).id, f"duckdb:///{target}").success
    assert execute(target, "SELECT table_name FROM duckdb_tables()") == [("item",)]


def test_the_log_of_the_old_database_is_not_played_into_the_restored_one(shop, tmp_path, take_backup, manager, execute):
    target = tmp_path / "t.duckdb"
    subprocess.run([sys.executable, "-c", DIE, target], check=True)
    assert manager.restore(take_backup(shop).id, f"duckdb:///{target}", overwrite=True).success
    assert not (tmp_path / "t.duckdb.wal").exists()
    assert execute(target, "SELECT table_name FROM duckdb_tables()") == [("item",)]


EXPECTED = Evidence(objects=(ObjectEvidence(path="main.item", rows=1000),))


class Forged:
    """A dump that a stranger has made: what it holds is what the manifest says, and still not to be trusted."""

    format = "parquet"

    def __init__(self, workspace: Path, files: dict[str, str]) -> None:
        self._workspace = workspace
        self.evidence, self.versions = EXPECTED, {}
        self._tar = io.BytesIO()
        with tarfile.open(fileobj=self._tar, mode="w") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        self.size = self._tar.tell()

    def open(self) -> io.BytesIO:
        return io.BytesIO(self._tar.getvalue())

    def workspace(self) -> Path:
        self._workspace.mkdir()
        return self._workspace


@pytest.mark.parametrize(
    "files",
    [
        {"../outside.sql": "SELECT 1;"},
        {"/tmp/outside.parquet": ""},
        {"schema.sql": "COPY (SELECT 1) TO 'OUTSIDE' (FORMAT csv);", "load.sql": ""},
        {"schema.sql": "ATTACH 'OUTSIDE';", "load.sql": ""},
        {"schema.sql": "CREATE TABLE t AS FROM read_text('/etc/passwd');", "load.sql": ""},
        {"schema.sql": "SET enable_external_access = true;", "load.sql": ""},
        {"schema.sql": "", "load.sql": "COPY t TO 'OUTSIDE' (FORMAT parquet);"},
        {"schema.sql": "", "load.sql": "DROP TABLE t;"},
        {"schema.sql": ""},
        {"schema.sql": "", "load.sql": ""},
    ],
)
def test_a_forged_dump_reaches_no_other_file_and_leaves_the_target(files, tmp_path, execute):
    import dumpty_duckdb

    from dumpty.url import parse_url

    outside = tmp_path / "outside"
    forged = Forged(tmp_path / "w", {k: v.replace("OUTSIDE", str(outside)) for k, v in files.items()})
    target = tmp_path / "t.duckdb"
    execute(target, "CREATE TABLE old AS SELECT 1 AS i")
    with pytest.raises(IntegrityError):
        dumpty_duckdb.restore(target=parse_url(f"duckdb:///{target}"), dump=forged, overwrite=True)
    assert not outside.exists()
    assert execute(target, "FROM old") == [(1,)]
    assert [p for p in os.listdir(tmp_path) if p.endswith(".part")] == []


def test_the_unchanged_one_call_form_and_another_compressor_work(shop, tmp_path, execute):
    from dumpty import backup_database

    result = backup_database(f"duckdb:///{shop}", str(tmp_path / "b"), compressor="none", format="native")
    assert result.success, result.error
    assert Path(result.backup.file_path).suffix == ".duckdb"
    assert execute(Path(result.backup.file_path), "SELECT count(*) FROM item") == [(1000,)]
    assert BackupManager(str(tmp_path / "b")).list_backups() == [result.backup]
