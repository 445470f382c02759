"""Counts what the fault harness did and what came of it, so that its figures can be quoted.

``false_successes``: something that claimed to be good (exit status 0, a listing, a passed ``verify``) and was
not. ``lost_backups`` are older backups that a fault took along. Both must stay zero, and the run fails where they do not.
"""

from __future__ import annotations

import os
from collections import Counter

FACTOR = max(1, int(os.environ.get("DUMPTY_FAULT_ROUNDS", "1")))
"""Multiplies the rounds, for long runs."""


class Ledger:
    """The figures of one run."""

    def __init__(self) -> None:
        self.rounds = 0
        self.faults: Counter[str] = Counter()
        self.damaged = 0
        self.detected = 0
        self.restored = 0
        self.false_successes: list[str] = []
        self.lost_backups: list[str] = []

    @property
    def counted(self) -> bool:
        """Whether anything was done at all."""
        return bool(self.rounds or self.damaged)

    def fault(self, kind: str) -> None:
        """Count one fault that was injected."""
        self.faults[kind] += 1

    def damage(self, *, found: bool, event: str) -> None:
        """Count one damaged backup; where nothing noticed it, that is a false success."""
        self.damaged += 1
        self.detected += found
        if not found:
            self.record_false_success(f"{event}: damaged, and not noticed")

    def record_false_success(self, event: str) -> None:
        """Record a false success, and fail."""
        self.false_successes.append(event)
        raise AssertionError(f"false success: {event}")

    def record_lost_backup(self, event: str) -> None:
        """Record an older backup that is gone, and fail."""
        self.lost_backups.append(event)
        raise AssertionError(f"an older backup is lost: {event}")

    def summary(self) -> str:
        """Return the figures as one line."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.faults.most_common())
        return (
            f"{self.rounds} rounds; {self.faults.total()} faults injected ({kinds}); {self.restored} restores compared; "
            f"{self.damaged} backups damaged, {self.detected} detected; "
            f"false successes: {len(self.false_successes)}; older backups lost: {len(self.lost_backups)}"
        )


LEDGER = Ledger()
