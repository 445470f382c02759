"""Runs of jobs, as ``BackupManager`` offers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.operations.place import Place
    from dumpty.types import RunClaim, StoredRun

__all__ = ["Runs"]

_CLEARING_SECONDS = 600.0


class Runs:
    """The part of ``BackupManager`` that keeps what became of the runs of jobs, beside the backups."""

    _place: Place

    def expect_many(self) -> None:
        """Expect backups of many databases in a row.

        What killed runs left of other databases is then cleared with the first of them, and every ten minutes, not with
        each: that looks at all that is stored.
        """
        from dumpty.repository.plain import PlainRepository

        if isinstance(self._place.repository, PlainRepository):
            self._place.repository.clearing_seconds = _CLEARING_SECONDS

    def claim_run(self, job: str, slot: str) -> RunClaim | None:
        """Claim a run of a job, so that nobody else does it; None where it has a result, or somebody is at it.

        Whoever tries, dies or is slow: a run is executed at least once, and exactly one result counts::

            claim = manager.claim_run("nightly", "20261126T030000Z")
            if claim is not None:
                with claim:
                    ...
                    claim.finish(b"what came of it")

        Args:
            job: its name: letters, digits, ``_``, ``.`` and ``-``, at most 100.
            slot: when it is due, the same text on every machine (``20261126T030000Z``); for a run by hand when it was
                begun, ``-``, and something that nobody else has.

        Raises:
            Locked: somebody is at another run of the same job.
            ValueError: the names are none.
            StoreError: it cannot be told.
        """
        return self._place.repository.claim_run(job, slot)

    def runs(self, job: str = "") -> Iterator[StoredRun]:
        """Yield the runs of a job, or of all jobs, the latest slot first.

        Raises:
            StoreError: they cannot be listed.
        """
        return self._place.repository.runs(job)

    def run_result(self, job: str, slot: str) -> bytes | None:
        """Return what ``RunClaim.finish`` wrote down of a run; None where nobody did, or it is kept no more.

        Raises:
            StoreError: it cannot be read.
        """
        return self._place.repository.run_result(job, slot)
