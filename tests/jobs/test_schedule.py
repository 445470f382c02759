"""A job is due when cron says so, in its own time zone: never twice, and never not at all, when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dumpty.jobs.schedule import Schedule, slot_name
from dumpty.jobs.values import duration_text, parse_duration, parse_interval

BERLIN = ZoneInfo("Europe/Berlin")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "latest", "upcoming"),
    [
        # 02:30 does not exist on the day on which summer time begins: it is due when the clock has jumped.
        ("2026-03-29 00:59", "2026-03-28 01:30", "2026-03-29 01:00"),
        ("2026-03-29 01:00", "2026-03-29 01:00", "2026-03-30 00:30"),
        ("2026-03-29 12:00", "2026-03-29 01:00", "2026-03-30 00:30"),
        # On the day on which it ends 02:30 comes twice, and counts once.
        ("2026-10-25 00:29", "2026-10-24 00:30", "2026-10-25 00:30"),
        ("2026-10-25 00:30", "2026-10-25 00:30", "2026-10-26 01:30"),
        ("2026-10-25 01:30", "2026-10-25 00:30", "2026-10-26 01:30"),
        ("2026-10-25 12:00", "2026-10-25 00:30", "2026-10-26 01:30"),
    ],
)
def test_a_night_in_which_the_clock_changes_has_one_slot(now, latest, upcoming):
    schedule = Schedule("30 2 * * *", BERLIN)
    assert (schedule.latest(at(now)), schedule.next(at(now))) == (at(latest), at(upcoming))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Antarctica/Troll"])
@pytest.mark.parametrize("text", ["30 2 * * *", "30 2 25 10 *", "15 1 * * *"])
def test_in_time_that_is_repeated_the_latest_stays(zone, text):
    """Zones set their clocks back by one hour, and by two."""
    schedule, first = Schedule(text, ZoneInfo(zone)), at("2026-10-25 00:00")
    seen = [schedule.latest(first + timedelta(minutes=minute)) for minute in range(0, 300, 5)]
    assert seen == sorted(seen)
    assert all(latest < schedule.next(first + timedelta(minutes=5 * n)) for n, latest in enumerate(seen))


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
EXPRESSIONS = st.sampled_from(["30 2 * * *", "*/15 * * * *", "0 3 * * 0", "15 2 1 * *", "0 2-3 * * *", "59 23 31 12 *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])


@settings(deadline=None)
@given(EXPRESSIONS, ZONES, MOMENTS)
def test_the_latest_is_not_after_now_and_nothing_is_due_between_it_and_the_next(text, zone, now):
    schedule = Schedule(text, ZoneInfo(zone))
    latest, upcoming = schedule.latest(now), schedule.next(now)
    assert latest <= now < upcoming
    assert schedule.next(latest) == upcoming
    assert schedule.latest(upcoming - timedelta(minutes=1)) == latest
    assert schedule.latest(latest) == latest


@pytest.mark.parametrize("text", ["", "daily", "* * * *", "60 * * * *", "* * * * * *", "0 0 30 2 *", "0 0 31 4 *"])
def test_what_is_no_schedule_or_never_comes_is_refused(text):
    with pytest.raises(ValueError, match=r"is no schedule|never comes"):
        Schedule(text, UTC)


def test_a_slot_is_named_alike_on_every_machine():
    due = Schedule("30 2 * * *", BERLIN).latest(at("2026-07-01 12:00"))
    assert slot_name(due) == slot_name(due.astimezone(BERLIN)) == "20260701T003000Z"


@given(st.integers(1, 80_000), st.sampled_from(["s", "min", "h"]))
def test_a_duration_reads_as_it_is_written(number, unit):
    duration = parse_duration(f"{number}{unit}")
    assert parse_duration(duration_text(duration)) == duration


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "1m", "1 month", "999999999w", "٣h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"30s, 90min, 26h, 7d or 4w"):
        parse_duration(text)


def test_an_interval_is_a_word_or_a_duration():
    assert parse_interval("Weekly") == timedelta(weeks=1) == parse_interval("7d")
    assert parse_interval("monthly") == timedelta(days=30)
    with pytest.raises(ValueError, match="no time at all"):
        parse_interval("0d")
