"""Calls of the system that fail late: after a rename, when a file is closed, when what is of no use any more shall go."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import sqlite3

import pytest
from support.places import left_over, stored_files

from dumpty import BackupManager, DatabaseBackup, StoreError
from dumpty.cli import main
from dumpty.repository.protocol.layout import TOMBSTONE


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    return tmp_path / "shop.db"


class Failing:
    """A call that fails from its n-th time on, or only then; ``left`` tells whether it did."""

    def __init__(self, real, number, *, only_once, fail_after=False, concerns=lambda *_: True):
        self.real, self.number, self.concerns = real, number, concerns
        self.only_once, self.fail_after = only_once, fail_after
        self.calls = 0

    @property
    def failed(self):
        return self.calls >= self.number

    def __call__(self, *arguments, **options):
        if not self.concerns(*arguments):
            return self.real(*arguments, **options)
        self.calls += 1
        fails = self.calls == self.number if self.only_once else self.calls >= self.number
        if fails and not self.fail_after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        result = self.real(*arguments, **options)
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return result


def sound(manager, top):
    """Check that whatever is listed is there, and that nothing is left that no run would clear away."""
    assert [b.state for b in manager.list_backups()] == ["ok"] * len(manager.list_backups()), os.listdir(top)
    for backup in manager.list_backups():
        assert manager.prove(backup.id, level="digest").ok


CALLS = pytest.mark.parametrize(
    ("call", "fail_after"), [("fsync", False), ("close", True), ("unlink", False), ("rename", False)]
)


@CALLS
@pytest.mark.parametrize("only_once", [True, False])
@pytest.mark.parametrize("verb", ["backup", "remove"])
def test_no_late_failure_leaves_a_listed_backup_without_its_data(
    tmp_path, database, monkeypatch, call, fail_after, only_once, verb
):
    for number in itertools.count(1):
        top = tmp_path / f"{number}"
        manager = BackupManager(str(top))
        url = f"sqlite:///{database}"
        backups = [manager.create_backup(url).backup for _ in range(2)]
        failing = Failing(getattr(os, call), number, only_once=only_once, fail_after=fail_after)
        ok, error = False, ""
        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            if verb == "backup":
                result = manager.create_backup(url)
                ok, error = result.success, result.error or ""
            else:
                with contextlib.suppress(StoreError):
                    manager.remove(backups[0].id)
                    ok = True
        sound(manager, top)
        remaining_ids = {b.id for b in manager.list_backups()}
        assert backups[1].id in remaining_ids
        if verb == "backup":
            assert backups[0].id in remaining_ids
            stays = ok or "is listed, but a power failure may take it" in error
            assert len(remaining_ids) == 2 + stays, (number, os.listdir(top))
        elif ok:
            assert backups[0].id not in remaining_ids
        assert manager.create_backup(url).success
        # Nothing is left behind: data and manifest of each, and tombstones of what failed.
        names = [n for n in stored_files(top) if ".proof-" not in n and (top / n).stat().st_size != len(TOMBSTONE)]
        assert len(names) == 2 * len(manager.list_backups()), names
        assert [n for n in left_over(top) if not n.endswith(".part")] == []
        if not failing.failed:
            return
        assert number < 200


@CALLS
@pytest.mark.parametrize("only_once", [True, False])
def test_no_late_failure_costs_a_named_backup_that_is_listed(
    tmp_path, database, monkeypatch, call, fail_after, only_once
):
    for number in itertools.count(1):
        top = tmp_path / f"{number}"
        manager = DatabaseBackup(str(top))
        for name in ("one", "two", "three"):
            manager.backup_sqlite(str(database), name)
        failing = Failing(getattr(os, call), number, only_once=only_once, fail_after=fail_after)
        removed = None
        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            try:
                removed = manager.prune(3650, 1)
            except StoreError as error:
                removal = re.search(r"removed (\d) backups", str(error))
                removed = int(removal[1]) if removal else None
        remaining = manager.list_backups()
        assert [b.state for b in remaining] == ["ok"] * len(remaining), os.listdir(top)
        assert "three" in {b.name for b in remaining}
        if removed is not None:
            assert len(remaining) == 3 - removed
        if not failing.failed:
            assert removed == 2
            return
        assert number < 200


def test_data_that_cannot_be_removed_keeps_its_entry_and_is_not_counted(tmp_path, database, monkeypatch):
    manager = DatabaseBackup(str(tmp_path / "named"))
    backups = [manager.backup_sqlite(str(database), name) for name in ("one", "two", "three")]
    stuck = os.path.basename(backups[0].file_path)
    failing = Failing(os.unlink, 1, only_once=False, concerns=lambda path, *_: os.path.basename(path) == stuck)
    monkeypatch.setattr(os, "unlink", failing)
    with pytest.raises(StoreError, match=r"removed 1 backups, but 1 could not be removed: cannot remove"):
        manager.prune(3650, 1)
    monkeypatch.undo()
    assert [(b.name, b.state) for b in manager.list_backups()] == [("one", "ok"), ("three", "ok")]
    assert manager.restore_sqlite("one", str(tmp_path / "new.db"))
    assert manager.prune(3650, 1) == 1


@pytest.mark.parametrize("target", ["new", "empty", "full", "rubbish"])
@pytest.mark.parametrize("pattern", [r"^new$", r"\.old"])
def test_a_restore_that_succeeded_stays_a_success(tmp_path, database, monkeypatch, capsys, target, pattern):
    manager = BackupManager(str(tmp_path / "backups"))
    assert manager.create_backup(f"sqlite:///{database}").success
    target_path = tmp_path / "restored.db"
    if target == "full":
        target_path.write_bytes(database.read_bytes())
    elif target == "rubbish":
        target_path.write_bytes(b"no database at all" * 100)
    elif target == "empty":
        target_path.write_bytes(b"")
    else:
        (tmp_path / "restored.db-wal").write_bytes(b"stale")
    failing = Failing(os.unlink, 1, only_once=False, concerns=lambda path, *_: re.search(pattern, os.fspath(path)))
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing)
        status = main(
            [
                "restore",
                "latest",
                "--to",
                f"sqlite:///{target_path}",
                "--overwrite",
                "--other",
                "--dir",
                str(tmp_path / "backups"),
            ]
        )
    output = capsys.readouterr()
    assert status == 0, output.err
    with sqlite3.connect(target_path) as restored:
        assert restored.execute("SELECT a FROM t").fetchall() == [(1,)]
    restored.close()
    partial_files = [n for n in os.listdir(tmp_path) if n.startswith("restored.db.")]
    assert all(name in output.err for name in partial_files)
    assert bool(partial_files) == ("cannot be removed: Input/output error" in output.err) == failing.failed
