"""Nothing that was reported is lost, in any order of the steps of two or three processes, whoever crashes wherever."""

from __future__ import annotations

import random

import pytest
from faults.ledger import FACTOR
from repository.protocol.explorer import Broken
from repository.protocol.scenarios import (
    A,
    B,
    C,
    E,
    accept,
    backup,
    both,
    clean,
    done_is_there,
    explorer,
    old_is_there_until_accepted,
    pin,
    pinned_is_there,
    prove,
    prune,
    prune_for_accepted,
    single,
    some_are_there,
    whole,
)

from dumpty.repository.protocol.layout import MANIFEST as MANIFEST_ENDING
from dumpty.repository.protocol.layout import TOMBSTONE

SOME = some_are_there(A, B)


def kept_is_there(index, name):
    """What a removal says it kept is there, whoever recovers meanwhile."""

    def invariant(results, objects):
        return f"the kept {name} is gone" if results[index] == "kept" and not whole(objects, name) else None

    return invariant


def one_is_there(*names):
    """Of several attempts at one backup one at most is committed; where one has ended well, or saw another, it is."""

    def invariant(results, objects):
        committed = [name for name in names if objects.get(name + MANIFEST_ENDING, TOMBSTONE) != TOMBSTONE]
        if len(committed) > 1:
            return f"{committed} are both committed"
        for name, result in zip(names, results, strict=False):
            if result == "done" and name not in committed:
                return f"{name} was done, and is not there"
        if "made" in results and not (committed and whole(objects, committed[0])):
            return "somebody saw it made, and it is not there"
        return None

    return invariant


TWO = {
    "backup C, clean": ((backup(C), clean), done_is_there(0, C)),
    "pin A, prune A": ((pin(A), prune(A)), both(pinned_is_there(0, A), SOME)),
    "prune A, prune B": ((prune(A), prune(B)), SOME),
    "prune A, prune A": ((prune(A), prune(A)), SOME),
    "prove A, prune A": ((prove(A), prune(A)), SOME),
    "accept A, prune A": ((accept(A), prune(A)), SOME),
    "accept B, prune A for B": ((accept(B), prune_for_accepted(A, B)), old_is_there_until_accepted(0, A, B)),
    "prune A, clean": ((prune(A), clean), both(SOME, kept_is_there(0, A))),
    "pin A, clean": ((pin(A), clean), pinned_is_there(0, A)),
    "backup C, prune A": ((backup(C), prune(A)), both(done_is_there(0, C), SOME)),
    "backup C, backup D": ((backup(C), backup(E)), done_is_there(0, C)),
}
THREE = {
    "backup C, clean, clean": ((backup(C), clean, clean), done_is_there(0, C)),
    "prune A, clean, clean": ((prune(A), clean, clean), both(SOME, kept_is_there(0, A))),
    "backup C, prune C, clean": ((backup(C), prune(C), clean), SOME),
    "pin A, prune A, clean": ((pin(A), prune(A), clean), both(pinned_is_there(0, A), SOME)),
    "backup C, prune A, clean": ((backup(C), prune(A), clean), both(done_is_there(0, C), SOME)),
    "prove A, prune A, clean": ((prove(A), prune(A), clean), SOME),
    "accept A, prune A, clean": ((accept(A), prune(A), clean), SOME),
    "accept B, prune A for B, clean": (
        (accept(B), prune_for_accepted(A, B), clean),
        old_is_there_until_accepted(0, A, B),
    ),
    "accept B, prune A for B, prune B": (
        (accept(B), prune_for_accepted(A, B), prune(B)),
        SOME,
    ),
    "prune A, prune B, clean": ((prune(A), prune(B), clean), SOME),
    "pin A, prune A, prune A": ((pin(A), prune(A), prune(A)), both(pinned_is_there(0, A), SOME)),
    "pin A, prune A, prune B": ((pin(A), prune(A), prune(B)), both(pinned_is_there(0, A), SOME)),
}
SINGLE = {
    "two": (single(A), single(B)),
    "three": (single(A), single(B), single(C)),
    "two, clean": (single(A), single(B), clean),
}
STATES = 120_000
"""Of three processes, as many are looked at as a few seconds allow; DUMPTY_FAULT_ROUNDS is for more."""


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("faults", [0, 1])
def test_two_processes(name, faults):
    processes, invariant = TWO[name]
    explorer(*processes, invariant=invariant, faults=faults).run()


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("faults", [0, 1])
def test_three_processes(name, faults):
    processes, invariant = THREE[name]
    explorer(*processes, invariant=invariant, faults=faults, limit=STATES * FACTOR // (1 + faults)).run()


@pytest.mark.parametrize("name", THREE)
def test_three_processes_at_random_with_faults(name):
    processes, invariant = THREE[name]
    exploration, dice = explorer(*processes, invariant=invariant, faults=2), random.Random(name)
    for _ in range(300 * FACTOR):
        exploration.walk(dice)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("faults", [0, 1])
def test_of_several_attempts_at_one_backup_one_is_committed(name, faults):
    processes = SINGLE[name]
    limit = {} if len(processes) == 2 else {"limit": STATES * FACTOR // (1 + faults)}
    explorer(*processes, base={}, invariant=one_is_there(A, B, C), faults=faults, **limit).run()


def test_attempts_at_one_backup_that_do_not_look_for_each_other_are_found_out():
    """What the promise is of: two that are blind are both committed, in some order."""
    with pytest.raises(Broken, match="are both committed"):
        explorer(backup(A), backup(B), base={}, invariant=one_is_there(A, B)).run()
