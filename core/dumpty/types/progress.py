"""How far a call has come: the phase that it is in, and what is known of that one's work."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum, auto

from msgspec import Struct


class Phase(StrEnum):
    """What a call is at. Each begins when that is begun; none is made up, so one that is not needed does not come up.

    ======= ================================================================================================
    backup  inspecting, dumping, committing
    restore inspecting, checking (``DatabaseBackup``, and where a signature is required), loading, committing (where
            the driver tells), comparing
    verify  checking, examining (by ``structure``), committing
    drill   checking, preparing, loading, comparing, committing
    prune   inspecting, removing
    copy    inspecting, copying, committing
    ======= ================================================================================================
    """

    INSPECTING = auto()
    """The database is connected to and looked at, or the repository listed."""
    DUMPING = auto()
    """The driver writes the dump; ``bytes_done`` are the plain ones."""
    CHECKING = auto()
    """Stored bytes are read, and compared with what was recorded of them."""
    EXAMINING = auto()
    """The driver reads the dump, without a database."""
    PREPARING = auto()
    """A scratch database is made ready, its server perhaps started."""
    LOADING = auto()
    """The driver reads the dump and loads it; perhaps several times, which ``bytes_total`` grows with."""
    COMPARING = auto()
    """What was restored is compared with what was recorded of the original, and asked what it is to be asked."""
    COPYING = auto()
    """Stored bytes are read in one repository, and written into another."""
    COMMITTING = auto()
    """What was made is put in its place, or written down, and read back. From about here on nothing is cancelled."""
    REMOVING = auto()
    """Backups are removed; ``items_done`` of them are gone."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a call has come.

    Within a phase no number falls, and what is done is never more than the total. ``bytes_total`` is None where nobody
    knows, and may grow: an estimate was too low, or the dump is read once more. ``items_done`` and ``items_total``
    count backups in ``prune``, ``copy`` and ``verify_many``, where each goes through the phases anew; else tables.
    ``items_total`` is None, and ``items_done`` 0, where nobody counts.
    """

    phase: Phase
    bytes_done: int = 0
    bytes_total: int | None = None
    items_done: int = 0
    items_total: int | None = None


ProgressCallback = Callable[[Progress], None]
"""Called when a phase begins, and as it goes on.

That happens in the thread of the call, or in one that its driver works in, and never in two at once; the work waits
for it. What it raises ends the call as a ``Cancellation`` would, with ``Cancelled``, whose ``__cause__`` that is. After
the commit point nothing can be undone: then it is logged, and nothing more is reported. ``KeyboardInterrupt`` and
``SystemExit`` pass.
"""
