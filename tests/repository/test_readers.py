"""What is being read cannot be removed, however long that takes; what a killed reader left protects nothing for long."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import timedelta

import pytest
from support.toys import ToyDriver

from dumpty import BackupManager, Evidence, PluginInfo, Source, StoreError, UnknownBackup, hookimpl
from dumpty.repository.protocol import reader_pin
from dumpty.repository.protocol.layout import expiry
from dumpty.repository.protocol.process_identity import process_identity
from dumpty.repository.protocol.reader_pin import ReaderPin
from dumpty.repository.protocol.recovery import recover
from dumpty.testing import MemoryStore
from dumpty.testing.memory_store import ALL
from dumpty.types import Cap

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEM = "shop-abcdef/20261126T170000Z-0123456789ab-01234567"


class PinnedStore(MemoryStore):
    """A store that says when a pin was put; the store ``memory://`` of a test, too."""

    name = "memory"

    def __init__(self, capabilities=ALL):
        super().__init__(capabilities)
        self.pinned = threading.Event()

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("memory",))

    @hookimpl
    def open_store(self):
        return self

    def put(self, name, data, *, new=True):
        super().put(name, data, new=new)
        if ".pin-" in name:
            self.pinned.set()

    def pins(self):
        return sorted(name for name in self.objects() if ".pin-" in name)

    def expiries(self):
        return [expiry(name) for name in self.pins()]

    def wait_for_a_pin_of(self, lifetime):
        while max(self.expiries(), default=self.now()) < self.now() + lifetime:
            assert self.pinned.wait(60), "no later pin came"
            self.pinned.clear()


class SlowDriver(ToyDriver):
    """Loads a dump while something goes on; lends a place for drills."""

    def __init__(self, meanwhile):
        super().__init__(db=b"content")
        self.meanwhile = meanwhile

    @hookimpl
    def restore(self, target, dump):
        dump.open().read()
        self.meanwhile()
        return Evidence()

    @hookimpl
    def scratch(self, dump):
        return contextlib.nullcontext(self)

    target = Source(scheme="toy", url="toy://h/scratch", database="scratch")
    versions = {"toy": "1"}  # noqa: RUF012 - never changed

    def check(self):
        return ()

    def ask(self, statement):
        return []


def store_with_a_backup(capabilities=ALL):
    store = PinnedStore(capabilities)
    store.put(STEM + ".sql", b"x")
    store.put(STEM + ".manifest.json", b"the manifest")
    return store


@pytest.fixture
def store():
    return store_with_a_backup()


@pytest.fixture
def renewed_at_once(monkeypatch):
    monkeypatch.setitem(ReaderPin.__init__.__kwdefaults__, "renew_seconds", 0.01)


@pytest.mark.usefixtures("renewed_at_once")
@pytest.mark.parametrize("verb", ["restore", "drill"])
def test_what_is_read_for_three_days_cannot_be_removed_meanwhile(verb):
    store, removals = PinnedStore(), []

    def meanwhile():
        for _ in range(4):
            store.advance(18 * HOUR)
            store.wait_for_a_pin_of(DAY)
            removals.append(manager.remove(backup.id))

    manager = BackupManager("memory://here", plugins=[SlowDriver(meanwhile), store])
    backup = manager.create_backup("toy://h/db").backup
    if verb == "restore":
        manager.restore(backup.id, "toy://h/new").raise_for_error()
    else:
        manager.drill(backup.id)
    assert removals == [False] * 4
    assert store.pins() == []
    assert manager.remove(backup.id)


def test_a_drill_is_protected_though_a_removal_was_announced_and_given_up_long_ago():
    """Where a place knows no conditions, whoever pins cannot withdraw it: that is the recovery's, which comes first."""
    store, pins = PinnedStore(ALL & ~Cap.CREATE_NEW), []
    manager = BackupManager("memory://here", plugins=[SlowDriver(lambda: pins.extend(store.pins())), store])
    backup = manager.create_backup("toy://h/db").raise_for_error()
    [manifest] = [name for name in store.objects() if name.endswith(".manifest.json")]
    stem, me = manifest.removesuffix(".manifest.json"), "0123456789abcdef"
    store.put(f".prune/doom-{me}", json.dumps({"version": 1, "doom": me, "stems": [stem]}).encode())
    store.advance(8 * DAY)
    manager.drill(backup.id)
    assert [pin.startswith(stem) for pin in pins] == [True]


def test_a_reader_that_is_renewed_leaves_one_pin_at_every_moment_and_none_at_its_end(store):
    with ReaderPin(store, STEM, renew_seconds=None) as reader:
        for _ in range(3):
            assert store.expiries() == [reader.until] == [store.now() + DAY]
            store.advance(23 * HOUR)
            reader.renew()
    assert store.pins() == []


def test_where_the_earlier_pin_cannot_be_taken_away_it_goes_with_the_last(store):
    with ReaderPin(store, STEM, renew_seconds=None) as reader:
        store.denied.update(store.pins())
        store.advance(HOUR)
        reader.renew()
        assert len(store.pins()) == 2
        store.denied.clear()
    assert store.pins() == []


def test_a_renewal_that_fails_leaves_the_earlier_pin_and_the_next_may_get_through(store):
    with ReaderPin(store, STEM, renew_seconds=None) as reader:
        before = store.pins()
        store.cut_listing = 0
        store.put(".prune/doom-0123456789abcdef", b"{}")
        with pytest.raises(StoreError):
            reader.renew()
        assert store.pins() == before
        store.cut_listing = None
        store.delete([".prune/doom-0123456789abcdef"])
        store.advance(HOUR)
        reader.renew()
        assert store.expiries() == [store.now() + DAY]


def test_what_was_removed_after_its_readers_pin_had_expired_is_not_pinned_again(store):
    with ReaderPin(store, STEM, renew_seconds=None) as reader:
        store.delete([STEM + ".sql", STEM + ".manifest.json"])
        with pytest.raises(UnknownBackup):
            reader.renew()
    assert store.pins() == []


def test_a_renewal_on_its_way_when_the_reader_ends_leaves_no_pin(store):
    reader = ReaderPin(store, STEM, renew_seconds=None)
    reader.__enter__()
    store.race = lambda _name: reader.__exit__(None, None, None)
    reader.renew()
    assert store.pins() == []


def test_a_forked_child_that_ends_takes_no_pin_of_its_parent_away(store, monkeypatch):
    with ReaderPin(store, STEM, renew_seconds=None) as reader:
        with monkeypatch.context() as patch:
            patch.setattr(reader_pin.os, "getpid", lambda: 1)
            reader.__exit__(None, None, None)
        assert len(store.pins()) == 1


# -- what a killed reader left ---------------------------------------------------------------------------------------

ENDED = {**process_identity(), "started": "1", "nonce": "01234567"}
"""A process of this machine whose number another one has by now."""
ELSEWHERE = {**ENDED, "host": "elsewhere"}


def left_behind(store, monkeypatch, identity):
    """Leave the pin of a reader that was killed."""
    with monkeypatch.context() as patch:
        patch.setattr(reader_pin, "process_identity", lambda: identity)
        ReaderPin(store, STEM, renew_seconds=None).__enter__()


@pytest.mark.parametrize(
    ("capabilities", "identity", "goes"),
    [
        pytest.param(ALL | Cap.LOCAL, ENDED, True, id="its process is known to be gone"),
        pytest.param(ALL | Cap.LOCAL, ELSEWHERE, False, id="it ran on another machine"),
        pytest.param(ALL | Cap.LOCAL, process_identity(), False, id="it is at work"),
        pytest.param(ALL, ENDED, False, id="the store is not this machine's own"),
        pytest.param(ALL & ~Cap.STRONG_LIST | Cap.LOCAL, ENDED, False, id="other machines share it"),
    ],
)
def test_the_pin_of_a_killed_reader_goes_at_once_where_that_is_known_and_else_with_the_day(
    monkeypatch, capabilities, identity, goes
):
    store = store_with_a_backup(capabilities)
    left_behind(store, monkeypatch, identity)
    store.advance(13 * HOUR)  # by when every listing shows it
    recover(store)
    assert (store.pins() == []) == goes
    store.advance(DAY - 13 * HOUR)
    recover(store)
    assert (store.pins() == []) == goes, "for an hour longer than it holds, should clocks differ"
    store.advance(HOUR)
    recover(store)
    assert store.pins() == []


def test_a_damaged_pin_of_a_reader_holds_until_it_expires():
    store = store_with_a_backup(ALL | Cap.LOCAL)
    store.put(f"{STEM}.pin-01234567-20261127T170000Z", b"\xff{")
    recover(store)
    assert len(store.pins()) == 1
