"""Disks that are full at any moment, cannot be written, or fail to flush: one line, nothing half, nothing older lost."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess

import pytest
from faults.ledger import LEDGER
from faults.surroundings import small_disk
from faults.vault import Vault, advance, create, unfinished_files, version_of

from dumpty import DatabaseBackup, StoreError
from dumpty.repository.named import NamedCatalog


@pytest.fixture
def mounted(place):
    """A vault on a file system of half a megabyte; None where mounting is not permitted."""
    with small_disk(place / "disk", "size=400k") as disk:
        if disk is None:
            yield None
            return
        vault = Vault(place)
        vault.top = disk / "backups"
        for _ in range(2):
            vault.advance()
            vault.backup()
        vault.advance()
        yield vault


def one_line(outcome, status):
    """Check that a command failed in one line."""
    assert outcome.status == status, outcome
    [line] = outcome.err.splitlines()
    assert line.startswith("dumpty: ")
    assert "this is a bug" not in line
    return line


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_disk_that_is_full_at_any_moment(zygote, mounted, form):
    if mounted is None:  # RLIMIT_FSIZE and /dev/full serve in the file store's own tests
        return
    filler = mounted.top / "filler.txt"
    outcomes = {0: 0, 1: 0}
    for free in range(0, 60, 4) if form != "native" else range(0, 180, 12):
        shutil.copyfile("/dev/null", filler)
        with filler.open("wb") as stream:
            stream.write(bytes(max(0, shutil.disk_usage(mounted.top).free - free * 1024)))
        ids_before = set(mounted.versions)
        result = zygote.run("backup", mounted.url, "--dir", mounted.top, "--format", form)
        event = f"a disk with {free} KiB left, {form}"
        LEDGER.rounds += 1
        outcomes[result.status] += 1
        if result.status:
            LEDGER.fault("disks full")
            assert "space" in one_line(result, 1)
        new_ids = mounted.check(event)
        if result.status == 0 and not new_ids:
            LEDGER.record_false_success(f"{event}: exit status 0, and no backup")
        assert unfinished_files(mounted.top) == []
        for backup_id in set(mounted.versions) - ids_before:
            mounted.manager().remove(backup_id)
            del mounted.versions[backup_id]
    assert min(outcomes.values()) > 1, outcomes
    filler.unlink()
    mounted.next_run("a full disk")


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_restore_onto_a_disk_that_is_full_at_any_moment(zygote, mounted, form):
    if mounted is None:
        return
    disk = mounted.top.parent
    target = disk / "target.db"
    backup_id = mounted.backup(format=form)
    advance(create(target), 1000)
    outcomes = {0: 0, 1: 0}
    for free in range(0, 140, 10):
        with (disk / "filler").open("wb") as stream:
            stream.write(bytes(max(0, shutil.disk_usage(disk).free - free * 1024)))
        result = zygote.run(
            "restore", backup_id, "--dir", mounted.top, "--overwrite", "--other", "--to", f"sqlite:///{target}"
        )
        LEDGER.rounds += 1
        outcomes[result.status] += 1
        event = f"a restore with {free} KiB left, {form}"
        version = version_of(target)
        if result.status:
            LEDGER.fault("disks full")
            one_line(result, 1)
            assert version == 1000, event
        elif version != mounted.versions[backup_id]:
            LEDGER.record_false_success(event)
        (disk / "filler").unlink()
        assert [n for n in os.listdir(disk) if n.startswith("target.db.")] == [], event
        advance(target, 1000)
    assert outcomes[1] > 1, outcomes
    mounted.check("restores onto a full disk", restore_all=True)


@pytest.fixture
def scarce(place):
    """An empty directory on a file system of two megabytes and 200 inodes; None where mounting is not permitted."""
    with small_disk(place / "scarce", "size=2m,nr_inodes=200") as disk:
        yield disk


def fill(disk, what):
    """Take all blocks, all inodes, or both."""
    (disk / "filler").mkdir()
    for number in itertools.count():
        path = disk / "filler" / str(number)
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
            while "blocks" in what and stream.write(bytes(4096)):
                pass
        if "inodes" not in what or not path.exists():
            break
    status = os.statvfs(disk)
    assert status.f_bavail == 0 or "blocks" not in what
    assert status.f_favail == 0 or "inodes" not in what


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("what", [("blocks",), ("inodes",), ("blocks", "inodes")], ids="+".join)
def test_named_backups_can_be_removed_from_a_disk_that_is_full(scarce, place, what, count):
    if scarce is None:  # that a store which is full refuses each call in turn is in the catalog's own tests
        return
    database = str(create(place / "shop.db"))
    top = scarce / "named"
    for number in range(count):
        DatabaseBackup(str(top)).backup_sqlite(database, f"a{number}")
    for left in (count - 1, 0):
        fill(scarce, what)
        LEDGER.rounds += 1
        LEDGER.fault("disks full")
        manager = DatabaseBackup(str(top))
        before = manager.list_backups()
        assert manager.prune(9, left) == len(before) - left
        assert manager.list_backups() == before[len(before) - left :]
        names = {os.path.basename(b.file_path) for b in manager.list_backups()} | {"backup_manifest.json"}
        assert {n for n in os.listdir(top) if not n.startswith(".")} == names
        shutil.rmtree(scarce / "filler")


def test_a_removal_that_was_killed_on_a_full_disk_is_finished_on_it(scarce, place):
    if scarce is None:
        return
    database = str(create(place / "shop.db"))
    top = scarce / "named"
    for name in "abc":
        DatabaseBackup(str(top)).backup_sqlite(database, name)
    child = os.fork()
    if not child:
        NamedCatalog._delete_data = lambda *_: os._exit(9)  # marked, and no longer listed
        DatabaseBackup(str(top)).prune(9, 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    fill(scarce, {"blocks", "inodes"})
    LEDGER.rounds += 1
    LEDGER.fault("disks full")
    manager = DatabaseBackup(str(top))
    assert manager.prune(9, 1) == 0
    [backup] = manager.list_backups()
    assert {n for n in os.listdir(top) if not n.startswith(".")} == {
        os.path.basename(backup.file_path),
        "backup_manifest.json",
    }


@pytest.mark.parametrize("verb", ["prune", "backup"])
def test_each_flush_that_fails_leaves_named_backups_whole_or_gone(place, monkeypatch, verb):
    database = create(place / "shop.db")
    flush = os.fsync
    for number in itertools.count(1):
        top = place / f"named-{number}"
        manager = DatabaseBackup(str(top))
        for name in ("one", "two", "three"):
            manager.backup_sqlite(str(database), name)
        calls = itertools.count(1)
        failed = []

        def fsync(descriptor, number=number, calls=calls, failed=failed):
            if next(calls) == number:
                failed.append(number)
                raise OSError(errno.EIO, "Input/output error")
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        LEDGER.rounds += 1
        with contextlib.suppress(StoreError):
            manager.prune(9, 1) if verb == "prune" else manager.backup_sqlite(str(database), "two")
        monkeypatch.setattr(os, "fsync", flush)
        manager = DatabaseBackup(str(top))
        manager.backup_sqlite(str(database), "next")
        listed_names = {b.name for b in manager.list_backups()}
        if not {"three", "next"} <= listed_names or (verb == "backup" and len(listed_names) < 4):
            LEDGER.record_lost_backup(f"flush {number} of a {verb}: {listed_names} is left")
        for name in listed_names:
            assert manager.restore_sqlite(name, str(place / "back.db"))
            assert version_of(place / "back.db") == 0
        names = [n for n in os.listdir(top) if not n.startswith(".")]
        assert len(names) == len(listed_names) + 1, (number, names)
        if not failed:
            assert number > 3
            return
        LEDGER.fault("flushes failed")


def test_a_read_only_disk_still_lists_verifies_and_restores(zygote, mounted):
    if mounted is None:
        return
    disk = mounted.top.parent
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    LEDGER.fault("disks read-only")
    LEDGER.rounds += 1
    names_before = sorted(os.listdir(mounted.top))
    assert "Read-only" in one_line(zygote.run("backup", mounted.url, "--dir", mounted.top), 1)
    assert "with the rights at hand" in one_line(
        zygote.run("prune", "--keep", "1", "--yes", "--dir", mounted.top, "--quiet"), 1
    )
    mounted.check("a read-only disk", restore_all=True)
    assert zygote.run("list", "--dir", mounted.top).status == 0
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert sorted(os.listdir(mounted.top)) == names_before
    mounted.next_run("a read-only disk")


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_each_flush_that_fails_fails_the_backup(zygote, vault, form):
    for number in itertools.count(1):
        note = vault.place / "seen"
        note.unlink(missing_ok=True)
        event = f"flush {number} of a {form} backup fails"
        result = zygote.run("backup", vault.url, "--dir", vault.top, "--format", form, fsync=number, note=str(note))
        LEDGER.rounds += 1
        new_ids = vault.check(event)
        if not note.exists():
            assert result.status == 0
            assert number > 4
            return
        LEDGER.fault("flushes failed")
        # What is of no use any more may go at the next run: then the backup is whole, and verified above.
        if result.status:
            one_line(result, 1)
        # A manifest that is there, and was not flushed, stays: others may have acted on it. But it is no success.
        assert len(new_ids) == (result.status == 0 or "is listed, but a power failure may take it" in result.err), event
        vault.next_run(event)
        vault.keep_newest()


def test_each_flush_that_fails_fails_the_restore_or_leaves_it_whole(zygote, vault):
    backup_id = next(iter(vault.versions))
    target = create(vault.place / "target.db")
    for number in itertools.count(1):
        advance(target, 1000)
        note = vault.place / "seen"
        note.unlink(missing_ok=True)
        argv = ("restore", backup_id, "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}")
        result = zygote.run(*argv, fsync=number, note=str(note))
        LEDGER.rounds += 1
        version = version_of(target)
        if not note.exists():
            assert (result.status, version) == (0, vault.versions[backup_id])
            assert number > 2
            return
        LEDGER.fault("flushes failed")
        if result.status:
            one_line(result, 1)
            assert version in {1000, vault.versions[backup_id]}  # the last flush comes after the swap
        else:  # it was one of the repository's, which needs none to be read
            assert version == vault.versions[backup_id]
        assert [n for n in os.listdir(vault.place) if n.startswith("target.db.")] == []


def test_each_flush_that_fails_in_a_prune_removes_a_backup_whole_or_not(zygote, vault):
    for number in itertools.count(1):
        vault.keep_newest(1)
        for _ in range(2):
            vault.backup()
        newest = list(vault.versions)[-1]
        note = vault.place / "seen"
        note.unlink(missing_ok=True)
        argv = ("prune", "--keep", "1", "--yes", "--dir", vault.top, "--quiet")
        result = zygote.run(*argv, fsync=number, note=str(note))
        LEDGER.rounds += 1
        next_backup = vault.backup()  # which finishes what was decided, and takes back what was not
        backup_ids = {b.id for b in vault.manager().list_backups()}
        assert {newest, next_backup} <= backup_ids
        vault.versions = {backup_id: v for backup_id, v in vault.versions.items() if backup_id in backup_ids}
        vault.check(f"flush {number} of a prune fails", restore_all=True)
        vault.next_run(f"flush {number} of a prune fails")
        if not note.exists():
            assert result.status == 0
            assert number > 2
            return
        LEDGER.fault("flushes failed")
