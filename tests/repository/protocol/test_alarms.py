"""What is told is told once, and never not at all, whoever tells, dies or is slow, in any order of their steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
from faults.ledger import FACTOR
from repository.protocol.explorer import Broken
from repository.protocol.scenarios import explorer
from repository.protocol.stepping import ZERO, Holding

from dumpty.errors import StoreError
from dumpty.repository.protocol import alarms
from dumpty.repository.protocol.alarms import claim_telling, read_told
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

JOB, CHANNEL = "nightly", "0123456789abcdef"
FOLDER = f".alarms/{JOB}"
NOTES = f"{FOLDER}/{CHANNEL}.told"
STATES = 120_000
"""Of three processes, as many are looked at as a few seconds allow; DUMPTY_FAULT_ROUNDS is for more."""


def telling(what=b"x", silence=alarms._SILENCE):
    """A process that tells of ``what``, unless that is known; what its recipient has taken stands under ``sent``."""

    def process(store):
        try:
            if what in b"".join(read_told(store, JOB, CHANNEL)):
                return "knew"
            claim = claim_telling(store, JOB, CHANNEL, silence=silence)
            if claim is None:
                return "gave way"
            with claim:
                known = b"".join(claim.known)
                if what in known:
                    return "knew"
                store.put(f"sent/{what.decode()}-{alarms.new_nonce()}", b"")
                claim.finish(bytes(sorted({*known, *what})))
        except StoreError:
            return "failed"
        return "told"

    return process


x = telling()
impatient = telling(silence=ZERO)
"""One that takes everybody else for dead."""


def sent(objects, what=b"x"):
    return [name for name in objects if name.startswith(f"sent/{what.decode()}-")]


def told_is_sent(results, objects):
    if {"told", "knew"} & set(results) and not sent(objects):
        return "somebody knows of an alarm that was never sent"
    return None


def told_once(results, objects):
    return "an alarm is told twice" if len(sent(objects)) > 1 else told_is_sent(results, objects)


def told_in_the_end(objects, options):
    """Whatever happened, whoever looks when the dead count no more tells it, and nobody after that."""
    later = Holding(objects)
    if later.run(impatient, 0xE0, options) not in {"told", "knew"} or not sent(later.objects):
        return "an alarm is never told"
    if later.run(x, 0xE1, options) != "knew":
        return "an alarm is told for ever"
    return None


def alarm_explorer(*processes, invariant=told_is_sent, **options):
    options = {"base": {}, "alive": told_in_the_end, "pending": False, "lawful": False, **options}
    return explorer(*processes, invariant=invariant, **options)


def test_two_that_tell_tell_it_once():
    alarm_explorer(x, x, invariant=told_once).run()


@pytest.mark.parametrize("pages", [(), (NOTES,)], ids=["at once", "notes first"])
@pytest.mark.parametrize("capabilities", [ALL, ALL | Cap.LOCAL], ids=["far", "local"])
def test_two_of_which_one_is_done_while_the_other_looks_tell_it_once(pages, capabilities):
    """A claim that is gone when it is read, or was deleted before a listing came to it, is of one who has told."""
    alarm_explorer(x, x, invariant=told_once, pages=pages, late_pages_first=True, capabilities=capabilities).run()


def test_three_that_tell_tell_it_once():
    alarm_explorer(x, x, x, invariant=told_once, limit=STATES * FACTOR).run()


@pytest.mark.parametrize("capabilities", [ALL, ALL & ~Cap.DELETE], ids=["all", "no deletion"])
def test_nothing_that_fails_swallows_an_alarm(capabilities):
    alarm_explorer(x, x, faults=1, capabilities=capabilities).run()


def test_whoever_is_taken_for_dead_swallows_no_alarm():
    alarm_explorer(x, impatient, faults=1, limit=STATES * FACTOR).run()


def both_are_told(objects, options):
    later = Holding(objects)
    for number, what in enumerate((b"x", b"y", b"x", b"y")):
        end = later.run(telling(what, ZERO), 0xE0 + number, options)
        if not sent(later.objects, what) or (number > 1 and end != "knew"):
            return f"{what} is {end}"
    return None


def test_what_two_know_that_told_at_once_is_known_together():
    """One is taken for dead, and writes down what it told all the same: both stay known."""
    alarm_explorer(telling(b"y", ZERO), impatient, invariant=None, alive=both_are_told).run()


def test_control_whoever_writes_it_down_before_it_is_sent_swallows_it():
    def hasty(store):
        claim = claim_telling(store, JOB, CHANNEL)
        if claim is None:
            return "gave way"
        with claim:
            claim.finish(b"x")
            store.put(f"sent/x-{alarms.new_nonce()}", b"")
        return "told"

    with pytest.raises(Broken, match="never"):
        alarm_explorer(hasty, x).run()


def test_control_whoever_looks_for_others_before_its_claim_is_put_tells_it_twice(monkeypatch):
    look = alarms.Telling.look

    def never_gives_way(self, silence):
        look(self, silence)
        return True

    monkeypatch.setattr(alarms.Telling, "look", never_gives_way)
    with pytest.raises(Broken, match="twice"):
        alarm_explorer(x, x, invariant=told_once).run()


def test_control_a_note_that_names_none_that_it_replaces_comes_back(monkeypatch):
    monkeypatch.setattr(alarms, "_read_note", lambda store, found: ([], store.get(found.name).partition(b"\n")[2]))
    store = MemoryStore(ALL & ~Cap.DELETE)
    for content in (b"one", b"another"):
        with claim_telling(store, JOB, CHANNEL, silence=ZERO) as claim:
            claim.finish(content)
    assert set(read_told(store, JOB, CHANNEL)) == {b"one", b"another"}


# -- one after another ---------------------------------------------------------------------------------------------


def test_what_was_told_last_is_known_also_where_nothing_can_be_deleted():
    store = MemoryStore(ALL & ~Cap.DELETE)
    for content in (b"one", b"two\nlines", b"three"):
        with claim_telling(store, JOB, CHANNEL, silence=ZERO) as claim:
            claim.finish(content)
        assert read_told(store, JOB, CHANNEL) == (content,)


def test_where_nothing_can_be_deleted_whoever_has_told_keeps_nobody_from_telling():
    """Nor does, once another one has told, whoever was killed."""
    store = MemoryStore(ALL & ~Cap.DELETE)
    assert claim_telling(store, JOB, CHANNEL)
    store.advance(timedelta(minutes=10))
    for content in (b"one", b"two", b"three"):
        with claim_telling(store, JOB, CHANNEL) as claim:
            claim.finish(content)
    assert read_told(store, JOB, CHANNEL) == (b"three",)


def test_few_objects_are_read_and_stay():
    store = MemoryStore()
    for number in range(5):
        with claim_telling(store, JOB, CHANNEL) as claim:
            claim.finish(b"%d" % number)
    assert len(list(store.objects())) == 1
    store.calls.clear()
    assert read_told(store, JOB, CHANNEL) == (b"4",)
    assert store.calls == {"list": 1, "get": 1}


def test_a_claim_that_is_left_is_given_back():
    store = MemoryStore()
    with claim_telling(store, JOB, CHANNEL):
        assert claim_telling(store, JOB, CHANNEL) is None
        assert claim_telling(store, JOB, "fedcba9876543210")
        assert claim_telling(store, "other", CHANNEL)
    assert claim_telling(store, JOB, CHANNEL)


def test_a_claim_counts_for_ten_minutes_before_and_after_now():
    store = MemoryStore()
    assert claim_telling(store, JOB, CHANNEL)
    store.advance(timedelta(minutes=9))
    assert claim_telling(store, JOB, CHANNEL) is None
    store.advance(timedelta(minutes=1))
    assert claim_telling(store, JOB, CHANNEL)


@pytest.mark.parametrize(
    "text", [b"", b"no json\nx", b"[]\nx", b'{"replaces": 1}\nx', b'{"replaces": [1]}\nx', b"\xff"]
)
def test_a_note_that_is_none_says_nothing_and_is_replaced(text):
    store = MemoryStore()
    store.put(f"{FOLDER}/{CHANNEL}.told-20261126T030000Z-00000000", text)
    assert read_told(store, JOB, CHANNEL) == ()
    with claim_telling(store, JOB, CHANNEL) as claim:
        assert claim.known == ()
        claim.finish(b"x")
    assert read_told(store, JOB, CHANNEL) == (b"x",)
    assert len(list(store.objects())) == 1


@pytest.mark.parametrize(
    ("job", "channel"), [("../x", CHANNEL), ("", CHANNEL), (JOB, "zz"), (JOB, "a" * 65), (JOB, "../../../aaaa")]
)
def test_names_that_cannot_be_part_of_an_objects_are_refused(job, channel):
    store = MemoryStore()
    with pytest.raises(ValueError, match="cannot name"):
        claim_telling(store, job, channel)
    with pytest.raises(ValueError, match="cannot name"):
        read_told(store, job, channel)
    assert not list(store.objects())


def test_on_a_local_disk_the_claim_of_a_process_that_is_gone_counts_no_more(tmp_path):
    program = (
        "import os, sys; from dumpty import BackupManager; "
        "BackupManager(sys.argv[1]).claim_telling('nightly', '0123456789abcdef').__enter__(); os._exit(9)"
    )
    from dumpty import BackupManager

    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 9
    assert [name for name in os.listdir(tmp_path / FOLDER) if ".claim-" in name]
    manager = BackupManager(tmp_path)
    with manager.claim_telling(JOB, CHANNEL) as claim:
        assert BackupManager(tmp_path).claim_telling(JOB, CHANNEL) is None
        claim.finish(b"x")
    assert manager.told(JOB, CHANNEL) == (b"x",)
    names = os.listdir(tmp_path / FOLDER)
    assert len(names) == 1
    assert json.loads((tmp_path / FOLDER / names[0]).read_bytes().partition(b"\n")[0])["version"] == 1
