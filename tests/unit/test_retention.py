"""The rules of retention, by property."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dumpty.retention import Rules, decide, parse_age

NOW = datetime(2026, 3, 29, 2, 30, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Taken:
    id: str
    source: str
    timestamp: datetime


backups = st.lists(
    st.builds(
        Taken,
        id=st.uuids().map(str),
        source=st.sampled_from(["a", "b", "c"]),
        timestamp=st.integers(-100, 10_000).map(lambda h: NOW - timedelta(hours=h)),
    ),
    unique_by=lambda t: t.id,
    max_size=9,
)
rules = st.builds(
    Rules, keep=st.integers(1, 12), older_than=st.none() | st.integers(0, 9_000).map(lambda h: timedelta(hours=h))
) | st.builds(Rules, older_than=st.integers(0, 9_000).map(lambda h: timedelta(hours=h)))


@settings(max_examples=60)
@given(backups, rules)
def test_every_backup_gets_one_decision_with_a_reason(taken, rule):
    decisions = decide(taken, rule, NOW)
    assert sorted(d.backup.id for d in decisions) == sorted(t.id for t in taken)
    assert all(d.reason for d in decisions)


@settings(max_examples=60)
@given(backups, rules)
def test_the_newest_of_each_database_is_kept(taken, rule):
    kept = {d.backup for d in decide(taken, rule, NOW) if d.keep}
    for source in {t.source for t in taken}:
        newest = max(t.timestamp for t in taken if t.source == source)
        assert any(k.source == source and k.timestamp == newest for k in kept)


@settings(max_examples=60)
@given(backups, rules)
def test_what_a_rule_protects_is_kept_and_the_rest_goes(taken, rule):
    for decision in decide(taken, rule, NOW):
        one = decision.backup
        newer = [t for t in taken if t.source == one.source and (t.timestamp, t.id) > (one.timestamp, one.id)]
        by_number = rule.keep is not None and len(newer) < rule.keep
        by_age = rule.older_than is not None and NOW - one.timestamp <= rule.older_than
        assert decision.keep == (not newer or by_number or by_age)


@settings(max_examples=60)
@given(backups, rules)
def test_deciding_again_removes_no_more(taken, rule):
    kept = [d.backup for d in decide(taken, rule, NOW) if d.keep]
    assert all(d.keep for d in decide(kept, rule, NOW))


@pytest.mark.parametrize("given_rules", [{}, {"keep": 0}, {"keep": -1, "older_than": timedelta(1)}])
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
