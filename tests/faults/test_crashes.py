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
from dumpty.repository.recovery import clean
from dumpty.streaming import pipeline

KILLED = 9
DATA = b"to be or not to be" * 1000
OWN = (".part", ".removed", ".pending")


def ended_early(work):
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

    return ended_early(watched)


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

    return ended_early(watched)


ENDED = pytest.mark.parametrize("ended_at", [killed_at, interrupted_at])


def every_step(ended_at, template, opened, work, check):
    """End ``work`` before each of its steps, in a fresh copy of ``template``; return how many there were.

    ``work`` and ``check`` are given what ``opened`` returns for the copy's path.
    """
    for step in itertools.count(1):
        top = template.with_name(f"{template.name}-{step}")
        shutil.copytree(template, top, symlinks=True)
        own = opened(top)
        died = ended_at(step, top, lambda: work(own))  # noqa: B023 - called before the loop goes on
        check(own, top, died)
        shutil.rmtree(top)
        if not died:
            return step - 1
    raise AssertionError


def visible(top):
    return {n for n in os.listdir(top) if not n.startswith(".")}


def manager(top):
    return BackupManager(str(top), plugins=[ToyDriver(db=DATA, other=b"other")])


def whole(own):
    """Return the ids that are listed, each of them verified."""
    assert own.listing().problems == []
    listed = [backup.id for backup in own.list_backups()]
    for one in listed:
        own.verify(one)
    return listed


def tidied(own, top, count):
    """Check that a further run works, and leaves two files for each backup, its proofs, and nothing else."""
    result = own.create_backup("toy://h/other")
    assert result.success, result.error
    assert len(whole(own)) == count + 1
    names = visible(top)
    assert not [n for n in names if n.endswith(OWN)]
    assert len(names) == 3 * (count + 1)


@pytest.fixture
def template(tmp_path):
    top = tmp_path / "dir"
    own = manager(top)
    for _ in range(2):
        assert own.create_backup("toy://h/db").success
    return top


@ENDED
def test_a_backup_that_is_ended_leaves_the_older_ones_and_is_whole_or_not_there(ended_at, template):
    before = whole(manager(template))
    seen = set()

    def check(own, top, died):
        after = whole(own)
        assert after[:2] == before
        seen.add((died, len(after)))
        tidied(own, top, len(after))

    steps = every_step(ended_at, template, manager, lambda own: own.create_backup("toy://h/db"), check)
    assert steps > 8
    assert seen == {(True, 2), (True, 3), (False, 3)}


@ENDED
def test_a_removal_that_is_ended_leaves_the_backup_whole_or_gone(ended_at, template):
    first, second = whole(manager(template))
    seen = set()

    def check(own, top, died):
        # Before the next run a backup may be listed whose data waits under another name; that run gives it back.
        listed = [b.id for b in own.list_backups()]
        assert listed[-1] == second
        assert own.verify(second)
        tidied(own, top, len(listed))
        seen.add((died, len(listed)))

    steps = every_step(ended_at, template, manager, lambda own: own.remove(first), check)
    assert steps > 3
    assert seen == {(True, 2), (True, 1), (False, 1)}


@ENDED
def test_tidying_that_is_ended_is_done_by_the_next(ended_at, template):
    before = whole(manager(template))
    data = os.path.basename(manager(template).find(before[0]).file_path)
    os.rename(template / data, template / (data + ".removed"))
    for name in ("x-20260101T000000Z-0123456789ab.sql.gz", "x-20260101T000000Z-0123456789ab.sql.gz.pending"):
        (template / f"{name}.dumpty-{'0123456789abcdef' * 2}.part").write_bytes(b"half")
    (template / "x-20260101T000000Z-0123456789ab.sql.gz").write_bytes(b"orphan")

    def check(own, top, died):
        assert [b.id for b in own.list_backups()] == before
        tidied(own, top, 2)

    assert every_step(ended_at, template, manager, lambda own: clean(own._store), check) > 3


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


def opened(top):
    return DatabaseBackup(str(top))


def values_by_name(own):
    """Return the names that are listed with the value that each holds."""
    found = {}
    for saved in own.list_backups():
        with open(saved.file_path, "rb") as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == saved.checksum
        found[saved.name] = value(saved.file_path)
    return found


@pytest.fixture
def named_template(tmp_path, database):
    top = tmp_path / "dir"
    own = DatabaseBackup(str(top))
    own.backup_sqlite(str(database), "kept")
    own.backup_sqlite(str(database), "daily")
    connection = sqlite3.connect(database)
    connection.execute("UPDATE t SET a = 2")
    connection.commit()
    connection.close()
    return top


def named_tidied(own, top, database, listed):
    own.backup_sqlite(str(database), "next")
    names = visible(top)
    assert not [n for n in names if n.endswith(OWN)]
    assert len(names) == len(listed) + 2  # the new one, and the manifest


@ENDED
def test_a_replacement_that_is_ended_leaves_the_old_backup_or_the_new(ended_at, named_template, database):
    seen = set()

    def check(own, top, died):
        found = values_by_name(own)
        assert found["kept"] == 1
        assert set(found) == {"kept", "daily"}
        seen.add((died, found["daily"]))
        named_tidied(own, top, database, found)

    steps = every_step(ended_at, named_template, opened, lambda own: own.backup_sqlite(str(database), "daily"), check)
    assert steps > 8
    assert seen == {(True, 1), (True, 2), (False, 2)}


@ENDED
def test_a_prune_that_is_ended_leaves_what_it_keeps_and_half_of_nothing(ended_at, named_template, database):
    def check(own, top, died):
        listed = {b.name for b in own.list_backups()}
        assert "daily" in listed
        named_tidied(own, top, database, listed)
        assert values_by_name(own) == {**dict.fromkeys(listed, 1), "next": 2}

    assert every_step(ended_at, named_template, opened, lambda own: own.prune(1, 1), check) > 3


@ENDED
def test_the_first_backup_that_is_ended_leaves_a_directory_that_works(ended_at, tmp_path, database):
    empty = tmp_path / "dir"
    empty.mkdir()

    def check(own, top, died):
        found = values_by_name(own)
        assert found in ({}, {"daily": 1})
        named_tidied(own, top, database, found)

    assert every_step(ended_at, empty, opened, lambda own: own.backup_sqlite(str(database), "daily"), check) > 5
