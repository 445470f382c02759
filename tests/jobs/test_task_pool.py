"""Tasks go on side by side, but no more than so many at once, and of one server."""

from __future__ import annotations

import threading

import pytest

from dumpty.jobs.task_pool import TaskPool


class Meeting:
    """Tasks that wait until as many of them run as can, and remember how many did."""

    def __init__(self):
        self.lock, self.running, self.most = threading.Lock(), {}, {}

    def task(self, name, gate=None):
        def work():
            with self.lock:
                self.running[name] = self.running.get(name, 0) + 1
                self.most[name] = max(self.most.get(name, 0), self.running[name])
                self.most["all"] = max(self.most.get("all", 0), sum(self.running.values()))
            if gate is not None:
                gate.wait(60)
            with self.lock:
                self.running[name] -= 1

        return work


def test_so_many_run_at_once_and_so_many_of_one_server():
    pool, meeting = TaskPool(4, 2), Meeting()
    gate = threading.Barrier(4)
    for server in ("a", "a", "b", "b"):
        pool.add(meeting.task(server, gate), server)
    for server in ("a",) * 6 + ("",) * 6:
        pool.add(meeting.task(server), server)
    pool.wait()
    assert meeting.most["all"] == 4
    assert meeting.most["a"] <= 2


def test_what_waits_for_a_server_keeps_no_other_task_waiting():
    pool, gate, order = TaskPool(2, 1), threading.Event(), []

    def first():
        gate.wait(60)
        order.append("first of a")

    pool.add(first, "a")
    pool.add(lambda: order.append("second of a"), "a")
    pool.add(lambda: (order.append("b"), gate.set()), "b")
    pool.wait()
    assert order == ["b", "first of a", "second of a"]


def test_thousands_that_wait_for_one_server_are_looked_at_once_each(monkeypatch):
    """A thread that looks for work does not look through all that cannot begin."""
    from dumpty.jobs import task_pool

    looks, has_room = [], task_pool._Queue._has_room
    monkeypatch.setattr(task_pool._Queue, "_has_room", lambda self, server: looks.append(0) or has_room(self, server))
    pool, done = TaskPool(20, 1), []
    for number in range(2000):
        pool.add(lambda number=number: done.append(number), "a")
    pool.add(lambda: done.append("last"), "b")
    pool.wait()
    assert sorted(done, key=str) == sorted([*range(2000), "last"], key=str)
    assert [number for number in done if number != "last"] == list(range(2000))
    assert len(looks) < 10 * 2000


def test_tasks_of_tasks_come_before_what_waits():
    pool, order = TaskPool(1, 1), []
    pool.add(lambda: pool.add_first([(lambda: order.append(1), ""), (lambda: order.append(2), "")]))
    pool.add(lambda: order.append(3))
    pool.wait()
    assert order == [1, 2, 3]


def test_a_task_that_raises_ends_the_pool_and_is_told():
    pool, done = TaskPool(2, 1), []
    pool.add(lambda: 1 / 0)
    for number in range(100):
        pool.add(lambda number=number: done.append(number), "server")
    with pytest.raises(ZeroDivisionError):
        pool.wait()
    count = len(done)
    assert not any(thread.is_alive() for thread in pool._threads)
    assert len(done) == count
