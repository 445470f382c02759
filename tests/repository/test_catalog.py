"""The listing of a backup directory: rebuilt from its manifests, kept whole by removals that fail and by many at once."""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import StoreWrapper, ToyDriver, open_directory, python

from dumpty import (
    BackupManager,
    DatabaseBackup,
    InvalidName,
    Locked,
    ManifestError,
    MissingFile,
    StoreError,
    UnknownBackup,
)
from dumpty.repository.catalog import Catalog
from dumpty.repository.named import NamedCatalog
from dumpty.repository.names import slug, valid_name
from dumpty.repository.recovery import clean
from dumpty.repository.sealed import seal


@pytest.fixture
def top(tmp_path):
    return tmp_path / "dir"


def manager(top, **replaced):
    driver = ToyDriver(db=b"one", other=b"two")
    if replaced:
        return BackupManager(f"wrapped://{top}", plugins=[driver, StoreWrapper(**replaced)])
    return BackupManager(str(top), plugins=[driver])


def made(facade, count=1):
    results = [facade.create_backup("toy://h/db") for _ in range(count)]
    assert all(r.success for r in results), results
    return [r.backup for r in results]


def ids(backups):
    return [b.id for b in backups]


def visible(top):
    return sorted(n for n in os.listdir(top) if not n.startswith("."))


def full(*_):
    raise StoreError("cannot do it: Input/output error")


# -- names -------------------------------------------------------------------------------------------------------


@given(st.text(st.characters()))
def test_a_slug_is_a_short_file_name_whatever_the_text(text):
    made = slug(text)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", made)
    assert not made.startswith((".", "-"))


def test_the_names_of_a_backup_tell_database_time_and_id():
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    name = Catalog(None).stem("6f1c8f4e-1111-4000-8000-000000000001", "my shop/ä", moment)
    assert name == "my_shop-20260102T030405Z-6f1c8f4e1111"


@pytest.mark.parametrize("name", ["daily", "a b", "ünï", "🙂", "2026-01-01", "a.b", ".hidden", "-x", "con", "x" * 200])
def test_a_name_may_be_any_text_on_one_line(name):
    assert valid_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"), (" \t ", "is empty"), ("x" * 201, "longer than 200"), ("a/b", "separator"), ("a\\b", "separator"),
        ("..", "'..'"), ("a..b", "'..'"), (".", "'.'"), ("a\0", "control"), ("a\nb", "control"), ("\x7f", "control"), ("a\u2028", "control"),
        ("a\ud800", "control"), ("backup_manifest.json", "reserved"), ("BACKUP_Manifest.JSON", "reserved"),
    ],
)  # fmt: skip
def test_a_name_that_could_reach_further_is_refused_in_one_line(name, problem):
    with pytest.raises(InvalidName, match=problem) as caught:
        valid_name(name)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [None, 7, b"x"])
def test_a_name_that_is_no_text_is_a_type_error(name):
    with pytest.raises(TypeError, match=type(name).__name__):
        valid_name(name)


# -- listing and finding -----------------------------------------------------------------------------------------


def test_backups_are_listed_oldest_first_and_found_by_id_or_its_beginning(top):
    facade = manager(top)
    backups = made(facade, 3)
    assert ids(manager(top).list_backups()) == ids(backups)
    assert facade.find("latest") == backups[-1]
    for backup in backups:
        assert facade.find(backup.id) == facade.find(backup.id[:13]) == facade.get_backup(backup.id) == backup
    assert facade.get_backup(backups[0].id[:13]) is None


@pytest.mark.parametrize("query", ["nothing", "", "latest"])
def test_a_backup_that_is_not_there_is_unknown_and_the_text_says_where(top, query):
    with pytest.raises(UnknownBackup, match=f"no backup '{query}' in {top}; dumpty list shows"):
        manager(top).find(query)


def test_an_ambiguous_beginning_says_how_many(top):
    facade = manager(top)
    made(facade, 17)  # of sixteen first digits, one comes twice
    firsts = [i[0] for i in ids(facade.list_backups())]
    twice = next(f for f in firsts if firsts.count(f) > 1)
    with pytest.raises(UnknownBackup, match=f"{firsts.count(twice)} backups .* begin with '{twice}'; give more"):
        facade.find(twice)


def manifests(top):
    return sorted(p for p in top.iterdir() if p.name.endswith(".manifest.json"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"dumpty_manifest": 7}', None])
def test_one_damaged_manifest_is_reported_and_hides_no_other(top, content, caplog):
    facade = manager(top)
    backups = made(facade, 2)
    (path,) = [p for p in manifests(top) if backups[0].id.replace("-", "")[:12] in p.name]
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)
    assert ids(facade.list_backups()) == [backups[1].id]
    (problem,) = facade.listing().problems
    assert path.name in str(problem)
    assert path.name in caplog.text
    with pytest.raises(UnknownBackup, match="1 manifests there are damaged"):
        facade.find(backups[0].id)
    assert "damaged" in facade.restore(backups[0].id, "toy://h/x").error
    made(facade)
    assert os.path.exists(backups[0].file_path), "what a damaged manifest stands for is not cleared away"
    if content is not None:
        assert path.read_bytes() == content


def test_a_manifest_under_another_backups_name_is_damaged(top):
    facade = manager(top)
    made(facade, 2)
    first, second = manifests(top)
    second.write_bytes(first.read_bytes())
    assert len(facade.list_backups()) == 1
    assert "it belongs to" in str(facade.listing().problems[0])


def test_files_of_others_are_neither_listed_nor_touched(top):
    facade = manager(top)
    made(facade)
    foreign_files = {
        "notes.txt": b"1",
        "x.sql": b"2",
        f"x.{'a' * 32}.sql": b"3",
        "x.removed": b"4",
        "x.pending": b"5",
        "film.part": b"6",
    }
    foreign_files["shop-20260101T000000Z-0123456789ab.sql.gz"] = b"of a manifest that was lost"
    for name, data in foreign_files.items():
        (top / name).write_bytes(data)
    made(facade)
    assert len(facade.list_backups()) == 2
    assert {n: (top / n).read_bytes() for n in foreign_files} == foreign_files


def test_a_clock_that_jumps_back_loses_nothing(top, monkeypatch):
    facade = manager(top)
    moments = iter([datetime(2026, 3, 29, 3, 0, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)])

    class Clock(datetime):
        current = None

        @classmethod
        def now(cls, tz=None):
            return cls.current

    monkeypatch.setattr("dumpty.operations.backup.datetime", Clock)
    backups = []
    for moment in moments:
        Clock.current = moment
        backups += made(facade)
    assert ids(facade.list_backups()) == ids(reversed(backups))
    assert {b.timestamp for b in facade.list_backups()} == {b.timestamp for b in backups}
    for backup in backups:
        assert facade.verify(backup.id)


# -- removing ----------------------------------------------------------------------------------------------------


def test_a_removed_backup_is_gone_with_its_data_and_no_other(top):
    facade = manager(top)
    first, second = made(facade, 2)
    facade.remove(first.id)
    assert ids(facade.list_backups()) == [second.id]
    assert len(visible(top)) == 2
    with pytest.raises(UnknownBackup):
        facade.remove(first.id)


@pytest.mark.parametrize(("method", "part"), [("rename", ".sql.gz"), ("delete", ".manifest.json")])
def test_a_removal_that_fails_keeps_the_backup_whole(top, method, part):
    (backup,) = made(manager(top))

    def fails(real, name, *arguments):
        return full() if name.endswith(part) else real(name, *arguments)

    with pytest.raises(StoreError, match="Input/output"):
        manager(top, **{method: fails}).remove(backup.id)
    assert manager(top).verify(backup.id)


def test_data_that_cannot_be_removed_after_its_manifest_goes_with_the_next_backup(top):
    facade = manager(top)
    (backup,) = made(facade)
    manager(top, delete=lambda real, name: full() if name.endswith(".removed") else real(name)).remove(backup.id)
    assert facade.list_backups() == []
    assert len(visible(top)) == 1
    made(facade)
    assert len(visible(top)) == 2


def test_a_backup_whose_data_is_gone_can_still_be_removed(top):
    facade = manager(top)
    (backup,) = made(facade)
    os.unlink(backup.file_path)
    facade.remove(backup.id)
    assert visible(top) == []


# -- NamedCatalog ------------------------------------------------------------------------------------------------


def entry(catalog, title, moment=None, **changes):
    return {
        "name": title, "timestamp": (moment or datetime.now(UTC)).isoformat(), "database_name": "d", "format": "sqlite",
        "size_bytes": 1, "file": catalog.transaction(title).name(".db"), "source": "s", "checksum": "c" * 64,
        "evidence": {"objects": [], "snapshot": None, "consistent": True, "versions": {}, "notes": [], "properties": {}},
    } | changes  # fmt: skip


def put(catalog, store, name, **changes):
    new = entry(catalog, name, **{"size_bytes": len(name.encode()), **changes})
    upload = store.create(new["file"])
    upload.write(name.encode())
    upload.commit()
    with catalog.committing(new["file"]):
        catalog.publish(new)
    return new


class ReplacedStore:
    """A store of which some methods are replaced."""

    def __init__(self, store, **replaced):
        self.store = store
        self.replaced = replaced

    def __getattr__(self, name):
        real = getattr(self.store, name)
        return (lambda *a: self.replaced[name](real, *a)) if name in self.replaced else real


@pytest.fixture
def store(top):
    return open_directory(top)


@pytest.fixture
def named(store):
    return NamedCatalog(store)


def test_a_name_taken_again_replaces_the_entry_and_its_data(top, store, named):
    put(named, store, "a")
    put(named, store, "b")
    new = put(named, store, "a")
    assert [e["name"] for e in named.entries()] == ["b", "a"]
    assert new["file"] in visible(top)
    assert len(visible(top)) == 3


def test_a_replacement_that_cannot_be_recorded_keeps_the_old_and_removes_the_new(top, store, named):
    old = put(named, store, "a")

    def create(real, name):
        return full() if name == NamedCatalog.MANIFEST else real(name)

    with pytest.raises(StoreError, match="Input/output"):
        put(NamedCatalog(ReplacedStore(store, create=create)), ReplacedStore(store, create=create), "a")
    assert named.entries() == [old]
    assert visible(top) == sorted([old["file"], NamedCatalog.MANIFEST])


def test_old_data_that_cannot_go_is_no_failure_of_the_new_backup(store, named):
    put(named, store, "a")
    new = put(NamedCatalog(ReplacedStore(store, rename=full)), store, "a")
    assert named.entries() == [new]


def test_an_entry_whose_file_cannot_be_removed_is_kept_and_the_others_go(top, store, named):
    _, two, three = (put(named, store, n) for n in "abc")

    def rename(real, name, new):
        return full() if name == two["file"] else real(name, new)

    with pytest.raises(StoreError, match=r"removed 1 backups, but 1 could not be removed: .*Input/output"):
        NamedCatalog(ReplacedStore(store, rename=rename)).remove(
            lambda entries: [e for e in entries if e["name"] in "ab"]
        )
    assert named.entries() == [two, three]
    assert visible(top) == sorted([two["file"], three["file"], NamedCatalog.MANIFEST])


def test_a_removal_that_cannot_be_recorded_gives_everything_back(top, store, named):
    made = [put(named, store, n) for n in "ab"]
    before = visible(top)
    with pytest.raises(StoreError):
        NamedCatalog(ReplacedStore(store, create=full)).remove(lambda entries: entries)
    assert named.entries() == made
    assert visible(top) == before


def test_choosing_nothing_writes_nothing(store, named):
    put(named, store, "a")
    assert NamedCatalog(ReplacedStore(store, create=full)).remove(lambda entries: []) == 0


DAMAGED = [
    b"", b"{", b"null", b'{"backups": []}', json.dumps({"dumpty_manifest": 2, "backups": []}).encode(), seal({}), seal({"backups": {}}),
    seal({"backups": [1]}), seal({"backups": [{}]}),
]  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_or_newer_manifest_is_an_error_and_is_never_overwritten(top, store, data):
    path = top / NamedCatalog.MANIFEST
    path.write_bytes(data)
    kept = top / f"a.{'0' * 32}.db"
    kept.write_bytes(b"kept")
    with pytest.raises(ManifestError, match=r"backup_manifest\.json"):
        DatabaseBackup(str(top))
    named = NamedCatalog(store)
    with pytest.raises(ManifestError):
        put(named, store, "new")
    with pytest.raises(ManifestError):
        named.remove(lambda entries: entries)
    clean(store)
    assert path.read_bytes() == data
    assert kept.read_bytes() == b"kept"


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../x"}, {"file": "/etc/passwd"}, {"file": ""}, {"file": None}, {"file": 7}, {"name": 7}, {"timestamp": "today"},
        {"timestamp": "2026-01-01T00:00:00"}, {"timestamp": 7}, {"size_bytes": "1"}, {"evidence": {}}, {"evidence": None}, {"checksum": None},
    ],
)  # fmt: skip
def test_an_entry_that_is_not_ours_is_damage(top, store, named, changes):
    (top / NamedCatalog.MANIFEST).write_bytes(seal({"backups": [entry(named, "a", **changes)]}))
    with pytest.raises(ManifestError, match="is damaged"):
        named.entries()


def test_the_two_facades_in_one_directory_leave_each_other_alone(top, store, named):
    facade = manager(top)
    trap = "shop-20260101T000000Z-0123456789ab"
    first = [put(named, store, trap), put(named, store, "daily")]
    backups = made(facade, 2)
    for step in (
        lambda: clean(store),
        lambda: facade.remove(backups[0].id),
        lambda: put(named, store, "daily"),
        lambda: made(facade),
    ):
        step()
        names = [e["name"] for e in named.entries()]
        assert names == [trap, "daily"]
        assert backups[1].id in ids(facade.list_backups())
        assert facade.verify(backups[1].id)
        assert set(visible(top)) >= {e["file"] for e in named.entries()}
    assert first[0] in named.entries()
    assert named.remove(lambda entries: entries) == 2
    assert ids(facade.list_backups())[0] == backups[1].id
    for backup in facade.list_backups():
        facade.verify(backup.id)
        facade.remove(backup.id)
    assert visible(top) == [NamedCatalog.MANIFEST]


# -- several at once ---------------------------------------------------------------------------------------------


def test_threads_that_write_at_once_lose_no_entry(top):
    facade = manager(top)
    errors = []

    def work(n):
        try:
            for k in range(2):
                store = open_directory(top)
                put(NamedCatalog(store), store, f"{n}-{k}")
                made(facade)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert {e["name"] for e in NamedCatalog(open_directory(top)).entries()} == {
        f"{n}-{k}" for n in range(4) for k in range(2)
    }
    assert len(facade.list_backups()) == 8
    assert len(visible(top)) == 8 + 1 + 16


PROCESS = """
import sys
from repository.test_catalog import put
from support.toys import open_directory
from dumpty.repository.named import NamedCatalog
from dumpty.repository.recovery import clean
store = open_directory(sys.argv[1])
for k in range(5):
    clean(store)
    put(NamedCatalog(store), store, f"{sys.argv[2]}-{k}")
"""


def test_processes_that_write_at_once_lose_no_entry(top, named):
    threads = [threading.Thread(target=python, args=(PROCESS, top, n)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(named.entries()) == 15
    assert len(visible(top)) == 16


def test_a_directory_that_is_locked_is_an_error_that_names_the_holder(top, store):
    catalog = Catalog(open_directory(top, lock_timeout=0.05))
    with store.lock("catalog"), pytest.raises(Locked, match=f"locked by process {os.getpid()}"):
        catalog.committing("x").__enter__()


def test_an_error_while_tidying_releases_every_lock(top, store):
    python("import os, sys; from support.toys import *; s = open_directory(sys.argv[1]); u = s.create(sys.argv[2] + '.pending'); os._exit(9)",
           top, "x-20260101T000000Z-0123456789ab.sql", check=False)  # fmt: skip
    (top / "x-20260101T000000Z-0123456789ab.sql").write_bytes(b"orphan")
    kept = None
    try:
        clean(ReplacedStore(store, delete=full))
    except StoreError as error:
        kept = error  # with its traceback
    assert kept is not None
    for name in ("parts", "catalog"):
        with open_directory(top, lock_timeout=0.05).lock(name):
            pass
    clean(store)
    assert visible(top) == []


def test_an_object_that_another_run_removed_meanwhile_is_not_missed(top):
    facade = manager(top)
    made(facade)
    (manifest,) = manifests(top)

    def read(real, name, offset=0):
        if name == manifest.name:
            raise MissingFile("it is gone")
        return real(name, offset)

    assert manager(top, open=read).list_backups() == []
    assert manager(top, open=read).listing().problems == []


def test_prune_takes_each_sources_oldest_and_whatever_is_too_old(top, store, named):
    now = datetime.now(UTC)
    for n in range(4):
        put(named, store, f"a{n}", moment=now - timedelta(days=n), source="a")
        put(named, store, f"b{n}", moment=now - timedelta(days=n * 10), source="b")
    facade = DatabaseBackup(str(top))
    assert facade.prune(15, 3) == 3
    assert {b.name for b in facade.list_backups()} == {"a0", "a1", "a2", "b0", "b1"}
    assert facade.prune(10**9, 10) == 0
    assert facade.prune(0, 0) == 5
