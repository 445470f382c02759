"""The same on places that lack something, with backups of several objects, with copies, and for runs."""

from __future__ import annotations

import pytest
from faults.ledger import FACTOR
from repository.protocol import lagging
from repository.protocol.explorer import Broken
from repository.protocol.lagging import passing
from repository.protocol.scenarios import (
    RESULT,
    SLEPT_OVER,
    SLOT,
    A,
    B,
    C,
    alone,
    backup,
    both,
    clean,
    clean_in_time,
    clean_without_patience_for_tombstones,
    clearing_runs,
    counted_at_most_once,
    counted_once,
    done_is_there,
    explorer,
    lagging_explorer,
    life_of_runs_goes_on,
    not_counted_again,
    not_run_again,
    pin,
    pinned_is_there,
    prune,
    prune_twice,
    read,
    restore,
    run,
    running,
    some_are_there,
    stored,
    wake_up,
    whole,
)
from repository.protocol.stepping import EPOCH

from dumpty.errors import StoreError
from dumpty.repository.protocol import layout, reader_pin, recovery, removal, run_slots, runs
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.layout import MANIFEST
from dumpty.repository.protocol.reader_pin import ReaderPin
from dumpty.testing.memory_store import ALL
from dumpty.types import Cap

MANY = (".p1.db", ".p2.db")
SOME = some_are_there(A, B)
IGNORED = ALL & ~Cap.CREATE_NEW
STATES = 100_000
SOME_STATES = 20_000


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("CRITICAL")


# -- several objects, beats, copies ------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_an_attempt_of_several_objects_is_there_with_all_of_them_or_with_none(reverse):
    processes = backup(C, MANY), clean
    explorer(
        *processes,
        endings=MANY,
        base=stored(A, B, endings=MANY),
        invariant=done_is_there(0, C, MANY),
        faults=1,
        alive=None,
        reverse=reverse,
    ).run()


def test_an_attempt_on_this_machines_own_disk_is_there_or_goes():
    processes = backup(C, MANY), clean
    options = {"endings": MANY, "base": stored(A, B, endings=MANY), "capabilities": ALL | Cap.LOCAL, "alive": None}
    explorer(*processes, invariant=done_is_there(0, C, MANY), faults=2, **options).run()


def test_an_attempt_that_beats_and_is_taken_for_dead_all_the_same_fails_or_is_there():
    explorer(backup(C, beats=2), clean, invariant=done_is_there(0, C), faults=1).run()


def test_a_copy_or_what_it_was_made_of_outlives_a_removal_that_counts_on_the_other():
    invariant = both(done_is_there(0, C), some_are_there(A, C))
    explorer(backup(C), prune(A), clean, base=stored(A), invariant=invariant).run()


def late_attempt():
    """An attempt that goes on when it was taken for dead by three, and even its tombstone is gone after its days."""
    cleaners = [clean_without_patience_for_tombstones] * 3
    return explorer(
        backup(C), *cleaners, invariant=done_is_there(0, C), lawful=False, orphans=False, alive=None, base=stored(A)
    )


def test_an_attempt_that_wakes_up_when_its_tombstone_is_gone_is_no_success_that_is_lost():
    late_attempt().run()


def test_control_an_attempt_that_does_not_look_for_its_intent_is_lost_when_its_tombstone_is_gone(monkeypatch):
    monkeypatch.setattr(Attempt, "_require_intent", lambda self: None)
    with pytest.raises(Broken, match="is lost"):
        late_attempt().run()


# -- listings that are no snapshot -------------------------------------------------------------------------------


@pytest.mark.parametrize("late_first", [False, True], ids=["in order", "late pages first"])
@pytest.mark.parametrize("cut", [".m", ".intent", ".d"])
@pytest.mark.parametrize(
    ("processes", "invariant"),
    [
        ((prune(A), prune(B)), SOME),
        ((pin(A), prune(A)), pinned_is_there(0, A)),
        ((prune(A), clean), SOME),
        ((backup(C), clean), done_is_there(0, C)),
        ((backup(C), prune(A)), done_is_there(0, C)),
    ],
    ids=["prune, prune", "pin, prune", "prune, clean", "backup, clean", "backup, prune"],
)
def test_pages_of_a_listing_are_of_different_moments(processes, invariant, cut, late_first):
    pages = (".prune/e", ".prune/z", A + cut, B + cut, C + cut)
    explorer(*processes, invariant=invariant, pages=pages, late_pages_first=late_first).run()


# -- no condition ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "invariant"),
    [
        ((backup(C), clean_in_time), done_is_there(0, C)),
        ((pin(A), prune(A), clean_in_time), pinned_is_there(0, A)),
        ((prune(A), prune(B), clean_in_time), SOME),
    ],
    ids=["backup", "pin, prune", "prune, prune"],
)
@pytest.mark.parametrize("faults", [0, 1])
def test_where_conditions_are_ignored_only_time_keeps_recovery_from_the_living(processes, invariant, faults):
    limit = STATES * FACTOR
    explorer(*processes, invariant=invariant, capabilities=IGNORED, faults=faults, limit=limit).run()


# -- retention ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retained", [MANY, MANY[:1], MANY[1:], (MANIFEST,)])
def test_what_the_place_retains_stays_whole_and_goes_when_it_lets_it_go(retained):
    def invariant(results, objects):
        if "failed" in results:
            return "a deletion that was refused is a failure"
        if retained == MANY and not whole(objects, A, MANY):
            return "what is retained has lost its manifest"
        return some_are_there(C)(results, {n.replace(".p1", "").replace(".p2", ""): d for n, d in objects.items()})

    options = {
        "endings": MANY,
        "base": stored(A, B, C, endings=MANY),
        "retained": frozenset(A + ending for ending in retained),
        "capabilities": ALL | Cap.RETAINS,
        "alive": None,
    }
    processes = prune(A, B), clean
    explorer(*processes, invariant=invariant, orphans=False, pending=False, **options).run()
    explorer(*processes, retention_ends=True, **options).run()


# -- time, and listings that lag ---------------------------------------------------------------------------------


def test_a_pin_that_expires_holds_until_it_does_by_the_stores_clock():
    def invariant(results, objects):
        return "a pin did not hold" if results[0] == "lost" else None

    lagging_explorer(restore(A, 2), prune(A), passing(3), strong=True, invariant=invariant, limit=STATES * FACTOR).run()


def held_while_read(results, objects):
    return "a reader's pin did not hold" if results[0] == "lost" else None


def reading(*others, **options):
    """Explore a reader that renews its pin, and others, while time goes by until a pin that was renewed is over."""

    return lagging_explorer(read(A, 2), *others, passing(3), strong=True, invariant=held_while_read, **options)


def test_the_pin_of_a_reader_that_renews_it_holds_until_the_newest_expires():
    reading(prune(A), limit=SOME_STATES * FACTOR).run()


def test_a_renewal_whose_answer_is_lost_leaves_one_of_the_pins():
    processes = read(A, 2), prune(A)
    explorer(*processes, invariant=held_while_read, faults=1, limit=SOME_STATES * FACTOR).run()


def test_recovery_takes_no_pin_of_a_reader_that_holds():
    reading(prune(A), clean, limit=SOME_STATES * FACTOR).run()


def test_control_a_reader_that_takes_the_earlier_pin_away_first_loses_its_backup(monkeypatch):
    renew = ReaderPin.renew

    def earlier_first(self):
        self._delete(list(self._names))
        renew(self)

    monkeypatch.setattr(ReaderPin, "renew", earlier_first)
    with pytest.raises(Broken, match="a reader's pin did not hold"):
        reading(prune(A), alive=None, lawful=False).run()


def test_control_a_renewal_that_looks_for_no_removal_is_no_protection(monkeypatch):
    def put(store, stem, content, *, until):
        name = f"{stem}{layout.PIN}{layout.new_nonce()}-{layout.time_text(until)}"
        store.put(name, content)
        return name

    monkeypatch.setattr(reader_pin, "pin", put)
    with pytest.raises(Broken, match="a reader's pin did not hold"):
        reading(prune(A), alive=None, lawful=False, orphans=False).run()


@pytest.mark.parametrize("other", ["pin", "prune"])
def test_where_listings_lag_a_removal_waits_for_a_day(other):
    process, invariant = {"pin": (pin(A), pinned_is_there(0, A)), "prune": (prune_twice(B), SOME)}[other]
    processes = process, prune_twice(A), passing(4)
    lagging_explorer(*processes, invariant=invariant, limit=STATES * FACTOR).run()


def test_where_listings_lag_the_pin_of_a_backup_that_is_not_listed_yet_stays():
    new = {lagging.CLOCK + name: 0 for name in stored(A)}
    lagging_explorer(pin(A), clean, base={**stored(A), **new}, invariant=pinned_is_there(0, A)).run()


def test_control_where_listings_lag_a_removal_that_does_not_wait_removes_what_is_pinned(monkeypatch):
    monkeypatch.setattr(removal, "_remove_later", removal_at_once)
    exploration = lagging_explorer(pin(A), prune(A), invariant=pinned_is_there(0, A), alive=None, lawful=False)
    with pytest.raises(Broken, match=r"the pinned .* is lost"):
        exploration.run()


def removal_at_once(store, decide, lag):
    stems = frozenset(decide(removal.parse_listing(store.list()).committed))
    return removal._decide_again(store, removal.new_doom_name(), stems, decide, adopted=False)


# -- runs --------------------------------------------------------------------------------------------------------

RUNS = {"invariant": counted_once, "alive": life_of_runs_goes_on, "pending": False}


@pytest.mark.parametrize("faults", [0, 1])
def test_a_run_that_two_claim_is_executed_and_counted_once(faults):
    explorer(run, run, faults=faults, **RUNS).run()


def test_a_run_that_three_claim_is_counted_once():
    explorer(run, run, run, limit=STATES * FACTOR, **RUNS).run()


def test_control_a_result_that_replaces_another_is_counted_twice(monkeypatch):
    def finish(self, content):
        self._store.put(self._base + ".result", content, new=False)
        return True

    monkeypatch.setattr(runs.Run, "finish", finish)
    with pytest.raises(Broken, match="counted twice"):
        explorer(run, run, **RUNS).run()


def never_both(results, objects):
    return "two runs of a job are executed at once" if "met another" in results else None


APART = {"base": {}, "invariant": never_both, "alive": None, "pending": False, "lawful": False}


def test_two_slots_of_one_job_are_never_executed_at_once():
    explorer(alone("20261126T030000Z"), alone("20261127T030000Z"), **APART).run()


def test_three_runs_of_one_job_are_never_executed_at_once():
    slots = ("20261126T030000Z", "20261127T030000Z", "20261127T030000Z-hand")
    explorer(*map(alone, slots), limit=SOME_STATES * FACTOR, **APART).run()


def test_control_a_claim_that_looks_for_others_before_it_is_put_lets_two_in(monkeypatch):
    put, look = runs._put_claim, runs._require_alone

    def look_and_put(store, base, *rest):
        look(store, "nightly", base, runs._SILENCE)
        return put(store, base, *rest)

    monkeypatch.setattr(runs, "_put_claim", look_and_put)
    monkeypatch.setattr(runs, "_require_alone", lambda *_: None)
    with pytest.raises(Broken, match="at once"):
        explorer(alone("20261126T030000Z"), alone("20261127T030000Z"), **APART).run()


CLAIM = f".runs/nightly/{SLOT}.claim-1"


@pytest.mark.parametrize("processes", [(run, run), (alone(SLOT), alone("20261127T030000Z"))], ids=["one", "two"])
@pytest.mark.parametrize("capabilities", [ALL, ALL | Cap.LOCAL], ids=["far", "local"])
@pytest.mark.parametrize("late_first", [False, True], ids=["in order", "late pages first"])
@pytest.mark.parametrize("pages", [(RESULT,), (f"{CLAIM}.b", RESULT), (f"{CLAIM}~", f"{RESULT}~")])
def test_pages_of_a_listing_of_one_slot_or_two_are_of_different_moments(processes, capabilities, late_first, pages):
    promises = RUNS if run in processes else APART
    explorer(*processes, capabilities=capabilities, pages=pages, late_pages_first=late_first, **promises).run()


TWO_STEPS = lagging.STEP * 2
"""After which a slot cannot be claimed any more, and nothing of it is kept."""


def long_ago(*processes, invariant, **options):
    """Explore runs of a slot of which nothing is kept once time has gone by."""
    options = {"strong": True, "alive": None, "pending": False, **options}
    processes = *processes, clearing_runs(2), passing(3)
    return lagging_explorer(*processes, invariant=invariant, **options)


DONE = {"base": {RESULT: b"{}\ndone"}, "invariant": not_run_again}


@pytest.mark.parametrize("strong", [True, False])
def test_a_run_whose_result_was_cleared_away_is_never_executed_again(strong):
    long_ago(running(TWO_STEPS), strong=strong, limit=SOME_STATES * FACTOR, **DONE).run()


def test_runs_of_a_slot_that_is_cleared_meanwhile_are_counted_once():
    processes = running(TWO_STEPS), running(TWO_STEPS)
    long_ago(*processes, base={}, invariant=counted_at_most_once, limit=SOME_STATES * FACTOR).run()


def test_who_wakes_up_when_the_result_of_another_was_cleared_away_does_not_count():
    long_ago(wake_up, base=SLEPT_OVER, invariant=not_counted_again).run()


def test_control_a_claim_that_ignores_how_old_its_slot_is_executes_a_run_again():
    with pytest.raises(Broken, match="executed again"):
        long_ago(running(), **DONE).run()


def test_control_a_claim_that_looks_at_the_clock_before_anything_else_executes_a_run_again(monkeypatch):
    def claim(store, job, slot, *, asked_for, **options):
        if EPOCH + asked_for <= store.now():
            raise StoreError(f"{slot} is too old")
        return real(store, job, slot, **options)

    real = runs.claim
    monkeypatch.setattr(runs, "claim", claim)
    with pytest.raises(Broken, match="executed again"):
        long_ago(running(TWO_STEPS), **DONE).run()


def test_control_a_result_that_is_put_without_a_look_at_its_claim_is_counted_twice(monkeypatch):
    monkeypatch.setattr(runs.Run, "_require_claim", lambda self: None)
    with pytest.raises(Broken, match="counted twice"):
        long_ago(wake_up, base=SLEPT_OVER, invariant=not_counted_again).run()


def test_control_results_that_are_cleared_before_their_claims_are_counted_twice(monkeypatch):
    def results_first(store, objects, **when):
        for part in (".result", ".claim"):
            run_slots.clear_runs(store, [found for found in objects if part in found.name], **when)

    monkeypatch.setattr(recovery, "clear_runs", results_first)
    with pytest.raises(Broken, match="counted twice"):
        long_ago(wake_up, base=SLEPT_OVER, invariant=not_counted_again).run()
