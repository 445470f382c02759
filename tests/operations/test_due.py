"""Which backups are due for another proof: ``verify --older-than`` and ``drill --older-than`` ask this."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dumpty import Backup, Proof
from dumpty.operations.proving import due

NOW = datetime(2026, 2, 28, tzinfo=UTC)


def proof(level: str, days_ago: int, *, ok: bool = True) -> Proof:
    return Proof(level=level, ok=ok, at=NOW - timedelta(days=days_ago))


@pytest.mark.parametrize(
    ("proofs", "level", "expected"),
    [
        ([], "digest", True),
        ([proof("digest", 3)], "digest", False),
        ([proof("digest", 9)], "digest", True),
        ([proof("digest", 3)], "restore", True),
        ([proof("restore", 3)], "digest", False),
        ([proof("restore", 9), proof("digest", 3)], "restore", True),
        ([proof("restore", 9), proof("digest", 3)], "structure", True),
        ([proof("restore", 3), proof("restore", 2, ok=False)], "restore", True),
        ([proof("restore", 3), proof("digest", 2, ok=False), proof("digest", 1)], "restore", True),
        ([proof("digest", 4, ok=False), proof("restore", 3), proof("digest", 2)], "restore", False),
        ([proof("digest", -1)], "digest", False),  # a clock that is a little ahead
        ([proof("digest", 9), proof("digest", -9000)], "digest", True),
        ([proof("digest", 3), proof("digest", -9000)], "digest", False),
    ],
)
def test_a_backup_is_due_where_nothing_as_strong_holds_that_is_younger(proofs, level, expected):
    old = Backup("1", "", "", NOW - timedelta(days=30), 0, "", proofs=tuple(proofs))
    assert due([old], level, timedelta(days=7), NOW) == [old] * expected


def test_a_young_backup_is_not_due_though_nothing_was_proved_of_it():
    young = Backup("1", "", "", NOW - timedelta(days=1), 0, "")
    assert due([young], "restore", timedelta(days=7), NOW) == []


@pytest.mark.parametrize("state", ["lost", "damaged"])
def test_a_backup_that_is_lost_or_damaged_is_due_though_it_was_proved_today(state):
    bad = Backup("1", "", "", NOW - timedelta(days=1), 0, "", proofs=(proof("restore", 0),), state=state)
    assert due([bad], "digest", timedelta(days=7), NOW) == [bad]


def test_a_backup_of_a_clock_that_was_years_ahead_is_due_now():
    ahead = Backup("1", "", "", NOW + timedelta(days=9000), 0, "")
    assert due([ahead], "digest", timedelta(days=7), NOW) == [ahead]
