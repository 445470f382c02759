"""What takes a while to find out, for those who ask again and again: never older than it must be."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from dumpty.jobs.inventory import of_jobs, of_repository
from dumpty.jobs.metrics import measure, written
from dumpty.jobs.overview import Looks
from dumpty.jobs.views import Views, in_time
from dumpty.redaction import one_line, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dumpty.jobs.protection import Protection
    from dumpty.jobs.settings import Configuration

__all__ = ["Fresh", "JobsLook", "LookAtJobs", "LookAtRepository"]

T = TypeVar("T")

_FRESH_SECONDS = 60.0
"""How old what is answered is before it is looked again, beside that."""
_OLD_SECONDS = 900.0
"""How old it may be where looking again takes longer than somebody waits."""
_REMINDER_SECONDS = 86_400.0
_MOST_SECONDS = 600.0
"""How long the look at one repository may take."""


class Fresh(Generic[T]):
    """What ``look`` returns, which is asked once a minute at most, in a thread of its own.

    Meanwhile there is what was found before. Where a look gives no answer that stays, and says of when it is.

    Args:
        look: looks, with how many seconds old what is listed may be; what it raises is told.
        version: returns what the answer depends on: where that is another object, what was found before is old.
        problem: is told why nothing new was found.
    """

    def __init__(
        self, look: Callable[[float], T], version: Callable[[], object], problem: Callable[[str], None]
    ) -> None:
        self._find, self._version, self._problem = look, version, problem
        self._changed = threading.Condition()
        self._found: T | None = None
        self._made = self._tried = float("-inf")
        self._of: object = None
        self._listed_within = float("inf")
        self._looking = False
        self._error = ""

    def get(self, seconds: float, listed_within: float = float("inf"), old: float | None = None) -> T | None:
        """Return what was found; None where there is nothing within so many seconds.

        Where it is time to look again, what was listed longer than ``listed_within`` seconds ago is listed anew. What
        is older than ``old`` seconds is waited for to be found anew, and else is the answer all the same.
        """
        ends = time.monotonic() + seconds
        with self._changed:
            self._listed_within = min(self._listed_within, listed_within)
            self._look_again()
            while self._is_old(old) and self._looking and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._found

    @property
    def error(self) -> str:
        """Why the last look found nothing; "" where it found something."""
        return self._error

    @property
    def age(self) -> float:
        """How many seconds ago the look began that found what there is."""
        return time.monotonic() - self._made

    def renew(self, seconds: float) -> T | None:
        """Return what is found by a look that begins now; what was found before, where that takes longer than that."""
        ends = time.monotonic() + seconds
        with self._changed:
            while self._looking and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            # Where one still looks that began before, whoever asks next begins another.
            self._tried, self._listed_within = float("-inf"), 0.0
            if not self._looking:
                self._look_again()
            while self._looking and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._found

    def _is_old(self, old: float | None = None) -> bool:
        seconds = _OLD_SECONDS if old is None else old
        return self._of is not self._version() or time.monotonic() - self._made > seconds

    def _look_again(self) -> None:
        """Begin to look, where it is time to and nobody does."""
        is_due = self._of is not self._version() or time.monotonic() - self._tried >= _FRESH_SECONDS
        if self._looking or not is_due:
            return
        self._looking, self._tried = True, time.monotonic()
        within, self._listed_within = self._listed_within, float("inf")
        try:
            threading.Thread(target=self._look, args=(within,), name="dumpty-look", daemon=True).start()
        except RuntimeError:  # no room for another thread: the next one who asks tries again
            self._looking, self._tried = False, float("-inf")

    def _look(self, listed_within: float) -> None:
        found, version, began, problem = None, None, time.monotonic(), ""
        try:
            version = self._version()
            found = self._find(listed_within)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, jobs are run
            problem = one_line(error)
            self._problem(problem)
        finally:
            with self._changed:
                self._looking, self._of, self._error = False, version, problem
                if found is not None:
                    self._found, self._made = found, began
                self._changed.notify_all()


class JobsLook(NamedTuple):
    """How all jobs of a configuration are at one look, as ``metrics`` (Prometheus's text format) and as protection."""

    metrics: bytes
    protection: Protection


class LookAtJobs:
    """Looks at the jobs of a configuration, for ``Fresh``.

    Args:
        configuration: returns the one that counts now.
        remember: is told of every secret that is read.
        problem: is told why there is nothing new, or less in it than there should be; of one thing once a day.
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

    def __call__(self, listed_within: float) -> JobsLook:
        """Look."""
        configuration, now = self._configuration(), self._now()
        overview = self._looks.overview(configuration.jobs, now, listed_within)
        for job, error in overview.errors.items():
            self.tell(f"{job}: it cannot be said how it is: {one_line(error)}")
        metrics = written(measure(overview, configuration.jobs, now))
        return JobsLook(metrics, of_jobs(overview, configuration, now, self._redacted))

    def _redacted(self, text: str) -> str:
        return redact(text, tuple(self._secrets))

    def tell(self, text: str) -> None:
        """Tell what went wrong, without secrets."""
        text, now = self._redacted(text), time.monotonic()
        if now - self._told.get(text, float("-inf")) >= _REMINDER_SECONDS:
            self._told[text] = now
            self._problem(text)

    def _remember(self, secrets: Iterable[str]) -> None:
        found = set(secrets)
        self._secrets |= found
        self._remember_elsewhere(found)


class LookAtRepository:
    """Looks at one repository, of whose jobs nothing is known, for ``Fresh``.

    Args:
        address: a path, or a URL.
        now: returns the time (aware).
    """

    def __init__(self, address: str, now: Callable[[], datetime]) -> None:
        self._address, self._now = address, now
        self._views = Views(lambda _: None)

    def __call__(self, listed_within: float) -> Protection:
        """Look; it is listed anew each time, whoever backs up into it.

        Raises:
            DumptyError: it cannot be looked at.
        """
        del listed_within
        text = f"the repository has given no answer for {_MOST_SECONDS / 60:.0f} min"
        try:
            view = in_time(lambda: self._views.listed(self._address), _MOST_SECONDS, text, "dumpty-look-at-repository")
        except Exception:
            self._views = Views(lambda _: None)  # whoever hangs has them still; what was closed is opened anew
            raise
        return of_repository(view, self._now())
