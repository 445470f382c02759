"""Stores that fail, lie about their listings, lose bytes or take their time: no false success, nothing older is lost."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.vault import version_of
from support.toys import open_directory

from dumpty import BackupManager, Cap, DumptyError, Found, PluginInfo, StoreError, hookimpl

ROUNDS = 25
NOTHING = Cap(0)


class Unreliable:
    """The store ``unreliable:///path``: the built-in one, each call of which asks ``fault`` whether to go wrong.

    ``fault(call)`` returns None to go on, ``before`` or ``after`` to fail before or after the effect, ``short`` to
    write less and say so, ``lose`` to write less and not say so.
    """

    name = "unreliable"

    def __init__(self, fault, order=list, lacks=NOTHING) -> None:
        self.fault = fault
        self.order = order
        self.lacks = lacks

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("unreliable",))

    @hookimpl
    def open_store(self, url):
        return _Store(open_directory(url.removeprefix("unreliable://")), self.fault, self.order, self.lacks)


class _Calls:
    def _call(self, name, work):
        fault_kind = self.fault(name)
        if fault_kind == "before":
            raise StoreError(f"cannot {name}: Input/output error")
        value = work()
        if fault_kind == "after":
            for release in ("abort", "close"):  # whoever fails with something in hand lets go of it
                getattr(value, release, bool)()
            raise StoreError(f"cannot tell whether it could {name}: connection reset")
        return value


class _Store(_Calls):
    def __init__(self, store, fault, order, lacks) -> None:
        self.store = store
        self.fault = fault
        self.order = order
        self.lacks = lacks

    def capabilities(self):
        return self.store.capabilities() & ~self.lacks

    def put(self, name, data, *, new=True):
        self._call("put", lambda: self.store.put(name, data, new=new))

    def upload(self, name, expected=None):
        return _Upload(self._call("upload", lambda: self.store.upload(name, expected)), self.fault)

    def get(self, name):
        data = self._call("get", lambda: self.store.get(name))
        return data[: len(data) // 2] if self.fault("got") in {"short", "lose"} else data

    def open(self, name, offset=0):
        return _Reader(self._call("open", lambda: self.store.open(name, offset)), self.fault)

    def stat(self, name):
        return self._call("stat", lambda: self.store.stat(name))

    def list(self, folder=""):
        yield from self._call("list", lambda: self.order(list(self.store.list(folder))))

    def delete(self, names):
        names = list(names)
        self._call("delete", lambda: self.store.delete(names))

    def now(self):
        return self._call("now", self.store.now)

    def locate(self, name):
        return self.store.locate(name)

    def sweep(self, older):
        self._call("sweep", lambda: self.store.sweep(older))


class _Upload(_Calls):
    def __init__(self, upload, fault) -> None:
        self.upload = upload
        self.fault = fault

    def write(self, data):
        fault_kind = self.fault("write")
        if fault_kind in {"short", "lose"} and len(data) > 1:
            written = self.upload.write(memoryview(data)[: len(data) // 2])
            return written if fault_kind == "short" else len(data)
        if fault_kind in {"before", "after"}:
            raise StoreError("cannot write: Input/output error")
        return self.upload.write(data)

    def commit(self):
        self._call("commit", self.upload.commit)

    def abort(self):
        self.upload.abort()


class _Reader:
    def __init__(self, reader, fault) -> None:
        self.reader = reader
        self.fault = fault

    def read(self, size=-1):
        fault_kind = self.fault("read")
        if fault_kind in {"before", "after"}:
            raise StoreError("cannot read: Input/output error")
        data = self.reader.read(size)
        if data and fault_kind in {"short", "lose"}:
            self.reader.read(-1)
            return data[: len(data) // 2]  # and then the end: the rest does not come
        return data

    def close(self):
        self.reader.close()


def manager(vault, plugin):
    return BackupManager(f"unreliable://{vault.top}", plugins=[plugin])


def attack(vault, attacked, form, event):
    """Back up, verify, restore and remove through a store that goes wrong, then look through one that does not."""
    LEDGER.rounds += 1
    result = attacked.create_backup(vault.url, format=form)
    new_ids = vault.check(event)
    if result.success and result.backup.id not in new_ids:
        LEDGER.record_false_success(f"{event}: success, and no backup")
    assert result.success or "\n" not in result.error
    backup_id = next(iter(vault.versions))
    with contextlib.suppress(DumptyError):
        attacked.verify(backup_id)
    target = vault.place / "attacked.db"
    target.unlink(missing_ok=True)
    restored = attacked.restore(backup_id, f"sqlite:///{target}")
    if restored.success and version_of(target) != vault.versions[backup_id]:
        LEDGER.record_false_success(f"{event}: restored other content")
    assert restored.success or not target.exists(), event
    LEDGER.restored += restored.success
    if len(vault.versions) > 4:
        with contextlib.suppress(DumptyError):
            attacked.remove(backup_id)
        # One that was half removed is whole again, or gone, with the next run.
        lost_version = vault.versions.pop(backup_id)
        vault.backup()
        if backup_id in {b.id for b in vault.manager().list_backups()}:
            vault.versions[backup_id] = lost_version
        vault.check(event)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_store_that_fails_one_call_in_twenty(vault, dice, form):
    happened = set()

    def fault(call):
        if dice.random() >= 0.05:
            return None
        fault_kind = dice.choice(
            ["before", "after", "short", "lose"] if call in {"write", "read"} else ["before", "after"]
        )
        happened.add((call, fault_kind))
        LEDGER.fault("store calls failed")
        return fault_kind

    attacked = None
    while attacked is None:
        with contextlib.suppress(StoreError):
            attacked = manager(vault, Unreliable(fault))
    wanted = {"put", "stat", "list", "write", "read"}
    for number in range(10 * ROUNDS * FACTOR):
        if number >= ROUNDS * FACTOR and wanted <= {call for call, _ in happened}:
            break
        vault.advance()
        attack(vault, attacked, form, f"round {number} of a store that fails 5 %")
        vault.keep_newest(5)
    vault.next_run("a store that fails 5 %", orphans="of two failures in one run the second may hinder the tidying")
    assert wanted <= {call for call, _ in happened}


CALLS = ["put", "upload", "get", "open", "stat", "list", "commit", "write", "read", "delete", "now", "sweep"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault_kind", ["before", "after", "short", "lose"])
def test_each_call_of_a_store_that_goes_wrong_alone(vault, call, fault_kind):
    if fault_kind in {"short", "lose"} and call not in {"write", "read"}:
        fault_kind = "before"
    for number in range(1, 40):
        calls_seen = 0

        def fault(name, number=number):
            nonlocal calls_seen
            calls_seen += name == call
            if name != call or calls_seen != number:
                return None
            LEDGER.fault("store calls failed")
            return fault_kind

        vault.advance()
        attacked = manager(vault, Unreliable(fault))
        result = attacked.create_backup(vault.url)
        LEDGER.rounds += 1
        reached = calls_seen >= number
        event = f"{call} no. {number} goes wrong ({fault_kind})"
        new_ids = vault.check(event)
        if result.success and result.backup.id not in new_ids:
            LEDGER.record_false_success(f"{event}: success, and no backup")
        vault.next_run(event)
        vault.keep_newest(2)
        if not reached:
            assert result.success, result.error
            return
    raise AssertionError(f"{call} is called without end")


def test_listings_in_any_order_change_nothing(vault, dice):
    def order(objects):
        LEDGER.fault("listings reordered")
        return dice.sample(objects, len(objects))

    attacked = manager(vault, Unreliable(lambda _: None, order))
    for number in range(10):
        vault.advance()
        result = attacked.create_backup(vault.url)
        assert result.success, result.error
        assert vault.check(f"reordered listing {number}") == [result.backup.id]
        assert [b.id for b in attacked.list_backups()] == list(vault.versions)
        assert attacked.find("latest").id == result.backup.id
    attacked.remove(next(iter(vault.versions)))
    vault.versions.pop(next(iter(vault.versions)))
    vault.next_run("reordered listings")


@pytest.mark.parametrize("late", [1, 6])
def test_listings_that_are_late_lose_nothing(vault, dice, late):
    """A listing may lack what was made a moment ago, and name what is gone; ``stat`` and ``open`` tell the truth."""
    history = []

    def order(objects):
        history.append(objects)
        LEDGER.fault("listings stale")
        return history[max(0, len(history) - 1 - late)]

    attacked = manager(vault, Unreliable(lambda _: None, order, Cap.STRONG_LIST))
    for number in range(6 * FACTOR):
        attack(vault, attacked, "sql", f"listing no. {number}, {late} late")
        vault.advance()


def test_a_late_listing_does_not_take_a_whole_backup_for_an_orphan(vault):
    """Killed when data and manifest were both there and only the intent was left: the manifest decides."""
    attacked = vault.manager()
    newest = attacked.find("latest")
    listing_before = [o for o in open_directory(vault.top).list() if not o.name.endswith(".manifest.json")]
    intent = Path(newest.file_path.partition(".sql")[0] + ".intent")
    intent.write_text("{}")
    os.utime(intent, (0, 0))
    LEDGER.fault("listings stale")
    LEDGER.rounds += 1

    result = manager(vault, Unreliable(lambda _: None, lambda _: listing_before)).create_backup(vault.url)
    assert result.success, result.error
    vault.check("a late listing after a kill", restore_all=True)


def test_a_listing_that_names_what_is_gone_is_no_failure(vault):
    name = "gone-012345/20260101T000000Z-0123456789ab-01234567.manifest.json"
    ghost = Found(name=name, size=9, tag="x", modified=datetime.now(UTC))
    attacked = manager(vault, Unreliable(lambda _: None, lambda objects: [*objects, ghost]))
    LEDGER.fault("listings stale")
    assert [b.id for b in attacked.list_backups()] == list(vault.versions)
    assert attacked.listing().problems == []
    assert attacked.create_backup(vault.url).success
    vault.check("a ghost in the listing", restore_all=True)


def test_a_slow_store_is_only_slow(vault):
    def fault(_):
        time.sleep(0.01)
        LEDGER.fault("store calls delayed")

    attacked = manager(vault, Unreliable(fault))
    LEDGER.rounds += 1
    result = attacked.create_backup(vault.url)
    assert result.success, result.error
    attacked.verify(result.backup.id)
    assert vault.check("a slow store", restore_all=True) == [result.backup.id]
