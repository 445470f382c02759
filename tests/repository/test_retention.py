"""The rules of retention, by property."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dumpty.repository.quantities import parse_age, parse_size, parse_timezone
from dumpty.repository.retention import Rules, decide
from dumpty.repository.verification import VerificationStatus
from dumpty.types import LEVELS, Proof

NOW = datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def proof(level, *, ok):
    return Proof(level=level, ok=ok, at=NOW)


@dataclass(frozen=True)
class FakeBackup:
    id: str
    source: str
    timestamp: datetime
    size_bytes: int = 100
    verification_status: VerificationStatus = field(default=VerificationStatus(), compare=False)
    pinned: str = ""
    state: str = "ok"
    suspicious: bool = False


verification_statuses = st.one_of(
    st.just(VerificationStatus()),
    st.sampled_from(LEVELS).map(lambda level: VerificationStatus(proven=proof(level, ok=True))),
    st.sampled_from(LEVELS).map(lambda level: VerificationStatus(failed=proof(level, ok=False))),
)
backups = st.lists(
    st.builds(
        FakeBackup,
        id=st.uuids().map(str),
        source=st.sampled_from(["a", "b"]),
        timestamp=st.integers(-100, 20_000).map(lambda h: NOW - timedelta(hours=h)),
        size_bytes=st.integers(0, 1000),
        verification_status=verification_statuses,
        state=st.sampled_from(["ok", "ok", "ok", "lost", "damaged"]),
        suspicious=st.sampled_from([False, False, False, True]),
        pinned=st.sampled_from(["", "", "", "by somebody"]),
    ),
    unique_by=lambda t: t.id,
    max_size=10,
)
numbers = st.none() | st.integers(1, 5)
rules = (
    st.fixed_dictionaries(
        dict.fromkeys(("keep", "hourly", "daily", "weekly", "monthly", "yearly"), numbers)
        | {
            "older_than": st.none() | st.integers(0, 9_000).map(lambda h: timedelta(hours=h)),
            "max_size": st.none() | st.integers(0, 5_000),
        }
    )
    .filter(lambda given_rules: any(v is not None for v in given_rules.values()))
    .flatmap(lambda values: st.sampled_from([UTC, BERLIN, None]).map(lambda z: Rules(**values, zone=z)))
)


def kept(subjects, rule, now=NOW):
    return {d.backup.id for d in decide(subjects, rule, now) if d.keep}


class Incomparable(FakeBackup):
    __hash__ = None

    def __eq__(self, other):
        raise AssertionError("ten thousand backups that are each compared with each take minutes")


def test_no_backup_is_compared_with_every_other():
    subjects = [Incomparable(str(n), "a", NOW - timedelta(hours=n)) for n in range(4)]
    decisions = decide(subjects, Rules(keep=1, daily=1, max_size=100), NOW)
    assert [d.keep for d in decisions] == [True, False, False, False]
    assert [d.reason[:8] for d in decisions[1:]] == ["number 2", "number 3", "number 4"]


def series(count, step, *, begin=NOW):
    """Backups of one database, newest first, named by their place."""
    return [FakeBackup(id=str(n), source="a", timestamp=begin - n * step) for n in range(count)]


def is_good(subject):
    return subject.verification_status.failed is None and subject.state == "ok" and not subject.suspicious


def is_set_apart(subject):
    return subject.suspicious and subject.state != "lost"


def newest(subjects):
    return max(subjects, key=lambda t: (t.timestamp, t.id))


@settings(max_examples=80)
@given(backups, rules)
def test_every_backup_gets_one_decision_with_a_reason(subjects, rule):
    decisions = decide(subjects, rule, NOW)
    assert sorted(d.backup.id for d in decisions) == sorted(t.id for t in subjects)
    assert all(d.reason for d in decisions)


@settings(max_examples=80)
@given(backups, rules)
def test_no_rule_removes_the_newest_the_newest_good_the_newest_proven_or_what_is_pinned(subjects, rule):
    survivors = kept(subjects, rule)
    for source in {t.source for t in subjects}:
        of_source = [t for t in subjects if t.source == source]
        past = [t for t in of_source if t.timestamp <= NOW and not is_set_apart(t)]
        good = [t for t in past if is_good(t)]
        assert not past or newest(past).id in survivors
        assert not good or newest(good).id in survivors
        for rank in range(len(LEVELS)):
            proven = [
                t
                for t in good
                if t.verification_status.proven and LEVELS.index(t.verification_status.proven.level) >= rank
            ]
            assert not proven or newest(proven).id in survivors
        assert all(t.id in survivors for t in of_source if t.pinned)


@settings(max_examples=80)
@given(backups, rules)
def test_deciding_again_removes_no_more(subjects, rule):
    survivors = [d.backup for d in decide(subjects, rule, NOW) if d.keep]
    assert all(d.keep for d in decide(survivors, rule, NOW))


@settings(max_examples=80)
@given(backups, rules, st.sampled_from(["hourly", "daily", "weekly", "monthly", "yearly", "keep"]))
def test_another_rule_only_ever_protects_more(subjects, rule, name):
    fewer = replace(rule, max_size=None, older_than=rule.older_than or timedelta(days=9), **{name: None})
    assert kept(subjects, fewer) <= kept(subjects, replace(fewer, **{name: 3}))


@settings(max_examples=80)
@given(backups, rules)
def test_a_lost_or_failed_backup_never_changes_what_becomes_of_a_good_one(subjects, rule):
    rule = replace(rule, max_size=None, keep=rule.keep or 2)
    good = [t for t in subjects if is_good(t)]
    assert kept(subjects, rule) & {t.id for t in good} == kept(good, rule)


@settings(max_examples=80)
@given(backups, rules)
def test_a_suspicious_backup_stays_and_changes_nothing_of_what_becomes_of_any_other(subjects, rule):
    survivors = kept(subjects, rule)
    others = [t for t in subjects if not is_set_apart(t)]
    assert {t.id for t in subjects if is_set_apart(t)} <= survivors
    assert survivors & {t.id for t in others} == kept(others, rule)


@settings(max_examples=80)
@given(backups, rules)
def test_once_it_is_accepted_it_counts_as_any_other(subjects, rule):
    accepted = [replace(t, suspicious=False) for t in subjects]
    decisions = decide(accepted, rule, NOW)
    assert not any("suspicious" in d.reason for d in decisions)
    for source in {t.source for t in accepted}:
        past = [t for t in accepted if t.source == source and t.timestamp <= NOW]
        assert not past or newest(past).id in {d.backup.id for d in decisions if d.keep}


def test_a_suspicious_backup_takes_no_place_and_no_room():
    proven = VerificationStatus(proven=proof("restore", ok=True))
    subjects = [
        replace(t, suspicious=t.id in "01", size_bytes=100 if t.id > "1" else 10_000, verification_status=proven)
        for t in series(6, timedelta(days=1))
    ]
    for rule in (Rules(keep=2), Rules(daily=2), Rules(older_than=timedelta(days=3)), Rules(max_size=200)):
        decisions = {d.backup.id: d for d in decide(subjects, rule, NOW)}
        assert {name for name, d in decisions.items() if d.keep} >= {"0", "1", "2", "3"}
        assert not decisions["4"].keep
        assert decisions["2"].reason == "the newest of its database"
        for name in "01":
            assert decisions[name].reason == "suspicious: kept until `dumpty accept` or `dumpty remove`"


def test_a_suspicious_backup_that_is_damaged_stays_and_one_that_is_lost_does_not():
    subjects = [
        replace(t, suspicious=t.id in "34", state={"3": "damaged", "4": "lost"}.get(t.id, "ok"))
        for t in series(6, timedelta(days=1))
    ]
    assert kept(subjects, Rules(keep=1)) == {"0", "3"}


@settings(max_examples=80)
@given(backups, rules)
def test_databases_are_judged_apart_unless_by_total_size(subjects, rule):
    rule = replace(rule, max_size=None, keep=rule.keep or 2)
    kept_separately = set()
    for source in {t.source for t in subjects}:
        kept_separately |= kept([t for t in subjects if t.source == source], rule)
    assert kept(subjects, rule) == kept_separately


@settings(max_examples=80)
@given(backups, rules)
def test_the_total_size_is_met_unless_other_rules_protect_more(subjects, rule):
    limited = replace(rule, max_size=2_000)
    total = sum(
        t.size_bytes for t in subjects if t.id in kept(subjects, limited) and t.state != "lost" and not is_set_apart(t)
    )
    if any(
        getattr(rule, n) is not None for n in ("keep", "hourly", "daily", "weekly", "monthly", "yearly", "older_than")
    ):
        unlimited = kept(subjects, replace(rule, max_size=None))
        protected = sum(t.size_bytes for t in subjects if t.id in unlimited and t.state != "lost")
        assert total <= max(2_000, protected)


def test_the_number_and_the_age_protect_each_what_they_name():
    subjects = series(10, timedelta(days=1))
    assert kept(subjects, Rules(keep=3)) == {"0", "1", "2"}
    assert kept(subjects, Rules(older_than=timedelta(days=4))) == {"0", "1", "2", "3", "4"}
    assert kept(subjects, Rules(keep=2, older_than=timedelta(days=1))) == {"0", "1"}


def test_the_total_size_lets_the_oldest_go_first_whatever_its_own_size():
    subjects = [replace(t, size_bytes=s) for t, s in zip(series(4, timedelta(days=1)), (100, 300, 900, 1), strict=True)]
    assert kept(subjects, Rules(max_size=500)) == {"0", "1"}
    assert kept(subjects, Rules(max_size=0)) == {"0"}


def test_days_keep_the_newest_of_each_and_days_without_a_backup_do_not_count():
    noon = datetime(2026, 5, 20, 12, tzinfo=UTC)
    days = [0, 0, 1, 5, 5, 9, 30]
    subjects = [
        FakeBackup(id=f"{position}", source="a", timestamp=noon - timedelta(days=d, hours=position))
        for position, d in enumerate(days)
    ]
    assert kept(subjects, Rules(daily=3), noon) == {"0", "2", "3"}
    assert kept(subjects, Rules(daily=4), noon) == {"0", "2", "3", "5"}


def test_grandfather_father_and_son_over_three_years_of_daily_backups():
    subjects = series(3 * 365, timedelta(days=1), begin=datetime(2026, 6, 15, 3, tzinfo=UTC))
    decisions = decide(subjects, Rules(daily=7, weekly=4, monthly=12, yearly=2), subjects[0].timestamp)
    days = [d.backup.timestamp.date().isoformat() for d in decisions if d.keep]
    assert days[:7] == [f"2026-06-{day:02}" for day in range(15, 8, -1)]
    assert days[7:9] == ["2026-06-07", "2026-05-31"]  # the last Sundays, and of May the last day, too
    assert days[9:14] == ["2026-04-30", "2026-03-31", "2026-02-28", "2026-01-31", "2025-12-31"]
    assert days[14:] == ["2025-11-30", "2025-10-31", "2025-09-30", "2025-08-31", "2025-07-31"]


def test_the_oldest_stays_while_a_rule_is_not_yet_filled():
    subjects = series(20, timedelta(days=1), begin=datetime(2026, 6, 25, 3, tzinfo=UTC))
    assert kept(subjects, Rules(yearly=2), subjects[0].timestamp) == {"0", "19"}
    filled = [*subjects, FakeBackup(id="old", source="a", timestamp=datetime(2024, 1, 1, tzinfo=UTC))]
    assert kept(filled, Rules(yearly=2), subjects[0].timestamp) == {"0", "old"}


def test_a_day_is_that_of_the_time_zone():
    # 22:30 and 23:30 in UTC are two days in Berlin, where it is 00:30 and 01:30 of the same one: summer time.
    subjects = [
        FakeBackup(id=name, source="a", timestamp=datetime(2026, 7, day, hour, 30, tzinfo=UTC))
        for name, day, hour in (("x", 2, 21), ("y", 1, 22), ("z", 1, 21))
    ]
    now = datetime(2026, 7, 3, tzinfo=UTC)
    assert kept(subjects, Rules(daily=2), now) == {"x", "y"}
    assert kept(subjects, Rules(daily=2, zone=BERLIN), now) == {"x", "z"}


def test_the_hour_that_comes_twice_when_summer_time_ends_is_two_hours():
    # In Berlin it was 02:30 twice on 2026-10-25: at 00:30 and at 01:30 in UTC.
    subjects = [
        FakeBackup(
            id=str(minute),
            source="a",
            timestamp=datetime(2026, 10, 25, 2, 30, tzinfo=UTC) - timedelta(minutes=minute),
        )
        for minute in (0, 60, 120, 180)
    ]
    assert kept(subjects, Rules(hourly=3, zone=BERLIN), subjects[0].timestamp) == {"0", "60", "120"}


def test_the_day_of_23_hours_when_summer_time_begins_is_one_day():
    # In Berlin 2026-03-29 began at 23:00 in UTC, and 02:00 to 03:00 did not exist.
    begin = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
    subjects = [FakeBackup(id=str(h), source="a", timestamp=begin + timedelta(hours=h)) for h in range(-1, 24)]
    assert kept(subjects, Rules(daily=2, zone=BERLIN), begin + timedelta(hours=30)) == {"23", "22"}


def test_a_clock_that_was_ahead_costs_no_good_backup():
    future = [FakeBackup(id=f"ahead{n}", source="a", timestamp=NOW + timedelta(days=n + 1)) for n in range(5)]
    subjects = [*future, *series(5, timedelta(days=1))]
    decisions = {d.backup.id: d for d in decide(subjects, Rules(keep=2), NOW)}
    assert {name for name, d in decisions.items() if d.keep} == {*(b.id for b in future), "0", "1"}
    assert "future" in decisions["ahead0"].reason


def test_a_failed_backup_takes_no_place():
    bad = VerificationStatus(failed=proof("restore", ok=False))
    subjects = [
        replace(t, verification_status=bad if t.id in "13" else VerificationStatus())
        for t in series(6, timedelta(days=1))
    ]
    decisions = {d.backup.id: d for d in decide(subjects, Rules(keep=2), NOW)}
    assert {name for name, d in decisions.items() if d.keep} == {"0", "1", "2"}
    assert "its proof by restore failed" in decisions["3"].reason


@pytest.mark.parametrize("state", ["lost", "damaged"])
def test_a_lost_backup_takes_no_place(state):
    proven = VerificationStatus(proven=proof("restore", ok=True))
    subjects = [
        replace(t, state=state if t.id in "013" else "ok", verification_status=proven)
        for t in series(6, timedelta(days=1))
    ]
    decisions = {d.backup.id: d for d in decide(subjects, Rules(keep=2), NOW)}
    assert {name for name, d in decisions.items() if d.keep} == {"0", "1", "2", "3", "4"}
    assert decisions["2"].reason == "the newest of its database that is there and has not failed"
    [last] = [d for d in decide(subjects, Rules(keep=1), NOW) if d.backup.id == "3"]
    assert not last.keep
    assert last.reason.startswith("lost" if state == "lost" else "number")


def test_what_is_lost_takes_no_room():
    subjects = [replace(t, state="lost" if t.id == "1" else "ok") for t in series(4, timedelta(days=1))]
    assert kept(subjects, Rules(max_size=200)) == {"0", "1", "2"}


def test_the_only_proven_backup_outlives_every_rule():
    proven = VerificationStatus(proven=proof("restore", ok=True))
    subjects = [
        replace(t, verification_status=proven if t.id == "9" else VerificationStatus())
        for t in series(10, timedelta(days=1))
    ]
    decisions = {d.backup.id: d for d in decide(subjects, Rules(keep=1), NOW)}
    assert decisions["9"].keep
    assert decisions["9"].reason == "the newest proven by restore"
    assert sum(d.keep for d in decisions.values()) == 2


@pytest.mark.parametrize(
    "given_rules",
    [{}, {"zone": BERLIN}, {"keep": 0}, {"keep": -1, "older_than": timedelta(1)}, {"daily": 0}, {"yearly": -2}],
)
def test_rules_that_protect_nothing_are_refused(given_rules):
    with pytest.raises(ValueError, match=r"keep|rule"):
        Rules(**given_rules)


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("30d", 720), ("4w", 672), (" 1d ", 24), ("0h", 0)])
def test_an_age_is_a_number_and_a_unit(text, hours):
    assert parse_age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "d", "30", "-1d", "1.5d", "1m", "1 d", "٣d", "999999999w"])
def test_what_is_no_age_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="30d"):
        parse_age(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("500MB", 500_000_000),
        ("1.5 TB", 1_500_000_000_000),
        ("20GiB", 20 << 30),
        ("3kb", 3000),
        ("7kiB", 7168),
    ],
)
def test_a_size_is_a_number_and_a_unit(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "500", "MB", "-1MB", "5iB", "1,5GB", "5 XB", "1e3MB"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="500MB"):
        parse_size(text)


def test_a_time_zone_is_known_by_its_name():
    assert parse_timezone("utc") is UTC
    assert parse_timezone("Local") is None
    assert parse_timezone("Europe/Berlin") == BERLIN


@pytest.mark.parametrize("text", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe"])
def test_what_is_no_time_zone_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="Europe/Berlin"):
        parse_timezone(text)


def test_decisions_are_grouped_by_database_newest_first():
    subjects = [replace(t, source="ab"[int(t.id) % 2]) for t in series(6, timedelta(days=1))]
    order = defaultdict(list)
    for decision in decide(reversed(subjects), Rules(keep=1), NOW):
        order[decision.backup.source].append(decision.backup.id)
    assert order == {"a": ["0", "2", "4"], "b": ["1", "3", "5"]}
