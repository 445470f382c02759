"""Named backups: one manifest under the directory's lock, kept whole by whatever fails, ends, or works beside it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from support.toys import ToyDriver, open_directory, python

from dumpty import BackupManager, DatabaseBackup, IntegrityError, Locked, ManifestError, StoreError
from dumpty.repository import named_marks
from dumpty.repository.directory_lock import DirectoryLock
from dumpty.repository.named import NamedCatalog
from dumpty.repository.protocol import process_identity
from dumpty.repository.sealed import seal
from dumpty.testing.memory_store import MemoryStore

HEX = "0123456789abcdef" * 2


@pytest.fixture
def top(tmp_path):
    path = tmp_path / "dir"
    path.mkdir()
    return path


@pytest.fixture
def store(top):
    return open_directory(top)


@pytest.fixture
def named(top, store):
    return NamedCatalog(store, str(top))


def entry(title, moment=None, **changes):
    return {
        "name": title, "timestamp": (moment or datetime.now(UTC)).isoformat(), "database_name": "d", "format": "sqlite",
        "size_bytes": len(title.encode()), "file": f"{title}.{HEX}.db", "source": "s", "checksum": "c" * 64,
        "evidence": {"objects": [], "snapshot": None, "consistent": True, "versions": {}, "notes": [], "properties": {}},
    } | changes  # fmt: skip


def put(catalog, name, **changes):
    with catalog.transaction(name) as tx:
        tx.upload(".db").write(name.encode())
        new = entry(name, **{"file": tx.name(".db"), **changes})
        tx.commit(new)
    return new


def visible(top):
    return sorted(n for n in os.listdir(top) if not n.startswith("."))


def full(*_, **__):
    raise StoreError("cannot do it: Input/output error")


class Killed(BaseException):
    """The process ends here."""


class ReplacedStore:
    """A store of which some methods are replaced."""

    def __init__(self, store, **replaced):
        self.store = store
        self.replaced = replaced

    def __getattr__(self, name):
        real = getattr(self.store, name)
        return (lambda *a, **k: self.replaced[name](real, *a, **k)) if name in self.replaced else real


# -- what it does ------------------------------------------------------------------------------------------------


def test_a_name_taken_again_replaces_the_entry_and_its_data(top, named):
    put(named, "a")
    put(named, "b")
    new = put(named, "a")
    assert [e["name"] for e in named.entries()] == ["b", "a"]
    assert new["file"] in visible(top)
    assert len(visible(top)) == 3


def test_a_replacement_that_cannot_be_recorded_keeps_the_old_and_removes_the_new(top, store, named):
    old = put(named, "a")

    def fails(real, name, data, *, new=True):
        return full() if name == NamedCatalog.MANIFEST else real(name, data, new=new)

    with pytest.raises(StoreError, match="Input/output"):
        put(NamedCatalog(ReplacedStore(store, put=fails), str(top)), "a")
    assert named.entries() == [old]
    assert visible(top) == sorted([old["file"], NamedCatalog.MANIFEST])


def test_old_data_that_cannot_go_is_no_failure_of_the_new_backup_and_goes_with_the_next(top, store, named, caplog):
    old = put(named, "a")
    stuck = {old["file"]}

    def delete(real, names):
        return full() if stuck & set(names) else real(names)

    new = put(NamedCatalog(ReplacedStore(store, delete=delete), str(top)), "a")
    assert named.entries() == [new]
    assert [r.event for r in caplog.records] == ["left-behind"]
    assert old["file"] in caplog.text
    assert old["file"] in visible(top)
    named.recover()
    assert visible(top) == sorted([new["file"], NamedCatalog.MANIFEST])


def test_an_entry_whose_file_cannot_be_removed_is_kept_in_its_place_and_the_others_go(top, store, named):
    one, two, three = (put(named, n) for n in "abc")

    def delete(real, names):
        return full() if one["file"] in names else real(names)

    with pytest.raises(StoreError, match=r"removed 1 backups, but 1 could not be removed: .*Input/output"):
        NamedCatalog(ReplacedStore(store, delete=delete), str(top)).remove(lambda entries: entries[:2])
    assert named.entries() == [one, three]
    assert two["file"] not in visible(top)
    assert visible(top) == sorted([one["file"], three["file"], NamedCatalog.MANIFEST])


def test_on_a_full_disk_too_an_entry_whose_file_cannot_be_removed_is_kept_and_the_others_go(top, store, named):
    one, *_ = (put(named, n) for n in "abc")

    def delete(real, names):
        return full() if one["file"] in names else real(names)

    def has_room_for_one(real, name, data, *, new=True):
        if any(n.endswith(".pending") for n in visible(top)) and name.endswith(".pending"):
            raise StoreError("no") from OSError(errno.ENOSPC, "No space left on device")
        return real(name, data, new=new)

    scarce = NamedCatalog(ReplacedStore(store, delete=delete, put=has_room_for_one), str(top))
    with pytest.raises(StoreError, match=r"removed 2 backups, but 1 could not be removed: .*Input/output"):
        scarce.remove(lambda entries: entries)
    assert named.entries() == [one]
    assert visible(top) == sorted([one["file"], NamedCatalog.MANIFEST])


def test_a_removal_that_cannot_be_recorded_changes_nothing(top, store, named):
    made = [put(named, n) for n in "ab"]
    before = visible(top)
    for concerns in (NamedCatalog.MANIFEST, ".pending"):

        def fails(real, name, data, *, new=True, concerns=concerns):
            return full() if name.endswith(concerns) else real(name, data, new=new)

        with pytest.raises(StoreError, match="Input/output"):
            NamedCatalog(ReplacedStore(store, put=fails), str(top)).remove(lambda entries: entries)
        assert named.entries() == made
        assert visible(top) == before


def test_choosing_nothing_writes_nothing(top, store, named):
    put(named, "a")
    assert NamedCatalog(ReplacedStore(store, put=full, delete=full), str(top)).remove(lambda entries: []) == 0


def test_prune_takes_each_sources_oldest_and_whatever_is_too_old(top, named):
    now = datetime.now(UTC)
    for n in range(4):
        put(named, f"a{n}", timestamp=(now - timedelta(days=n)).isoformat(), source="a")
        put(named, f"b{n}", timestamp=(now - timedelta(days=n * 10)).isoformat(), source="b")
    facade = DatabaseBackup(str(top))
    assert facade.prune(15, 3) == 3
    assert {b.name for b in facade.list_backups()} == {"a0", "a1", "a2", "b0", "b1"}
    assert facade.prune(10**9, 10) == 0
    assert facade.prune(0, 0) == 5
    assert visible(top) == [NamedCatalog.MANIFEST]


def test_an_object_that_is_not_of_the_size_that_was_written_is_no_backup(top, named):
    with pytest.raises(IntegrityError, match=r"holds 1 bytes after 7 were written"):
        put(named, "a", size_bytes=7)
    assert named.entries() == []
    assert visible(top) == [NamedCatalog.MANIFEST]


def test_a_manifest_that_reads_back_otherwise_is_no_success(top, store, named):
    old = put(named, "a")
    reads = itertools.count(1)

    def get(real, name):
        data = real(name)
        return data[:-1] if name == NamedCatalog.MANIFEST and b"c-new" in data and next(reads) == 1 else data

    with pytest.raises(ManifestError, match="reads back otherwise than it was written"):
        put(NamedCatalog(ReplacedStore(store, get=get), str(top)), "a", source="c-new")
    [current] = named.entries()
    assert current["file"] != old["file"]
    assert named.presence(current).state == "ok"
    named.recover()
    assert visible(top) == sorted([current["file"], NamedCatalog.MANIFEST])


# -- a damaged manifest ------------------------------------------------------------------------------------------

DAMAGED = [
    b"", b"{", b"null", b'{"backups": []}', json.dumps({"dumpty_manifest": 2, "backups": []}).encode(), seal({}), seal({"backups": {}}),
    seal({"backups": [1]}), seal({"backups": [{}]}), seal({"backups": [entry("a"), entry("b", file=f"a.{HEX}.db")]}),
]  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_or_newer_manifest_is_an_error_and_is_never_overwritten(top, named, data):
    path = top / NamedCatalog.MANIFEST
    path.write_bytes(data)
    kept = {f"a.{HEX}.db": b"kept", f"a.{HEX}.pending": json.dumps({"kind": "removal", "file": f"a.{HEX}.db"}).encode()}
    for name, content in kept.items():
        (top / name).write_bytes(content)
    with pytest.raises(ManifestError, match=r"backup_manifest\.json"):
        DatabaseBackup(str(top))
    for call in (lambda: put(named, "new"), lambda: named.remove(lambda entries: entries), named.recover):
        with pytest.raises(ManifestError):
            call()
    assert path.read_bytes() == data
    assert {n: (top / n).read_bytes() for n in kept} == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../x"}, {"file": "/etc/passwd"}, {"file": ""}, {"file": None}, {"file": 7}, {"name": 7}, {"timestamp": "today"},
        {"timestamp": "2026-01-01T00:00:00"}, {"timestamp": 7}, {"size_bytes": "1"}, {"evidence": {}}, {"evidence": None}, {"checksum": None},
        {"file": NamedCatalog.MANIFEST}, {"file": "shop-0123456789ab"}, {"file": f"a.{HEX}.pending"},
    ],
)  # fmt: skip
def test_an_entry_that_is_not_ours_is_damage(top, named, changes):
    (top / NamedCatalog.MANIFEST).write_bytes(seal({"backups": [entry("a", **changes)]}))
    with pytest.raises(ManifestError, match="is damaged"):
        named.entries()


def test_files_of_others_are_not_touched(top, named):
    data = f"x.{HEX}.db"
    foreign = {
        "notes.txt": b"1", "x.removed": b"2", "x.pending": b"3", data: b"of a manifest that was lost",
        f"x.{HEX[::-1]}.pending": b"{", f"y.{HEX}.pending": json.dumps({"kind": "removal", "file": data}).encode(),
        f"z.{HEX}.pending": json.dumps({"kind": "removal", "file": "../notes.txt"}).encode(),
    }  # fmt: skip
    for name, content in foreign.items():
        (top / name).write_bytes(content)
    put(named, "a")
    named.recover()
    assert named.remove(lambda entries: entries) == 1
    assert {n: (top / n).read_bytes() for n in foreign} == foreign


def test_the_two_facades_in_one_directory_leave_each_other_alone(top, named):
    manager = BackupManager(str(top), plugins=[ToyDriver(db=b"one")])

    def back_up():
        result = manager.create_backup("toy://h/db")
        assert result.success, result.error
        return result.backup

    first = put(named, "shop-20260101T000000Z-0123456789ab")
    put(named, "daily")
    backups = [back_up(), back_up()]
    for step in (named.recover, lambda: manager.remove(backups[0].id), lambda: put(named, "daily"), back_up):
        step()
        assert [e["name"] for e in named.entries()] == [first["name"], "daily"]
        assert backups[1].id in [b.id for b in manager.list_backups()]
        assert manager.verify(backups[1].id)
        assert [named.presence(e).state for e in named.entries()] == ["ok"] * 2
    assert first in named.entries()
    assert named.remove(lambda entries: entries) == 2
    for backup in manager.list_backups():
        manager.verify(backup.id)
        manager.remove(backup.id)
    assert manager.list_backups() == []
    assert NamedCatalog.MANIFEST in visible(top)


# -- whose mark it is --------------------------------------------------------------------------------------------


def mark(store, kind, file, **identity):
    content = {"kind": kind, "file": file, **named_marks.process_identity(), **identity}
    store.put(named_marks._stem(file) + ".pending", json.dumps(content).encode())


def under_way(catalog, name="a"):
    """Begin a backup and return its transaction, which goes on."""
    tx = catalog.transaction(name)
    tx.upload(".db").write(b"half")
    return tx


def test_a_backup_that_goes_on_is_left_alone_and_one_that_was_forgotten_is_not(top, named):
    tx = under_way(named)
    named.recover()
    assert [n for n in visible(top) if n.endswith(".pending")] == [tx.name(".pending")]
    del tx
    named.recover()
    assert visible(top) == [NamedCatalog.MANIFEST]


def test_what_a_process_left_that_is_gone_goes_at_once(top, store, named):
    code = (
        "import os, sys\nfrom support.toys import open_directory\nfrom dumpty.repository.named import NamedCatalog\n"
        "tx = NamedCatalog(open_directory(sys.argv[1]), sys.argv[1]).transaction('a')\n"
        "upload = tx.upload('.db')\nupload.write(b'data')\nupload.commit()\nos._exit(9)\n"
    )
    assert python(code, top, check=False).returncode == 9
    assert len(visible(top)) == 3
    named.recover()
    assert visible(top) == [NamedCatalog.MANIFEST]


@pytest.mark.parametrize("unknown", ["boot", "started"])
def test_where_a_sandbox_hides_which_process_it_is_only_age_tells(top, monkeypatch, unknown):
    """Another sandbox's living backup may look as one of this very process."""
    identity = {**named_marks.process_identity(), unknown: ""}
    for module in (named_marks, process_identity):
        monkeypatch.setattr(module, "process_identity", lambda: identity)
    store = MemoryStore()
    catalog = NamedCatalog(store, str(top))
    put(catalog, "first")
    before = set(store.objects())
    file = f"a.{HEX}.db"
    store.put(file, b"data")
    mark(store, "backup", file)
    own = under_way(catalog)
    catalog.recover()
    assert file in store.objects()
    store.advance(timedelta(days=8))
    catalog.recover()
    assert set(store.objects()) == {*before, own.name(".pending")}, "one's own is known to go on, whatever its age"


def in_a_fork(work):
    """Do ``work`` in a fork()ed child; return its result, a small number."""
    child = os.fork()
    if not child:
        status = 255
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_does_not_end_the_backup_of_its_parent(top, named):
    def leave_its_block():
        tx.__exit__(None, None, None)
        named.recover()
        return 0

    with named.transaction("a") as tx:
        upload = tx.upload(".db")
        upload.write(b"data")
        upload.commit()
        before = visible(top)
        assert in_a_fork(leave_its_block) == 0
        assert visible(top) == before


def test_what_a_parent_left_that_is_gone_is_not_its_childs(top):
    """A child that goes on, and remembers what its parent had under way, clears that away as everybody does."""
    code = (
        "import os, sys, time\nfrom support.toys import open_directory\nfrom dumpty.repository.named import NamedCatalog\n"
        "catalog = NamedCatalog(open_directory(sys.argv[1]), sys.argv[1])\n"
        "tx = catalog.transaction('a')\nupload = tx.upload('.db')\nupload.write(b'data')\nupload.commit()\n"
        "parent = os.getpid()\n"
        "if os.fork():\n    os._exit(0)\n"
        "while os.getppid() == parent:\n    time.sleep(0.01)\n"
        "catalog.recover()\nprint(len([n for n in os.listdir(sys.argv[1]) if n.startswith('a.')]))\n"
    )
    assert python(code, top).stdout == "0\n"


def test_a_recovery_waits_for_whoever_changes_the_manifest(top, store):
    file = f"a.{HEX}.db"
    store.put(file, b"data")
    mark(store, "removal", file)
    with DirectoryLock(str(top)), pytest.raises(Locked):
        NamedCatalog(store, str(top), lock_timeout=0.05).recover()
    assert file in visible(top)


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"boot": "another"}, {"pid_namespace": "another"}])
def test_a_mark_of_which_nobody_can_tell_stays_for_seven_days_of_the_stores_clock(top, elsewhere):
    store = MemoryStore()
    catalog = NamedCatalog(store, str(top))
    catalog.prepare()
    file = f"a.{HEX}.db"
    store.put(file, b"data")
    mark(store, "backup", file, **elsewhere)
    store.advance(timedelta(days=7))
    catalog.recover()
    assert file in store.objects()
    store.advance(timedelta(seconds=1))
    catalog.recover()
    assert set(store.objects()) == {NamedCatalog.MANIFEST}


def test_a_backup_that_was_taken_for_dead_by_mistake_fails_and_lists_nothing(top, monkeypatch):
    store = MemoryStore()
    catalog = NamedCatalog(store, str(top))
    old = put(catalog, "a")

    class Elsewhere:
        def __enter__(self):
            store.advance(timedelta(days=8))
            with monkeypatch.context() as other:
                other.setattr(named_marks, "process_identity", lambda: {"host": "another"})
                NamedCatalog(store, str(top)).recover()

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(catalog, "locked", Elsewhere)
    with pytest.raises(IntegrityError, match="is gone before the manifest could name it"):
        put(catalog, "a")
    assert catalog.entries() == [old]
    assert set(store.objects()) == {old["file"], NamedCatalog.MANIFEST}


# -- a manifest that is missing ----------------------------------------------------------------------------------


def committed_and_killed(catalog, name):
    """Commit a backup whose process dies before its mark goes; return its entry."""
    before = catalog.entries()
    catalog._clear = end_process
    with pytest.raises(Killed):
        put(catalog, name)
    del catalog._clear
    [new] = [e for e in catalog.entries() if e not in before]
    return new


def end_process(*_, **__):
    raise Killed


@pytest.mark.parametrize("kind", ["backup", "removal"])
@pytest.mark.parametrize("elsewhere", [{}, {"host": "another"}])
def test_what_a_mislaid_manifest_may_have_listed_is_kept_for_good_and_the_user_is_told(top, caplog, kind, elsewhere):
    store = MemoryStore()
    catalog = NamedCatalog(store, str(top))
    file = f"a.{HEX}.db"
    store.put(file, b"data")
    mark(store, kind, file, **elsewhere)
    for name in "bcb":
        catalog.recover()
        put(catalog, name)
        store.advance(timedelta(days=8))
    catalog.recover()
    assert store.objects()[file] == b"data"
    assert set(store.objects()) == {file, NamedCatalog.MANIFEST, *(e["file"] for e in catalog.entries())}
    [text] = [r.getMessage() for r in caplog.records if r.event == "manifest-missing"]
    assert f"the manifest {store.locate(NamedCatalog.MANIFEST)} is missing; {store.locate(file)}, which" in text


def test_a_backup_whose_manifest_is_mislaid_is_there_again_with_it(top, store, named):
    killed = committed_and_killed(named, "a")
    os.rename(top / NamedCatalog.MANIFEST, top.parent / "kept")
    facade = DatabaseBackup(str(top))
    for _ in range(2):
        facade.prune(0, 0)
        put(named, "b")
    os.rename(top.parent / "kept", top / NamedCatalog.MANIFEST)
    assert [(b.name, b.state) for b in facade.list_backups()] == [("a", "ok")]
    assert killed["file"] in visible(top)


def test_a_manifest_that_is_mislaid_during_a_backup_takes_no_older_one_with_it(top, store, named):
    killed = committed_and_killed(named, "a")
    with named.transaction("b") as tx:
        tx.upload(".db").write(b"b")
        (top / NamedCatalog.MANIFEST).unlink()
        new = entry("b", file=tx.name(".db"))
        tx.commit(new)
    named.recover()
    assert named.entries() == [new]
    assert visible(top) == sorted([killed["file"], new["file"], NamedCatalog.MANIFEST])


@pytest.mark.parametrize("method", ["get", "delete", "stat", "list"])
def test_where_it_cannot_be_told_what_a_mislaid_manifest_listed_none_is_written_anew(top, method):
    store = MemoryStore()
    file = f"a.{HEX}.db"
    store.put(file, b"data")
    mark(store, "backup", file)
    before = store.objects()

    def fails(real, *arguments):
        return real(*arguments) if arguments[:1] == (NamedCatalog.MANIFEST,) else full()

    catalog = NamedCatalog(ReplacedStore(store, **{method: fails}), str(top))
    for work in (catalog.recover, lambda: put(catalog, "b")):
        with pytest.raises(StoreError, match="Input/output"):
            work()
    assert store.objects() == before


# -- every call of the store, failed or the last ------------------------------------------------------------------


class FaultyStore:
    """A store whose n-th call fails, before or after it did its work; or all from then on, or all that write.

    ``full`` and ``short`` for want of space: in the latter there is some again at once.

    After ``Killed`` there is no more: whatever is called then raises it, too.
    """

    WRITING = frozenset({"put", "upload", "write", "commit"})

    def __init__(self, store, number, *, after, how):
        self.store, self.number, self.after, self.how = store, number, after, how
        self.calls = itertools.count(1)
        self.failed = False

    def call(self, method, real, *arguments, **options):
        if method in {"locate", "abort"} and not (self.failed and self.how == "killed"):
            return real(*arguments, **options)
        number = next(self.calls)
        fails = number == self.number or (
            number > self.number
            and (self.how in {"killed", "always"} or (self.how == "full" and method in self.WRITING))
        )
        if not fails:
            return real(*arguments, **options)
        first, self.failed = not self.failed, True
        if self.after and (first or self.how != "killed"):
            real(*arguments, **options)
        if self.how == "killed":
            raise Killed
        number = errno.ENOSPC if self.how in {"full", "short"} else errno.EIO
        raise StoreError(f"cannot {method} {arguments[:1]}: {os.strerror(number)}") from OSError(number, "")

    def __getattr__(self, method):
        real = getattr(self.store, method)
        if method == "upload":
            return lambda *a, **k: FaultyUpload(self, self.call(method, real, *a, **k))
        if method == "list":
            return lambda *a: iter(self.call(method, lambda *b: list(real(*b)), *a))
        return lambda *a, **k: self.call(method, real, *a, **k)


class FaultyUpload:
    def __init__(self, store, upload):
        self.store, self.upload = store, upload

    def __getattr__(self, method):
        return lambda *a: self.store.call(method, getattr(self.upload, method), *a)


def replace(catalog):
    catalog.recover()
    put(catalog, "a", source="new")


def remove_two(catalog):
    assert catalog.remove(lambda entries: entries[:2]) == 2


def recover(catalog):
    catalog.recover()


def leave_behind(store, directory):
    """Leave what a backup and a removal leave that die under the lock: data with its mark."""
    for work in (replace, remove_two):
        faulty = FaultyStore(store, 10**6, after=False, how="killed")
        catalog = NamedCatalog(faulty, directory)
        real = catalog._delete_data if work is remove_two else catalog.publish
        name = real.__name__

        def end(*_, faulty=faulty):
            faulty.number, faulty.failed = 0, True
            raise Killed

        setattr(catalog, name, end)
        with pytest.raises(Killed):
            work(catalog)


@pytest.mark.parametrize("work", [replace, remove_two, recover])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("how", ["once", "always", "full", "short", "killed"])
def test_whatever_call_fails_or_is_the_last_nothing_listed_is_lost_and_nothing_stays(top, work, how, after):
    for number in itertools.count(1):
        store = MemoryStore()
        catalog = NamedCatalog(store, str(top))
        before = [put(catalog, n) for n in "abc"]
        if work is recover:
            leave_behind(store, str(top))
            before = catalog.entries()
            assert len(before) == 1
            assert len(store.objects()) > 4
        faulty = FaultyStore(store, number, after=after, how=how)
        error = None
        try:
            work(NamedCatalog(faulty, str(top)))
        except (StoreError, ManifestError, Killed) as caught:
            error = f"{type(caught).__name__}: {caught}"
        event = f"call {number}, {error}"
        require_whole(store, catalog, work, before, error, event)
        catalog.recover()
        require_whole(store, catalog, work, before, error, event)
        assert set(store.objects()) == {NamedCatalog.MANIFEST, *(e["file"] for e in catalog.entries())}, event
        assert put(catalog, "next") in catalog.entries()
        if not faulty.failed:
            assert error is None
            assert number > 6
            return


def require_whole(store, catalog, work, before, error, event):
    """Check that what is listed is there, and that what the work did is what it said."""
    entries = catalog.entries()
    assert [catalog.presence(e).state for e in entries] == ["ok"] * len(entries), event
    if work is recover:
        assert entries == before, event
    elif work is replace:
        assert [e["name"] for e in entries if e["name"] != "a"] == ["b", "c"], event
        [current] = [e for e in entries if e["name"] == "a"]
        assert current == before[0] or current["source"] == "new", event
        assert error or current != before[0], event
    else:
        assert entries[-1] == before[-1], event
        assert [e for e in before if e in entries] == entries, event
        if error is None:
            assert len(entries) == 1, event
        elif "removed " in error:
            removed = int(error.partition("removed ")[2].split()[0])
            assert len(entries) == 3 - removed, event


# -- several at once ---------------------------------------------------------------------------------------------


def test_threads_that_write_at_once_lose_no_entry(top):
    errors = []

    def work(n):
        try:
            for k in range(3):
                catalog = NamedCatalog(open_directory(top), str(top))
                catalog.recover()
                put(catalog, f"{n}-{k}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    names = {e["name"] for e in NamedCatalog(open_directory(top), str(top)).entries()}
    assert names == {f"{n}-{k}" for n in range(4) for k in range(3)}
    assert len(visible(top)) == 12 + 1


PROCESS = """
import sys
from repository.test_named import put
from support.toys import open_directory
from dumpty.repository.named import NamedCatalog
catalog = NamedCatalog(open_directory(sys.argv[1]), sys.argv[1])
for k in range(8):
    catalog.recover()
    put(catalog, f"{sys.argv[2]}-{k % 4}")
    if sys.argv[2] == "0":
        catalog.remove(lambda entries: [e for e in entries if e["name"].startswith("0-")][:-1])
"""


def test_processes_that_write_replace_and_remove_at_once_lose_no_entry(top, named):
    failures = []

    def work(n):
        process = python(PROCESS, top, n, check=False)
        if process.returncode:
            failures.append(process.stderr)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    facade = DatabaseBackup(str(top))
    while any(thread.is_alive() for thread in threads):
        assert {b.state for b in facade.list_backups()} <= {"ok"}
        threads[0].join(0.01)
    for thread in threads:
        thread.join(60)
    assert failures == []
    expected = {f"{n}-{k}" for n in (1, 2) for k in range(4)} | {"0-3"}
    assert {e["name"] for e in named.entries()} == expected
    assert len(visible(top)) == len(expected) + 1


# -- the lock ----------------------------------------------------------------------------------------------------


def test_a_directory_that_is_locked_is_an_error_that_names_the_holder(top, store):
    waiting = NamedCatalog(store, str(top), lock_timeout=0.05)
    with DirectoryLock(str(top)), pytest.raises(Locked, match=f"locked by process {os.getpid()} on .* since 2"):
        put(waiting, "x")
    assert visible(top) == []
    put(waiting, "x")


@pytest.mark.parametrize("holder", [b"", b"[]", b"{}", b'{"pid": 1, "host": 1, "since": 1e300}', None])
def test_a_holder_that_cannot_be_told_is_another_process(top, holder):
    with DirectoryLock(str(top)):
        (path,) = top.glob("*.holder")
        path.unlink()
        if holder is not None:
            path.write_bytes(holder)
        with pytest.raises(Locked, match="locked by another process; try again"), DirectoryLock(str(top), 0.0):
            pass


def test_a_lock_is_free_when_its_holder_is_dead(top):
    code = (
        "import sys, time\nfrom dumpty.repository.directory_lock import DirectoryLock\n"
        "with DirectoryLock(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(top)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(Locked, match=f"process {child.pid} "), DirectoryLock(str(top), 0.05):
        pass
    child.kill()
    child.communicate()
    with DirectoryLock(str(top), 60):
        pass


@pytest.mark.parametrize("unwinds", [False, True])
def test_a_child_that_is_forked_while_the_lock_is_held_neither_keeps_nor_frees_it(top, unwinds):
    """Another thread may fork at any moment (multiprocessing does), and the child has a copy of the descriptor."""
    ready, go_on = os.pipe(), os.pipe()
    children = []

    def fork():
        children.append(os.fork())
        if not children[0]:
            if unwinds:
                lock.__exit__(None, None, None)
            os.write(ready[1], b"1")
            os.read(go_on[0], 1)
            os._exit(0)

    try:
        with DirectoryLock(str(top)) as lock:
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
            os.read(ready[0], 1)
            with pytest.raises(Locked, match=f"by process {os.getpid()} "), DirectoryLock(str(top), 0.0):
                pass
        with DirectoryLock(str(top), 0.0):
            pass
    finally:
        os.write(go_on[1], b"1")
        os.waitpid(children[0], 0)
        for descriptor in (*ready, *go_on):
            os.close(descriptor)


def test_a_lock_that_was_never_left_is_freed_with_what_held_it(top):
    lock = DirectoryLock(str(top))
    lock.__enter__()
    del lock
    with DirectoryLock(str(top), 0.05):
        pass


def test_a_lock_whose_file_was_removed_still_keeps_the_second_from_the_third(top):
    with DirectoryLock(str(top)):
        (path,) = top.glob("*.lock")
        path.unlink()
        with DirectoryLock(str(top), 0.05), pytest.raises(Locked), DirectoryLock(str(top), 0.05):
            pass


def test_a_directory_that_is_gone_is_not_made_anew(top):
    top.rmdir()
    with pytest.raises(StoreError, match="is gone; mount it or put it back"), DirectoryLock(str(top)):
        pass
    assert not top.exists()


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: os.symlink("/etc/passwd", path), os.mkdir])
def test_what_is_planted_in_the_place_of_the_lock_is_an_error(top, plant):
    with DirectoryLock(str(top)):
        (path,) = top.glob("*.lock")
    path.unlink()
    plant(path)
    with pytest.raises(StoreError, match="cannot lock"), DirectoryLock(str(top)):
        pass


def test_the_locks_files_are_no_objects(top, store):
    with DirectoryLock(str(top)):
        assert len(os.listdir(top)) == 2
        assert list(store.list()) == []


def test_an_error_while_tidying_frees_the_lock(top, store, named):
    put(named, "b")
    file = f"a.{HEX}.db"
    store.put(file, b"data")
    mark(store, "removal", file)
    kept = None
    try:
        NamedCatalog(ReplacedStore(store, put=full), str(top)).recover()
    except StoreError as error:
        kept = error  # with its traceback
    assert kept is not None
    with DirectoryLock(str(top), 0.05):
        pass
    assert file in visible(top), "a manifest that may not be durable yet is written anew before data goes"
    named.recover()
    assert file not in visible(top)
