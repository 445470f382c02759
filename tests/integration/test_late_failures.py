"""Calls of the system that fail late: after a rename, when a file is closed, when what is of no use any more shall go."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import sqlite3

import pytest

from dumpty import BackupManager, DatabaseBackup, StoreError
from dumpty.cli import main


@pytest.fixture
def database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as made:
        made.execute("CREATE TABLE t (a)")
        made.execute("INSERT INTO t VALUES (1)")
    made.close()
    return tmp_path / "shop.db"


class Failing:
    """A call that fails from its n-th time on, or only then; ``left`` tells whether it did."""

    def __init__(self, real, number, *, once, after=False, wanted=lambda *_: True):
        self.real, self.number, self.once, self.after, self.wanted = real, number, once, after, wanted
        self.calls = 0

    @property
    def failed(self):
        return self.calls >= self.number

    def __call__(self, *arguments, **more):
        if not self.wanted(*arguments):
            return self.real(*arguments, **more)
        self.calls += 1
        bad = self.calls == self.number if self.once else self.calls >= self.number
        if bad and not self.after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        result = self.real(*arguments, **more)
        if bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return result


def sound(own, top):
    """Check that whatever is listed is there, and that nothing is left that no run would clear away."""
    assert [b.state for b in own.list_backups()] == ["ok"] * len(own.list_backups()), os.listdir(top)
    for one in own.list_backups():
        assert own.prove(one.id, level="digest").ok


CALLS = pytest.mark.parametrize(
    ("call", "after"), [("fsync", False), ("close", True), ("unlink", False), ("rename", False)]
)


@CALLS
@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("verb", ["backup", "remove"])
def test_no_late_failure_leaves_a_listed_backup_without_its_data(
    tmp_path, database, monkeypatch, call, after, once, verb
):
    for number in itertools.count(1):
        top = tmp_path / f"{number}"
        own = BackupManager(str(top))
        url = f"sqlite:///{database}"
        made = [own.create_backup(url).backup for _ in range(2)]
        failing = Failing(getattr(os, call), number, once=once, after=after)
        ok = False
        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            if verb == "backup":
                ok = own.create_backup(url).success
            else:
                with contextlib.suppress(StoreError):
                    own.remove(made[0].id)
                    ok = True
        sound(own, top)
        left = {b.id for b in own.list_backups()}
        assert made[1].id in left
        if verb == "backup":
            assert made[0].id in left
            assert len(left) == 2 + ok, (number, os.listdir(top))
        elif ok:
            assert made[0].id not in left
        assert own.create_backup(url).success
        # Nothing is left behind: data, manifest and proofs of each, and the two files of the lock.
        names = [n for n in os.listdir(top) if not n.startswith(".dumpty-") and not n.endswith(".proofs.json")]
        assert len(names) == 2 * len(own.list_backups()), names
        if not failing.failed:
            return
        assert number < 200


@CALLS
@pytest.mark.parametrize("once", [True, False])
def test_no_late_failure_costs_a_named_backup_that_is_listed(tmp_path, database, monkeypatch, call, after, once):
    for number in itertools.count(1):
        top = tmp_path / f"{number}"
        own = DatabaseBackup(str(top))
        for name in ("one", "two", "three"):
            own.backup_sqlite(str(database), name)
        failing = Failing(getattr(os, call), number, once=once, after=after)
        removed = None
        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            try:
                removed = own.prune(3650, 1)
            except StoreError as error:
                told = re.search(r"removed (\d) backups", str(error))
                removed = int(told[1]) if told else None
        left = own.list_backups()
        assert [b.state for b in left] == ["ok"] * len(left), os.listdir(top)
        assert "three" in {b.name for b in left}
        if removed is not None:
            assert len(left) == 3 - removed
        if not failing.failed:
            assert removed == 2
            return
        assert number < 200


def test_data_that_cannot_be_removed_keeps_its_entry_and_is_not_counted(tmp_path, database, monkeypatch):
    own = DatabaseBackup(str(tmp_path / "named"))
    made = [own.backup_sqlite(str(database), name) for name in ("one", "two", "three")]
    stuck = made[0].file_path + ".removed"
    failing = Failing(os.unlink, 1, once=False, wanted=lambda path, *_: os.fspath(path) == stuck)
    monkeypatch.setattr(os, "unlink", failing)
    with pytest.raises(StoreError, match=r"removed 1 backups, but 1 could not be removed: cannot remove"):
        own.prune(3650, 1)
    monkeypatch.undo()
    assert [(b.name, b.state) for b in own.list_backups()] == [("one", "ok"), ("three", "ok")]
    assert own.restore_sqlite("one", str(tmp_path / "new.db"))
    assert own.prune(3650, 1) == 1


def test_a_backup_whose_data_stays_is_not_counted_as_removed(tmp_path, database, monkeypatch, capsys):
    own = BackupManager(str(tmp_path / "backups"))
    made = [own.create_backup(f"sqlite:///{database}").backup for _ in range(3)]
    stuck = made[0].file_path + ".removed"
    failing = Failing(os.unlink, 1, once=False, wanted=lambda path, *_: os.fspath(path) == stuck)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing)
        status = main(["prune", "--keep", "1", "--yes", "--dir", str(tmp_path / "backups")])
    said = capsys.readouterr()
    assert status == 1
    assert f"{made[0].id} is not listed any more, but its data is still there: cannot remove {stuck}" in said.err
    assert said.out.splitlines()[-1].startswith("1 backup of 3 removed")
    assert [b.id for b in own.list_backups()] == [made[2].id]
    assert own.create_backup(f"sqlite:///{database}").success
    assert not os.path.exists(stuck)


def test_data_of_a_removed_backup_that_stays_keeps_nobody_from_the_next_backup(tmp_path, database, monkeypatch, caplog):
    own = BackupManager(str(tmp_path / "backups"))
    first, second = (own.create_backup(f"sqlite:///{database}").backup for _ in range(2))
    stuck = first.file_path + ".removed"
    failing = Failing(os.unlink, 1, once=False, wanted=lambda path, *_: os.fspath(path) == stuck)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing)
        assert own.remove(first.id) is False
        third = own.create_backup(f"sqlite:///{database}")
    assert third.success, third.error
    assert f"{stuck} is of no use any more, but is still there: cannot remove" in caplog.text
    assert [b.id for b in own.list_backups()] == [second.id, third.backup.id]
    assert own.create_backup(f"sqlite:///{database}").success
    assert not os.path.exists(stuck)


@pytest.mark.parametrize("target", ["new", "empty", "full", "rubbish"])
@pytest.mark.parametrize("what", [r"\.dumpty-part", r"\.lock$", r"\.old"])
def test_a_restore_that_succeeded_stays_a_success(tmp_path, database, monkeypatch, capsys, target, what):
    own = BackupManager(str(tmp_path / "backups"))
    assert own.create_backup(f"sqlite:///{database}").success
    place = tmp_path / "restored.db"
    if target == "full":
        place.write_bytes(database.read_bytes())
    elif target == "rubbish":
        place.write_bytes(b"no database at all" * 100)
    elif target == "empty":
        place.write_bytes(b"")
    else:
        (tmp_path / "restored.db-wal").write_bytes(b"stale")
    failing = Failing(os.unlink, 1, once=False, wanted=lambda path, *_: re.search(what, os.fspath(path)))
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", failing)
        status = main(
            [
                "restore",
                "latest",
                "--to",
                f"sqlite:///{place}",
                "--overwrite",
                "--other",
                "--dir",
                str(tmp_path / "backups"),
            ]
        )
    said = capsys.readouterr()
    assert status == 0, said.err
    with sqlite3.connect(place) as restored:
        assert restored.execute("SELECT a FROM t").fetchall() == [(1,)]
    restored.close()
    left = [n for n in os.listdir(tmp_path) if n.startswith("restored.db.")]
    assert all(name.removesuffix(".lock") in said.err for name in left)
    assert bool(left) == ("cannot be removed: Input/output error" in said.err) == failing.failed
