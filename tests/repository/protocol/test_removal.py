"""Removing takes what was decided on, in few calls, and nothing that anybody objects to in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dumpty.errors import MissingFile, NotPermitted, StoreError, UnknownBackup
from dumpty.repository.protocol import annotations, removal
from dumpty.repository.protocol.dooms import decide_to_go
from dumpty.repository.protocol.layout import parse_listing
from dumpty.repository.protocol.recovery import recover
from dumpty.repository.protocol.removal import Removal, remove
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def stem(number):
    return f"shop-abcdef/20261126T170000Z-0123456789ab-{number:08x}"


def filled(number, capabilities=ALL, **options):
    store = MemoryStore(capabilities, **options)
    for n in range(number):
        for ending, data in {
            ".p1.sql": b"x",
            ".p2.sql": b"y",
            ".manifest.json": b"the manifest",
            ".proof-1": b"",
        }.items():
            store.put(stem(n) + ending, data)
    return store


def stems_in(store):
    return {number for number in range(1000) if stem(number) + ".manifest.json" in store.objects()}


def all_but(*kept):
    return lambda live: [s for s in live if s not in {stem(n) for n in kept}]


def frozen(*numbers):
    return frozenset(map(stem, numbers))


def test_what_was_decided_on_goes_with_all_that_belongs_to_it_and_nothing_else():
    store = filled(3)
    store.put("shop-abcdef/README", b"x")
    assert remove(store, all_but(2)) == Removal(removed=frozen(0, 1))
    assert set(store.objects()) == {"shop-abcdef/README"} | {
        stem(2) + e for e in (".p1.sql", ".p2.sql", ".manifest.json", ".proof-1")
    }


def test_900_backups_are_removed_in_few_calls_and_none_is_read():
    store = filled(1000)
    store.calls.clear()
    removed = remove(store, all_but(*range(900, 1000))).removed
    assert len(removed) == 900
    assert stems_in(store) == set(range(900, 1000))
    assert store.calls.total() < 60
    assert store.calls["get"] + store.calls["stat"] + store.calls["open"] < 10


def test_nothing_to_remove_is_nothing_done():
    store = filled(2)
    before = store.objects()
    assert remove(store, all_but(0, 1)) == Removal()
    assert store.objects() == before


def test_what_is_pinned_stays_and_the_rest_goes():
    store = filled(3)
    annotations.pin(store, stem(0))
    assert remove(store, all_but(2)).removed == frozen(1)
    assert stems_in(store) == {0, 2}


def test_an_expired_pin_protects_nothing():
    store = filled(2)
    annotations.pin(store, stem(0), until=store.now() + HOUR)
    assert remove(store, all_but(1)).removed == frozenset()
    store.advance(HOUR)
    assert remove(store, all_but(1)).removed == frozen(0)
    assert not [name for name in store.objects() if name.startswith(stem(0))]


def meanwhile(store, method, ending, action):
    """Call an action once, within the first call of a method on a name of this ending."""
    real, left = getattr(store, method), [action]

    def wrapped(name="", *arguments, **options):
        if name.endswith(ending) and left:
            left.pop()()
        return real(name, *arguments, **options)

    setattr(store, method, wrapped)


def test_a_pin_that_comes_before_the_decision_stops_all_of_it():
    store = filled(3)
    meanwhile(store, "list", ".prune", lambda: store.put(stem(0) + ".pin-01234567", b""))
    assert remove(store, all_but(2)) == Removal(kept=frozen(0, 1))
    assert stems_in(store) == {0, 1, 2}
    assert not [name for name in store.objects() if name.startswith(".prune")]


def test_a_pin_that_finds_the_doom_before_the_decision_wins():
    store = filled(3)
    real = removal.decide_to_go

    def pin_first(*arguments):
        annotations.pin(store, stem(0))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "decide_to_go", pin_first)
        assert remove(store, all_but(2)).kept == frozen(0, 1)
    assert stems_in(store) == {0, 1, 2}
    assert not [name for name in store.objects() if name.startswith(".prune")]
    assert remove(store, all_but(2)).removed == frozen(1)


def test_a_pin_that_comes_after_the_decision_is_refused():
    store = filled(3)
    real = removal.take

    def pin_first(*arguments):
        with pytest.raises(UnknownBackup, match="being removed"):
            annotations.pin(store, stem(0))
        annotations.pin(store, stem(2))
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "take", pin_first)
        assert remove(store, all_but(2)).removed == frozen(0, 1)
    assert not [name for name in store.objects() if ".pin-" in name and not name.startswith(stem(2))]


def test_rules_that_change_their_mind_keep_all_of_it():
    store, decisions = filled(3), iter([frozen(0, 1), frozen(1)])
    assert remove(store, lambda live: next(decisions)).kept == frozen(0, 1)
    assert stems_in(store) == {0, 1, 2}


def test_rules_that_fail_leave_no_doom():
    store, decisions = filled(3), [frozen(0, 1)]
    with pytest.raises(IndexError):
        remove(store, lambda live: decisions.pop())
    assert stems_in(store) == {0, 1, 2}
    assert not [name for name in store.objects() if name.startswith(".prune")]


def test_what_the_rules_name_and_is_not_there_is_ignored():
    store = filled(1)
    assert remove(store, lambda live: [stem(7), "../x", *live]).removed == frozen(0)


def test_what_others_take_counts_as_gone_when_it_is_decided_again():
    store, asked = filled(3), []

    def decide(live):
        asked.append(set(live))
        return [stem(0)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "decide_to_go", lambda *_: False)
        patch.setattr(removal, "withdraw", lambda *_: True)
        remove(store, lambda live: [stem(1)])
    remove(store, decide)
    assert asked == [frozen(0, 1, 2), frozen(0, 2)]


def test_a_removal_of_which_some_deletions_fail_removes_the_rest_and_is_finished_by_the_next_recovery():
    """What was decided needs no patience: anybody may finish it."""
    store = filled(3)
    store.denied = {stem(0) + ".p2.sql"}
    with pytest.raises(NotPermitted):
        remove(store, all_but(2))
    assert stems_in(store) == {0, 2}
    store.denied = set()
    recover(store)
    assert stems_in(store) == {2}
    assert len(store.objects()) == 4


@pytest.mark.parametrize("cut", range(12))
def test_a_listing_that_was_cut_removes_nothing(cut):
    store = filled(3)
    store.cut_listing = cut
    with pytest.raises(StoreError, match="cut"):
        remove(store, all_but(2))
    assert stems_in(store) == {0, 1, 2}
    assert not [name for name in store.objects() if name.startswith(".prune")]


def test_without_the_right_to_delete_nothing_is_announced():
    store = filled(3, ALL & ~Cap.DELETE)
    with pytest.raises(NotPermitted):
        remove(store, all_but(2))
    assert len(store.objects()) == 12


# -- retention ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tells", [True, False])
def test_what_the_place_retains_stays_whole_and_goes_later(tells):
    store = filled(3, ALL | Cap.RETAINS)
    store.retained = {stem(0) + e: store.now() + DAY for e in (".p1.sql", ".p2.sql")}
    store.tells_retention = tells
    assert remove(store, all_but(2)) == Removal(removed=frozen(1), retained=frozen(0))
    assert {stem(0) + e for e in (".p1.sql", ".p2.sql", ".manifest.json")} <= store.objects().keys()
    assert stems_in(store) == {0, 2}
    store.advance(HOUR)
    recover(store)
    assert stems_in(store) == {0, 2}
    store.advance(DAY)
    remove(store, all_but(2))
    recover(store)
    assert stems_in(store) == {2}
    assert not [name for name in store.objects() if name.startswith(".prune")]


@pytest.mark.parametrize("tells", [True, False])
def test_a_proof_that_the_place_retains_keeps_no_backup(tells):
    store = filled(3, ALL | Cap.RETAINS)
    store.retained = {stem(0) + ".proof-1": store.now() + DAY}
    store.tells_retention = tells
    assert remove(store, all_but(2)) == Removal(removed=frozen(0, 1))
    assert [name for name in store.objects() if not name.startswith(stem(2))] == [stem(0) + ".proof-1"]
    store.advance(DAY)
    recover(store)
    assert not [name for name in store.objects() if not name.startswith(stem(2))]


@pytest.mark.parametrize("ending", [".p2.sql", ".manifest.json"])
def test_what_is_retained_in_part_is_finished_later(ending):
    store = filled(3, ALL | Cap.RETAINS)
    store.retained = {stem(0) + ending: store.now() + DAY}
    store.tells_retention = False
    assert remove(store, all_but(2)) == Removal(removed=frozen(1), retained=frozen(0))
    assert stem(0) + ".manifest.json" in store.objects()
    store.advance(DAY)
    recover(store)
    assert not [name for name in store.objects() if not name.startswith(stem(2))]


def test_a_withdrawn_doom_that_the_place_retains_keeps_nobody_from_pinning_or_removing():
    store = filled(3, ALL | Cap.RETAINS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "decide_to_go", lambda *_: False)
        remove(store, all_but(2))
    (doom,) = parse_listing(store.list()).dooms.values()
    store.retained = {doom.name: store.now() + 30 * DAY}
    annotations.pin(store, stem(0))
    assert doom.name in store.objects()
    annotations.pin(store, stem(0))
    assert remove(store, lambda live: [stem(2)] if stem(1) in live else []).removed == frozen(2)
    store.advance(31 * DAY)
    recover(store)
    assert not [name for name in store.objects() if name.startswith(".prune")]


# -- listings that lag -------------------------------------------------------------------------------------------

LAGGING = ALL & ~Cap.STRONG_LIST


@pytest.fixture
def lagging():
    store = filled(3, LAGGING)
    store.advance(DAY)
    return store


def test_where_listings_lag_a_removal_is_announced_and_done_by_a_run_a_day_later(lagging):
    assert remove(lagging, all_but(2)) == Removal(announced=frozen(0, 1))
    lagging.advance(DAY - HOUR)
    assert remove(lagging, all_but(2)) == Removal(announced=frozen(0, 1))
    assert len([name for name in lagging.objects() if name.startswith(".prune/doom-")]) == 1
    lagging.advance(HOUR)
    assert remove(lagging, all_but(2)) == Removal(removed=frozen(0, 1))
    assert stems_in(lagging) == {2}


def test_where_listings_lag_a_pin_that_came_meanwhile_is_seen(lagging):
    remove(lagging, all_but(2))
    lagging.put(stem(0) + ".pin-01234567", b"")
    lagging.advance(DAY)
    assert remove(lagging, all_but(2)).kept == frozen(0, 1)
    assert stems_in(lagging) == {0, 1, 2}


@pytest.mark.parametrize(("conditional", "withdrawn"), [(Cap.CREATE_NEW, True), (Cap(0), False)])
def test_where_no_put_is_conditional_only_time_withdraws_what_others_announced(conditional, withdrawn):
    store = filled(3, (LAGGING & ~Cap.CREATE_NEW) | conditional)
    store.advance(DAY)
    remove(store, all_but(2))
    store.put(stem(0) + ".pin-01234567", b"")
    store.advance(DAY)
    assert remove(store, lambda live: []).kept == frozen(0, 1)
    assert withdrawn == (not [name for name in store.objects() if name.startswith(".prune")])


def test_where_listings_lag_what_the_rules_keep_by_now_stays(lagging):
    remove(lagging, all_but(2))
    lagging.advance(DAY)
    assert remove(lagging, all_but(0, 2)).kept == frozen(0, 1)
    assert stems_in(lagging) == {0, 1, 2}
    lagging.advance(35 * DAY)
    recover(lagging)
    lagging.advance(DAY)
    remove(lagging, all_but(0, 2))
    lagging.advance(DAY)
    assert remove(lagging, all_but(0, 2)).removed == frozen(1)


def test_what_another_run_is_removing_is_neither_kept_nor_announced_by_this_one(lagging):
    remove(lagging, all_but(2))
    lagging.advance(DAY)

    def another_run_decides(store, me):
        store.put(f".prune/go-{me}", b'{"version": 1, "decision": "go", "nonce": "x"}')
        return decide_to_go(store, me)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "decide_to_go", another_run_decides)
        assert remove(lagging, all_but(2)) == Removal()


def test_where_no_put_is_conditional_what_recovery_may_withdraw_is_not_begun():
    store = filled(3, LAGGING & ~Cap.CREATE_NEW)
    store.advance(DAY)
    remove(store, all_but(2))
    store.advance(6 * DAY)
    assert remove(store, all_but(2)).removed == frozenset()
    assert stems_in(store) == {0, 1, 2}


def test_where_listings_lag_a_prune_once_a_week_removes(lagging):
    remove(lagging, all_but(2))
    lagging.advance(7 * DAY)
    recover(lagging)
    assert remove(lagging, all_but(2)).removed == frozen(0, 1)


def test_where_listings_lag_nothing_goes_for_the_sake_of_what_is_gone(lagging):
    """Another machine has just removed the newest, and the listing still shows it."""
    remove(lagging, all_but(2))
    lagging.advance(DAY)
    lagging.delete([stem(2) + ending for ending in (".p1.sql", ".p2.sql", ".manifest.json", ".proof-1")])
    assert stem(2) in parse_listing(lagging.list()).committed

    def newest_stays(live):
        return sorted(live)[:-1]

    assert remove(lagging, newest_stays).removed == frozenset()
    assert stems_in(lagging) == {0, 1}


def test_a_doom_that_is_shown_and_gone_is_none(lagging):
    remove(lagging, all_but(2))
    lagging.advance(DAY)
    (doom,) = parse_listing(lagging.list(".prune")).dooms.values()
    lagging.delete([doom.name])
    with pytest.raises(MissingFile):
        lagging.get(doom.name)
    assert remove(lagging, all_but(2)).announced == frozen(0, 1)
