"""The figures of the run so far: no false success, no older backup lost, all damage found."""

from __future__ import annotations

from faults.ledger import LEDGER


def test_nothing_lied_and_nothing_was_lost():
    assert LEDGER.false_successes == []
    assert LEDGER.lost_backups == []
    assert LEDGER.damaged == LEDGER.detected
