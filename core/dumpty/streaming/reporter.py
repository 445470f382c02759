"""Tells a caller how far a call has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.process.call import current_call, raise_if_cancelled
from dumpty.redaction import one_line
from dumpty.types import Phase, Progress

if TYPE_CHECKING:
    from dumpty.types import ProgressCallback

__all__ = ["ReportBytes", "Reporter"]

ReportBytes = Callable[[int, int | None], None]
"""Called with the bytes so far, and the number expected or None."""


class Reporter:
    """Calls ``callback`` with a ``Progress`` in order (``dumpty.types.ProgressCallback``).

    Args:
        callback: None for nobody.
        items_done: of ``items_total`` where one call goes through several backups.
        items_total: None where it does not.
    """

    def __init__(
        self, callback: ProgressCallback | None = None, *, items_done: int = 0, items_total: int | None = None
    ) -> None:
        self._callback = callback
        self._items = Progress(phase=Phase.INSPECTING, items_done=items_done, items_total=items_total)
        self._progress = self._items

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens."""
        return self._callback is not None

    def begin(self, phase: Phase, *, bytes_total: int | None = None, items_total: int | None = None) -> None:
        """Report that ``phase`` begins.

        Raises:
            CancelRequested: the call was cancelled, or the callback failed, now or before; so it does not begin.
        """
        raise_if_cancelled()
        self._progress = replace(self._items, phase=phase, bytes_total=bytes_total)
        if self._items.items_total is None:
            self._progress = replace(self._progress, items_total=items_total)
        self._report()
        raise_if_cancelled()

    def bytes(self, done: int, total: int | None = None) -> None:
        """Report the bytes so far of this phase, and the number expected, as far as these are more than is known."""
        if self._callback is None:
            return
        before = self._progress
        done = max(done, before.bytes_done)
        known = [n for n in (total, before.bytes_total) if n is not None]
        self._progress = replace(before, bytes_done=done, bytes_total=max(*known, done) if known else None)
        if self._progress != before:
            self._report()

    def items(self, done: int) -> None:
        """Report that so many items of this phase are done; where backups are counted, these are not told."""
        if self._items.items_total is None:
            total = self._progress.items_total
            self._progress = replace(self._progress, items_done=done, items_total=max(total or 0, done))
            self._report()

    def pass_over(self, size: int) -> ReportBytes:
        """Return what to call with the bytes of one more pass over a dump of ``size`` bytes."""
        start = self._progress.bytes_done

        def report(done: int, _total: int | None = None) -> None:
            self.bytes(start + done, start + size)

        return report

    def _report(self) -> None:
        if self._callback is None:
            return
        try:
            self._callback(self._progress)
        except Exception as error:
            callback, self._callback = self._callback, None
            call = current_call()
            if call is None:
                self._callback = callback
                raise
            call.fail(error, f"its progress callback raised {type(error).__name__}: {one_line(error)}")
