"""Another layout than dumpty's own: a plugin's repository serves every verb of the manager."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from support.toys import ToyDriver

from dumpty import (
    Annotations,
    BackupManager,
    IntegrityError,
    ListedBackup,
    MissingFile,
    Pinned,
    PluginError,
    PluginInfo,
    Presence,
    Removal,
    RepositoryListing,
    StoreError,
    UnknownBackup,
    hookimpl,
)

DATA = b"a dump of some kind" * 1000


class PooledTransaction:
    """Uploads go into a pool under the digest of their bytes, so what is there already is not stored again."""

    def __init__(self, repository, record_id):
        self._repository = repository
        self._record_id = record_id
        self._buffers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._buffers.clear()

    def name(self, ending):
        return f"{self._record_id}{ending}"

    def upload(self, ending, expected=None):
        self._buffers[self.name(ending)] = upload = PooledUpload()
        return upload

    def complete(self, ending):
        assert self.name(ending) in self._buffers  # it stays in memory: nothing is gained by less of it

    def commit(self, record):
        if self._repository.full:
            raise StoreError("the pool is full")
        for name, upload in self._buffers.items():
            data = upload.getvalue()
            digest = hashlib.sha256(data).hexdigest()
            self._repository.pool[digest] = data
            self._repository.names[name] = digest
        self._repository.records[record.id] = record
        return record


class PooledUpload(io.BytesIO):
    def commit(self):
        raise AssertionError("an upload is committed with its transaction")

    def abort(self):
        raise AssertionError("an upload is dropped with its transaction")


class PooledRepository:
    """A repository of a layout of its own, in memory."""

    def __init__(self):
        self.pool, self.names, self.records, self.proofs, self.pins = {}, {}, {}, {}, {}
        self.accepted = {}
        self.full = False

    def transaction(self, *, record_id, database, identity, started):
        return PooledTransaction(self, record_id)

    def open(self, name, offset=0):
        try:
            return io.BytesIO(self.pool[self.names[name]][offset:])
        except KeyError:
            raise MissingFile(f"{name} is not in the pool") from None

    def local_path(self, name):
        return None

    def locate(self, name):
        return f"pool:{name}"

    @contextlib.contextmanager
    def workspace(self):
        with tempfile.TemporaryDirectory() as path:
            yield Path(path)

    def listing(self):
        return RepositoryListing(
            backups=tuple(map(self.look_up, sorted(self.records.values(), key=lambda r: r.started)))
        )

    def candidates(self, *, database="", identity=""):
        return self.listing().candidates()

    def get(self, record_id):
        if record_id not in self.records:
            raise UnknownBackup(f"no backup has the id {record_id!r}")
        return self.records[record_id]

    def look_up(self, record):
        lost = any(self.names.get(o.name) not in self.pool for o in record.objects)
        presence = Presence(state="lost", reason="its data is not in the pool") if lost else Presence()
        annotations = Annotations(
            proofs=tuple(self.proofs.get(record.id, ())),
            pinned=self.pins.get(record.id, ""),
            accepted=self.accepted.get(record.id, ""),
        )
        return ListedBackup(record=self.get(record.id), presence=presence, annotations=annotations)

    def reading(self, record):
        return contextlib.nullcontext()

    def clear(self):
        pass

    def add_proof(self, record, proof):
        self.proofs.setdefault(record.id, []).append(replace(proof, exception=None))
        return proof

    def pin(self, record, reason=""):
        self.pins[record.id] = reason or "pinned"

    def unpin(self, record):
        return bool(self.pins.pop(record.id, ""))

    def accept(self, record, reason=""):
        self.accepted[record.id] = reason or "by somebody"

    def remove(self, choose):
        chosen = set(choose(self.listing().backups))
        kept = {record_id: f"it is pinned {self.pins[record_id]}" for record_id in chosen & self.pins.keys()}
        for record_id in chosen - kept.keys():
            del self.records[record_id]
        return Removal(removed=tuple(chosen - kept.keys()), kept=kept)


class PoolPlugin:
    name = "pool"

    def __init__(self, repository=None):
        self.repository = repository or PooledRepository()

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("pool",))

    @hookimpl
    def open_repository(self, url):
        return self.repository


@pytest.fixture
def pool():
    return PooledRepository()


@pytest.fixture
def manager(pool):
    return BackupManager("pool://here", plugins=[ToyDriver(db=DATA, other=DATA), PoolPlugin(pool)])


def test_every_verb_works_on_a_layout_of_a_plugins_own(manager, pool):
    result = manager.create_backup("toy://h/db")
    assert result.success, result.error
    assert result.backup.file_path == f"pool:{result.backup.id}.sql.gz"
    assert manager.list_backups() == [result.backup]
    assert manager.find("latest:db") == result.backup
    assert manager.verify(result.backup.id).verification_status.proven.level == "digest"
    assert manager.restore(result.backup.id, "toy://h/new").success
    assert manager.pin(result.backup.id, "for ever").pinned == "for ever"
    with pytest.raises(Pinned):
        manager.remove(result.backup.id)
    assert manager.unpin(result.backup.id)
    assert manager.remove(result.backup.id)
    assert manager.list_backups() == []


def test_what_a_layout_shares_between_backups_is_stored_once(manager, pool):
    assert all(manager.create_backup(f"toy://h/{name}").success for name in ("db", "other"))
    assert (len(pool.records), len(pool.pool)) == (2, 1)


def test_a_commit_that_fails_is_a_failed_backup_and_the_older_ones_stand(manager, pool):
    first = manager.create_backup("toy://h/db").backup
    pool.full = True
    result = manager.create_backup("toy://h/db")
    assert not result.success
    assert "the pool is full" in result.error
    assert manager.list_backups() == [first]


def test_what_was_altered_in_a_foreign_layout_is_found(manager, pool):
    backup = manager.create_backup("toy://h/db").backup
    [digest] = pool.pool
    pool.pool[digest] = pool.pool[digest][:-1] + b"!"
    assert "altered or damaged" in manager.restore(backup.id, "toy://h/new").error
    pool.pool.clear()
    assert manager.get_backup(backup.id).state == "lost"
    assert not manager.restore(backup.id, "toy://h/new").success


def test_a_proof_that_failed_fails_whatever_the_repository_keeps_of_it(manager, pool, monkeypatch):
    backup = manager.create_backup("toy://h/db").backup
    [digest] = pool.pool
    pool.pool[digest] = pool.pool[digest][:-1] + b"!"
    add_proof = pool.add_proof
    monkeypatch.setattr(pool, "add_proof", lambda record, proof: replace(add_proof(record, proof), exception=None))
    with pytest.raises(IntegrityError):
        manager.verify(backup.id)
    [verification] = manager.verify_many([backup.id])
    assert isinstance(verification.exception, IntegrityError)


def test_a_repository_that_lacks_a_method_is_refused_when_it_is_opened(pool):
    partial = SimpleNamespace(**{n: getattr(pool, n) for n in dir(pool) if not n.startswith("_") and n != "pin"})
    with pytest.raises(PluginError, match=r"returned SimpleNamespace from open_repository, not an object with .*pin"):
        BackupManager("pool://here", plugins=[PoolPlugin(partial)])


def test_a_plugin_that_returns_no_repository_is_named():
    with pytest.raises(PluginError, match=r"plugin 'pool'.* returned object from open_repository"):
        BackupManager("pool://here", plugins=[PoolPlugin(object())])
