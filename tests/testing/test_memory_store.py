"""The store in memory keeps the contract of stores, and lacks just what it is told to lack."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from dumpty.errors import Exists, MissingFile, NotPermitted, Retained, StoreError
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap, Store, Upload

HOUR = timedelta(hours=1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def names(store, folder=""):
    return sorted(found.name for found in store.list(folder))


def test_what_was_put_is_read_found_and_listed(store):
    store.put("a/x", b"12345")
    assert store.get("a/x") == store.open("a/x").read() == b"12345"
    assert store.open("a/x", 3).read() == b"45"
    found = store.stat("a/x")
    assert (found.name, found.size, found.modified) == ("a/x", 5, store.now())
    assert list(store.list("a")) == list(store.list()) == [found]


def test_a_folder_is_a_whole_segment(store):
    for name in ("a/x", "a/b/c/d", "ab/x", "a-b/x"):
        store.put(name, b"")
    assert names(store, "a") == ["a/b/c/d", "a/x"]
    assert names(store, "a/b") == ["a/b/c/d"]


def test_a_new_object_takes_no_name_that_is_taken(store):
    store.put("a/x", b"first")
    tag = store.stat("a/x").tag
    with pytest.raises(Exists):
        store.put("a/x", b"second")
    upload = store.upload("a/x")
    upload.write(b"third")
    with pytest.raises(Exists):
        upload.commit()
    assert store.get("a/x") == b"first"
    store.put("a/x", b"fourth", new=False)
    assert store.get("a/x") == b"fourth"
    assert store.stat("a/x").tag != tag


def test_an_upload_is_visible_when_it_is_committed_and_not_before(store):
    upload = store.upload("a/x", 4)
    buffer = bytearray(b"12")
    assert upload.write(buffer) == 2
    buffer[:] = b"zz"
    upload.write(memoryview(b"34"))
    assert names(store) == []
    upload.commit()
    upload.abort()
    assert store.get("a/x") == b"1234"
    aborted = store.upload("a/y")
    aborted.write(b"x")
    aborted.abort()
    aborted.abort()
    with pytest.raises(StoreError):
        aborted.commit()
    assert names(store) == ["a/x"]


@pytest.mark.parametrize("method", ["get", "open", "stat"])
def test_a_missing_object_is_missing(store, method):
    with pytest.raises(MissingFile):
        getattr(store, method)("a/x")


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a/", "a//b", "a b", "ä", "a/b/c/d/e", "a\n", "x" * 401])
def test_what_is_no_name_is_refused(store, name):
    with pytest.raises(StoreError, match="cannot be a name"):
        store.put(name, b"")


def test_deleting_is_idempotent_and_one_call(store):
    store.put("a/x", b"")
    store.put("a/y", b"")
    store.delete(name for name in ["a/x", "a/y", "a/z"])
    store.delete(["a/x"])
    store.delete([])
    assert names(store) == []
    assert store.calls["delete"] == 2


def test_without_batches_every_deletion_is_a_call():
    store = MemoryStore(ALL & ~Cap.BATCH)
    store.delete(["a/x", "a/y", "a/z"])
    assert store.calls["delete"] == 3


def test_all_that_can_be_deleted_is_and_the_rest_is_an_error(store):
    for name in "abc":
        store.put(name, b"")
    store.retained = {"a": store.now() + HOUR}
    with pytest.raises(Retained):
        store.delete("abc")
    assert names(store) == ["a"]
    assert store.stat("a").retained_until == store.now() + HOUR
    store.tells_retention = False
    assert store.stat("a").retained_until is None
    store.denied = {"a"}
    store.advance(HOUR)
    with pytest.raises(NotPermitted):
        store.delete(["a"])
    store.denied.clear()
    store.delete(["a"])
    assert names(store) == []


def test_without_the_right_nothing_is_deleted():
    store = MemoryStore(ALL & ~Cap.DELETE)
    store.put("a/x", b"")
    with pytest.raises(NotPermitted):
        store.delete(["a/x"])
    assert names(store) == ["a/x"]


def test_a_listing_that_is_cut_is_an_error(store):
    for name in "abc":
        store.put(name, b"")
    store.cut_listing = 2
    with pytest.raises(StoreError, match="cut"):
        list(store.list())
    store.cut_listing = 3
    assert len(list(store.list())) == 3


def test_listings_lag_where_they_are_not_strong():
    store = MemoryStore(ALL & ~Cap.STRONG_LIST, lag=HOUR)
    store.put("a/x", b"")
    assert names(store) == []
    assert store.get("a/x") == b""
    store.advance(HOUR)
    assert names(store) == ["a/x"]
    store.delete(["a/x"])
    assert names(store) == ["a/x"]
    store.advance(HOUR)
    assert names(store) == []


@pytest.mark.parametrize(("capabilities", "wins"), [(ALL, b"first"), (ALL & ~Cap.CREATE_NEW, b"second")])
def test_of_two_that_race_one_wins_where_conditions_are_enforced(capabilities, wins):
    store = MemoryStore(capabilities)
    store.race = lambda name: store.put(name, b"first", new=False)
    if Cap.CREATE_NEW in capabilities:
        with pytest.raises(Exists):
            store.put("a/x", b"second")
    else:
        store.put("a/x", b"second")
    assert store.get("a/x") == wins


def test_of_many_threads_one_wins(store):
    barrier, won = threading.Barrier(8), []

    def claim(number):
        barrier.wait()
        try:
            store.put("a/claim", str(number).encode())
        except Exists:
            return
        won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in won] == [store.get("a/claim")]


def test_it_is_a_store(store):
    for protocol, value in ((Store, store), (Upload, store.upload("a/x"))):
        assert all(callable(getattr(value, m)) for m in vars(protocol) if not m.startswith("_"))
    assert store.locate("a/x") == "memory:///a/x"
    store.sweep(HOUR)
