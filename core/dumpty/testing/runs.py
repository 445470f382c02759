"""What a repository owes for jobs: runs are claimed by one at a time, one result counts, and who was told is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import Locked
from dumpty.testing.backups import RepositoryRules
from dumpty.testing.rules import refused, require, shown

if TYPE_CHECKING:
    from dumpty.registry.host import Host
    from dumpty.types import Repository, RunClaim, TellingClaim

__all__ = ["RunRules"]

_JOB = "nightly.1"
_CHANNEL = "0123456789abcdef"
_SLOTS = ("20261126T030000Z", "20261127T030000Z", "20261127T031500Z-hand-1a2b3c4d")


class RunRules(RepositoryRules):
    """The part of ``RepositorySuite`` about runs, and about who was told of them."""

    def _claimed(self, repository: Repository, slot: str, job: str = _JOB) -> RunClaim:
        claim = repository.claim_run(job, slot)
        require(claim is not None, f"claim_run() claims {slot}, at which nobody is.", "Return a claim.", "it was None")
        assert claim is not None  # noqa: S101 - require() has seen to it
        return claim

    def test_a_run_is_claimed_by_one_and_counted_once(self, host: Host, repository_url: str) -> None:
        """While somebody is at a run nobody else claims it; after finish() nobody does, and its result comes back."""
        first, second = (self.opened(host, repository_url) for _ in range(2))
        with self._claimed(first, _SLOTS[0]) as claim:
            rule = "A run at which somebody is cannot be claimed."
            require(second.claim_run(_JOB, _SLOTS[0]) is None, rule, "Put the claim where others see it.")
            require(claim.finish(b"what\ncame of it"), "finish() returns whether the result counts.", "Return True.")
        require(second.claim_run(_JOB, _SLOTS[0]) is None, "A run that has a result is over.", "Look for the result.")
        content = second.run_result(_JOB, _SLOTS[0])
        rule = "run_result() returns what finish() wrote down."
        require(content == b"what\ncame of it", rule, "Keep every byte.", f"it returned {content!r}")
        rule = "run_result() of a run that has none is None."
        require(second.run_result(_JOB, _SLOTS[1]) is None, rule, "Return None.")

    def test_a_claim_without_a_result_is_given_back(self, repository: Repository) -> None:
        """Whoever leaves its block without finish() gives the run back, and the next one may try at once."""
        with self._claimed(repository, _SLOTS[0]) as first:
            pass
        rule = "A run that was left without a result can be claimed again."
        again = repository.claim_run(_JOB, _SLOTS[0])
        require(again is not None, rule, "Remove the claim at the end of its block.", "it was still claimed")
        assert again is not None  # noqa: S101 - require() has seen to it
        rule = "A run has one key, for whoever claims it, until it has a result."
        keys = f"it was {first.key!r}, then {again.key!r}"
        require(bool(first.key) and again.key == first.key, rule, "Keep it with the run; do not make it anew.", keys)
        with again:
            require(repository.run_key(_JOB, _SLOTS[0]) == first.key, rule, "Return it from run_key(), too.")
            again.finish(b"done")
        require(repository.run_key(_JOB, _SLOTS[0]) is None, "A run that has a result has no key.", "Return None.")

    def test_a_job_runs_once_at_a_time(self, host: Host, repository_url: str) -> None:
        """While somebody is at one run of a job, claim_run() of another one raises Locked; another job is free."""
        first, second = (self.opened(host, repository_url) for _ in range(2))
        with self._claimed(first, _SLOTS[0]):
            rule = "claim_run() raises dumpty.Locked while another run of the job goes on."
            with refused(Locked, rule, "Look for claims of the same job once your own is put."):
                second.claim_run(_JOB, _SLOTS[1])
            with self._claimed(second, _SLOTS[1], "another"):
                pass
        with self._claimed(second, _SLOTS[1]):
            pass

    def test_runs_are_told_the_latest_first(self, repository: Repository) -> None:
        """runs() has the runs of a job, or of all, the latest slot first: who is at one, and which are done."""
        for slot in _SLOTS[:2]:
            with self._claimed(repository, slot) as claim:
                claim.finish(b"done")
        with self._claimed(repository, _SLOTS[0], "other") as claim:
            claim.finish(b"done")
        with self._claimed(repository, _SLOTS[2]):
            told = [(run.slot, run.done, run.running) for run in repository.runs(_JOB)]
            expected = [(_SLOTS[2], False, True), (_SLOTS[1], True, False), (_SLOTS[0], True, False)]
            rule = "runs(job) has every run of that job, the latest slot first, with what became of it."
            require(told == expected, rule, "Sort by the slot.", shown(told))
            jobs = {run.job for run in repository.runs()}
            require(jobs == {_JOB, "other"}, "runs() has those of all jobs.", "Look at all.", shown(jobs))

    def test_backups_are_untouched_by_runs(self, repository: Repository) -> None:
        """A run's claim and result are no backup: they are not listed, and clear() keeps a result."""
        record = self.write(repository)
        with self._claimed(repository, _SLOTS[0]) as claim:
            self.require_listed(repository, record)
            claim.finish(b"done")
        repository.clear()
        self.require_listed(repository, record)
        kept = repository.run_result(_JOB, _SLOTS[0])
        require(kept == b"done", "clear() keeps what became of a run.", "Keep it for a year, at least.", shown(kept))

    def test_what_was_told_is_known_to_whoever_tells_next(self, host: Host, repository_url: str) -> None:
        """One at a time tells a recipient of a job, and the next one knows what finish() was given last."""
        first, second = (self.opened(host, repository_url) for _ in range(2))
        require(first.told(_JOB, _CHANNEL) == (), "told() of whom nobody told is ().", "Return ().")
        for content in (b"one\nalarm", b"two"):
            with self._telling(first) as claim:
                rule = "claim_telling() is None while somebody else is at it, and free for another recipient."
                require(second.claim_telling(_JOB, _CHANNEL) is None, rule, "Put the claim where others see it.")
                with self._telling(second, "fedcba9876543210"):
                    pass
                claim.finish(content)
            told = second.told(_JOB, _CHANNEL)
            rule = "told() returns what finish() was given last, in the place of all before."
            require(told == (content,), rule, "Keep every byte, and replace what was known.", shown(told))
            with self._telling(second) as claim:
                require(
                    claim.known == (content,), "A claim has what is known.", "Read it after the claim.", shown(claim)
                )
        told = second.told("other", _CHANNEL)
        require(told == (), "Each job is told of by itself.", "Keep them apart.", shown(told))

    def test_a_recipient_who_was_not_told_is_told_by_the_next(self, repository: Repository) -> None:
        """Whoever leaves its block without finish() told nobody, and the next one may try at once."""
        with self._telling(repository):
            pass
        require(repository.told(_JOB, _CHANNEL) == (), "Without finish() nothing was told.", "Write it in finish().")
        with self._telling(repository) as claim:
            claim.finish(b"told")
        repository.clear()
        told = repository.told(_JOB, _CHANNEL)
        require(told == (b"told",), "clear() keeps what was told.", "Leave it.", shown(told))

    def _telling(self, repository: Repository, channel: str = _CHANNEL) -> TellingClaim:
        claim = repository.claim_telling(_JOB, channel)
        rule = "claim_telling() claims a recipient whom nobody is telling."
        require(claim is not None, rule, "Return a claim, and remove it at the end of its block.", "it was None")
        assert claim is not None  # noqa: S101 - require() has seen to it
        return claim
