"""Which jobs are to be run now, and under which slot each."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import OptionError
from dumpty.jobs.schedule import slot_name
from dumpty.repository.protocol.layout import new_nonce
from dumpty.repository.protocol.runs import ASKED_FOR

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from dumpty.jobs.settings import JobSettings

__all__ = ["Planned", "plan"]

_MARGIN = timedelta(days=1)
_BY_HAND = re.compile(r"[0-9]{8}T[0-9]{6}Z-hand-[0-9a-f]{8}")


class Planned(NamedTuple):
    """A job to be run; ``due`` is None where it is run by hand, under a slot of its own."""

    job: JobSettings
    slot: str
    due: datetime | None


def plan(jobs: Iterable[JobSettings], now: datetime, *, due_only: bool, slot: str | None = None) -> list[Planned]:
    """Return what is to be run at ``now`` (aware): each job by hand, or with ``due_only`` those that have a schedule.

    By hand all have one slot, a new one, or the one that is given: that of a run that was ended, which goes on with
    what it had not done. Of slots that were missed the latest stands for all. Whether it was run already is known where
    it is recorded.

    Raises:
        OptionError: ``slot`` is none of a run by hand, or ``due_only`` is asked for.
    """
    if due_only and slot is not None:
        raise OptionError("--resume is for runs by hand: with --due what was not done is done without it")
    if not due_only:
        if slot is not None and not _BY_HAND.fullmatch(slot):
            raise OptionError(f"{slot[:80]!r} is no run by hand: a run that ends early says what to write")
        slot = slot or f"{slot_name(now)}-hand-{new_nonce()}"
        return [Planned(job, slot, None) for job in jobs]
    planned = []
    for job in jobs:
        due = job.schedule.latest(now) if job.schedule is not None else None
        # What became of a run that was due longer ago is not kept: it could be run again and again.
        if due is not None and now - due < ASKED_FOR - _MARGIN:
            planned.append(Planned(job, slot_name(due), due))
    return planned
