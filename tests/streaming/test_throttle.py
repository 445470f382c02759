"""Backups that are held back to a number of bytes a second."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import ToyDriver

from dumpty import BackupManager, OptionError
from dumpty.streaming.throttle import Throttle, throttled


class Clock:
    """Time that passes only while somebody sleeps, or is told to."""

    def __init__(self):
        self.now = 100.0

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=50), st.integers(1, 1 << 24))
def test_a_steady_writer_takes_exactly_as_long_as_the_rate_asks_for(blocks, rate):
    clock = Clock()
    throttle = Throttle(rate, clock=lambda: clock.now, sleep=clock.sleep)
    done = 0
    for block in blocks:
        done += block
        throttle(done, None)
    assert clock.now - 100 == pytest.approx(done / rate, rel=1e-6, abs=1e-6)


def test_a_slow_writer_does_not_wait():
    clock = Clock()
    throttle = Throttle(1000, clock=lambda: clock.now, sleep=lambda _: pytest.fail("nobody has to wait"))
    for done in range(100, 2000, 100):
        clock.now += 0.2
        throttle(done, None)


def test_a_pause_of_the_database_is_not_made_up_for_at_full_speed():
    clock = Clock()
    throttle = Throttle(1000, clock=lambda: clock.now, sleep=clock.sleep)
    clock.now += 60
    throttle(1000, None)
    begun = clock.now
    throttle(11_000, None)
    assert clock.now - begun == pytest.approx(9.0)  # one second of ten is made up for


def test_what_was_reported_is_still_reported():
    reports = []
    Throttle(1 << 40, lambda *a: reports.append(a))(7, 9)
    assert reports == [(7, 9)]
    assert throttled(None, None) is None


@pytest.mark.parametrize("rate", [0, -1, 1.5, "10", True])
def test_a_rate_that_is_none_is_refused_and_nothing_is_left(rate, tmp_path):
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"data")])
    result = manager.create_backup("toy://h/db", rate_limit=rate)
    assert isinstance(result.exception, OptionError)
    assert "a whole number of bytes a second" in result.error
    assert manager.list_backups() == []


def test_a_real_backup_takes_its_time(tmp_path):
    manager = BackupManager(str(tmp_path), compressor=None, plugins=[ToyDriver(db=bytes(2_000_000))])
    begun = time.monotonic()
    assert manager.create_backup("toy://h/db", rate_limit=4_000_000).success
    assert time.monotonic() - begun >= 0.5
