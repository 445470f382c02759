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
    ],
)
def test_a_backup_is_due_where_nothing_as_strong_holds_that_is_younger(proofs, level, expected):
    old = Backup("1", "", "", NOW - timedelta(days=30), 0, "", proofs=tuple(proofs))
    assert due([old], level, timedelta(days=7), NOW) == [old] * expected


def test_a_young_backup_is_not_due_though_nothing_was_proved_of_it():
    young = Backup("1", "", "", NOW - timedelta(days=1), 0, "")
    assert due([young], "restore", timedelta(days=7), NOW) == []
