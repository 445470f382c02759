"""A restore of tables that fails, is interrupted, or meets others at work leaves the target as it was."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from msgspec import structs
from plugins.sqlite.contents import contents, dumped, make, open_database, rows_of, source
from plugins.sqlite.tables import SHOP, backed_up, cells, definitions, put_back, refused
from plugins.sqlite.targets import OLD, crashed_journal, crashed_wal
from plugins.sqlite.test_interrupts import ENDLESS
from support.drive import defaults
from support.keys import key_file, x25519

import dumpty_plugins.sqlite.plugin as driver
from dumpty import IntegrityError, Locked, SourceError
from dumpty_plugins.sqlite import restore_tables
from dumpty_plugins.sqlite.files import writing
from dumpty_plugins.sqlite.tables import placing

JOURNALS = pytest.mark.parametrize("journal", ["DELETE", "WAL"])


@JOURNALS
def test_a_target_that_somebody_writes_is_locked_and_keeps_what_he_wrote(manager, shop, tmp_path, journal, form):
    backup = backed_up(manager, shop, form)
    target = make(tmp_path / "t.db", f"PRAGMA journal_mode={journal};" + OLD)
    with open_database(target) as user:
        user.execute("BEGIN IMMEDIATE")
        user.execute("INSERT INTO old VALUES ('mine')")
        text = refused(manager, backup, target, ["log"], Locked, busy_timeout=0.1)
        assert "t.db is locked by another connection" in text
        user.execute("COMMIT")
    assert rows_of(target, "SELECT a FROM old") == [("old",), ("mine",)]
    put_back(manager, backup, target, ["log"])


@JOURNALS
def test_whoever_has_the_target_open_goes_on_in_it(manager, shop, form, journal):
    with open_database(shop) as user:
        user.execute(f"PRAGMA journal_mode={journal}")
        backup = backed_up(manager, shop, form)
        user.execute("UPDATE orders SET what = 'lost'")
        put_back(manager, backup, shop, ["orders"], overwrite=True)
        assert user.execute("SELECT count(*) FROM orders WHERE what = 'lost'").fetchone() == (0,)
        user.execute("INSERT INTO orders (what, paid) VALUES ('on', 1)")
    assert rows_of(shop, "SELECT count(*) FROM orders") == [(4,)]
    assert rows_of(shop, "PRAGMA integrity_check") == [("ok",)]


def test_a_reader_of_a_database_in_wal_mode_reads_on_what_he_read(manager, shop):
    with open_database(shop) as user:
        user.execute("PRAGMA journal_mode=WAL")
        backup = backed_up(manager, shop)
        user.execute("UPDATE orders SET what = 'lost'")
        user.execute("BEGIN")
        read = user.execute("SELECT what FROM orders").fetchall()
        put_back(manager, backup, shop, ["orders"], overwrite=True)
        assert user.execute("SELECT what FROM orders").fetchall() == read
        user.execute("COMMIT")
        assert user.execute("SELECT what FROM orders").fetchall() != read


def test_a_reader_without_wal_keeps_the_restore_out(manager, shop):
    backup = backed_up(manager, shop)
    with open_database(shop) as user:
        user.execute("BEGIN")
        read = user.execute("SELECT * FROM orders").fetchall()
        assert "locked" in refused(manager, backup, shop, ["orders"], Locked, overwrite=True, busy_timeout=0.1)
        assert user.execute("SELECT * FROM orders").fetchall() == read


@pytest.mark.parametrize("crash", [crashed_wal, crashed_journal])
def test_what_a_crashed_writer_left_is_brought_back_first(manager, shop, tmp_path, crash):
    target = make(tmp_path / "t.db", OLD)
    crash(target)
    put_back(manager, backed_up(manager, shop), target, ["log"])
    assert rows_of(target, "SELECT a FROM old") == [("old",), *([("in the wal",)] if crash is crashed_wal else [])]
    assert rows_of(target, "PRAGMA integrity_check") == [("ok",)]
    assert [entry.name for entry in tmp_path.glob("t.db*")] == ["t.db"]


def test_targets_that_cannot_be_written_are_refused_as_they_are(manager, shop, tmp_path):
    backup = backed_up(manager, shop)
    (tmp_path / "noise.db").write_bytes(b"\x9c" * 5000)
    (tmp_path / "noise.db-journal").write_bytes(b"\x9c" * 50)
    for overwrite in (False, True):
        text = refused(manager, backup, tmp_path / "noise.db", ["log"], SourceError, overwrite=overwrite)
        assert "is not a SQLite database" in text
    target = make(tmp_path / "t.db", OLD)
    before = target.read_bytes()
    for url, message in (
        (f"sqlite:///{target}?mode=ro", "mode=ro"),
        (f"sqlite:///{tmp_path}/gone/t.db", "no directory"),
        (f"sqlite:///{tmp_path}/backups", "is a directory"),
    ):
        result = manager.restore(backup, url, tables=["log"])
        assert not result.success
        assert message in result.error
    assert target.read_bytes() == before


FAILURES = [OSError(5, "Input/output error"), sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("step", "exists"),
    [("commit_point", True), *((s, e) for s in ("rehearse", "copy_rows", "_count") for e in (True, False))],
)
def test_a_failure_at_any_step_leaves_the_target(manager, shop, tmp_path, monkeypatch, error, step, exists):
    backup = backed_up(manager, shop)
    (tmp_path / "place").mkdir()
    target = tmp_path / "place" / "t.db"
    if exists:
        make(target, SHOP)
    before, names = target.read_bytes() if exists else None, os.listdir(target.parent)
    module = writing if step == "commit_point" else placing
    done = getattr(module, step)

    def fails(*arguments):
        done(*arguments)
        raise error

    monkeypatch.setattr(module, step, fails)
    with contextlib.suppress(KeyboardInterrupt):
        assert not manager.restore(
            backup, f"sqlite:///{target}", tables=["orders", "customers", "log"], overwrite=exists
        ).success
    assert (target.read_bytes() if exists else None) == before
    assert os.listdir(target.parent) == names


def test_ctrl_c_ends_what_sqlite_is_doing(manager, shop, monkeypatch):
    backup, before = backed_up(manager, shop), shop.read_bytes()
    monkeypatch.setattr(placing, "copy_rows", lambda database, _: database.execute(ENDLESS).fetchall())
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        manager.restore(backup, f"sqlite:///{shop}", tables=["orders"], overwrite=True)
    timer.join()
    assert time.monotonic() - began < 20
    assert shop.read_bytes() == before


def test_a_full_disk_leaves_the_target(manager, shop, tmp_path):
    backup = backed_up(manager, shop)
    target = make(tmp_path / "t.db", "CREATE TABLE big (a); INSERT INTO big VALUES (zeroblob(3000000));")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (target.stat().st_size, limits[1]))
    try:
        refused(manager, backup, target, ["log", "customers", "orders"], SourceError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert rows_of(target, "PRAGMA integrity_check") == [("ok",)]


def test_a_restore_killed_before_its_commit_leaves_the_target(manager, shop, tmp_path):
    backup, before = backed_up(manager, shop), contents(shop)
    script = (
        "import os, sys; from dumpty import BackupManager; from dumpty_plugins.sqlite.files import writing;"
        "from dumpty_plugins.sqlite.files import connection;"
        "writing.commit_point = lambda: os.kill(os.getpid(), 9);"
        "BackupManager(sys.argv[1]).restore(sys.argv[2], sys.argv[3], tables=['orders', 'log'], overwrite=True)"
    )
    arguments = [str(tmp_path / "backups"), backup, f"sqlite:///{shop}"]
    ended = subprocess.run([sys.executable, "-c", script, *arguments], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert contents(shop) == before
    put_back(manager, backup, shop, ["orders"], overwrite=True)


@pytest.mark.parametrize("moment", ["load", "_put"])
def test_a_target_that_is_taken_or_replaced_meanwhile_is_not_written(manager, shop, tmp_path, monkeypatch, moment):
    backup, other = backed_up(manager, shop), make(tmp_path / "other.db", OLD)
    done = getattr(restore_tables, moment)

    def replaces(*arguments, **keywords):
        result = done(*arguments, **keywords)
        os.replace(other, shop)
        return result

    monkeypatch.setattr(restore_tables, moment, replaces)
    result = manager.restore(backup, f"sqlite:///{shop}", tables=["log=log_before"])
    if moment == "load":  # nothing of it was looked at for good: it is a target like any other
        assert result.success, result.error
        assert definitions(shop).keys() == {"old", "log_before"}
    else:
        assert isinstance(result.exception, Locked)
        assert definitions(shop).keys() == {"old"}


def test_a_database_that_comes_up_meanwhile_is_kept(manager, shop, tmp_path, monkeypatch):
    backup, target, load = backed_up(manager, shop), tmp_path / "t.db", restore_tables.load

    def slow_load(*arguments, **keywords):
        make(target, OLD)
        return load(*arguments, **keywords)

    monkeypatch.setattr(restore_tables, "load", slow_load)
    result = manager.restore(backup, f"sqlite:///{target}", tables=["log"], overwrite=True)
    assert "was created while restoring into it" in result.error
    assert definitions(target).keys() == {"old"}


def test_a_table_that_comes_up_meanwhile_is_kept(manager, shop, tmp_path, monkeypatch):
    backup, target, load = backed_up(manager, shop), make(tmp_path / "t.db", OLD), restore_tables.load

    def slow_load(*arguments, **keywords):
        make(target, "CREATE TABLE LOG (mine)")
        return load(*arguments, **keywords)

    monkeypatch.setattr(restore_tables, "load", slow_load)
    assert "has a table LOG already" in manager.restore(backup, f"sqlite:///{target}", tables=["log"]).error
    assert definitions(target)["LOG"] == "CREATE TABLE LOG (mine)"


def restored_tables(made, target, tables, **options):
    given = defaults(driver, "restore_tables", **options)
    return driver.restore_tables(target=source(target), dump=made, tables=tables, overwrite=True, options=given)


def test_another_content_than_what_was_dumped_is_not_restored(shop, tmp_path, form):
    made, before = dumped(shop, tmp_path / "dump", form, fingerprint=True), shop.read_bytes()
    evidence = restored_tables(made, tmp_path / "t.db", {"log": "log", "customers": "people"}, triggers=False)
    assert {entry.path: (entry.rows, entry.fingerprint) for entry in evidence.objects} == {
        e.path: (e.rows, e.fingerprint) for e in made.evidence.objects if e.path != "orders"
    }
    changed = (structs.replace(e, fingerprint=f"{e.fingerprint[:-1]}x") for e in made.evidence.objects)
    made.evidence = structs.replace(made.evidence, objects=tuple(changed))
    with pytest.raises(IntegrityError, match="another content than when it was dumped"):
        restored_tables(made, shop, {"orders": "orders"})
    assert shop.read_bytes() == before


def test_a_dump_of_which_nothing_is_known_is_restored_by_its_own_marker(shop, tmp_path, form):
    made = dumped(shop, tmp_path / "dump", form)
    made.evidence = structs.replace(made.evidence, objects=())
    restored_tables(made, tmp_path / "t.db", {"LOG": "LOG"})
    assert cells(tmp_path / "t.db", "log") == cells(shop, "log")
    with pytest.raises(SourceError, match="the backup holds no table lgo; it has customers, log, orders"):
        restored_tables(made, tmp_path / "t.db", {"lgo": "lgo"})


def test_an_encrypted_backup_gives_its_tables_to_whoever_has_the_key(manager, shop, tmp_path):
    key_file(tmp_path / "key.txt")
    made = manager.create_backup(f"sqlite:///{shop}", encrypt_to=[x25519()[0].text])
    assert made.success, made.error
    put_back(manager, made.backup.id, shop, ["log=log_again"], identities=[tmp_path / "key.txt"])
    assert cells(shop, "log_again") == cells(shop, "log")


def test_nothing_is_left_in_the_temporary_directory(manager, shop, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    backup = backed_up(manager, shop)
    put_back(manager, backup, shop, ["log=log_again"])
    refused(manager, backup, shop, ["orders=log_again"], Exception)
    assert os.listdir(tmp_path / "tmp") == []
