"""A fleet's processes are killed, or sleep, at any time: no database is without its backup, and none has two."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys

import pytest
from faults.ledger import FACTOR, LEDGER
from support.dask_cluster import PATIENCE, Cluster, kill, wait_for
from support.store_files import begun, committed

from dumpty import BackupManager

DATABASES = 24


@pytest.fixture
def fleet(tmp_path):
    """A configuration of many databases, and a scheduler with two workers, which forgets silent ones soon."""
    (tmp_path / "databases").mkdir()
    for index in range(DATABASES):
        with contextlib.closing(sqlite3.connect(tmp_path / "databases" / f"db{index:03}.db")) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
            connection.executemany("INSERT INTO orders (what) VALUES (?)", [(f"egg {index}",)] * 200)
            connection.commit()
    (tmp_path / "dumpty.toml").write_text(
        f'[defaults]\nrepository = "{tmp_path}/backups"\nretry_wait = "0s"\nrate_limit = "20KB"\n[jobs.shop]\n'
        f'source = "sqlite:///{tmp_path}/databases/*.db"\nschedule = "0 0 1 1 *"\n'
    )
    with Fleet(tmp_path) as fleet:
        yield fleet


class Fleet(Cluster):
    def __init__(self, place):
        super().__init__(place / "cluster", DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="3s")
        self.place, self.clients = place, []

    def __enter__(self):
        super().__enter__()
        for _ in range(2):
            self.start_worker(threads=2)
        return self

    def __exit__(self, *error):
        for client in self.clients:
            client.kill()
            client.communicate()
        super().__exit__(*error)

    def run(self, made=0):
        """Start a run of what is due, and wait until so many backups are there, or it has ended."""
        command = [sys.executable, "-m", "dumpty", "run", "--due", "--json", "--workers", self.address]
        command += ["--config", str(self.place / "dumpty.toml")]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.clients.append(client)
        wait_for(lambda: len(self.committed()) >= made or client.poll() is not None)
        return client

    def committed(self):
        """What is committed, also what is there twice."""
        return committed(self.place / "backups")

    def begun_by(self, worker):
        """The backups that a worker is at."""
        found = []
        for path in begun(self.place / "backups"):
            with contextlib.suppress(FileNotFoundError):
                found += [path.name] if json.loads(path.read_text() or "{}").get("pid") == worker.pid else []
        return found

    def require_each_once(self, event, before):
        committed, manager = self.committed(), BackupManager(self.place / "backups")
        backups = manager.list_backups()
        if len({backup.source for backup in backups}) < DATABASES:
            LEDGER.record_false_success(f"{event}: the run is done, and {len(backups)} of {DATABASES} are backed up")
        assert len(committed) == len(backups) == DATABASES, (event, committed)
        if not before <= {backup.id for backup in backups}:
            LEDGER.record_lost_backup(event)
        assert all(verification.ok for verification in manager.verify_many()), event
        LEDGER.restored += len(backups)


def outcome_of(client):
    out, err = client.communicate(timeout=PATIENCE)
    assert out, err
    reply = json.loads(out.splitlines()[-1])
    return reply["jobs"][0]["outcome"] if reply.get("jobs") else "none"


@pytest.mark.parametrize("seed", range(3 * FACTOR))
def test_whoever_is_killed_every_database_has_one_backup(fleet, seed):
    dice = random.Random(seed)
    victim = ["worker", "scheduler", "client"][seed % 3]
    client = fleet.run(made := dice.randrange(1, DATABASES - 6))
    event = f"kill -9 of a {victim} after {made} of {DATABASES} backups"
    before = {backup.id for backup in BackupManager(fleet.place / "backups").list_backups()}
    kill({"worker": fleet.workers[dice.randrange(2)], "scheduler": fleet.scheduler, "client": client}[victim])
    LEDGER.fault(f"a fleet's {victim} killed")
    LEDGER.rounds += 1
    if victim == "worker":
        assert outcome_of(client) == "ok", event
    else:
        client.wait(PATIENCE)
        if victim == "scheduler":
            fleet.start_scheduler()
            fleet.start_worker(threads=2)
        assert outcome_of(fleet.run()) == "ok", event
    assert outcome_of(fleet.run()) == "skipped", event
    fleet.require_each_once(event, before)


def test_a_worker_that_was_taken_for_dead_makes_no_second_backup(fleet):
    """It sleeps for longer than the scheduler waits, and then goes on with what others have done meanwhile."""
    client, sleeper = fleet.run(3), fleet.workers[0]

    def falls_asleep():
        sleeper.send_signal(signal.SIGSTOP)
        os.waitpid(sleeper.pid, os.WUNTRACED)  # till then a thread of it may go on, and be done with its backup
        if fleet.begun_by(sleeper):
            return True
        sleeper.send_signal(signal.SIGCONT)
        return False

    try:
        wait_for(falls_asleep, client)
        LEDGER.fault("a fleet's worker asleep")
        LEDGER.rounds += 1
        assert outcome_of(client) == "ok"
        assert fleet.begun_by(sleeper)
        done = {backup.id for backup in BackupManager(fleet.place / "backups").list_backups()}
    finally:
        sleeper.send_signal(signal.SIGCONT)
    wait_for(lambda: not fleet.begun_by(sleeper))
    fleet.require_each_once("a worker that slept", done)
