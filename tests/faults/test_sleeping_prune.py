"""A prune that sleeps, or dies, between its announcement and its decision: others go on, and lose nothing by it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from faults.ledger import LEDGER
from support.places import left_over
from support.toys import ToyDriver

from dumpty import BackupManager, PluginInfo, hookimpl
from dumpty.repository.retention import Rules
from dumpty.testing import MemoryStore

PRUNE = """
import json, os, signal, sys
from dumpty import BackupManager
from dumpty.repository.retention import Rules
from support.toys import StoreWrapper

stops = [signal.SIGSTOP]

def put(real, name, data, **options):
    if name.startswith(".prune/go-") and stops:
        os.kill(os.getpid(), stops.pop())
    real(name, data, **options)

manager = BackupManager(f"wrapped://{sys.argv[1]}", plugins=[StoreWrapper(put=put)])
print(json.dumps(manager.prune(Rules(keep=1)).removed))
"""


@contextlib.contextmanager
def sleeping_prune(vault):
    """Run a prune of all but the newest in a process that is stopped before it decides."""
    tests = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", PRUNE, str(vault.top)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            yield process
        finally:
            process.kill()


def as_of_two_hours_ago(top):
    """Make what announces a removal look old, as it does to another machine two hours later."""
    for path in (top / ".prune").iterdir():
        moment = path.stat().st_mtime - 7200
        os.utime(path, (moment, moment))


@pytest.mark.parametrize("recovered", [True, False])
def test_a_prune_that_was_stopped_finds_what_was_pinned_meanwhile_and_leaves_it(vault, recovered):
    vault.advance()
    vault.backup()
    first = next(iter(vault.versions))
    with sleeping_prune(vault) as process:
        if recovered:
            as_of_two_hours_ago(vault.top)
            vault.advance()
            vault.backup()
        vault.manager().pin(first, "an auditor's")
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=120)
    LEDGER.rounds += 1
    assert process.returncode == 0
    assert first not in json.loads(output)  # the rest it decides on anew, and that may go
    for backup_id in json.loads(output):
        del vault.versions[backup_id]
    vault.check("a prune that slept", restore_all=True)
    assert "an auditor's" in vault.manager().get_backup(first).pinned
    assert left_over(vault.top) == []


def test_a_prune_that_was_killed_keeps_nobody_from_pinning_and_restoring(vault):
    vault.advance()
    vault.backup()
    first = next(iter(vault.versions))
    with sleeping_prune(vault) as process:
        process.kill()
        process.wait()
    LEDGER.rounds += 1
    vault.advance()
    vault.backup()
    vault.manager().pin(first)
    vault.check("a prune that was killed", restore_all=True)
    assert left_over(vault.top) == []


# -- a place that many machines share ----------------------------------------------------------------------------------


class SharedPlugin:
    """The store ``shared://…``: one in memory, that stops whoever decides on a removal, on one machine of many."""

    name = "shared"

    def __init__(self, store) -> None:
        self._store = store

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("shared",))

    @hookimpl
    def open_store(self):
        return self._store


def machine(store, databases):
    return BackupManager("shared://here", plugins=[ToyDriver(**databases), SharedPlugin(store)])


@pytest.fixture
def databases():
    return {"db": b"content"}


@pytest.mark.parametrize("wakes", [True, False])
def test_a_machine_that_sleeps_in_a_prune_loses_others_nothing_when_it_wakes_or_does_not(databases, wakes):
    store = MemoryStore()
    others = machine(store, databases)
    first, *_ = backups = [others.create_backup("toy://h/db").backup.id for _ in range(4)]
    reached, woken = threading.Event(), threading.Event()
    sleeper = threading.Thread(target=lambda: outcome.append(pruner.prune(Rules(keep=1))), daemon=True)
    outcome = []
    pruner = machine(store, databases)

    def sleep(name):
        if name.startswith(".prune/go-") and threading.current_thread() is sleeper and not reached.is_set():
            reached.set()
            woken.wait()

    store.race = sleep
    sleeper.start()
    assert reached.wait(60)
    store.advance(timedelta(hours=2))
    assert machine(store, databases).create_backup("toy://h/db").success  # which withdraws what seems to be dead
    others = machine(store, databases)
    others.pin(first)
    if wakes:
        woken.set()
        sleeper.join(60)
        # Decided on anew; and what was the newest when it began is kept as that.
        assert set(outcome[0].removed) == set(backups[1:3])
    else:
        assert set(backups) < {backup.id for backup in others.list_backups()}
        assert set(others.prune(Rules(keep=1)).removed) == set(backups[1:])
    assert "by " in others.get_backup(first).pinned
    assert machine(store, databases).restore(first, "toy://h/new").success
    assert not [name for name in store.objects() if name.startswith(".prune/")]
    woken.set()
    LEDGER.rounds += 1
