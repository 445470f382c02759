"""What looking at a repository elsewhere costs, in calls to its store, and what is remembered from one look to the next."""

from __future__ import annotations

import itertools
import os
import sqlite3
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.toys import ToyDriver

from dumpty import BackupManager, PluginInfo, UnknownBackup, hookimpl
from dumpty.operations import backup as backup_operation
from dumpty.repository import manifest
from dumpty.repository.protocol.layout import MANIFEST, new_stem
from dumpty.repository.retention import Rules
from dumpty.testing import MemoryStore


class MemoryPlugin:
    """The store ``memory://…``: one that the test has in hand."""

    name = "memory"

    def __init__(self, store) -> None:
        self._store = store

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("memory",))

    @hookimpl
    def open_store(self):
        return self._store


@pytest.fixture(autouse=True)
def cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dumpty"


class RememberingStore(MemoryStore):
    """A store that knows which objects were read."""

    def __init__(self) -> None:
        super().__init__()
        self.got = []

    def get(self, name):
        self.got.append(name)
        return super().get(name)


@pytest.fixture
def store():
    return RememberingStore()


def opened(store):
    """Open the repository as a new process would."""
    driver = ToyDriver(shop=b"shop", stock=b"stock", other=b"other")
    return BackupManager("memory://here", plugins=[driver, MemoryPlugin(store)])


class Clock(datetime):
    """Each look at it is a second later."""

    moments = itertools.count(1_795_000_000)

    @classmethod
    def now(cls, tz):
        return datetime.fromtimestamp(next(cls.moments), tz)


def backed_up(store, *databases, clock=Clock):
    """Back databases up, a second or two apart, and forget what making them cost."""
    manager = opened(store)
    backups = []
    for name in databases:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backup_operation, "datetime", clock)
            result = manager.create_backup(f"toy://h/{name}")
        assert result.success, result.error
        backups.append(result.backup)
    store.calls.clear()
    store.got.clear()
    return backups


def proved(store, backups):
    manager = opened(store)
    for backup in backups:
        manager.verify(backup.id)
    store.calls.clear()


# -- selecting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["latest", "latest:stock", "{id}", "{start}"])
def test_one_backup_is_found_by_one_listing_and_one_manifest_however_many_there_are(store, query):
    *_, wanted, _ = backups = backed_up(store, *["shop", "stock"] * 5, "stock", "shop")
    if query == "latest":
        wanted = backups[-1]
    found = opened(store).find(query.format(id=wanted.id, start=wanted.id[:13]))
    assert found.id == wanted.id
    assert store.calls == {"list": 1, "get": 1}


def test_a_backup_is_looked_up_by_its_whole_id_at_the_same_price(store):
    backups = backed_up(store, *["shop"] * 8)
    assert opened(store).get_backup(backups[3].id).id == backups[3].id
    assert store.calls == {"list": 1, "get": 1}
    assert opened(store).get_backup(backups[3].id[:13]) is None


def test_the_latest_of_those_that_began_in_one_second_is_the_last_of_them(store):
    class Slow(Clock):
        moments = (1_795_000_000 + number / 1000 for number in itertools.count())

    backups = backed_up(store, *["shop"] * 12, clock=Slow)
    assert opened(store).find("latest").id == backups[-1].id


def test_the_latest_of_all_databases_that_there_are_is_refused_after_a_manifest_of_each(store):
    backed_up(store, *["shop", "stock", "other"] * 4)
    with pytest.raises(LookupError, match="could be a backup of 3 databases"):
        opened(store).find("latest", alone=True)
    assert store.calls == {"list": 1, "get": 3}


def test_a_backup_is_shown_with_its_proofs_in_few_calls(store):
    backups = backed_up(store, *["shop"] * 6)
    proved(store, [backups[-1], backups[-1]])
    assert len(opened(store).find("latest").proofs) == 2
    assert store.calls.total() <= 6


def test_the_newest_that_is_verified_is_found_past_newer_ones(store):
    backups = backed_up(store, *["shop"] * 4)
    proved(store, [backups[1]])
    assert opened(store).find("latest-verified").id == backups[1].id


def test_a_newer_manifest_that_cannot_be_read_is_passed_over_and_said(store, caplog):
    backups = backed_up(store, "shop", "shop")
    [name] = [n for n in store.objects() if n.endswith(".manifest.json") and backups[1].id[:8] in n]
    store.put(name, b"{ damaged", new=False)
    assert opened(store).find("latest").id == backups[0].id
    assert "could be the one that latest means" in caplog.text


def test_of_one_database_the_latest_that_was_made_of_a_url_is_found_behind_those_of_another(store):
    manager = opened(store)
    first = manager.create_backup("toy://h/shop?user=a").backup
    assert manager.create_backup("toy://h/shop?user=b").success
    assert opened(store).find("latest", source="toy://h/shop?user=a").id == first.id


# -- remembering -----------------------------------------------------------------------------------------------------


def test_a_list_reads_only_what_this_machine_has_not_read_before(store):
    backups = backed_up(store, *["shop"] * 10)
    assert len(opened(store).list_backups()) == 10
    assert store.calls == {"list": 1, "get": 10}
    store.calls.clear()

    again = opened(store).list_backups()
    assert [b.id for b in again] == [b.id for b in backups]
    assert store.calls == {"list": 1}

    backed_up(store, "stock")
    assert len(opened(store).list_backups()) == 11
    assert store.calls == {"list": 1, "get": 1}


def test_proofs_and_pins_are_remembered_too(store):
    [backup] = backed_up(store, "shop")
    proved(store, [backup])
    opened(store).pin(backup.id, "why")
    opened(store).list_backups()
    store.calls.clear()
    [listed] = opened(store).list_backups()
    assert len(listed.proofs) == 1
    assert "why" in listed.pinned
    assert store.calls == {"list": 1}


def test_what_is_gone_is_forgotten(store, cache_directory):
    backups = backed_up(store, *["shop"] * 3)
    opened(store).list_backups()
    opened(store).remove(backups[0].id)
    opened(store).list_backups()
    [file] = cache_directory.iterdir()
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*) FROM objects").fetchone() == (2,)
    database.close()


def test_a_manifest_of_the_same_name_that_is_another_object_is_read_again(store):
    backed_up(store, "shop")
    opened(store).list_backups()
    [name] = [n for n in store.objects() if n.endswith(".manifest.json")]
    store.put(name, b"{ damaged", new=False)
    assert opened(store).list_backups() == []


def test_a_verification_goes_past_what_is_remembered(store):
    [backup] = backed_up(store, "shop")
    opened(store).list_backups()
    [name] = [n for n in store.objects() if n.endswith(".manifest.json")]
    tag = store.stat(name).tag
    store._objects[name] = (b"{ rotten", store.stat(name))
    assert store.stat(name).tag == tag
    assert len(opened(store).list_backups()) == 1
    with pytest.raises(UnknownBackup, match="manifests there are damaged"):
        opened(store).verify(backup.id)


@pytest.mark.parametrize("remembered", [False, True])
def test_verifying_everything_reads_each_manifest_once(store, remembered):
    backed_up(store, *["shop"] * 10)
    if remembered:
        opened(store).list_backups()
        store.got.clear()
    manager = opened(store)
    for backup in manager.list_backups():
        manager.verify(backup.id)
    names = [name for name in store.got if name.endswith(".manifest.json")]
    assert len(names) == len(set(names)) == 10


@pytest.mark.parametrize("remembered", [False, True])
def test_verify_many_reads_each_manifest_once_and_lists_once(store, remembered):
    backups = backed_up(store, *["shop", "stock"] * 5)
    if remembered:
        opened(store).list_backups()
        store.got.clear()
        store.calls.clear()
    verified = opened(store).verify_many()
    assert [(v.backup_id, v.ok) for v in verified] == [(b.id, True) for b in backups]
    names = [name for name in store.got if name.endswith(".manifest.json")]
    assert len(names) == len(set(names)) == 10


def test_removing_nine_tenths_of_many_backups_takes_few_calls(store):
    backed_up(store, *["shop", "stock"] * 50)
    opened(store).list_backups()
    store.calls.clear()
    pruning = opened(store).prune(Rules(keep=5))
    assert len(pruning.removed) == 90
    assert store.calls.total() < 60
    assert len(opened(store).list_backups()) == 10


def thousand_times(store, backup):
    """Put as many backups beside a real one, each begun a minute after the one before; return the last one's id."""
    [name] = [n for n in store.objects() if n.endswith(".manifest.json")]
    record = manifest.decode(store.get(name), name)
    folder, data = name.partition("/")[0], store.get(record.objects[0].name)
    for number in range(1, 1000):
        started, record_id = record.started + timedelta(minutes=number), str(uuid.UUID(int=number << 64))
        stem = new_stem(folder, started, record_id)
        objects = (replace(record.objects[0], name=stem + ".sql.gz"),)
        made = replace(record, id=record_id, started=started, ended=started, objects=objects)
        store.put(stem + ".sql.gz", data)
        store.put(stem + MANIFEST, manifest.encode(made))
    return made.id


def test_a_thousand_backups_are_listed_shown_and_pruned_in_few_calls_one_after_the_other(store):
    [first] = backed_up(store, "shop")
    last_id = thousand_times(store, first)
    store.calls.clear()
    assert opened(store).find("latest").id == last_id
    assert store.calls == {"list": 1, "get": 1}
    assert len(opened(store).list_backups()) == 1000
    assert store.calls == {"list": 2, "get": 1000}, "which are asked for sixteen at a time, and never again"
    store.calls.clear()
    assert len(opened(store).list_backups()) == 1000
    assert store.calls == {"list": 1}
    store.calls.clear()
    assert len(opened(store).prune(Rules(keep=100)).removed) == 900
    assert store.calls.total() < 60
    assert [b.id for b in opened(store).list_backups()][-1] == last_id


# -- what is wrong with the memory is no error -------------------------------------------------------------------------


def spoil_content(directory):
    [file] = directory.iterdir()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE objects SET content = ?", (b"{ damaged",))
    database.close()


def spoil_type(directory):
    [file] = directory.iterdir()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE objects SET content = 'text'")
    database.close()


def spoil_file(directory):
    [file] = directory.iterdir()
    file.write_bytes(b"no database" * 500)


def other_table(directory):
    [file] = directory.iterdir()
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE objects (x)")
    database.close()


def file_in_its_place(directory):
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    directory.write_text("a file")


def link_in_its_place(directory):
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to(directory.with_name("elsewhere"))


@pytest.mark.parametrize(
    "spoil", [spoil_content, spoil_type, spoil_file, other_table, file_in_its_place, link_in_its_place]
)
def test_a_memory_that_is_damaged_costs_time_and_nothing_else(store, cache_directory, spoil):
    backups = backed_up(store, *["shop"] * 3)
    opened(store).list_backups()
    spoil(cache_directory)
    for _ in range(2):
        store.calls.clear()
        assert [b.id for b in opened(store).list_backups()] == [b.id for b in backups]
    assert store.calls["get"] == (0 if spoil in {spoil_content, spoil_type, spoil_file} else 3)


def test_an_account_without_a_home_remembers_nothing(store, monkeypatch):
    backups = backed_up(store, "shop")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert [b.id for b in opened(store).list_backups()] == [backups[0].id]
    assert not os.path.exists("nowhere")


def test_a_directory_of_this_machine_is_read_and_nothing_is_remembered(tmp_path, cache_directory):
    manager = BackupManager(str(tmp_path / "here"), plugins=[ToyDriver(shop=b"shop")])
    assert manager.create_backup("toy://h/shop").success
    assert len(manager.list_backups()) == 1
    assert not cache_directory.exists()


def test_the_memory_is_its_owners_alone(store, cache_directory):
    backed_up(store, "shop")
    opened(store).list_backups()
    assert Path(cache_directory).stat().st_mode & 0o077 == 0
