"""Ctrl-C and SIGTERM at random moments: 130 or 143 with one line, children ended, nothing half left."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.vault import advance, create, unfinished_files, version_of

from dumpty.cli import main

ROUNDS = 24
RARELY = 2
"""How often a part may outlive its run: Python can be interrupted between making a file and the block that owns it.

Such a part is nobody's, never listed, and goes with the next run."""
HANDOVERS = 6
"""Lines, not whole calls, between the making of a file and the block that owns it."""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Pace:
    """When to interrupt a command: it takes longer or less long than it did before, by what the machine does besides."""

    def __init__(self, dice, seconds):
        self._dice = dice
        self._seconds = seconds

    def delay(self, first, last):
        """Return a moment in a run, between two shares of what it takes."""
        return self._dice.uniform(first, last) * self._seconds

    def look(self, outcome, caught):
        """Learn of a run that was over before its signal came how fast they are now."""
        if not caught:
            self._seconds = min(self._seconds, outcome.seconds)
        return caught


def partial_files(target):
    """Return what an interrupted restore left beside its target."""
    return [name for name in os.listdir(target.parent) if name.startswith(target.name + ".")]


def require_one_line(outcome, number, event):
    """Check the end of an interrupted command: done before the signal, or one line that tells; return which."""
    if outcome.status == 0:
        return False
    if outcome.status == -number:  # between the result and the end of the process
        assert outcome.out, (event, outcome)
        return False
    assert outcome.status == STATUS[number], (event, outcome)
    assert outcome.out == "", (event, outcome)
    [line] = outcome.err.splitlines()
    assert signal.Signals(number).name in line, event
    LEDGER.fault("interrupts")
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_backup_that_is_interrupted_leaves_nothing(zygote, vault, dice, number):
    pace = Pace(dice, zygote.run("backup", vault.url, "--dir", vault.top).seconds)
    vault.check("the first")
    caught = partial = 0
    for turn in range(ROUNDS * FACTOR):
        vault.advance()
        argv = ("backup", vault.url, "--dir", vault.top, "--format", ("sql", "native")[turn % 2])
        outcome = zygote.run(*argv, signal=number, delay=pace.delay(0, 0.7))
        event = f"round {turn}: {signal.Signals(number).name} in a backup"
        LEDGER.rounds += 1
        interrupted = pace.look(outcome, require_one_line(outcome, number, event))
        caught += interrupted
        new_ids = vault.check(event)
        if not interrupted and not new_ids:
            LEDGER.record_false_success(f"{event}: exit status 0, and no backup")
        if unfinished_files(vault.top):
            partial += 1
            vault.next_run(event)
        vault.keep_newest()
    assert caught > ROUNDS // 4
    assert partial <= RARELY * FACTOR
    vault.next_run("interrupts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_restore_that_is_interrupted_leaves_the_target_as_it_was(zygote, vault, dice, number):
    backup_id = next(iter(vault.versions))
    target = create(vault.place / "target.db")
    argv = ("restore", backup_id, "--dir", vault.top, "--overwrite", "--other", "--to", f"sqlite:///{target}")
    pace = Pace(dice, zygote.run(*argv).seconds)
    caught = partial = 0
    for turn in range(ROUNDS * FACTOR):
        advance(target, 1000)
        outcome = zygote.run(*argv, signal=number, delay=pace.delay(0, 0.7))
        event = f"round {turn}: {signal.Signals(number).name} in a restore"
        LEDGER.rounds += 1
        version = version_of(target)
        if pace.look(outcome, require_one_line(outcome, number, event)):
            caught += 1
            # Caught in the moment after the swap, the new content stands, whole.
            assert version in {1000, vault.versions[backup_id]}, event
        elif version != vault.versions[backup_id]:
            LEDGER.record_false_success(f"{event}: exit status 0, and the old content")
        if partial_files(target) or unfinished_files(vault.top):
            partial += 1
            assert zygote.run(*argv).status == 0, event
            assert partial_files(target) == [], event
            vault.next_run(event)
    assert caught > ROUNDS // 4
    assert partial <= RARELY * FACTOR
    vault.check("interrupted restores", restore_all=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verification_that_is_interrupted_says_so(zygote, vault, dice, number):
    argv = ("verify", "--all", "--dir", vault.top)
    pace = Pace(dice, zygote.run(*argv).seconds)
    partial = 0
    for turn in range(ROUNDS * FACTOR):
        outcome = zygote.run(*argv, signal=number, delay=pace.delay(0, 0.7))
        event = f"round {turn}: {signal.Signals(number).name} in a verification"
        LEDGER.rounds += 1
        if not pace.look(outcome, require_one_line(outcome, number, event)):
            assert "verified" in outcome.out
        if unfinished_files(vault.top):
            partial += 1
            vault.next_run(event)
    assert partial <= RARELY * FACTOR
    vault.next_run("interrupted verifications")


def test_an_interrupt_between_any_two_steps_of_a_commit_leaves_nothing(zygote, vault):
    note = vault.place / "interrupted-at"
    stride, line = max(1, 23 // FACTOR), 0
    handovers: set[str] = set()
    while True:
        line += stride
        outcome = zygote.run("backup", vault.url, "--dir", vault.top, "--compressor", "none", line=line, note=str(note))
        if not note.exists():
            break
        place = note.read_text()
        note.unlink()
        LEDGER.rounds += 1
        LEDGER.fault("interrupts")
        assert outcome.status in {0, 130}, (place, outcome)
        unfinished = unfinished_files(vault.top)
        handovers |= {place} if unfinished else set()
        if unfinished or outcome.status == 0 or line % 10 == 0:
            new_ids = vault.check(f"interrupted at {place}")
            assert bool(new_ids) >= (outcome.status == 0), (place, outcome)
            vault.next_run(place)
            vault.keep_newest()
    assert line > 100 * stride
    assert len(handovers) <= HANDOVERS, handovers


def test_a_signal_that_comes_when_all_is_said_changes_nothing(vault, monkeypatch, capsys):
    real = signal.signal
    real(signal.SIGINT, signal.default_int_handler)

    def late(number, handler):
        if handler is signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)
        return real(number, handler)

    monkeypatch.setattr(signal, "signal", late)
    assert main(["list", "--dir", str(vault.top)]) == 0
    assert "shop" in capsys.readouterr().out


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_child_and_no_session(zygote, place, dice, request, server, number):
    running = request.getfixturevalue(server)
    url = loaded(running, f"interrupted_{number:d}")
    top = place / "backups"
    pace = Pace(dice, zygote.run("backup", url, "--dir", top).seconds)
    caught = partial = 0
    for turn in range(5 * FACTOR):
        outcome = zygote.run("backup", url, "--dir", top, signal=number, delay=pace.delay(0.2, 0.8))
        event = f"round {turn}: {signal.Signals(number).name} in a backup of {server}"
        LEDGER.rounds += 1
        caught += pace.look(outcome, require_one_line(outcome, number, event))
        if left := unfinished_files(top):
            assert not [name for name in left if name.endswith(".intent")], (event, left)
            partial += 1
            assert zygote.run("backup", url, "--dir", top).status == 0, event
            assert unfinished_files(top) == [], event
        assert idle(running, f"interrupted_{number:d}"), event
        assert f"interrupted_{number:d}" not in processes(), event
    assert caught > FACTOR
    assert partial <= FACTOR


def processes() -> str:
    """Return the command lines of all processes but the server's own, which names a session's database until it ended."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("ps -eo", "postgres: ")))


def loaded(server, name) -> str:
    """Make a database of some thousand rows and return its URL."""
    if hasattr(server, "bindir"):
        server.drop(name)
        server.script(
            server.create(name),
            "CREATE TABLE t (a int PRIMARY KEY, pad text); "
            "INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n",
        )
    else:
        server.run(f"DROP DATABASE IF EXISTS `{name}`", f"CREATE DATABASE `{name}`")
        server.run(
            "CREATE TABLE t (a int PRIMARY KEY, pad text)",
            "INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_20000",
            database=name,
        )
    return server.url(name)


def idle(server, name) -> bool:
    """Wait until nobody is in a database any more; return whether it came to that."""
    for _ in range(100):
        if hasattr(server, "bindir"):
            [(sessions,)] = server.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", name)
        else:
            [(sessions,)] = server.run(f"SELECT count(*) FROM information_schema.processlist WHERE db = '{name}'")
        if not sessions:
            return True
        time.sleep(0.1)
    return False
