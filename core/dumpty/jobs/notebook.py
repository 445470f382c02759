"""Where it is written down what those who are told of jobs know already."""

from __future__ import annotations

import contextlib
import os
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

import platformdirs

from dumpty.errors import DumptyError, StoreError
from dumpty.jobs.alarms import encode, noted_at
from dumpty.jobs.notifying import channel_id
from dumpty.registry.host import default_host
from dumpty.repository.protocol.alarms import claim_telling, read_told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.jobs.document import Channel
    from dumpty.jobs.settings import JobSettings
    from dumpty.types import Store, TellingClaim

__all__ = ["LocalLedger", "Notebook"]

_NEVER = datetime.min.replace(tzinfo=UTC)
_ATTEMPTS = 4
_MOST_WAIT = 2.0


class Ledger(Protocol):
    """Where it is written down who knows what: a repository, or this machine."""

    def claim_telling(self, job: str, channel: str) -> TellingClaim | None: ...

    def told(self, job: str, channel: str) -> tuple[bytes, ...]: ...


class Notebook:
    """What one recipient of a job knows: in the job's repository, or, as long as that takes no note, on this machine.

    Args:
        job: whose.
        channel: the recipient.
        ledger: the repository's; None where it cannot be reached, and what is told is of that.
        local: this machine's.
    """

    def __init__(self, job: JobSettings, channel: Channel, ledger: Ledger | None, local: LocalLedger) -> None:
        self.job, self.channel = job, channel
        self.name = channel_id(channel)
        self._ledger, self._local = ledger, local
        # What could not be noted in the repository is no end of what is told of the repository itself.
        place = f"{job.repository}\0{'unreachable' if ledger is None else 'not noted there'}"
        self._local_name = channel_id(channel, place)

    def told(self) -> tuple[bytes, ...]:
        """Return what the recipient knows, wherever it is noted."""
        try:
            there = self._ledger.told(self.job.name, self.name) if self._ledger is not None else ()
        except StoreError:
            there = ()
        return self.newest(there)

    def newest(self, there: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return what counts of what is noted in the repository, and here: each has all that was known then."""
        here = self.told_here()
        at, before = noted_at(here), noted_at(there)
        return here if at is not None and (before is None or before < at) else there

    @contextlib.contextmanager
    def claimed(self) -> Iterator[_Claim | None]:
        """Claim to tell the recipient, for the block; None where somebody else is at it."""
        with contextlib.ExitStack() as stack:
            claim = None
            if self._ledger is not None:
                with contextlib.suppress(StoreError):  # it can be read, and not written: told all the same
                    claim = _claimed(self._ledger, self.job.name, self.name)
                    if claim is None:
                        yield None
                        return
                    stack.enter_context(claim)
            yield _Claim(self, claim)

    def told_here(self) -> tuple[bytes, ...]:
        """Return what of it is noted on this machine."""
        return self._local.told(self.job.name, self._local_name)

    def note(self, claim: TellingClaim | None, content: bytes) -> None:
        """Write down what the recipient knows now, in the place of all that he knew."""
        if claim is not None:
            with contextlib.suppress(StoreError):
                claim.finish(content)
                if noted_at(self.told_here()) not in {None, _NEVER}:  # its clock may have been ahead
                    self._local.note(self.job.name, self._local_name, encode({}, _NEVER))
                return
        self._local.note(self.job.name, self._local_name, content)


class _Claim:
    """Somebody's turn to tell: ``known`` is what the recipient knows, ``finish`` notes what he knows then."""

    def __init__(self, notebook: Notebook, claim: TellingClaim | None) -> None:
        self._notebook, self._claim = notebook, claim
        self.known = notebook.told() if claim is None else notebook.newest(claim.known)

    def finish(self, content: bytes) -> None:
        """Note what the recipient knows now."""
        self._notebook.note(self._claim, content)


def _claimed(ledger: Ledger, job: str, channel: str) -> TellingClaim | None:
    """Claim to tell, once more where two gave way to each other."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0.05, _MOST_WAIT))  # noqa: S311 - no secret
        if (claim := ledger.claim_telling(job, channel)) is not None:
            return claim
    return None


class LocalLedger:
    """What recipients know that cannot be noted in a repository: in this user's own directory of states.

    Where that cannot be written, this process remembers it.
    """

    def __init__(self) -> None:
        self._memory: dict[tuple[str, str], tuple[bytes, ...]] = {}

    def told(self, job: str, channel: str) -> tuple[bytes, ...]:
        """Return what a recipient knows."""
        if (job, channel) in self._memory:
            return self._memory[job, channel]
        try:
            store = self._store(make=False)
            return () if store is None else read_told(store, job, channel)
        except DumptyError:
            return ()

    def note(self, job: str, channel: str, content: bytes) -> None:
        """Write down what a recipient knows now."""
        try:
            store = self._store(make=True)
            claim = None if store is None else _claimed(_Notes(store), job, channel)
            if claim is not None:
                with claim:
                    claim.finish(content)
                self._memory.pop((job, channel), None)
                return
        except DumptyError:
            pass
        self._memory[job, channel] = (content,)

    @staticmethod
    def _store(*, make: bool) -> Store | None:
        path = os.path.join(platformdirs.user_state_path("dumpty"), "alarms")
        if not make and not os.path.isdir(path):
            return None
        with contextlib.suppress(OSError):  # opening it says why
            os.makedirs(path, mode=0o700, exist_ok=True)
        host = default_host()
        plugin = host.store(path)
        return host.open_store(plugin, url=path, options=host.options({"open_store": plugin}, {})["open_store"])


class _Notes(NamedTuple):
    """The ledger in a store."""

    store: Store

    def claim_telling(self, job: str, channel: str) -> TellingClaim | None:
        return claim_telling(self.store, job, channel)

    def told(self, job: str, channel: str) -> tuple[bytes, ...]:
        return read_told(self.store, job, channel)
