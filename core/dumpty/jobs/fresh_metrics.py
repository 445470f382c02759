"""Metrics for those who ask again and again: no older than they must be, and nobody waits longer than he can."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from dumpty.jobs.metrics import measure, written
from dumpty.jobs.overview import Looks
from dumpty.redaction import one_line, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dumpty.jobs.settings import Configuration

__all__ = ["FreshMetrics"]

_FRESH_SECONDS = 60.0
"""How old what is answered is before it is looked again, beside that."""
_OLD_SECONDS = 900.0
"""How old it may be where looking again takes longer than somebody waits."""
_REMINDER_SECONDS = 86_400.0


class FreshMetrics:
    """The text of the metrics of a configuration's jobs, of which the repositories are asked once a minute at most.

    They are asked in a thread of its own, while there is the text of before. Where one of them gives no answer that
    stays, and says of when it is.

    Args:
        configuration: returns the one that counts now.
        remember: is told of every secret that is read.
        problem: is told why there is no new text, or less in it than there should be; of one thing once a day.
        now: returns the time (aware).
    """

    def __init__(
        self,
        configuration: Callable[[], Configuration],
        remember: Callable[[Iterable[str]], None],
        problem: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._configuration, self._problem, self._now = configuration, problem, now
        self._secrets: set[str] = set()  # whoever is told of them forgets them when nothing is run
        self._remember_elsewhere = remember
        self._looks = Looks(self._remember)
        self._told: dict[str, float] = {}
        self._changed = threading.Condition()
        self._text: bytes | None = None
        self._made = self._tried = float("-inf")
        self._of: Configuration | None = None
        self._looking = False

    def text(self, seconds: float) -> bytes | None:
        """Return the text; None where there is none within so many seconds."""
        ends = time.monotonic() + seconds
        with self._changed:
            self._look_again()
            while self._is_old() and self._looking and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._text

    def _is_old(self) -> bool:
        return self._of is not self._configuration() or time.monotonic() - self._made > _OLD_SECONDS

    def _look_again(self) -> None:
        """Begin to look, where it is time to and nobody does."""
        is_due = self._of is not self._configuration() or time.monotonic() - self._tried >= _FRESH_SECONDS
        if self._looking or not is_due:
            return
        self._looking, self._tried = True, time.monotonic()
        try:
            threading.Thread(target=self._look, name="dumpty-metrics", daemon=True).start()
        except RuntimeError:  # no room for another thread: the next one who asks tries again
            self._looking, self._tried = False, float("-inf")

    def _look(self) -> None:
        text, configuration, began = None, self._configuration(), time.monotonic()
        try:
            now = self._now()
            overview = self._looks.overview(configuration.jobs, now)
            text = written(measure(overview, configuration.jobs, now))
            for job, error in overview.errors.items():
                self._tell(f"{job}: it cannot be said how it is: {one_line(error)}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, jobs are run
            self._tell(f"the metrics could not be made: {one_line(error)}")
        finally:
            with self._changed:
                self._looking, self._of = False, configuration
                if text is not None:
                    self._text, self._made = text, began
                self._changed.notify_all()

    def _remember(self, secrets: Iterable[str]) -> None:
        found = set(secrets)
        self._secrets |= found
        self._remember_elsewhere(found)

    def _tell(self, text: str) -> None:
        text, now = redact(text, tuple(self._secrets)), time.monotonic()
        if now - self._told.get(text, float("-inf")) >= _REMINDER_SECONDS:
            self._told[text] = now
            self._problem(text)
