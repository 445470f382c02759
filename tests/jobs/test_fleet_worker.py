"""What a worker's process remembers of jobs: each once, reachable as long as a thread is at it, and forgotten after."""

from __future__ import annotations

import threading

import pytest

from dumpty.jobs.document import Job
from dumpty.jobs.fleet import worker
from dumpty.jobs.fleet.assignments import Assignment


def assignment(job, run="run"):
    return Assignment(
        version="1",
        run=run,
        job=job,
        slot="20261126T030000Z",
        key="a0a0a0a0-0000-4000-8000-000000000000",
        document=Job(source="sqlite:////srv/shop.db", repository="/srv/backups"),
        deadline_seconds=3600.0,
    )


@pytest.fixture
def process():
    return worker._Process()


def in_threads(number, work):
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_threads_that_are_at_one_job_share_what_ends_it(process):
    works, meeting = [], threading.Barrier(8)

    def work():
        for _ in range(50):
            meeting.wait(60)
            works.append(process.begin(assignment("shop"), lambda _: None))
            process.end()

    in_threads(8, work)
    assert len(works) == 400
    assert len(set(map(id, works))) == 1


def test_what_a_thread_is_at_is_ended_however_many_jobs_came_after(process):
    works, begun, go_on = {}, threading.Barrier(101), threading.Event()

    def at_work(job):
        works[job] = process.begin(assignment(job), lambda _: None)
        begun.wait(60)
        assert go_on.wait(60)
        process.end()

    threads = [threading.Thread(target=at_work, args=(f"job{number}",)) for number in range(100)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    process.stop("run", "", "it is to end")
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert {work.stop.reason for work in works.values()} == {"it is to end"}


def test_of_jobs_that_nobody_is_at_only_some_are_remembered(process):
    for number in range(3 * worker._JOBS):
        process.begin(assignment(f"job{number}"), lambda _: None)
        process.end()
    assert len(process._works) == worker._JOBS


def test_what_is_given_after_the_end_was_asked_for_is_ended_at_once(process):
    process.stop("run", "shop", "its deadline has passed")
    assert process.begin(assignment("shop"), lambda _: None).stop.asked
    process.end()
    assert not process.begin(assignment("other"), lambda _: None).stop.asked
    process.end()
