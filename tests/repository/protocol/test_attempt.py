"""An attempt is committed as a whole or leaves nothing, whatever fails and whenever it is interrupted."""

from __future__ import annotations

import json
import os
import threading
from datetime import timedelta

import pytest

from dumpty.errors import Exists, IntegrityError, NotPermitted, StoreError
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.layout import TOMBSTONE, new_stem, parse_listing
from dumpty.repository.protocol.recovery import recover
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

ID = "01234567-89ab-4def-8123-456789abcdef"
SIZES = {".p1.sql": 3, ".p2.sql": 5}
LOCAL = ALL | Cap.LOCAL


def stem_for(store):
    return new_stem("shop-abcdef", store.now(), ID)


def put_data(attempt, sizes=SIZES):
    for ending, size in sizes.items():
        upload = attempt.upload(ending, size)
        try:
            upload.write(b"x" * size)
            upload.commit()
        finally:
            upload.abort()


def back_up(store, stem, **options):
    with Attempt(store, stem, **options) as attempt:
        put_data(attempt)
        attempt.publish(b"the manifest", SIZES)


def within(store, stem, body):
    """Do something within an attempt."""
    with Attempt(store, stem) as attempt:
        body(attempt)


def endings(store, stem):
    return {name.removeprefix(stem): data for name, data in store.objects().items() if name.startswith(stem)}


def all_of_it(store, stem):
    return endings(store, stem) == {".p1.sql": b"xxx", ".p2.sql": b"xxxxx", ".manifest.json": b"the manifest"}


@pytest.mark.parametrize("capabilities", [ALL, LOCAL, ALL & ~Cap.CREATE_NEW, Cap.CREATE_NEW])
def test_a_published_attempt_is_there_with_its_manifest_and_all_of_its_data(capabilities):
    store = MemoryStore(capabilities)
    stem = stem_for(store)
    back_up(store, stem)
    assert all_of_it(store, stem) == (Cap.DELETE in capabilities)
    assert parse_listing(store.list()).committed or Cap.STRONG_LIST not in capabilities
    assert store.objects()[stem + ".manifest.json"] == b"the manifest"


def test_it_says_who_is_at_it_before_anything_is_uploaded():
    store = MemoryStore()
    stem = stem_for(store)
    with Attempt(store, stem):
        intent = json.loads(store.objects()[stem + ".intent"])
    assert intent["pid"] == os.getpid()
    assert {"host", "boot", "pid_namespace", "started", "nonce"} <= intent.keys()


@pytest.mark.parametrize(("capabilities", "left"), [(LOCAL, {}), (ALL, {".manifest.json": TOMBSTONE})])
def test_left_without_publishing_it_removes_its_data(capabilities, left):
    store = MemoryStore(capabilities)
    stem = stem_for(store)

    def body(attempt):
        put_data(attempt)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within(store, stem, body)
    assert endings(store, stem) == left
    store.advance(timedelta(days=8))
    recover(store)
    assert store.objects() == {}


def test_without_an_upload_there_is_nothing_to_forbid():
    store = MemoryStore()
    with pytest.raises(ZeroDivisionError), Attempt(store, stem_for(store)):
        raise ZeroDivisionError
    assert store.objects() == {}


def test_a_stem_that_was_used_is_left_to_whoever_uses_it():
    store = MemoryStore()
    stem = stem_for(store)
    with Attempt(store, stem) as attempt:
        with pytest.raises(Exists), Attempt(store, stem):
            pass
        put_data(attempt)
        attempt.publish(b"the manifest", SIZES)
    assert all_of_it(store, stem)


@pytest.mark.parametrize(
    ("manifest", "sizes"),
    [(b"", SIZES), (b"the manifest", {}), (b"the manifest", {".sql": 1}), (b"the manifest", {".intent": 1})],
)
def test_only_a_manifest_of_what_was_uploaded_is_published(manifest, sizes):
    store = MemoryStore(LOCAL)

    def body(attempt):
        put_data(attempt)
        attempt.publish(manifest, sizes)

    with pytest.raises(ValueError, match="publish"):
        within(store, stem_for(store), body)
    assert store.objects() == {}


def test_a_name_is_uploaded_once():
    store = MemoryStore(LOCAL)

    def body(attempt):
        put_data(attempt)
        put_data(attempt)

    with pytest.raises(ValueError, match="used once"):
        within(store, stem_for(store), body)


@pytest.mark.parametrize("sizes", [{".p1.sql": 4, ".p2.sql": 5}, {".p1.sql": 3, ".p2.sql": 0}])
def test_data_of_another_size_is_not_published(sizes):
    store = MemoryStore(LOCAL)

    def body(attempt):
        put_data(attempt)
        attempt.publish(b"the manifest", sizes)

    with pytest.raises(IntegrityError, match="bytes"):
        within(store, stem_for(store), body)
    assert store.objects() == {}


@pytest.mark.parametrize("capabilities", [ALL, ALL & ~Cap.CREATE_NEW])
def test_data_that_goes_while_the_manifest_is_written_is_no_success_and_leaves_no_manifest(capabilities):
    store = MemoryStore(capabilities)
    stem = stem_for(store)
    store.race = lambda name: store.delete([stem + ".p1.sql"]) if name.endswith(".manifest.json") else None
    with pytest.raises(IntegrityError, match="gone"):
        back_up(store, stem)
    assert endings(store, stem) == {".manifest.json": TOMBSTONE}


def test_an_attempt_that_was_taken_for_dead_says_so_and_leaves_nothing():
    store = MemoryStore()
    stem = stem_for(store)

    def body(attempt):
        put_data(attempt, {".p1.sql": 3})
        store.advance(timedelta(hours=2))
        recover(store)
        put_data(attempt, {".p2.sql": 5})
        attempt.publish(b"the manifest", {".p2.sql": 5})

    with pytest.raises(StoreError, match="abandoned"):
        within(store, stem, body)
    assert endings(store, stem) == {".manifest.json": TOMBSTONE}


def test_an_attempt_whose_intent_is_gone_is_not_reported_as_good():
    store = MemoryStore()
    stem = stem_for(store)

    def body(attempt):
        put_data(attempt)
        store.delete([stem + ".intent"])
        attempt.publish(b"the manifest", SIZES)

    with pytest.raises(StoreError, match="abandoned"):
        within(store, stem, body)
    assert all_of_it(store, stem)


def test_the_manifest_of_somebody_else_and_what_belongs_to_it_are_not_touched():
    store = MemoryStore()
    stem = stem_for(store)

    def body(attempt):
        put_data(attempt)
        store.put(stem + ".manifest.json", b"another")
        attempt.publish(b"the manifest", SIZES)

    with pytest.raises(StoreError, match="somebody else"):
        within(store, stem, body)
    assert {".p1.sql", ".p2.sql", ".manifest.json"} <= endings(store, stem).keys()


class Faulty(MemoryStore):
    """Fails where it is told to, before or after it has done what was asked."""

    def __init__(self, capabilities=ALL):
        super().__init__(capabilities)
        self.before = self.after = lambda method, name: None

    def put(self, name, data, *, new=True):
        self.before("put", name)
        super().put(name, data, new=new)
        self.after("put", name)

    def get(self, name):
        self.before("get", name)
        return super().get(name)

    def delete(self, names):
        names = list(names)
        self.before("delete", names[0] if names else "")
        super().delete(names)


def failing(method, ending, times=1):
    left = [times]

    def fail(called, name):
        if called == method and name.endswith(ending) and left[0]:
            left[0] -= 1
            raise StoreError("the line is cut")

    return fail


def test_a_commit_whose_answer_was_lost_is_found_to_be_there():
    store = Faulty()
    stem = stem_for(store)
    store.after = failing("put", ".manifest.json")
    back_up(store, stem)
    assert all_of_it(store, stem)


def test_a_commit_that_did_not_arrive_is_forbidden_for_ever():
    store = Faulty()
    stem = stem_for(store)
    store.before = failing("put", ".manifest.json")
    with pytest.raises(StoreError, match="the line is cut"):
        back_up(store, stem)
    assert endings(store, stem) == {".manifest.json": TOMBSTONE}


def test_where_no_put_is_conditional_a_commit_that_may_yet_arrive_is_left_to_recovery():
    store = Faulty(ALL & ~Cap.CREATE_NEW)
    stem = stem_for(store)
    store.before = failing("put", ".manifest.json")
    with pytest.raises(StoreError, match="cannot be told"):
        back_up(store, stem)
    assert {".p1.sql", ".p2.sql", ".intent"} == endings(store, stem).keys()
    store.put(stem + ".manifest.json", b"the manifest")
    store.advance(timedelta(days=7))
    recover(store)
    assert all_of_it(store, stem)


def test_where_nothing_is_known_of_the_commit_nothing_is_deleted():
    store = Faulty()
    stem = stem_for(store)
    store.after = failing("put", ".manifest.json")
    store.before = failing("get", ".manifest.json", times=2)
    with pytest.raises(StoreError, match="the line is cut"):
        back_up(store, stem)
    assert {".p1.sql", ".p2.sql", ".manifest.json", ".intent"} == endings(store, stem).keys()
    store.advance(timedelta(hours=2))
    recover(store)
    assert all_of_it(store, stem)


def test_an_account_that_only_adds_can_back_up():
    store = MemoryStore(ALL & ~Cap.DELETE)
    stem = stem_for(store)
    back_up(store, stem)
    assert endings(store, stem).keys() == {".p1.sql", ".p2.sql", ".manifest.json", ".intent"}
    recover(store)

    def body(attempt):
        put_data(attempt)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within(store, stem_for(store), body)


def test_what_cannot_be_deleted_when_it_failed_is_left_to_recovery():
    store = Faulty(LOCAL)
    stem = stem_for(store)

    def fail(called, name):
        if called == "delete":
            raise NotPermitted("not now")

    store.before = fail

    def body(attempt):
        put_data(attempt)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within(store, stem, body)
    assert ".intent" in endings(store, stem)
    store.before = lambda method, name: None
    store.advance(timedelta(hours=2))
    recover(store)
    store.advance(timedelta(days=8))
    recover(store)
    assert store.objects() == {}


# -- beats -------------------------------------------------------------------------------------------------------


def test_it_beats_while_it_lives_and_survives_errors_of_the_store(caplog):
    store, beaten, failed = Faulty(), threading.Event(), threading.Event()

    def fail_at_first(method, name):
        if name.endswith(".beat-1"):
            failed.set()
            raise StoreError("the line is cut")
        if name.endswith(".beat-3"):
            beaten.set()

    store.before = fail_at_first
    stem = stem_for(store)
    with Attempt(store, stem, beat_seconds=0.01) as attempt:
        assert beaten.wait(60)
        put_data(attempt)
        attempt.publish(b"the manifest", SIZES)
        thread = next(t for t in threading.enumerate() if t.name == "dumpty-beat")
    thread.join(60)
    assert failed.is_set()
    assert "sign of life" in caplog.text
    store.advance(timedelta(hours=2))
    recover(store)  # of a beat that was on its way
    assert all_of_it(store, stem)


def test_an_attempt_that_beats_is_not_taken_for_dead():
    store = MemoryStore()
    stem = stem_for(store)
    with Attempt(store, stem, beat_seconds=None) as attempt:
        for _ in range(5):
            store.advance(timedelta(minutes=50))
            attempt.beats.beat()
            recover(store)
        put_data(attempt)
        attempt.publish(b"the manifest", SIZES)
    assert all_of_it(store, stem)


def test_a_manifest_that_is_there_and_was_not_flushed_is_no_success_and_stays():
    """Whoever has seen it may have removed others for its sake; a power failure may take it."""
    store = MemoryStore(LOCAL)
    stem = stem_for(store)
    real = store.put

    def put(name, data, *, new=True):
        real(name, data, new=new)
        if name.endswith(".manifest.json"):
            raise StoreError("cannot write it: Input/output error")

    store.put = put
    with pytest.raises(StoreError, match="is listed, but a power failure may take it"):
        back_up(store, stem)
    assert all_of_it(store, stem)
