"""The pin of a reader: it expires by the store's clock, and is renewed for as long as the reader is at work.

A reader that is killed takes nothing away. Its pin expires; on this machine's own disk, where it is known that the
process is gone, recovery removes it at once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from dumpty.errors import StoreError
from dumpty.repository.protocol.annotations import pin
from dumpty.repository.protocol.layout import new_nonce
from dumpty.repository.protocol.process_identity import active, process_identity

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from dumpty.types import Store

__all__ = ["RENEW_SECONDS", "ReaderPin"]

_LIFETIME = timedelta(days=1)
RENEW_SECONDS = 3600.0
"""Much less than a pin's lifetime, so that a place that cannot be reached for hours costs none of it."""

_log = logging.getLogger("dumpty")


class ReaderPin:
    """A block within which nobody removes a backup.

    A later pin is put, and checked as every pin is, before the earlier one goes: whoever looks at any moment sees one
    that holds. Where it cannot be renewed the reader reads on, as long as the data is there.

    Args:
        store: where the backup is.
        stem: the backup's.
        lifetime: after how long each pin expires, by the store's clock.
        renew_seconds: how often to renew it; None for never, for who calls ``renew``.

    Raises:
        UnknownBackup: on entry: it is gone, or being removed.
        StoreError: on entry: it could not be told; the backup is not pinned.
    """

    def __init__(
        self, store: Store, stem: str, *, lifetime: timedelta = _LIFETIME, renew_seconds: float | None = RENEW_SECONDS
    ) -> None:
        self._store = store
        self._stem = stem
        self._lifetime = lifetime
        self._seconds = renew_seconds
        self._nonce = new_nonce()
        self._pid = os.getpid()
        self._names: list[str] = []
        self._ended = threading.Event()
        self.until: datetime | None = None
        """Until when the newest pin holds, by the store's clock."""

    def __enter__(self) -> Self:
        active.add(self._nonce)
        try:
            self.renew()
            if self._seconds is not None:
                arguments = (weakref.ref(self), self._ended, self._seconds)
                threading.Thread(target=_keep_renewing, args=arguments, name="dumpty-pin", daemon=True).start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() == self._pid:  # a forked child unwinds its copy of the block: the pin is its parent's
            self._end()

    def renew(self) -> None:
        """Put a pin that holds for longer, then take the earlier one away.

        Raises:
            UnknownBackup: the backup is gone, or being removed.
            StoreError: it could not be told. The earlier pin holds until it expires.
        """
        until = self._store.now() + self._lifetime
        content = json.dumps({"version": 1, "nonce": self._nonce, **process_identity()}).encode()
        name = pin(self._store, self._stem, content, until=until)
        # No lock, which an interrupt might leave locked: either this sees that the block has ended, or that this name.
        self._names.append(name)
        self.until = until
        names = list(self._names)
        self._delete(names if self._ended.is_set() else names[: names.index(name)])

    def try_to_renew(self) -> None:
        """Renew the pin, or log why that cannot be done now: the next time it may get through."""
        try:
            self.renew()
        except Exception as error:  # noqa: BLE001 - in a thread of our own
            text = "the pin of %s, which is being read, could not be renewed: %s"
            _log.warning(text, self._store.locate(self._stem), error, extra={"event": "pin-not-renewed"})

    def _end(self) -> None:
        self._ended.set()
        try:
            self._delete(list(self._names))
        finally:
            active.discard(self._nonce)

    def _delete(self, names: list[str]) -> None:
        """Delete pins; one that stays expires."""
        with contextlib.suppress(StoreError):
            self._store.delete(names)
            for name in names:
                with contextlib.suppress(ValueError):
                    self._names.remove(name)


def _keep_renewing(reference: weakref.ref[ReaderPin], ended: threading.Event, seconds: float) -> None:
    # A weak reference: whatever became of the reader, its pins do not outlive it.
    while not ended.wait(seconds):
        pins = reference()
        if pins is None:
            return
        pins.try_to_renew()
        del pins
