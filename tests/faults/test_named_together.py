"""Named backups of several machines in one directory: nobody's work is taken for rubbish, nobody waits for the dead."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.surroundings import holder
from faults.vault import create, version_of

from dumpty import DatabaseBackup, Locked
from dumpty.repository.directory_lock import DirectoryLock

ROUNDS = 3 * FACTOR
WRITING = """
import sys, time
from dumpty import DatabaseBackup
from dumpty.repository.directory_lock import DirectoryLock
if sys.argv[2] == "locked":
    lock = DirectoryLock(sys.argv[1])
    lock.__enter__()
else:
    transaction = DatabaseBackup(sys.argv[1])._catalog.transaction("shop")
    transaction.upload(".db").write(b"half of it")
print("held", flush=True)
time.sleep(600)
"""
"""A writer in the middle of its work, on this machine or another."""

BUSY = """
import sys
from dumpty import DatabaseBackup
manager = DatabaseBackup(sys.argv[1])
for number in range(6):
    manager.backup_sqlite(sys.argv[2], f"{sys.argv[3]}-{number % 3}")
    if sys.argv[3] == "x":
        manager.prune(9, 4)
"""


@pytest.fixture
def top(place):
    path = place / "named"
    DatabaseBackup(str(path)).backup_sqlite(str(create(place / "shop.db")), "kept")
    return path


def ending_with(top, ending):
    return [n for n in os.listdir(top) if n.endswith(ending)]


def test_what_another_machine_is_writing_is_left_alone_and_cleared_when_it_is_dead(top, place, elsewhere):
    manager = DatabaseBackup(str(top))
    with holder([*elsewhere, sys.executable, "-c", WRITING, str(top), "writing"]):
        [part], [mark] = ending_with(top, ".part"), ending_with(top, ".pending")
        for name in ("one", "two"):
            manager.backup_sqlite(str(place / "shop.db"), name)
        assert manager.prune(9, 9) == 0
        assert (ending_with(top, ".part"), ending_with(top, ".pending")) == ([part], [mark])
    manager.backup_sqlite(str(place / "shop.db"), "three")
    assert ending_with(top, ".part") == []
    # That of another machine's process is only known to be gone by its age.
    assert ending_with(top, ".pending") == ([mark] if elsewhere else [])
    if elsewhere:
        status = os.stat(top / mark)
        os.utime(top / mark, (status.st_mtime - 8 * 86400,) * 2)
        manager.prune(9, 9)
    assert ending_with(top, ".pending") == []
    assert [(b.name, b.state) for b in manager.list_backups()] == [(n, "ok") for n in ("kept", "one", "two", "three")]


def test_a_lock_that_another_machine_holds_is_waited_for_and_free_when_it_is_dead(top, elsewhere):
    with holder([*elsewhere, sys.executable, "-c", WRITING, str(top), "locked"]) as holding:
        with pytest.raises(Locked), DirectoryLock(str(top), 0.2):
            pass
        argv = [sys.executable, "-c", BUSY, str(top), str(top.parent / "shop.db"), "y"]
        child = subprocess.Popen(argv)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.5)
        assert [b.name for b in DatabaseBackup(str(top)).list_backups()] == ["kept"]
        holding.kill()
        assert child.wait(120) == 0
    names = ["kept", "y-0", "y-1", "y-2"]
    assert [(b.name, b.state) for b in DatabaseBackup(str(top)).list_backups()] == [(n, "ok") for n in names]


def test_backups_restores_and_prunes_at_once_lose_nothing_and_restore_only_what_is_whole(top, place):
    database, manager = str(place / "shop.db"), DatabaseBackup(str(top))
    for _ in range(ROUNDS):
        children = [subprocess.Popen([sys.executable, "-c", BUSY, str(top), database, prefix]) for prefix in "xy"]
        while any(child.poll() is None for child in children):
            for backup in manager.list_backups():
                assert backup.state == "ok"
                # It may be replaced while its file is read: then that fails, and the target is as it was.
                with contextlib.suppress(FileNotFoundError):
                    if manager.restore_sqlite(backup.name, str(place / "back.db")):
                        assert version_of(place / "back.db") == 0
        assert [child.wait() for child in children] == [0, 0]
        LEDGER.rounds += 1
    manager.backup_sqlite(database, "last")
    backups = manager.list_backups()
    assert {"last", "y-2"} <= {b.name for b in backups}
    assert {n for n in os.listdir(top) if not n.startswith(".")} == {
        "backup_manifest.json",
        *(os.path.basename(b.file_path) for b in backups),
    }
