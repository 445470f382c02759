"""What a run tells while it goes on, in which order, and what it adds up to."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from datetime import UTC, datetime

import msgspec
import pytest

from dumpty import BackupManager
from dumpty.jobs.activity import Activity
from dumpty.jobs.events import Expected, JobEvent, JobEventKind, Listener, encode
from dumpty.jobs.outcomes import DatabaseRun
from dumpty.jobs.planning import plan
from dumpty.jobs.runner import Runner
from dumpty.jobs.settings import load
from dumpty.jobs.watch import Watch
from dumpty.types import Phase, Progress


class Place:
    """Jobs whose databases are files, and what their runs told."""

    def __init__(self, path):
        self.path = path
        self.events = []
        self.told = []

    def database(self, name, rows=1):
        path = self.path / f"{name}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
            connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * rows)
        return f"sqlite:///{path}"

    def run(self, sources, sink=None, *, estimates=False, parallel=4, **keys):
        keys = {"retries": 0, **keys}
        text = f"[run]\nparallel = {parallel}\n"
        text += f'[jobs.shop]\nsource = {json.dumps(sources)}\nrepository = "{self.path}/backups"\n'
        (self.path / "dumpty.toml").write_text(text + "".join(f"{key} = {value}\n" for key, value in keys.items()))
        (self.path / "dumpty.toml").chmod(0o600)
        configuration = load(str(self.path / "dumpty.toml"))
        watch = Watch(lambda _: None, datetime.now(UTC))
        self.events.clear()
        listener = Listener(self.told.append, lambda _: None, sink or self.events.append, estimates)
        [outcome] = Runner(configuration.limits, listener, {}, watch).run(
            plan(configuration.jobs, datetime.now(UTC), due_only=False)
        )
        return outcome

    def kinds(self, *left_out):
        left_out = left_out or (JobEventKind.PROGRESS,)
        return [event.kind.value for event in self.events if event.kind not in left_out]

    def of(self, kind):
        return [event for event in self.events if event.kind is kind]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_run_tells_all_that_happens_in_its_order(place):
    keys = {"copies": f'["{place.path}/vault"]', "drill": '"1d"', "keep": "{ last = 1 }"}
    url = place.database("shop")
    BackupManager(place.path / "backups").create_backup(url)
    outcome = place.run([url], **keys)
    assert place.kinds() == [
        *("queued", "preparing", "begun", "database_begun", "database_ended"),
        *("copies_begun", "copied", "drill_begun", "drill_ended"),
        *("prune_begun", "removed", "prune_begun", "ended"),
    ]
    assert {(event.job, event.slot) for event in place.events} == {("shop", outcome.slot)}
    assert [event.at for event in place.events] == sorted(event.at for event in place.events)
    [begun], [backed_up], [ended] = map(place.of, (JobEventKind.BEGUN, JobEventKind.DATABASE_ENDED, JobEventKind.ENDED))
    assert (begun.databases, begun.done, begun.total) == ((url,), 0, 1)
    assert (backed_up.database, backed_up.result, backed_up.done) == (url, outcome.databases[0], 1)
    assert ended.result == outcome
    assert sorted(i for event in place.of(JobEventKind.REMOVED) for i in event.removed) == sorted(outcome.removed)
    assert {event.database for event in place.of(JobEventKind.DRILL_BEGUN)} == {url}


def test_each_phase_of_each_step_is_told(place):
    keys = {"copies": f'["{place.path}/vault"]', "drill": '"1d"', "keep": "{ last = 1 }"}
    url = place.database("shop")
    BackupManager(place.path / "backups").create_backup(url)
    place.run([url], **keys)
    phases, step = {}, ""
    for event in place.events:
        if event.progress is None:
            step = event.kind.value
        elif event.progress.phase.value not in phases.setdefault(step, []):
            phases[step].append(event.progress.phase.value)
    assert phases == {
        "database_begun": ["inspecting", "dumping", "committing"],
        "copies_begun": ["inspecting", "copying", "committing"],
        "drill_begun": ["checking", "preparing", "loading", "comparing", "committing"],
        "prune_begun": ["inspecting", "removing"],
    }


def test_of_many_databases_side_by_side_all_end_before_the_job_does_and_are_counted(place):
    urls = [place.database(f"db{number}") for number in range(30)]
    place.run(urls, parallel=8, keep="{ last = 1 }")
    ends = place.of(JobEventKind.DATABASE_ENDED)
    assert [event.done for event in ends] == [*range(1, 31)]
    assert {event.total for event in ends} == {30}
    assert {event.database for event in ends} == {*urls}
    assert place.kinds()[-2:] == ["prune_begun", "ended"]
    for url in urls:
        own = [event.kind.value for event in place.events if event.database == url]
        assert (own[0], own[-1], {*own[1:-1]}) == ("database_begun", "database_ended", {"progress"})


def test_events_are_written_as_json_whatever_a_file_is_named(place):
    place.run([place.database("shop")], copies=f'["{place.path}/vault"]')
    written = [json.loads(encode(event)) for event in place.events]
    assert [each["kind"] for each in written] == [event.kind.value for event in place.events]
    assert (written[0].keys(), written[-1]["result"]["outcome"]) == ({"job", "slot", "kind", "at"}, "ok")
    odd = msgspec.structs.replace(place.events[0], database="sqlite:///x\udcff.db")
    assert json.loads(encode(odd))["database"] == "sqlite:///x\\udcff.db"


def test_whoever_listens_and_fails_ends_no_backup_and_is_told_no_more(place):
    told = []

    def sink(event):
        told.append(event)
        if event.kind is JobEventKind.PROGRESS:
            raise ZeroDivisionError("in whoever shows it")

    assert place.run([place.database("shop")], sink, keep="{ last = 1 }").outcome == "ok"
    assert [event.kind.value for event in told] == ["queued", "preparing", "begun", "database_begun", "progress"]


def test_what_fails_is_told_without_secrets(place):
    url = "postgresql://backup:s3cr3t-pass@127.0.0.1:1/shop"
    assert place.run([url], retries=1, retry_wait='"0s"').outcome == "failed"
    assert place.kinds() == [
        *("queued", "preparing", "begun", "database_begun", "database_delayed", "database_ended", "ended")
    ]
    assert "s3cr3t-pass" not in repr(place.events)
    [delayed] = place.of(JobEventKind.DATABASE_DELAYED)
    assert (delayed.database, bool(delayed.error)) == ("postgresql://backup:***@127.0.0.1:1/shop", True)


def test_a_job_that_has_no_databases_ends_without_having_begun(place):
    assert place.run(["env:NOT_SET"]).outcome == "failed"
    assert place.kinds() == ["queued", "preparing", "ended"]


def test_what_is_expected_is_what_the_last_run_that_succeeded_took(place):
    urls = [place.database("a"), place.database("b")]
    place.run(urls, estimates=True)
    assert place.of(JobEventKind.BEGUN)[0].expected is None
    first = place.run(urls, estimates=True)
    (place.path / "b.db").unlink()
    assert place.run(urls, estimates=True).outcome == "failed"
    place.run([urls[0]], estimates=True)
    [begun] = place.of(JobEventKind.BEGUN)
    assert begun.expected.databases == {run.source: run.duration_seconds for run in first.databases}
    assert begun.expected.parallel >= 1
    assert begun.expected.after_seconds >= 0
    place.run([place.database("new")], estimates=True)
    assert place.of(JobEventKind.BEGUN)[0].expected is None
    place.run([urls[0]])
    assert place.of(JobEventKind.BEGUN)[0].expected is None


@pytest.mark.parametrize("content", ["nonsense", '{"job":"shop"}'])
def test_a_damaged_result_costs_no_more_than_the_estimate(place, content):
    url = place.database("shop")
    place.run([url], estimates=True)
    for path in (place.path / "backups" / ".runs" / "shop").iterdir():
        path.write_text(content)
    assert place.run([url], estimates=True).outcome == "ok"
    assert place.of(JobEventKind.BEGUN)[0].expected is None


def test_progress_is_told_at_most_ten_times_a_second(place):
    began = time.monotonic()
    place.run([place.database("shop", 60_000)], format='"sql"')
    dumping = [event for event in place.of(JobEventKind.PROGRESS) if event.progress.phase is Phase.DUMPING]
    assert 1 <= len(dumping) <= 2 + 10 * (time.monotonic() - began)


# -- what they add up to -----------------------------------------------------------------------------------------------


class Told:
    """An activity that is told of a job by a clock of the test's."""

    def __init__(self):
        self.now = 0.0
        self.activity = Activity(lambda: self.now)
        self.counts = {"done": 0, "total": 0}

    def __call__(self, kind, at=None, job="shop", **facts):
        self.now = self.now if at is None else at
        when = datetime.now(UTC)
        self.activity.take(JobEvent(job=job, slot="s", kind=JobEventKind(kind), at=when, **self.counts, **facts))

    def progress(self, at, database, phase, done, total=None):
        progress = Progress(phase=Phase(phase), bytes_done=done, bytes_total=total)
        self("progress", at, database=database, progress=progress)

    def ended(self, at, database, seconds):
        self.counts["done"] += 1
        run = DatabaseRun(
            source=database,
            database="x",
            ok=True,
            started=datetime.now(UTC),
            duration_seconds=seconds,
            attempts=1,
        )
        self("database_ended", at, database=database, result=run)

    def view(self, at):
        self.now = at
        [job] = self.activity.at_work()
        return job


def test_jobs_wait_are_at_work_and_end():
    told = Told()
    told("queued", 0)
    told("queued", 0, job="blog")
    assert (told.activity.waiting, told.activity.at_work()) == (2, [])
    told("preparing", 5)
    assert (told.activity.waiting, told.view(7).phase, told.view(7).elapsed) == (1, "looking for databases", 2)
    told("ended", 8)
    told("ended", 8, job="blog")
    assert (told.activity.waiting, told.activity.at_work()) == (0, [])
    told("database_begun", 9, database="late")
    assert told.activity.at_work() == []


def test_bytes_are_those_of_all_databases_at_work_and_speed_is_of_the_last_seconds():
    told = Told()
    told("preparing", 0)
    told("begun", 0, databases=("a", "b"))
    told("database_begun", 0, database="a")
    told("database_begun", 0, database="b")
    told.progress(1, "a", "dumping", 1000, 4000)
    told.progress(2, "b", "dumping", 1000, 2000)
    view = told.view(2)
    assert (view.phase, view.subjects, view.bytes_done, view.bytes_total) == ("dumping", ("a", "b"), 2000, 6000)
    assert view.speed == 1000
    told.progress(12, "b", "dumping", 1500, 2000)
    assert told.view(12).speed == pytest.approx(100, abs=60)
    assert told.view(60).speed == 0
    told.progress(61, "a", "committing", 0)
    assert (told.view(61).bytes_done, told.view(61).bytes_total) == (1500, None)
    told("database_delayed", 62, database="a", error="away")
    assert told.view(62).phase == "waiting to try again"


def test_what_is_left_follows_the_run_before_and_its_pace():
    told = Told()
    told.counts["total"] = 3
    expected = Expected(databases={"a": 10.0, "b": 10.0, "c": 20.0}, parallel=2.0, after_seconds=5.0)
    told("preparing", 0)
    assert told.view(0).remaining is None
    told("begun", 0, databases=("a", "b", "c"), expected=expected)
    assert told.view(0).remaining == 25  # 40 s of work, two at once, and what follows; but c alone takes 20
    told("database_begun", 0, database="a")
    told("database_begun", 0, database="c")
    assert told.view(5).remaining == 20
    told.ended(20, "a", 20.0)  # twice as long
    told("database_begun", 20, database="b")
    assert told.view(20).remaining == pytest.approx(10 * (20 + 10) / (10 + 10) + 5)
    assert told.view(100).remaining == 0
    told.ended(100, "b", 80.0)
    told.ended(100, "c", 100.0)
    assert (told.view(102).phase, told.view(102).remaining) == ("ending", 3)
    assert told.view(102).done == 3
    assert told.view(110).remaining == 0


def test_what_follows_is_named_with_its_place_and_counts():
    told = Told()
    told("preparing", 0)
    told("begun", 0)
    told("copies_begun", 1, repository="/vault")
    assert (told.view(1).phase, told.view(1).subjects) == ("copies", ("/vault",))
    progress = Progress(phase=Phase.COPYING, bytes_done=10, items_done=2, items_total=5)
    told("progress", 2, repository="/vault", progress=progress)
    assert (told.view(2).phase, told.view(2).bytes_done) == ("copies: copying (2 of 5)", 10)
    told("drill_begun", 3, database="sqlite:///shop.db", backup="id")
    assert (told.view(3).phase, told.view(3).subjects) == ("proof", ("sqlite:///shop.db",))
    told("prune_begun", 4, repository="/backups")
    assert told.view(4).phase == "removal"
