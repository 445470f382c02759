"""Heartbeats: a service hears that a run began, and how it ended, once all of it is done."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from datetime import UTC, datetime

import pytest
from support.waiting_service import Service

from dumpty import BackupManager
from dumpty.jobs import notifying
from dumpty.jobs.job_run import Listener
from dumpty.jobs.planning import plan
from dumpty.jobs.runner import Runner
from dumpty.jobs.settings import load
from dumpty.jobs.watch import Watch


@pytest.fixture
def service():
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever)
    thread.start()
    yield service
    service.server.shutdown()
    service.server.server_close()
    thread.join()


@pytest.fixture
def run(tmp_path, service):
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    told = []

    def run(due=False, **keys):
        keys = {"heartbeat": json.dumps(service.url), "retries": 0, "copies": f'["{tmp_path}/vault"]', **keys}
        text = f'[jobs.shop]\nsource = "sqlite:///{tmp_path}/shop.db"\nrepository = "{tmp_path}/backups"\n'
        (tmp_path / "dumpty.toml").write_text(text + "".join(f"{key} = {value}\n" for key, value in keys.items()))
        (tmp_path / "dumpty.toml").chmod(0o600)
        configuration = load(str(tmp_path / "dumpty.toml"))
        watch = Watch(lambda _: None, datetime.now(UTC))
        runner = Runner(configuration.limits, Listener(told.append, lambda _: None, lambda _: None), {}, watch)
        [outcome] = runner.run(plan(configuration.jobs, datetime.now(UTC), due_only=due))
        return outcome

    run.told, run.place = told, tmp_path
    return run


def test_success_is_told_after_copies_and_the_record_of_the_run(run, service):
    seen = []

    def look(path):
        copies = BackupManager(run.place / "vault").list_backups()
        seen.append((path, len(copies), [entry.done for entry in BackupManager(run.place / "backups").runs("shop")]))

    service.meanwhile = look
    assert run().outcome == "ok"
    assert seen == [("/ping/0123-uuid/start", 0, [False]), ("/ping/0123-uuid", 1, [True])]
    assert service.heard[1][1].startswith("dumpty: shop: ok: 1 of 1 databases backed up, 1 of 1 copies made, ")


def test_failure_is_told_with_its_reason(run, service):
    (run.place / "shop.db").unlink()
    assert run().outcome == "failed"
    assert [path for path, _ in service.heard] == ["/ping/0123-uuid/start", "/ping/0123-uuid/fail"]
    assert f"there is no database file {run.place}/shop.db" in service.heard[1][1]


def test_backups_without_their_copies_are_no_success(run, service):
    (run.place / "vault").write_text("a file in its place")
    assert run().outcome == "attention"
    assert service.paths == ["/ping/0123-uuid/start", "/ping/0123-uuid/fail"]


def test_a_repository_that_is_away_is_a_failure(run, service):
    (run.place / "backups").write_text("a file in its place")
    assert run().outcome == "failed"
    assert service.paths == ["/ping/0123-uuid/fail"]


def test_what_somebody_else_did_or_does_is_his_to_tell(run, service):
    run(due=True, schedule='"0 0 1 1 *"')
    assert len(service.paths) == 2
    assert run(due=True, schedule='"0 0 1 1 *"').outcome == "skipped"
    with BackupManager(run.place / "backups").claim_run("shop", f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"):
        assert run().error_type == "Locked"
    assert service.paths == []


def test_a_run_that_is_interrupted_tells_neither(run, service, monkeypatch):
    def interrupted(*_, **__):
        ends = time.monotonic() + 30
        while not service.heard and time.monotonic() < ends:  # the start is told beside the work
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(BackupManager, "create_backup", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert service.paths == ["/ping/0123-uuid/start"]


@pytest.mark.parametrize(
    ("written", "paths"),
    [
        ('{{ success = "{url}?ok=1", failure = "{url}/down" }}', ["/ping/0123-uuid?ok=1"]),
        ('{{ start = "{url}/a" }}', ["/ping/0123-uuid/a"]),
        ('"{url}/?x=y"', ["/ping/0123-uuid/start?x=y", "/ping/0123-uuid/?x=y"]),
        ('"env:HEARTBEAT"', ["/ping/0123-uuid/start", "/ping/0123-uuid"]),
    ],
)
def test_urls_of_ones_own_are_called_as_they_are(run, service, monkeypatch, written, paths):
    monkeypatch.setenv("HEARTBEAT", service.url)
    run(heartbeat=written.format(url=service.url))
    assert service.paths == paths


def test_a_dead_service_fails_no_backup_and_is_told_in_the_run(run, service):
    service.status = 503
    outcome = run()
    assert outcome.outcome == "attention"
    assert len(BackupManager(run.place / "backups").list_backups()) == 1
    [warning] = outcome.warnings
    assert warning.startswith("the heartbeat (success) was not told: ")
    assert "503" in warning
    assert len(run.told) == 2  # that it began was not told either
    assert not [text for text in (warning, *run.told) if "0123-uuid" in text]


def test_a_service_that_never_answers_is_given_up(run, service, monkeypatch):
    monkeypatch.setattr(notifying, "_BEAT_SECONDS", 0.2)
    released = threading.Event()
    service.meanwhile = lambda _: released.wait(60)
    try:
        outcome = run()
    finally:
        released.set()
    assert outcome.outcome == "attention"
    assert outcome.warnings[0].startswith("the heartbeat (success) was not told: ")


def test_a_beginning_that_was_not_heard_of_keeps_nobody_from_hearing_of_the_end(run, service, monkeypatch):
    monkeypatch.setattr(notifying, "_PATIENCE_SECONDS", -1.0)
    monkeypatch.setattr(notifying, "_BEAT_SECONDS", 2.0)
    released = threading.Event()
    service.meanwhile = lambda path: path.endswith("/start") and released.wait(60)
    try:
        assert run().outcome == "ok"
    finally:
        released.set()
    assert "/ping/0123-uuid" in [path for path, _ in service.heard]
