"""Beats: small objects that say, every now and then, that whoever put an intent or a claim goes on."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty.types import Store

__all__ = ["BEAT_SECONDS", "Beats"]

BEAT_SECONDS = 600.0
_log = logging.getLogger("dumpty")


class Beats:
    """Puts ``PREFIX1``, ``PREFIX2`` … from a thread, between ``start`` and ``stop``.

    Args:
        store: where to.
        prefix: how their names begin.
        seconds: how often; None for never.
    """

    def __init__(self, store: Store, prefix: str, seconds: float | None) -> None:
        self._store = store
        self._prefix = prefix
        self._seconds = seconds
        self._count = 0
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin."""
        if self._seconds is not None:
            arguments = (weakref.ref(self), self._ended, self._seconds)
            threading.Thread(target=_keep_beating, args=arguments, name="dumpty-beat", daemon=True).start()

    def stop(self) -> None:
        """End. A beat that is on its way may yet appear; recovery removes it. Harmless twice."""
        self._ended.set()

    def beat(self) -> None:
        """Put one now.

        Raises:
            StoreError: it could not be put.
        """
        self._count += 1
        self._store.put(f"{self._prefix}{self._count}", b"")

    def names(self) -> list[str]:
        """Return the names of all that may have been put."""
        return [f"{self._prefix}{number}" for number in range(1, self._count + 1)]


def _keep_beating(reference: weakref.ref[Beats], ended: threading.Event, seconds: float) -> None:
    # A weak reference: whatever became of whoever began them, beats do not outlive it.
    while not ended.wait(seconds):
        beats = reference()
        if beats is None:
            return
        try:
            beats.beat()
        except Exception as error:  # noqa: BLE001 - a thread of our own: the next may get through
            _log.warning("a sign of life could not be written: %s", error, extra={"event": "beat-failed"})
        del beats
