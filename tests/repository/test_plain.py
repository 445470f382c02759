"""Backups of several objects: one manifest names them all, and they come and go together."""

from __future__ import annotations

import hashlib
import os
import subprocess
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from support.places import left_over, stored_files
from support.toys import StoreWrapper, ToyDriver, open_directory

from dumpty import (
    BackupManager,
    Cap,
    IntegrityError,
    NotPermitted,
    PluginError,
    PluginRef,
    Record,
    StoredObject,
    UnknownBackup,
)
from dumpty.repository.plain import PlainRepository
from dumpty.testing.memory_store import ALL, MemoryStore

PARTS = {
    ".p1.sql": b"CREATE TABLE a (x);",
    ".p2.sql": b"INSERT INTO a VALUES (1);",
    ".p10.sql": b"CREATE INDEX b ON a (x);",
}


@pytest.fixture
def top(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def repository(top):
    return PlainRepository(open_directory(top))


def described(tx, record_id, started, parts):
    objects = tuple(
        StoredObject(
            name=tx.name(ending),
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            plain_size=len(data),
            plain_sha256=hashlib.sha256(data).hexdigest(),
            section="data",
        )
        for ending, data in parts.items()
    )
    return Record(
        id=record_id,
        url="toy://h/shop",
        identity="toy://h/shop",
        database="shop",
        driver=PluginRef(name="toy"),
        format="parallel",
        suffix=".sql",
        started=started,
        ended=started,
        objects=objects,
    )


def begun(repository):
    record_id, started = str(uuid.uuid4()), datetime.now(UTC)
    tx = repository.transaction(record_id=record_id, database="shop", identity="toy://h/shop", started=started)
    return record_id, started, tx


def committed(repository, parts=PARTS, change=lambda record: record):
    """Commit a backup of some parts, of which the manifest says what ``change`` makes of the truth."""
    record_id, started, tx = begun(repository)
    with tx:
        for ending, data in parts.items():
            tx.upload(ending).write(data)
        return tx.commit(change(described(tx, record_id, started, parts)))


def interrupted(repository, parts):
    with begun(repository)[2] as tx:
        for ending, data in parts:
            tx.upload(ending).write(data)
        raise RuntimeError("on purpose")


names = stored_files


def test_a_backup_of_several_objects_is_listed_as_their_set(repository, top):
    record = committed(repository)
    [backup] = BackupManager(str(top)).list_backups()
    assert (backup.id, backup.state) == (record.id, "ok")
    assert backup.size_bytes == sum(map(len, PARTS.values()))
    assert backup.file_path == str(top / record.objects[0].name.removesuffix("1.sql"))
    assert backup.files == tuple(str(top / name) for name in sorted(o.name for o in record.objects))
    lines = subprocess.run(
        ["sha256sum", *sorted(o.name for o in record.objects)], cwd=top, capture_output=True, check=True
    )
    assert backup.checksum == hashlib.sha256(lines.stdout).hexdigest()
    assert repository.get(record.id) == record


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (os.unlink, "lost"),
        (lambda path: os.truncate(path, 3), "lost"),
        (lambda path: os.truncate(path, 999), "damaged"),
    ],
)
def test_a_backup_of_which_one_object_is_gone_or_of_another_size_says_so(repository, top, damage, state):
    record = committed(repository)
    damage(top / record.objects[1].name)
    [backup] = BackupManager(str(top)).list_backups()
    assert backup.state == state
    assert record.objects[1].name in backup.state_reason


def test_a_backup_of_several_objects_is_removed_whole(repository, top):
    kept, removed = committed(repository), committed(repository)
    assert BackupManager(str(top)).remove(removed.id)
    assert [listed.record for listed in repository.listing().backups] == [kept]
    assert len(names(top)) == len(PARTS) + 1


def test_a_candidate_that_was_removed_meanwhile_is_unknown(repository, top):
    record = committed(repository)
    assert repository.get(record.id) == repository.candidates()[0].load().record
    [candidate] = repository.candidates()
    PlainRepository(open_directory(top)).remove(lambda listed: {record.id})
    with pytest.raises(UnknownBackup, match="removed meanwhile"):
        candidate.load()


def test_a_removal_that_the_place_refuses_in_part_removes_the_rest_and_is_finished_by_the_next_run(
    repository, top, monkeypatch
):
    refused, removed, kept = committed(repository), committed(repository), committed(repository)
    store = type(repository._store)
    real = store.delete

    def refusing(self, names):
        names = list(names)
        real(self, [n for n in names if n != refused.objects[2].name])
        if refused.objects[2].name in names:
            raise NotPermitted("cannot remove it: Operation not permitted")

    monkeypatch.setattr(store, "delete", refusing)
    with pytest.raises(NotPermitted, match="not permitted"):
        repository.remove(lambda listed: {refused.id, removed.id})
    monkeypatch.undo()
    assert [b.id for b in BackupManager(str(top)).list_backups()] == [kept.id]
    repository.clear()
    assert len(names(top)) == len(PARTS) + 1
    assert left_over(top) == []


def test_what_rules_keep_after_all_is_not_removed(repository, top):
    """Asked again, when everybody is seen who removes something else; then for what they still let go."""
    first, second = committed(repository), committed(repository)
    asked = []

    def choose(listed):
        asked.append([backup.record.id for backup in listed])
        return {first.id, second.id} if len(asked) == 1 else {first.id}

    outcome = repository.remove(choose)
    assert asked == [[first.id, second.id]] * 4
    assert outcome.removed == (first.id,)
    assert [listed.record for listed in repository.listing().backups] == [second]
    assert left_over(top) == []


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_transaction_that_is_left_before_its_commit_leaves_nothing(repository, top, steps):
    with pytest.raises(RuntimeError, match="on purpose"):
        interrupted(repository, list(PARTS.items())[:steps])
    assert names(top) == []


def test_an_ending_is_used_once_for_the_second_would_take_the_place_of_the_first(repository, top):
    with begun(repository)[2] as tx:
        tx.upload(".sql")
        with pytest.raises(ValueError, match=r"\.sql was uploaded before"):
            tx.upload(".sql")
    assert names(top) == []


def test_a_driver_that_reads_one_stream_restores_no_backup_of_several_objects(repository, top):
    record = committed(repository)
    driver = ToyDriver()
    result = BackupManager(str(top), plugins=[driver]).restore(record.id, "toy://h/new")
    assert isinstance(result.exception, PluginError)
    assert "the format parallel is of 3 parts: open these, not the dump" in result.error
    assert driver.databases == {}


def test_a_transaction_without_a_commit_is_no_backup(repository, top):
    with begun(repository)[2] as tx:
        tx.upload(".sql").write(b"data")
    assert names(top) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda objects: objects[:2], "does not name what was uploaded"),
        (lambda objects: (*objects, replace(objects[0], name=objects[0].name + ".more")), "does not name what was uploaded"),
        (lambda objects: (*objects[:2], replace(objects[2], size=3)), "has 24 bytes, and 3 were written"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_of_what_was_uploaded_commits_nothing(repository, top, changed, message):
    with pytest.raises(IntegrityError, match=message):
        committed(repository, change=lambda record: replace(record, objects=changed(record.objects)))
    assert names(top) == []


def test_a_record_that_names_another_backups_object_commits_nothing(repository, top):
    """Removing one of them would take the other's data."""
    first = committed(repository)
    with pytest.raises(IntegrityError, match="does not name what was uploaded"):
        committed(repository, change=lambda record: replace(record, objects=first.objects))
    assert [listed.record for listed in repository.listing().backups] == [first]
    assert len(names(top)) == len(PARTS) + 1


def test_another_databases_folder_that_is_closed_keeps_nobody_from_backing_up(top, caplog):
    def closed(real, folder="", *rest):
        if not folder:
            raise NotPermitted(f"cannot list {top}/other-abcdef: Permission denied")
        return real(folder, *rest)

    manager = BackupManager(f"wrapped://{top}", plugins=[ToyDriver(db=b"x"), StoreWrapper(list=closed)])
    result = manager.create_backup("toy://h/db")
    assert result.success, result.error
    assert "what other databases' backups left is not cleared" in caplog.text


def test_a_pin_that_no_listing_shows_yet_is_taken_away_by_whoever_put_it():
    store = MemoryStore(ALL & ~Cap.STRONG_LIST)
    repository = PlainRepository(store)
    record = committed(repository)
    store.advance(timedelta(days=1))
    repository.pin(record, "for an hour")
    assert repository.unpin(record)
    assert not [name for name in store.objects() if ".pin-" in name]
    assert not repository.unpin(record)
