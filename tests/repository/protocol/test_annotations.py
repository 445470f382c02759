"""Pins, proofs and what else is said of a backup: there once it was reported, and only of what is there."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from dumpty.errors import StoreError, UnknownBackup
from dumpty.repository.protocol.annotations import ACCEPTED, PROOF, accept, annotate, pin, unpin
from dumpty.repository.protocol.layout import TOMBSTONE, parse_listing
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

STEM = "shop-abcdef/20261126T170000Z-0123456789ab-01234567"
ME = "0123456789abcdef"
DOOM, GO = f".prune/doom-{ME}", f".prune/go-{ME}"


def store_with_a_backup(capabilities=ALL):
    store = MemoryStore(capabilities)
    store.put(STEM + ".sql", b"x")
    store.put(STEM + ".manifest.json", b"the manifest")
    return store


@pytest.fixture
def store():
    return store_with_a_backup()


def entry(store):
    return parse_listing(store.list()).entries[STEM]


def doom(store):
    store.put(DOOM, json.dumps({"version": 1, "doom": ME, "stems": [STEM]}).encode())


def decide(store, word):
    store.put(GO, json.dumps({"version": 1, "decision": word, "nonce": "x"}).encode())


def test_a_pin_says_what_was_said_and_holds_until_it_is_taken_off(store):
    name = pin(store, STEM, b"by ada: before the migration")
    assert store.get(name) == b"by ada: before the migration"
    pin(store, STEM)
    store.advance(timedelta(days=9999))
    assert entry(store).pinned(store.now())
    unpin(store, STEM)
    assert not entry(store).pinned(store.now())
    unpin(store, STEM)


def test_taking_a_pin_off_leaves_those_of_restores(store):
    pin(store, STEM)
    pin(store, STEM, until=store.now() + timedelta(hours=1))
    unpin(store, STEM)
    assert len(entry(store).pins) == 1


@pytest.mark.parametrize(("say", "kind"), [(annotate, PROOF), (accept, ACCEPTED)])
def test_each_annotation_is_an_object_of_its_own(store, say, kind):
    names = {say(store, STEM, b"ok"), say(store, STEM, b"ok")}
    assert {found.name for found in entry(store).notes} == names
    assert all(name.startswith(f"{STEM}{kind}20261126T170000Z-") for name in names)


@pytest.mark.parametrize("manifest", [None, TOMBSTONE])
@pytest.mark.parametrize("say", [pin, lambda *where: annotate(*where, b"ok"), lambda *where: accept(*where, b"ok")])
def test_of_what_is_gone_nothing_can_be_said(store, say, manifest):
    store.delete([STEM + ".manifest.json"])
    if manifest is not None:
        store.put(STEM + ".manifest.json", manifest)
    before = store.objects()
    with pytest.raises(UnknownBackup):
        say(store, STEM)
    assert store.objects() == before


@pytest.mark.parametrize("stem", ["", "x", "../x", STEM + ".sql", STEM + "\n"])
def test_what_is_no_backups_name_writes_nothing(store, stem):
    before = store.objects()
    with pytest.raises(UnknownBackup):
        pin(store, stem)
    assert store.objects() == before


def test_what_is_being_removed_cannot_be_pinned(store):
    doom(store)
    decide(store, "go")
    before = store.objects()
    with pytest.raises(UnknownBackup, match="being removed"):
        pin(store, STEM)
    assert store.objects() == before


def test_a_removal_that_has_only_announced_itself_gives_way_to_a_pin(store):
    doom(store)
    pin(store, STEM)
    assert not [name for name in store.objects() if name.startswith(".prune")]


def test_what_is_being_removed_cannot_be_accepted(store):
    doom(store)
    decide(store, "go")
    before = store.objects()
    with pytest.raises(UnknownBackup, match="being removed"):
        accept(store, STEM, b"by ada")
    assert store.objects() == before


@pytest.mark.parametrize("word", ["", "withdrawn"])
def test_an_acceptance_lets_a_removal_that_has_not_begun_go_its_way(store, word):
    doom(store)
    if word:
        decide(store, word)
    name = accept(store, STEM, b"by ada")
    assert store.get(name) == b"by ada"
    assert DOOM in store.objects()


def test_where_it_cannot_be_told_an_acceptance_is_an_error_and_none(store):
    store.cut_listing = 0
    doom(store)
    with pytest.raises(StoreError, match="cut"):
        accept(store, STEM, b"by ada")
    store.cut_listing = None
    assert not entry(store).notes


def test_a_removal_of_others_is_no_concern_of_a_pin(store):
    store.put(DOOM, json.dumps({"version": 1, "doom": ME, "stems": [STEM.replace("shop", "blog")]}).encode())
    pin(store, STEM)
    assert DOOM in store.objects()


def test_where_conditions_are_ignored_an_announced_removal_refuses_pins():
    store = store_with_a_backup(ALL & ~Cap.CREATE_NEW)
    doom(store)
    with pytest.raises(UnknownBackup, match="being removed"):
        pin(store, STEM)
    assert not entry(store).pins


def test_a_withdrawn_removal_whose_doom_stays_concerns_no_pin():
    store = store_with_a_backup(ALL & ~Cap.DELETE)
    doom(store)
    decide(store, "withdrawn")
    pin(store, STEM)


def test_a_doom_that_cannot_be_understood_refuses_a_pin(store):
    store.put(DOOM, b'{"version": 2}')
    with pytest.raises(StoreError, match="newest dumpty"):
        pin(store, STEM)
    assert not entry(store).pins


def test_where_it_cannot_be_told_a_pin_is_an_error_and_none(store):
    store.cut_listing = 0
    doom(store)
    with pytest.raises(StoreError, match="cut"):
        pin(store, STEM)
    store.cut_listing = None
    assert not entry(store).pins
