"""A copy is its backup's stored bytes in another repository, or there is none and somebody is told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from support.places import left_over, stored_files
from support.toys import StoreWrapper, ToyDriver

from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    IntegrityError,
    MissingFile,
    Phase,
    PluginInfo,
    StoreError,
    UnknownBackup,
    hookimpl,
)
from dumpty.operations import backup as backing_up
from dumpty.repository.plain import PlainRepository
from dumpty.repository.sealed import seal
from dumpty.testing.memory_store import MemoryStore

DATA = os.urandom(1 << 20)


class Observer:
    name = "watcher"

    def __init__(self):
        self.events = []

    @hookimpl
    def finished(self, event):
        self.events.append(event)


class FarStore(MemoryStore):
    """The store ``memory://``."""

    name = "memory"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("memory",))

    @hookimpl
    def open_store(self):
        return self


@pytest.fixture
def observer():
    return Observer()


@pytest.fixture
def open_manager(tmp_path, observer):
    def open_(name, *plugins, **options):
        address = name if "://" in name else str(tmp_path / name)
        return BackupManager(address, plugins=[ToyDriver(db=DATA, other=b"other"), observer, *plugins], **options)

    return open_


@pytest.fixture
def origin(open_manager):
    return open_manager("origin")


@pytest.fixture
def vault(open_manager):
    return open_manager("vault")


def back_up(manager, *names):
    return [manager.create_backup(f"toy://h/{name}").raise_for_error() for name in names]


def outcomes(copies):
    return [(c.backup_id, c.copied, type(c.exception)) for c in copies]


def content(backup):
    return Path(backup.file_path).read_bytes()


NOTHING = type(None)


def test_a_copy_is_the_same_backup_byte_for_byte_under_a_name_of_its_own(origin, vault):
    [backup] = back_up(origin, "db")
    [copied] = origin.copy([backup.id], to=vault)
    assert (copied.ok, copied.copied) == (True, True)
    assert vault.list_backups() == [copied.backup]
    assert content(copied.backup) == content(backup)
    for key in (
        "id",
        "timestamp",
        "ended",
        "checksum",
        "size_bytes",
        "plain_size_bytes",
        "source",
        "evidence",
        "stages",
    ):
        assert getattr(copied.backup, key) == getattr(backup, key)
    assert Path(copied.backup.file_path).name != Path(backup.file_path).name
    assert origin.list_backups() == [backup]


@pytest.mark.parametrize("format", ["sql", "native"])
def test_a_real_database_comes_back_from_the_copy_when_the_original_is_gone(tmp_path, format):
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("CREATE TABLE orders (what TEXT)")
        database.executemany("INSERT INTO orders VALUES (?)", [("egg",), ("wall",)])
        database.commit()
    origin, vault = BackupManager(tmp_path / "origin", compressor="zstd"), BackupManager(tmp_path / "vault")
    backup = origin.create_backup(f"sqlite:///{tmp_path}/shop.db", format=format).raise_for_error()
    origin.copy(to=vault)
    shutil.rmtree(tmp_path / "origin")
    assert vault.drill(backup.id).ok
    vault.restore(backup.id, f"sqlite:///{tmp_path}/new.db").raise_for_error()
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db")) as database:
        assert database.execute("SELECT * FROM orders").fetchall() == [("egg",), ("wall",)]


def test_all_that_is_missing_is_copied_the_newest_first_and_nothing_twice(origin, vault, tmp_path):
    backups = back_up(origin, "db", "other", "db")
    newest_first = [b.id for b in reversed(backups)]
    assert outcomes(origin.copy([backups[1].id], to=vault)) == [(backups[1].id, True, NOTHING)]
    assert outcomes(origin.copy(to=vault)) == [(i, i != backups[1].id, NOTHING) for i in newest_first]
    files = stored_files(tmp_path / "vault")
    copies = origin.copy(to=vault)
    assert outcomes(copies) == [(i, False, NOTHING) for i in newest_first]
    assert [c.backup for c in copies] == list(reversed(vault.list_backups()))
    assert stored_files(tmp_path / "vault") == files


def test_proofs_and_the_pin_go_along(origin, vault):
    [backup] = back_up(origin, "db")
    origin.verify(backup.id)
    origin.pin(backup.id, "before the upgrade")
    [copied] = origin.copy(to=vault)
    [proof] = origin.find(backup.id).proofs
    assert copied.backup.proofs == (proof,)
    assert vault.find("latest-verified").id == backup.id
    assert "before the upgrade" in vault.find(backup.id).pinned


def test_a_younger_pin_follows_and_a_younger_proof_says_nothing_of_older_bytes(origin, vault):
    [backup] = back_up(origin, "db")
    origin.copy(to=vault)
    origin.verify(backup.id)
    origin.pin(backup.id, "needed")
    [copied] = origin.copy(to=vault)
    assert (copied.copied, copied.ok) == (False, True)
    assert "needed" in vault.find(backup.id).pinned
    assert "needed" in copied.backup.pinned
    assert vault.find(backup.id).proofs == ()
    assert vault.unpin(backup.id)


def alter(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path):
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    ("damage", "error"), [(alter, IntegrityError), (shorten, IntegrityError), (os.remove, MissingFile)]
)
def test_what_is_not_what_was_stored_is_not_copied_and_stops_nothing(origin, vault, tmp_path, damage, error):
    backups = back_up(origin, "db", "db", "db")
    damage(Path(backups[1].file_path))
    copies = origin.copy(to=vault)
    assert outcomes(copies) == [
        (backups[2].id, True, NOTHING),
        (backups[1].id, False, error),
        (backups[0].id, True, NOTHING),
    ]
    assert copies[1].backup is None
    assert {b.id for b in vault.list_backups()} == {backups[0].id, backups[2].id}
    assert left_over(tmp_path / "vault") == []
    assert vault.listing().problems == []


@pytest.mark.parametrize("damage", [shorten, os.remove, lambda path: path.write_bytes(path.read_bytes() + b"x")])
def test_a_copy_that_is_not_whole_any_more_is_told_until_it_is_removed(origin, vault, damage):
    [backup] = back_up(origin, "db")
    [copied] = origin.copy(to=vault)
    damage(Path(copied.backup.file_path))
    [again] = origin.copy(to=vault)
    assert (again.ok, type(again.exception)) == (False, IntegrityError)
    assert "remove it there, and copy again" in str(again.exception)
    assert vault.remove(backup.id)
    assert outcomes(origin.copy(to=vault)) == [(backup.id, True, NOTHING)]
    assert vault.verify(backup.id).state == "ok"


def test_a_copy_whose_proof_failed_is_no_copy_though_the_original_was_proved_since(origin, vault):
    [backup] = back_up(origin, "db")
    [copied] = origin.copy(to=vault)
    alter(Path(copied.backup.file_path))
    assert not vault.prove(backup.id, level="digest").ok
    origin.verify(backup.id)
    [again] = origin.copy(to=vault)
    assert isinstance(again.exception, IntegrityError)
    assert "proof by digest failed" in str(again.exception)
    assert vault.find(backup.id).state == "damaged"


def test_a_backup_that_was_found_damaged_before_is_copied_as_what_it_is(open_manager, vault):
    """Its bytes are those that were stored; what a database made of them goes along as its proof."""
    origin = open_manager("origin")
    [backup] = back_up(origin, "db")
    record = origin._place.repository.get(backup.id)
    origin.verify(backup.id)
    [proof] = origin.find(backup.id).proofs
    failed = replace(proof, level="restore", ok=False, error="row 3 is gone")
    origin._place.repository.add_proof(record, failed)
    assert outcomes(origin.copy(to=vault)) == [(backup.id, True, NOTHING)]
    assert vault.find(backup.id).state == "damaged"
    assert outcomes(origin.copy(to=vault)) == [(backup.id, False, NOTHING)]


def test_a_manifest_that_cannot_be_read_is_told_beside_what_is_copied(origin, vault):
    damaged, backup = back_up(origin, "db", "db")
    Path(damaged.file_path.replace(".sql.gz", ".manifest.json")).write_text("{}")
    copies = origin.copy(to=vault)
    assert [c.backup_id for c in copies] == [backup.id, ""]
    assert "damaged" in str(copies[1].exception)


@pytest.mark.parametrize("make", [os.symlink, lambda a, b: shutil.copytree(a, b, copy_function=os.link)])
def test_one_file_under_two_names_is_no_copy(origin, open_manager, tmp_path, make):
    back_up(origin, "db")
    make(tmp_path / "origin", tmp_path / "mirror")
    [copied] = origin.copy(to=open_manager("mirror"))
    assert not copied.ok
    assert "are one file" in str(copied.exception)


def test_a_mirror_made_by_other_means_holds_copies(origin, open_manager, tmp_path):
    [backup] = back_up(origin, "db")
    shutil.copytree(tmp_path / "origin", tmp_path / "mirror")
    assert outcomes(origin.copy(to=open_manager("mirror"))) == [(backup.id, False, NOTHING)]


def test_the_repository_itself_is_refused(origin, open_manager):
    back_up(origin, "db")
    with pytest.raises(StoreError, match="name another place"):
        origin.copy(to=open_manager("origin"))
    assert len(origin.list_backups()) == 1


def test_another_backup_under_the_same_id_is_no_copy(origin, vault, monkeypatch):
    [backup] = back_up(origin, "db")
    monkeypatch.setattr(backing_up, "uuid", SimpleNamespace(uuid4=lambda: backup.id))
    back_up(vault, "other")
    [copied] = origin.copy(to=vault)
    assert isinstance(copied.exception, IntegrityError)
    assert "is not the same in" in str(copied.exception)
    assert len(vault.list_backups()) == len(origin.list_backups()) == 1


@pytest.mark.parametrize("change", ["stages", "digest of the dump"])
def test_a_copy_whose_manifest_tells_otherwise_of_the_same_bytes_is_told(origin, vault, change):
    [backup] = back_up(origin, "db")
    [copied] = origin.copy(to=vault)
    path = Path(copied.backup.file_path)
    [manifest] = path.parent.glob("*.manifest.json")
    values = json.loads(manifest.read_text())
    if change == "stages":
        assert values["clear"]["objects"][0]["stages"]
        values["clear"]["objects"][0]["stages"] = []
    else:
        values["sealed"]["parts"][0]["sha256"] = "0" * 64
    del values["dumpty_manifest"], values["digest"]
    manifest.write_bytes(seal(values))
    [again] = origin.copy([backup.id], to=vault)
    assert isinstance(again.exception, IntegrityError)
    assert "Remove neither before you know which" in str(again.exception)
    assert content(copied.backup) == content(backup)


def test_a_copy_that_is_removed_while_it_is_looked_at_is_none(origin, vault, open_manager, monkeypatch):
    """That a backup was removed where it lies is no failure of a copy; that the copy was is one."""
    back_up(origin, "db", "db")
    newest = origin.copy(to=vault)[0].backup
    origin.pin(newest.id, "for good")
    real = PlainRepository.pin

    def pin_too_late(repository, record, reason):
        monkeypatch.setattr(PlainRepository, "pin", real)
        assert open_manager("vault").remove(record.id)
        return real(repository, record, reason)

    monkeypatch.setattr(PlainRepository, "pin", pin_too_late)
    first, second = origin.copy(to=vault)
    assert (first.backup_id, first.ok, type(first.exception)) == (newest.id, False, StoreError)
    assert "copy it again" in str(first.exception)
    assert second.ok
    assert origin.copy([newest.id, newest.id], to=vault)[0].copied
    [pin] = [b.pinned for b in vault.list_backups() if b.id == newest.id]
    assert pin.endswith(": for good")


def test_an_id_that_is_named_twice_is_copied_once(origin, vault):
    [backup] = back_up(origin, "db")
    assert outcomes(origin.copy([backup.id, backup.id], to=vault)) == [(backup.id, True, NOTHING)]
    assert len(list((Path(vault.list_backups()[0].file_path).parent).glob("*.manifest.json"))) == 1


def test_there_is_no_copy_of_what_is_not_there(origin, vault):
    [backup] = back_up(origin, "db")
    copies = origin.copy(["0" * 36, backup.id], to=vault)
    assert outcomes(copies) == [("0" * 36, False, UnknownBackup), (backup.id, True, NOTHING)]
    assert outcomes(origin.copy(["0" * 36], to=vault)) == [("0" * 36, False, UnknownBackup)]
    with pytest.raises(TypeError, match="not one str"):
        origin.copy(backup.id, to=vault)


@pytest.mark.parametrize("method", ["put", "upload", "stat"])
def test_a_place_that_fails_has_no_copy_and_nothing_is_left_there(origin, open_manager, tmp_path, method):
    [backup] = back_up(origin, "db")
    failing = [method]

    def fail(real, *arguments, **options):
        if failing:
            raise StoreError("the place is full")
        return real(*arguments, **options)

    wrapper = StoreWrapper(**{method: fail})
    vault = open_manager(f"wrapped://{tmp_path}/vault", wrapper)
    [copied] = origin.copy([backup.id], to=vault)
    assert "the place is full" in str(copied.exception)
    failing.clear()
    assert vault.list_backups() == []
    assert outcomes(origin.copy([backup.id], to=vault)) == [(backup.id, True, NOTHING)]
    assert left_over(tmp_path / "vault") == []
    assert vault.verify(backup.id)


def test_a_copy_goes_to_a_place_that_is_no_directory_and_back(origin, open_manager, tmp_path):
    [backup] = back_up(origin, "db")
    far = open_manager("memory://far", FarStore())
    assert outcomes(origin.copy(to=far)) == [(backup.id, True, NOTHING)]
    assert outcomes(origin.copy(to=far)) == [(backup.id, False, NOTHING)]
    near = open_manager("near")
    assert outcomes(far.copy(to=near)) == [(backup.id, True, NOTHING)]
    assert content(near.find(backup.id)) == content(backup)


def test_what_is_being_copied_cannot_be_removed_meanwhile(origin, open_manager, tmp_path):
    [backup] = back_up(origin, "db")
    removed = []

    def upload(real, *arguments, **options):
        removed.append(origin.remove(backup.id))
        return real(*arguments, **options)

    vault = open_manager(f"wrapped://{tmp_path}/vault", StoreWrapper(upload=upload))
    assert outcomes(origin.copy(to=vault)) == [(backup.id, True, NOTHING)]
    assert removed == [False]
    assert origin.remove(backup.id)


def test_cancelled_it_keeps_what_was_copied_until_then(origin, vault, tmp_path):
    back_up(origin, "db", "db", "db")
    token, progress = Cancellation(), []

    def follow(step):
        progress.append(step)
        if (step.phase, step.items_done) == (Phase.COPYING, 1):
            token.cancel("enough")

    copies = origin.copy(to=vault, progress=follow, cancel=token)
    assert [(c.copied, type(c.exception)) for c in copies] == [(True, NOTHING), (False, Cancelled)]
    assert [b.id for b in vault.list_backups()] == [copies[0].backup_id]
    assert left_over(tmp_path / "vault") == []
    assert [p.phase for p in progress if p.items_done == 0 and not p.bytes_done] == [
        Phase.INSPECTING,
        Phase.COPYING,
        Phase.COMMITTING,
    ]
    assert {p.items_total for p in progress} == {3}
    size = copies[0].backup.size_bytes
    assert max(p.bytes_done for p in progress) == max(p.bytes_total or 0 for p in progress) == size
    with pytest.raises(Cancelled):
        origin.copy(to=vault, cancel=token)


def test_observers_are_told_of_each_copy_and_where_it_was_put(origin, vault, observer, tmp_path):
    first, second = back_up(origin, "db", "db")
    Path(first.file_path).unlink()
    observer.events.clear()
    origin.copy(to=vault)
    events = [(e.verb, e.success, e.backup.id, e.repository, e.error_type) for e in observer.events]
    place = str(tmp_path / "vault")
    assert set(events) == {
        ("copy", True, second.id, place, ""),
        ("copy", False, first.id, place, "MissingFile"),
    }
    observer.events.clear()
    origin.copy([second.id], to=vault)
    assert observer.events == []
