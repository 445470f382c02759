"""Ended at every step: whatever is listed is whole, whatever was there before still is, and the next run tidies up.

Killed: a child process is ended with ``os._exit`` just before the n-th change it makes to the backup directory, for
every n. Interrupted: KeyboardInterrupt comes up in it before the n-th line of what orders those changes, for every n.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import sqlite3
import sys
import warnings

import pytest
from support.toys import ToyDriver

from dumpty import BackupManager, DatabaseBackup
from dumpty.operations import backup
from dumpty.repository import catalog, journal, named, objects, recovery
from dumpty.streaming import pipeline

KILLED = 9
DATA = b"to be or not to be" * 1000
UNFINISHED = (".part", ".removed", ".pending")


def ends_early(work):
    """Do ``work`` in a child; return whether that was ended before it was done, by KILLED or KeyboardInterrupt."""
    with warnings.catch_warnings():
        # Python 3.12 warns of other tests' threads; the child takes no lock that they could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        except KeyboardInterrupt:
            status = KILLED
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, KILLED}
    return status == KILLED


def changing(top, change):
    """Call ``change`` with the name of every change that is about to be made under ``top``, from now on."""

    def watch(event, arguments):
        writes = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir"} or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and str(top) in os.fsdecode(arguments[0]):
            change(event)

    sys.addaudithook(watch)


def killed_at(step, top, work):
    """Do ``work`` in a child that dies before its ``step``-th change under ``top``; return whether it did."""
    changes = itertools.count(1)

    def change(_):
        if next(changes) == step:
            os._exit(KILLED)

    def watched():
        changing(top, change)
        work()

    return ends_early(watched)


def interrupted_at(step, top, work):
    """Do ``work`` in a child up to its ``step``-th line, from its first rename on; return whether there is one.

    Lines of the modules that order what is changed count.
    """
    files = {m.__file__ for m in (catalog, named, objects, recovery, backup, journal, pipeline)}
    lines = itertools.count(1)
    renamed = []

    def watch(frame, event, _):
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and renamed and next(lines) == step:
            raise KeyboardInterrupt
        return watch

    def watched():
        changing(top, lambda change: renamed.append(change) if change == "os.rename" else None)
        sys.settrace(watch)
        work()

    return ends_early(watched)


AT_EVERY_STEP = pytest.mark.parametrize("ended_at", [killed_at, interrupted_at])


def every_step(ended_at, template, open_copy, work, check):
    """End ``work`` before each of its steps, in a fresh copy of ``template``; return how many there were.

    ``work`` and ``check`` are given what ``open_copy`` returns for the copy's path.
    """
    for step in itertools.count(1):
        top = template.with_name(f"{template.name}-{step}")
        shutil.copytree(template, top, symlinks=True)
        manager = open_copy(top)
        ended = ended_at(step, top, lambda: work(manager))  # noqa: B023 - called before the loop goes on
        check(manager, top, ended)
        shutil.rmtree(top)
        if not ended:
            return step - 1
    raise AssertionError


def visible(top):
    return {n for n in os.listdir(top) if not n.startswith(".")}


def manager(top):
    return BackupManager(str(top), plugins=[ToyDriver(db=DATA, other=b"other")])


def verified_ids(manager):
    """Return the ids that are listed, each of them verified."""
    assert manager.listing().problems == []
    backup_ids = [backup.id for backup in manager.list_backups()]
    for backup_id in backup_ids:
        manager.verify(backup_id)
    return backup_ids


def require_tidied(manager, top, count):
    """Check that a further run works, and leaves two files for each backup, its proofs, and nothing else."""
    result = manager.create_backup("toy://h/other")
    assert result.success, result.error
    assert len(verified_ids(manager)) == count + 1
    names = visible(top)
    assert not [n for n in names if n.endswith(UNFINISHED)]
    assert len(names) == 3 * (count + 1)


@pytest.fixture
def template(tmp_path):
    top = tmp_path / "dir"
    backups = manager(top)
    for _ in range(2):
        assert backups.create_backup("toy://h/db").success
    return top


@AT_EVERY_STEP
def test_a_backup_that_is_ended_leaves_the_older_ones_and_is_whole_or_not_there(ended_at, template):
    ids_before = verified_ids(manager(template))
    outcomes = set()

    def check(reopened, top, ended):
        ids_after = verified_ids(reopened)
        assert ids_after[:2] == ids_before
        outcomes.add((ended, len(ids_after)))
        require_tidied(reopened, top, len(ids_after))

    steps = every_step(ended_at, template, manager, lambda reopened: reopened.create_backup("toy://h/db"), check)
    assert steps > 8
    assert outcomes == {(True, 2), (True, 3), (False, 3)}


@AT_EVERY_STEP
def test_a_removal_that_is_ended_leaves_the_backup_whole_or_gone(ended_at, template):
    first, second = verified_ids(manager(template))
    outcomes = set()

    def check(reopened, top, ended):
        # Before the next run a backup may be listed whose data waits under another name; that run gives it back.
        backup_ids = [b.id for b in reopened.list_backups()]
        assert backup_ids[-1] == second
        assert reopened.verify(second)
        require_tidied(reopened, top, len(backup_ids))
        outcomes.add((ended, len(backup_ids)))

    steps = every_step(ended_at, template, manager, lambda reopened: reopened.remove(first), check)
    assert steps > 3
    assert outcomes == {(True, 2), (True, 1), (False, 1)}


@AT_EVERY_STEP
def test_tidying_that_is_ended_is_done_by_the_next(ended_at, template):
    ids_before = verified_ids(manager(template))
    data = os.path.basename(manager(template).find(ids_before[0]).file_path)
    os.rename(template / data, template / (data + ".removed"))
    for name in ("x-20260101T000000Z-0123456789ab.sql.gz", "x-20260101T000000Z-0123456789ab.sql.gz.pending"):
        (template / f"{name}.dumpty-{'0123456789abcdef' * 2}.part").write_bytes(b"half")
    (template / "x-20260101T000000Z-0123456789ab.sql.gz").write_bytes(b"orphan")

    def check(reopened, top, ended):
        assert [b.id for b in reopened.list_backups()] == ids_before
        require_tidied(reopened, top, 2)

    assert every_step(ended_at, template, manager, lambda reopened: reopened._repository.clear(), check) > 3


# -- DatabaseBackup ----------------------------------------------------------------------------------------------


def value(path):
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT a FROM t").fetchone()[0]
    finally:
        connection.close()


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    connection.close()
    return path


def open_named(top):
    return DatabaseBackup(str(top))


def values_by_name(manager):
    """Return the names that are listed with the value that each holds."""
    values = {}
    for saved in manager.list_backups():
        with open(saved.file_path, "rb") as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == saved.checksum
        values[saved.name] = value(saved.file_path)
    return values


@pytest.fixture
def named_template(tmp_path, database):
    top = tmp_path / "dir"
    manager = DatabaseBackup(str(top))
    manager.backup_sqlite(str(database), "kept")
    manager.backup_sqlite(str(database), "daily")
    connection = sqlite3.connect(database)
    connection.execute("UPDATE t SET a = 2")
    connection.commit()
    connection.close()
    return top


def require_named_tidied(manager, top, database, names_before):
    manager.backup_sqlite(str(database), "next")
    names = visible(top)
    assert not [n for n in names if n.endswith(UNFINISHED)]
    assert len(names) == len(names_before) + 2  # the new one, and the manifest


@AT_EVERY_STEP
def test_a_replacement_that_is_ended_leaves_the_old_backup_or_the_new(ended_at, named_template, database):
    outcomes = set()

    def check(manager, top, ended):
        values = values_by_name(manager)
        assert values["kept"] == 1
        assert set(values) == {"kept", "daily"}
        outcomes.add((ended, values["daily"]))
        require_named_tidied(manager, top, database, values)

    steps = every_step(
        ended_at, named_template, open_named, lambda manager: manager.backup_sqlite(str(database), "daily"), check
    )
    assert steps > 8
    assert outcomes == {(True, 1), (True, 2), (False, 2)}


@AT_EVERY_STEP
def test_a_prune_that_is_ended_leaves_what_it_keeps_and_half_of_nothing(ended_at, named_template, database):
    def check(manager, top, ended):
        names = {b.name for b in manager.list_backups()}
        assert "daily" in names
        require_named_tidied(manager, top, database, names)
        assert values_by_name(manager) == {**dict.fromkeys(names, 1), "next": 2}

    assert every_step(ended_at, named_template, open_named, lambda manager: manager.prune(1, 1), check) > 3


@AT_EVERY_STEP
def test_the_first_backup_that_is_ended_leaves_a_directory_that_works(ended_at, tmp_path, database):
    empty = tmp_path / "dir"
    empty.mkdir()

    def check(manager, top, ended):
        values = values_by_name(manager)
        assert values in ({}, {"daily": 1})
        require_named_tidied(manager, top, database, values)

    assert (
        every_step(ended_at, empty, open_named, lambda manager: manager.backup_sqlite(str(database), "daily"), check)
        > 5
    )
