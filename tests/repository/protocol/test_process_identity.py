"""On this machine's own disk a process that is gone is dead at once, and whoever may live is left alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from dumpty.repository.protocol import process_identity as identities
from dumpty.repository.protocol.recovery import recover
from dumpty.testing.memory_store import ALL, MemoryStore
from dumpty.types import Cap

STEM = "shop-abcdef/20261126T170000Z-0123456789ab-01234567"
HOUR = timedelta(hours=1)


def store_with(intent):
    store = MemoryStore(ALL | Cap.LOCAL)
    store.put(STEM + ".intent", intent)
    store.put(STEM + ".sql", b"x")
    return store


def endings(store):
    return {name.removeprefix(STEM) for name in store.objects()}


def intent_of(process):
    script = "import json; from dumpty.repository.protocol import process_identity as p; print(json.dumps(p.process_identity()), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.append(child)
    return child.stdout.readline()


@pytest.fixture
def child():
    process = []
    yield lambda: intent_of(process), lambda: (process[0].communicate(b"\n"), process[0].wait())
    for running in process:
        running.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which process it was")
def test_on_this_machines_own_disk_a_process_that_is_gone_is_dead_at_once(child):
    begin, end = child
    store = store_with(begin())
    recover(store)
    assert endings(store) == {".intent", ".sql"}
    end()
    recover(store)
    assert endings(store) == {".manifest.json"}


@pytest.mark.parametrize("lie", ["host", "boot", "pid_namespace"])
def test_of_another_machine_boot_or_container_nothing_is_known(lie):
    gone = {**identities.process_identity(), "pid": 2**22 + 1}
    assert identities.is_gone(gone) == (sys.platform == "linux")
    assert not identities.is_gone({**gone, lie: "another"})


@pytest.mark.parametrize("nonsense", [None, [], {}, {"pid": "x"}, {**identities.process_identity(), "pid": -1}])
def test_what_is_no_identity_is_no_evidence(nonsense):
    assert not identities.is_gone(nonsense)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}"])
def test_an_intent_that_cannot_be_read_waits_for_its_hour(content):
    store = store_with(content)
    recover(store)
    assert endings(store) == {".intent", ".sql"}
    store.advance(HOUR)
    recover(store)
    assert endings(store) == {".manifest.json"}


def test_a_number_that_another_process_has_by_now_is_not_taken_for_it():
    assert identities.is_gone({**identities.process_identity(), "started": "1"}) == (sys.platform == "linux")
    assert not identities.is_gone(identities.process_identity())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hides processes like this")
def test_a_process_that_is_hidden_is_not_taken_for_gone(monkeypatch):
    someone = {**identities.process_identity(), "pid": 1, "started": "1"}
    real = identities._read
    monkeypatch.setattr(identities, "_read", lambda path: "" if path == "/proc/1/stat" else real(path))
    assert not identities.is_gone(someone)


def own_claim():
    return {**identities.process_identity(), "nonce": "0123456789abcdef"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells all of it")
def test_what_this_process_began_is_over_when_it_has_done_with_it(monkeypatch):
    claim = own_claim()
    assert identities.is_over(claim)
    monkeypatch.setattr(identities, "active", {claim["nonce"]})
    assert not identities.is_over(claim)


@pytest.mark.parametrize("unknown", [*identities.process_identity()])
def test_where_not_all_of_an_identity_is_known_nothing_is_taken_for_ones_own(monkeypatch, unknown):
    """Two sandboxes that hide the boot's id may have the same host name, process number and start."""
    identity = {**identities.process_identity(), unknown: ""}
    monkeypatch.setattr(identities, "process_identity", lambda: identity)
    assert not identities.is_over(own_claim())
    assert not identities.is_here(identity)


def test_another_interpreter_in_this_process_is_not_taken_for_this_one():
    """It imports the module itself, and its set of what is active is another."""
    other = importlib.util.module_from_spec(identities.__spec__)
    identities.__spec__.loader.exec_module(other)
    claim = {**other.process_identity(), "nonce": "0123456789abcdef"}
    other.active.add(claim["nonce"])
    assert claim["pid"] == os.getpid()
    assert not identities.is_over(claim)
    assert not identities.is_here(claim)
    other.active.discard(claim["nonce"])
    assert other.is_over(claim) == (sys.platform == "linux")


def test_a_forked_child_takes_nothing_of_its_parent_for_its_own(monkeypatch):
    claims = [own_claim(), {**own_claim(), "nonce": "fedcba9876543210"}]
    monkeypatch.setattr(identities, "active", {claims[0]["nonce"]})
    child = os.fork()
    if not child:
        os._exit(sum(identities.is_over(claim) or identities.is_here(claim) for claim in claims))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such namespaces")
def test_where_another_namespaces_processes_are_shown_nothing_is_known_of_any(monkeypatch):
    """``unshare --pid --fork``, say: /proc shows others under the numbers of one's own."""
    real = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: "2" if path == "/proc/self" else real(path))
    gone = {**identities.process_identity(), "pid": 2**22 + 1}
    assert not identities.is_gone(gone)
    assert not identities.is_running(identities.process_identity())


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/time"), reason="one clock for all processes")
def test_of_a_process_that_is_seen_by_another_clock_nothing_is_known(monkeypatch):
    """In another time namespace every process has another start."""
    there = identities.process_identity()
    real = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: "time:[1]" if path == "/proc/self/ns/time" else real(path))
    assert not identities.is_gone({**there, "started": "1"})
    assert not identities.is_running(there)
