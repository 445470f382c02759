"""Ctrl-C at any line: all of it was done, or nothing that the next recovery does not clear."""

from __future__ import annotations

import contextlib
import sys
from datetime import timedelta

import pytest

from dumpty.repository.protocol import annotations
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.layout import TOMBSTONE
from dumpty.repository.protocol.reader_pin import ReaderPin
from dumpty.repository.protocol.recovery import recover
from dumpty.repository.protocol.removal import remove
from dumpty.repository.protocol.runs import claim, read_result
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

STEM = "shop-abcdef/20261126T170000Z-0123456789ab-01234567"
OTHER = STEM.replace("01234567", "76543210")
SLOT = "20261126T170000Z"
DATA = {".p1.sql": b"xxx", ".p2.sql": b"xxxxx"}
BACKUP = {STEM + ending: data for ending, data in {**DATA, ".manifest.json": b"the manifest"}.items()}
FILES = ("/memory_store.py", "/annotations.py", "/attempt.py", "/beats.py", "/dooms.py", "/layout.py", "/removal.py")
FILES += ("/reader_pin.py", "/runs.py", "/taking.py")
LAST_LINES = 2
"""In which an annotation is checked and there to stay, and whoever asked for it has not heard of it yet."""


@contextlib.contextmanager
def interrupted_at(step):
    """Raise Ctrl-C's exception before the line that is the ``step``-th to be run; yield where, once it is reached."""
    reached = []
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        if not frame.f_code.co_filename.endswith(FILES) or frame.f_code.co_name.startswith("<"):
            return trace
        if event == "line":
            count += 1
            if count == step:
                reached.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                sys.settrace(previous)
                raise KeyboardInterrupt
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield reached
    finally:
        sys.settrace(previous)


def interruptions(action, prepare, capabilities=ALL):
    """Interrupt an action at each of its lines, on a new store each time; yield the store, and where that was."""
    step, reached = 0, ["the beginning"]
    while reached:
        step += 1
        store = MemoryStore(capabilities)
        prepare(store)
        with interrupted_at(step) as reached:
            action(store)
        yield store, reached
    assert step > 30


def back_up(store):
    with Attempt(store, STEM, beat_seconds=None) as attempt:
        for ending, data in DATA.items():
            upload = attempt.upload(ending)
            upload.write(data)
            upload.commit()
        attempt.beats.beat()
        attempt.publish(b"the manifest", {ending: len(data) for ending, data in DATA.items()})


def put_backups(store):
    for name, data in BACKUP.items():
        store.put(name, data)
        store.put(name.replace(STEM, OTHER), data)


@pytest.mark.parametrize("capabilities", [ALL, ALL | Cap.LOCAL])
def test_an_attempt_is_there_as_a_whole_or_goes(capabilities):
    outcomes = set()
    for store, where in interruptions(back_up, lambda store: None, capabilities):
        committed = store.objects().get(STEM + ".manifest.json", TOMBSTONE) != TOMBSTONE
        assert not committed or BACKUP.items() <= store.objects().items(), where
        store.advance(timedelta(hours=2))
        recover(store)
        for _ in range(2):  # first what a process left that still runs, then the tombstone that takes its place
            store.advance(timedelta(days=8))
            recover(store)
        assert store.objects() == (BACKUP if committed else {}), where
        outcomes.add((committed, bool(where)))
    assert outcomes == {(True, False), (True, True), (False, True)}


def test_a_removal_is_finished_or_withdrawn():
    outcomes = set()
    for store, where in interruptions(lambda store: remove(store, lambda live: {OTHER} & live.keys()), put_backups):
        begun = OTHER + ".p1.sql" not in store.objects()
        store.advance(timedelta(hours=2))
        recover(store)
        left = {name for name in store.objects() if name.startswith((".prune", OTHER))}
        gone = not left
        assert gone or (not begun and left == {name.replace(STEM, OTHER) for name in BACKUP}), where
        assert BACKUP.items() <= store.objects().items(), where
        outcomes.add(gone)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    "say", [annotations.pin, lambda *w: annotations.annotate(*w, b""), lambda *w: annotations.accept(*w, b"")]
)
def test_an_annotation_is_said_or_not_and_the_backup_is_there(say):
    said_all_the_same = 0
    for store, where in interruptions(lambda store: say(store, STEM), put_backups):
        assert BACKUP.items() <= store.objects().items(), where
        annotations_left = len(store.objects()) - 2 * len(BACKUP)
        assert annotations_left <= 1
        assert annotations_left or where
        said_all_the_same += bool(annotations_left and where)
    assert said_all_the_same <= LAST_LINES


def test_the_pin_of_a_reader_goes_with_it_or_with_the_next_recovery_or_expires():
    def read(store):
        with ReaderPin(store, STEM, renew_seconds=None) as reader:
            reader.renew()

    outcomes = set()
    for store, where in interruptions(read, put_backups, ALL | Cap.LOCAL):
        left = len(store.objects()) - 2 * len(BACKUP)
        recover(store)
        waits = len(store.objects()) - 2 * len(BACKUP)  # of a process that still runs, and never came to its end
        store.advance(timedelta(hours=25))
        recover(store)
        assert len(store.objects()) == 2 * len(BACKUP), where
        outcomes.add((bool(left), bool(waits)))
    assert outcomes == {(False, False), (True, False), (True, True)}


def test_a_run_gives_its_slot_back_or_is_counted():
    def execute(store):
        with claim(store, "nightly", SLOT, beat_seconds=None) as run:
            run.finish(b"done")

    for store, where in interruptions(execute, lambda store: None):
        done = read_result(store, "nightly", SLOT) == b"done"
        assert done or where
        store.advance(timedelta(hours=2))
        assert (claim(store, "nightly", SLOT, beat_seconds=None) is None) == done, where
