"""``Serving``: each time that a job is due is run once, whatever clock, configuration and repository do meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from dumpty import BackupManager
from dumpty.jobs import job_run, serving
from dumpty.jobs.job_run import Listener
from dumpty.jobs.serving import Followers, Serving
from dumpty.jobs.settings import load


class End(KeyboardInterrupt):
    """What ends a serving here, as a signal does elsewhere."""


class FakeClock:
    """A clock that leaps to where it is waited for, while no job is at work; ``plan`` has what happens at which time."""

    def __init__(self, start, end, plan=()):
        self.time, self.end = start, end
        self.plan = sorted(plan, key=lambda entry: entry[0])
        self.serving = None
        self.woken = threading.Semaphore(0)

    def now(self):
        return self.time

    def wait(self, seconds):
        assert 0 <= seconds <= 60
        if self.serving.busy:
            assert self.woken.acquire(timeout=60)
            if self.time >= self.end and not self.plan:
                raise End
            return
        self.time += timedelta(seconds=max(seconds, 1))
        if self.plan and self.plan[0][0] <= self.time:
            self.plan.pop(0)[1]()
        if self.time >= self.end and not self.plan:
            raise End

    def ticks(self):
        return self.time.timestamp()

    def wake(self):
        self.woken.release()


class Place:
    """A configuration with one SQLite database, and what came of serving it."""

    def __init__(self, path):
        self.path = path
        self.repository = path / "backups"
        self.runs, self.problems, self.told, self.ready, self.reload = [], [], [], [], False
        with contextlib.closing(sqlite3.connect(path / "shop.db")) as connection:
            connection.execute("CREATE TABLE t (x)")

    def configure(self, jobs, run=""):
        text = f'{run}\n[defaults]\nrepository = "{self.repository}"\nretries = 0\n'
        for name, keys in jobs.items():
            lines = "".join(f"{key} = {value}\n" for key, value in {"source": f'"{self.url}"', **keys}.items())
            text += f"[jobs.{name}]\n{lines}"
        (self.path / "dumpty.toml").write_text(text)
        (self.path / "dumpty.toml").chmod(0o600)

    @property
    def url(self):
        return f"sqlite:///{self.path}/shop.db"

    def load(self):
        return load(str(self.path / "dumpty.toml"))

    def take_reload(self):
        asked, self.reload = self.reload, False
        return asked

    def ask_to_reload(self):
        self.reload = True

    def serving_with(self, clock, wait=None):
        followers = Followers(
            self.problems.append,
            self.told.append,
            self.runs.append,
            lambda: self.told.append("idle"),
            self.ready.append,
        )
        listener = Listener(self.told.append, lambda _: None, lambda _: None)
        clock.serving = Serving(self.load(), self.load, self.take_reload, listener, followers, clock)
        clock.wait = wait or clock.wait
        return clock.serving

    def serve(self, start, end, plan=()):
        self.clock = FakeClock(start, end, plan)
        with pytest.raises(End):
            self.serving_with(self.clock).run()

    def slots(self, job="shop"):
        """The times at which runs were due that were done, in their order."""
        done = (run.slot for run in self.runs if run.job == job and run.outcome != "skipped")
        return [datetime.strptime(slot, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for slot in done]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The clock of these tests is one of 2026, that of the repository is the machine's: for it, all is due for long."""
    monkeypatch.setattr("dumpty.repository.protocol.runs._require_not_late", lambda *_: None)
    return Place(tmp_path)


def day(number, hour=0, minute=0):
    return datetime(2026, 3, number, hour, minute, tzinfo=UTC)


def test_each_time_is_run_once_and_the_one_before_the_start_is_made_up_for(place):
    place.configure({"shop": {"schedule": '"30 2 * * *"'}})
    place.serve(day(2, 12), day(5, 12))
    assert place.slots() == [day(number, 2, 30) for number in (2, 3, 4, 5)]
    assert {run.outcome for run in place.runs} == {"ok"}
    assert len(BackupManager(place.repository).list_backups()) == 4


def test_what_was_missed_for_long_is_run_once(place):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})
    place.serve(day(2, 0, 30), day(2, 2, 30))
    place.serve(day(9, 0, 30), day(9, 1, 30))
    assert place.slots() == [day(2), day(2, 1), day(2, 2), day(9), day(9, 1)]


@pytest.mark.parametrize(
    ("first", "last", "due"),
    [
        # The night of summer time, in which 02:30 does not exist: it is due right after that hour, once.
        (day(28, 12), day(30, 12), [day(28, 1, 30), day(29, 1), day(30, 0, 30)]),
        # The night of winter time, in which 02:30 comes twice: the first one counts.
        (
            datetime(2026, 10, 24, 12, tzinfo=UTC),
            datetime(2026, 10, 26, 12, tzinfo=UTC),
            [datetime(2026, 10, *when, 30, tzinfo=UTC) for when in ((24, 0), (25, 0), (26, 1))],
        ),
    ],
    ids=["spring", "autumn"],
)
def test_summer_time_neither_loses_nor_repeats_a_run(place, first, last, due):
    place.configure({"shop": {"schedule": '"30 2 * * *"', "timezone": '"Europe/Berlin"'}})
    place.serve(first, last)
    assert place.slots() == due


def test_several_that_serve_share_the_runs(place):
    """Two at the same time: each run is done by one of them, and the other one says by whom."""
    place.configure({"shop": {"schedule": '"0 * * * *"'}})
    others = [Place.__new__(Place) for _ in range(2)]
    for other in others:
        other.__dict__.update(place.__dict__, runs=[], problems=[], told=[], ready=[])
    threads = [threading.Thread(target=other.serve, args=(day(2, 0, 30), day(2, 6, 30))) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    # Whoever looks while the other one is at a run looks again after five minutes, and finds it done.
    done = Counter(slot for other in others for slot in other.slots())
    assert done == Counter(day(2, hour) for hour in range(7))
    assert len(BackupManager(place.repository).list_backups()) == 7
    skipped = [run for other in others for run in other.runs if run.outcome == "skipped"]
    assert skipped
    assert all("it is done, by " in str(run) or "somebody is at it" in str(run) or run.error for run in skipped)


def test_a_repository_that_is_away_is_asked_again_until_it_is_back(place):
    place.configure({"shop": {"schedule": '"0 3 * * *"'}})
    place.repository.write_text("a file in its place")
    place.serve(day(2, 3), day(2, 3, 40), [(day(2, 3, 21), lambda: place.repository.unlink())])
    assert [run.outcome for run in place.runs] == ["failed"] * 5 + ["ok"]
    assert set(place.slots()) == {day(2, 3)}
    assert len(BackupManager(place.repository).list_backups()) == 1


def test_a_server_that_is_down_for_a_week_fails_each_run_once_and_then_succeeds(place):
    (place.path / "shop.db").rename(place.path / "away.db")
    place.configure({"shop": {"schedule": '"0 3 * * *"'}})
    back = (day(9), lambda: (place.path / "away.db").rename(place.path / "shop.db"))
    place.serve(day(2, 4), day(10, 4), [back])
    assert [run.outcome for run in place.runs] == ["failed"] * 7 + ["ok"] * 2
    assert place.slots() == [day(number, 3) for number in range(2, 11)]


def test_a_clock_that_is_set_back_is_told_and_runs_nothing_twice(place):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})

    def set_back():
        place.clock.time -= timedelta(hours=2)

    place.serve(day(2, 0, 30), day(2, 6, 30), [(day(2, 4, 10), set_back)])
    assert place.slots() == [day(2, hour) for hour in range(7)]
    assert [problem for problem in place.problems if "the clock was set back by 1:59" in problem]
    assert len(BackupManager(place.repository).list_backups()) == 7


def test_a_clock_that_was_far_ahead_and_is_right_again_keeps_nothing_from_running(place):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})

    def correct():
        place.clock.time = day(2, 0, 10)

    place.serve(datetime(2031, 1, 1, tzinfo=UTC), day(2, 3, 30), [(datetime(2031, 1, 1, 2, tzinfo=UTC), correct)])
    assert place.slots()[-4:] == [day(2, hour) for hour in range(4)]
    assert place.slots()[0] == datetime(2031, 1, 1, tzinfo=UTC)


def test_a_clock_that_is_corrected_while_a_job_runs_does_not_keep_it_from_running_until_then(place, monkeypatch):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})
    back_up = job_run.ActiveJob.back_up

    def corrected(self, database):
        if place.clock.time.year > 2030:
            place.clock.time = day(2, 0, 10)
        return back_up(self, database)

    monkeypatch.setattr(job_run.ActiveJob, "back_up", corrected)
    place.serve(datetime(2031, 1, 1, tzinfo=UTC), day(2, 3, 30), [(day(2, 0, 11), lambda: None)])
    assert place.slots() == [datetime(2031, 1, 1, tzinfo=UTC), *(day(2, hour) for hour in range(4))]


def test_what_waits_for_room_is_run_for_the_last_time_that_it_was_due_alone(place, monkeypatch):
    place.configure({"long": {"schedule": '"0 1 * * *"'}, "shop": {"schedule": '"0 * * * *"'}}, "[run]\nparallel = 1")
    back_up = job_run.ActiveJob.back_up

    def slow(self, database):
        if self.job.name == "long" and place.clock.time.hour == 1:
            place.clock.time += timedelta(hours=4, minutes=30)
        return back_up(self, database)

    monkeypatch.setattr(job_run.ActiveJob, "back_up", slow)
    place.serve(day(2, 0, 30), day(2, 7, 30))
    # At 1:00 both are due, and one waits until half past five.
    assert place.slots("long")[-1] == day(2, 1)
    assert place.slots() == [day(2), day(2, 5), day(2, 6), day(2, 7)]


@pytest.fixture
def hanging(place, monkeypatch):
    """Serve, with backups that hang, for so many hours; then they go on, and it ends."""
    hung, back_up = threading.Event(), job_run.ActiveJob.back_up

    def hang(self, database):
        hung.wait(60)
        return back_up(self, database)

    def serve(hours):
        def wait(_):
            place.clock.time += timedelta(hours=1)
            if place.clock.time >= place.clock.end:
                hung.set()
                raise End

        place.clock = FakeClock(day(2, 3), day(2, 3) + timedelta(hours=hours))
        with pytest.raises(End):
            place.serving_with(place.clock, wait).run()
        return place.problems

    monkeypatch.setattr(job_run.ActiveJob, "back_up", hang)
    return serve


def test_a_run_that_nothing_ends_is_told_once_a_day(place, hanging):
    place.configure({"shop": {"schedule": '"0 3 * * *"', "deadline": '"2h"'}})
    [first, second] = hanging(29)
    assert first == second
    assert first.startswith("shop: its run goes on beyond its deadline, and nothing ends it")


def test_a_store_that_fails_as_nobody_foresaw_stops_no_other_job(place, monkeypatch):
    place.configure({"bad": {"schedule": '"0 3 * * *"'}, "shop": {"schedule": '"0 3 * * *"'}})
    encode = job_run.encode
    monkeypatch.setattr(job_run, "encode", lambda run: encode(run) if run.job == "shop" else 1 / 0)
    place.serve(day(2, 3), day(2, 3, 7))
    assert place.slots() == [day(2, 3)]
    assert [run.outcome for run in place.runs if run.job == "bad"] == ["attention", "attention"]


def test_a_plugin_that_exits_fails_its_job_and_ends_nothing(place, monkeypatch):
    place.configure({"bad": {"schedule": '"0 3 * * *"', "tags": '["bad"]'}, "shop": {"schedule": '"0 3 * * *"'}})
    create = BackupManager.create_backup

    def exiting(self, *args, tags=(), **options):
        if "bad" in tags:
            sys.exit(0)
        return create(self, *args, tags=tags, **options)

    monkeypatch.setattr(BackupManager, "create_backup", exiting)
    place.serve(day(2, 3), day(2, 3, 7))
    assert {run.job: run.outcome for run in place.runs} == {"bad": "failed", "shop": "ok"}


def test_a_job_that_was_changed_while_it_ran_is_run_as_it_is_now(place, monkeypatch):
    place.configure({"shop": {"schedule": '"0 3 * * 0"'}})
    back_up = job_run.ActiveJob.back_up

    def changing(self, database):
        if self.job.repository == str(place.repository):
            place.configure({"shop": {"schedule": '"0 3 * * 0"', "repository": f'"{place.path}/other"'}})
            place.ask_to_reload()
        return back_up(self, database)

    monkeypatch.setattr(job_run.ActiveJob, "back_up", changing)
    place.serve(day(2, 3), day(2, 4))
    assert place.slots() == [day(1, 3)] * 2
    assert [len(BackupManager(top).list_backups()) for top in (place.repository, place.path / "other")] == [1, 1]


def test_what_waits_for_room_for_long_is_told(place, hanging):
    place.configure({"long": {"schedule": '"0 3 * * *"'}, "shop": {"schedule": '"0 3 * * *"'}}, "[run]\nparallel = 1")
    [problem] = hanging(5)
    assert problem.startswith("shop: it is due, and waits for others to end for long")


def test_secrets_are_let_go_of_once_nothing_runs(place):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})
    place.serve(day(2, 0, 30), day(2, 2, 30))
    assert place.told.count("idle") == 3


def test_a_job_that_is_at_work_when_it_is_due_again_is_run_once_more_after_that(place, monkeypatch):
    place.configure({"shop": {"schedule": '"* * * * *"'}})
    back_up = job_run.ActiveJob.back_up
    clocks = []

    def slow(self, database):
        clocks.append(place.clock.time)
        place.clock.time += timedelta(minutes=5)
        return back_up(self, database)

    monkeypatch.setattr(job_run.ActiveJob, "back_up", slow)
    place.serve(day(2, 0, 0), day(2, 0, 11))
    slots = place.slots()
    assert len(slots) >= 2
    assert all(later - earlier >= timedelta(minutes=5) for earlier, later in itertools.pairwise(slots))


def test_jitter_delays_each_run_by_chance_and_never_beyond_half_of_the_way_to_the_next(place):
    names = [f"job-{number}" for number in range(8)]
    place.configure({name: {"schedule": '"*/10 * * * *"', "jitter": '"1h"'} for name in names}, "[run]\nparallel = 4")
    began = {}
    place.serve(day(2), day(2, 0, 35))
    for run in place.runs:
        began.setdefault(run.job, []).append(run.slot)
    assert {job: len(slots) for job, slots in began.items()} == dict.fromkeys(names, 4)
    schedule = place.load().jobs[0]
    delays = {serving._delay(schedule, day(2, hour)) for hour in range(24)}
    assert len(delays) == 24
    assert all(timedelta() <= delay < timedelta(minutes=5) for delay in delays)


def test_another_configuration_is_taken_up_and_a_wrong_one_is_not(place):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})

    def change():
        place.configure(
            {"shop": {"schedule": '"30 * * * *"'}, "more": {"schedule": '"15 * * * *"'}}, "[run]\nparallel = 4"
        )
        place.ask_to_reload()

    def spoil():
        (place.path / "dumpty.toml").write_text("[jobs.shop]\nsauce = 1\n")
        place.ask_to_reload()

    def unschedule():
        place.configure({"shop": {}})
        place.ask_to_reload()

    plan = [(day(2, 1, 10), change), (day(2, 2, 50), spoil), (day(2, 3, 5), unschedule)]
    place.serve(day(2, 0, 10), day(2, 4, 20), plan)
    # A schedule that changed is that of another job: its last time is made up for, as at a start.
    expected = [day(2), day(2, 1), day(2, 0, 30), day(2, 1, 30), day(2, 2, 30), day(2, 3, 30)]
    assert place.slots() == expected
    assert place.slots("more") == [day(2, hour, 15) for hour in (0, 1, 2, 3, 4)][: len(place.slots("more"))]
    assert len(place.slots("more")) >= 4
    assert [text for text in place.told if "is read again: 2 jobs by schedule; next: " in text]
    assert [text for text in place.problems if "jobs.shop.sauce: there is no such key" in text]
    assert [text for text in place.problems if "has no job with a schedule" in text]
    assert place.problems.count("the configuration was not taken up: the one from before goes on") == 2
    assert place.ready == [True, False, True, False, True, False, True]


def test_a_job_that_is_taken_out_ends_its_run_and_is_not_run_again(place, monkeypatch):
    place.configure({"shop": {"schedule": '"0 * * * *"'}, "more": {"schedule": '"0 * * * *"'}})
    finish = job_run.ActiveJob.finish

    def taking_out(self):
        if self.job.name == "shop":
            place.configure({"more": {"schedule": '"0 * * * *"'}})
            place.ask_to_reload()
        finish(self)

    monkeypatch.setattr(job_run.ActiveJob, "finish", taking_out)
    place.serve(day(2, 0, 10), day(2, 2, 10))
    assert place.slots() == [day(2)]
    assert place.slots("more") == [day(2), day(2, 1), day(2, 2)]


def test_what_nobody_foresaw_ends_it_with_an_error_and_gives_what_runs_back(place, monkeypatch):
    place.configure({"shop": {"schedule": '"0 * * * *"'}})
    with monkeypatch.context() as patched:
        patched.setattr(job_run.ActiveJob, "back_up", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            place.serving_with(FakeClock(day(2, 0, 10), day(3)), lambda _: threading.Event().wait(0.05)).run()
    place.serve(day(2, 0, 20), day(2, 0, 40))
    assert place.slots() == [day(2)]


def test_end_gives_back_what_is_not_complete_and_the_next_one_runs_it(place, monkeypatch):
    place.configure({"shop": {"schedule": '"0 3 * * *"'}})
    started, back_up = threading.Event(), job_run.ActiveJob.back_up

    def hanging(self, database):
        started.set()
        self.stop.wait(60)
        return back_up(self, database)

    def end(_):
        assert started.wait(60)
        raise End

    with monkeypatch.context() as patched:
        patched.setattr(job_run.ActiveJob, "back_up", hanging)
        with pytest.raises(End):
            place.serving_with(FakeClock(day(2, 4), day(3)), end).run()
    assert place.runs == []
    assert BackupManager(place.repository).list_backups() == []
    place.serve(day(2, 5), day(2, 6))
    assert place.slots() == [day(2, 3)]


# -- alarms --------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorder(place):
    """A program that notes what it is told; its address, and the titles of what it was told."""
    program, file = place.path / "tell.sh", place.path / "titles"
    program.write_text(f'#!/bin/sh\n[ -e {place.path}/dead ] && exit 1\necho "$DUMPTY_TITLE" >> {file}\n')
    program.chmod(0o700)

    def titles():
        return file.read_text().splitlines() if file.exists() else []

    titles.address = f'["command://{program}"]'
    return titles


def test_what_is_overdue_is_told_by_itself_once(place, recorder):
    """Nothing runs that could tell it: the job is run by hand, and nobody did."""
    never = '"0 0 1 1 *"'
    place.configure(
        {
            "shop": {"max_age": '"26h"', "notify": recorder.address},
            "other": {"schedule": never, "source": f'"{place.url}"'},
        }
    )
    now = datetime.now(UTC)
    place.serve(now, now + timedelta(hours=1))
    assert recorder() == []  # it was never run, and the configuration is new
    place.serve(now + timedelta(hours=25), now + timedelta(hours=30))
    assert recorder() == ["dumpty: shop: the backup is overdue"]


def test_a_recipient_who_is_dead_is_told_of_once_a_day_and_hears_it_later(place, recorder):
    (place.path / "dead").touch()
    place.configure({"shop": {"max_age": '"1h"', "notify": recorder.address, "schedule": '"0 0 1 1 *"'}})
    (place.path / "shop.db").unlink()
    now = datetime.now(UTC)
    place.serve(now, now + timedelta(hours=3), [(now + timedelta(hours=2), lambda: (place.path / "dead").unlink())])
    told = [problem for problem in place.problems if "tell.sh was not told" in problem]
    assert len(set(told)) == len(told) == 1
    assert recorder()[0].startswith("dumpty: shop: the backup failed")


def test_a_look_that_hangs_stops_no_run_and_no_end(place, recorder, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(serving.Watch, "look", lambda *_, **__: released.wait(60) and [])
    place.configure({"shop": {"notify": recorder.address, "schedule": '"0 * * * *"'}})
    released_by = threading.Timer(1, released.set)
    released_by.start()
    try:
        place.serve(day(2, 0, 30), day(2, 2, 30))
    finally:
        released.set()
        released_by.join()
    assert place.slots() == [day(2, hour) for hour in range(3)]


def test_a_configuration_that_is_read_again_is_the_one_that_is_watched(place, recorder):
    place.configure({"shop": {"max_age": '"1h"', "schedule": '"0 0 1 1 *"'}})
    now = datetime.now(UTC)

    def change():
        keys = {"max_age": '"1h"', "schedule": '"0 0 1 1 *"', "notify": recorder.address}
        place.configure({"shop": keys})
        place.ask_to_reload()

    place.serve(now, now + timedelta(hours=6), [(now + timedelta(hours=3), change)])
    assert recorder() == ["dumpty: shop: the backup is overdue"]
