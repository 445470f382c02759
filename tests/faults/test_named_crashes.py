"""Named backups, ended at every step: whatever is listed is whole, whatever was there still is, the next run tidies up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pkgutil
import shutil
import sqlite3
import sys
from importlib import import_module

import pytest
from faults import surroundings
from faults.ending import KILLED, ends_early, every_step, interrupt, interrupted_at, killed_at
from faults.ledger import FACTOR

import dumpty_plugins.file
from dumpty import DatabaseBackup, SourceError, StoreError, backup
from dumpty.repository import directory_lock, named, named_manifest, named_marks, named_reserve, named_transaction

UNFINISHED = (".part", ".pending")
ORDERING = (backup, named, named_manifest, named_marks, named_reserve, named_transaction, directory_lock)
STORING = [import_module(f"dumpty_plugins.file.{m.name}") for m in pkgutil.iter_modules(dumpty_plugins.file.__path__)]
ENDINGS = {
    "killed": (killed_at, 1),
    "interrupted in what orders the changes": (interrupted_at(ORDERING), max(1, 3 // FACTOR)),
    "interrupted in the store": (interrupted_at([*ORDERING, *STORING]), max(1, 37 // FACTOR)),
}

AT_EVERY_STEP = pytest.mark.parametrize(("ended_at", "stride"), ENDINGS.values(), ids=ENDINGS)


def visible(top):
    return {n for n in os.listdir(top) if not n.startswith(".")}


def value(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT a FROM t").fetchone()[0]


def open_named(top):
    return DatabaseBackup(str(top))


def values_by_name(manager):
    """Return the names that are listed with the value that each holds."""
    values = {}
    for saved in manager.list_backups():
        assert saved.state == "ok"
        with open(saved.file_path, "rb") as stream:
            assert hashlib.sha256(stream.read()).hexdigest() == saved.checksum
        values[saved.name] = value(saved.file_path)
    return values


@pytest.fixture
def database(place):
    path = place / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    return path


@pytest.fixture
def template(place, database):
    top = place / "dir"
    manager = open_named(top)
    manager.backup_sqlite(str(database), "kept")
    manager.backup_sqlite(str(database), "daily")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript("UPDATE t SET a = 2")
    return top


def require_tidied(manager, top, database):
    """Check that a further run works, and leaves the data of each backup, the manifest, and nothing else."""
    manager.backup_sqlite(str(database), "next")
    names = visible(top)
    assert not [n for n in names if n.endswith(UNFINISHED)]
    assert names == {os.path.basename(b.file_path) for b in manager.list_backups()} | {"backup_manifest.json"}


@AT_EVERY_STEP
def test_a_replacement_that_is_ended_leaves_the_old_backup_or_the_new(ended_at, stride, template, database):
    outcomes = set()

    def check(manager, top, ended):
        values = values_by_name(manager)
        assert values["kept"] == 1
        assert set(values) == {"kept", "daily"}
        outcomes.add((ended, values["daily"]))
        require_tidied(manager, top, database)

    steps = every_step(
        ended_at, template, open_named, lambda manager: manager.backup_sqlite(str(database), "daily"), check, stride
    )
    assert steps > 8
    assert outcomes == {(True, 1), (True, 2), (False, 2)}


@AT_EVERY_STEP
def test_a_prune_that_is_ended_leaves_what_it_keeps_and_half_of_nothing(ended_at, stride, template, database):
    outcomes = set()

    def check(manager, top, ended):
        names = {b.name for b in manager.list_backups()}
        assert "daily" in names
        outcomes.add((ended, len(names)))
        require_tidied(manager, top, database)
        assert values_by_name(manager) == {**dict.fromkeys(names, 1), "next": 2}

    assert every_step(ended_at, template, open_named, lambda manager: manager.prune(1, 1), check, stride) > 8
    assert outcomes == {(True, 2), (True, 1), (False, 1)}


@AT_EVERY_STEP
def test_the_first_backup_that_is_ended_leaves_a_directory_that_works(ended_at, stride, place, database):
    empty = place / "dir"
    empty.mkdir()

    def check(manager, top, ended):
        values = values_by_name(manager)
        assert values == {"daily": 1} or (ended and not values)
        require_tidied(manager, top, database)

    def work(manager):
        manager.backup_sqlite(str(database), "daily")

    assert every_step(ended_at, empty, open_named, work, check, stride) > 5


@AT_EVERY_STEP
def test_a_recovery_that_is_ended_is_done_by_the_next(ended_at, stride, template, database):
    before = values_by_name(open_named(template))
    killed_before_the_switch(template, database)
    assert len([n for n in visible(template) if n.endswith(UNFINISHED)]) == 1

    def check(manager, top, ended):
        assert values_by_name(manager) == before
        require_tidied(manager, top, database)

    assert every_step(ended_at, template, open_named, lambda manager: manager.prune(99, 99), check, stride) > 3


def killed_before_the_switch(top, database):
    """Leave data with its mark in ``top``, as a process does that dies when it holds the lock."""

    def work():
        manager = open_named(top)
        manager._catalog.publish = lambda _: os._exit(KILLED)
        manager.backup_sqlite(str(database), "daily")

    assert ends_early(work)


@pytest.mark.parametrize("verb", ["backup", "prune"])
def test_what_an_interrupt_left_is_cleared_by_the_next_run_of_the_same_process(template, database, verb):
    """Its process lives on, and so cannot be told from one that still works but by what it knows of itself."""

    def interrupted(step, top, work):
        def watched():
            interrupt(step, top, ORDERING)
            ended = False
            try:
                work()
            except KeyboardInterrupt:
                ended = True
            sys.settrace(None)
            manager = open_named(top)
            assert set(values_by_name(manager)) >= {"daily"}
            require_tidied(manager, top, database)
            if ended:
                raise KeyboardInterrupt

        return ends_early(watched)

    def work(manager):
        manager.backup_sqlite(str(database), "daily") if verb == "backup" else manager.prune(1, 1)

    assert every_step(interrupted, template, open_named, work, lambda *_: None) > 20


@pytest.fixture
def small_disk(place):
    """A directory on a file system of 600 KiB; None where mounting is not permitted."""
    with surroundings.small_disk(place / "disk", "size=600k") as disk:
        yield disk


@pytest.mark.parametrize("verb", ["backup", "prune"])
def test_a_disk_that_is_full_at_any_moment_keeps_what_is_listed_and_nothing_half(small_disk, database, verb):
    if small_disk is None:  # the calls of a store that is full are counted in the tests of the catalog
        return
    top, filler = small_disk / "dir", small_disk / "filler"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE pad (b); INSERT INTO pad VALUES (randomblob(20000))")
    manager = open_named(top)
    outcomes, messages = [], set()
    for free in range(0, 64, 4) if verb == "prune" else range(0, 320, 16):
        for name in ("one", "kept", "daily"):
            manager.backup_sqlite(str(database), name)
        before = {b.name: b.file_path for b in manager.list_backups()}
        filler.touch()
        filler.write_bytes(bytes(max(0, shutil.disk_usage(top).free - free * 1024)))
        try:
            manager.backup_sqlite(str(database), "daily") if verb == "backup" else manager.prune(9, 1)
            outcomes.append(True)
        except (SourceError, StoreError) as error:
            messages.add("free some space" in str(error))
            outcomes.append(False)
        after = {b.name: b.file_path for b in manager.list_backups()}
        if outcomes[-1]:
            assert after.keys() == (before.keys() if verb == "backup" else {"daily"})
        else:
            assert after == before
        assert (after["daily"] != before["daily"]) == (outcomes[-1] and verb == "backup")
        assert set(values_by_name(manager).values()) == {1}
        names = {os.path.basename(path) for path in after.values()} | {"backup_manifest.json"}
        assert visible(top) == names, "what a full disk ended is gone at once"
        filler.unlink()
        manager.prune(9, 0)
    assert True in outcomes
    if verb == "prune":
        assert all(outcomes), "it has a reserve"
    else:
        assert False in outcomes
        assert messages == {True}
