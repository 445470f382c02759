"""Runs of jobs, as ``BackupManager`` offers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.operations.place import Place
    from dumpty.types import RunClaim, StoredRun, TellingClaim

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

        ``claim.key``, a UUID, is the run's, and the same for whoever claims it again within a day: given to
        ``create_backup`` (``once=claim.key``), it keeps what was made before from being made once more.

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

    def run_key(self, job: str, slot: str) -> str | None:
        """Return the key of a run that was begun and has no result yet, or None.

        Raises:
            ValueError: the names are none.
            StoreError: it cannot be read.
        """
        return self._place.repository.run_key(job, slot)

    def run_result(self, job: str, slot: str) -> bytes | None:
        """Return what ``RunClaim.finish`` wrote down of a run; None where nobody did, or it is kept no more.

        Raises:
            StoreError: it cannot be read.
        """
        return self._place.repository.run_result(job, slot)

    def claim_telling(self, job: str, channel: str) -> TellingClaim | None:
        """Claim to tell one recipient what is wrong with a job, or no longer; None where somebody else is at it.

        Whoever tells, dies or is slow: it is told at least once, and hardly ever twice::

            claim = manager.claim_telling("nightly", "1f0c88a29d6e43b7")
            if claim is not None:
                with claim:
                    ...  # look at claim.known, and tell what is new
                    claim.finish(b"what the recipient knows now")

        Args:
            job: its name, as for ``claim_run``.
            channel: 8 to 64 hexadecimal digits that stand for the recipient.

        Raises:
            ValueError: the names are none.
            StoreError: it cannot be told.
        """
        return self._place.repository.claim_telling(job, channel)

    def told(self, job: str, channel: str) -> tuple[bytes, ...]:
        """Return what a recipient was told of a job: what ``TellingClaim.finish`` was given last; () if nothing was.

        There is more than one where several told at once: all of it together is what the recipient knows.

        Raises:
            ValueError: the names are none.
            StoreError: it cannot be read.
        """
        return self._place.repository.told(job, channel)
