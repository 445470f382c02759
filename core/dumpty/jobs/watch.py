"""Watches jobs, and tells people what is wrong with them: whoever is killed leaves it to the next one who looks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from typing import TYPE_CHECKING

import platformdirs

from dumpty.errors import DumptyError
from dumpty.jobs.alarms import decode, encode, message_of, noted_at, plan_notices
from dumpty.jobs.conditions import Condition, is_late
from dumpty.jobs.notebook import LocalLedger, Notebook
from dumpty.jobs.notifying import Patience, deliver
from dumpty.jobs.views import NoAnswer, NoRepository, Views, in_time
from dumpty.redaction import one_line, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.settings import JobSettings

__all__ = ["Watch"]

_LOOK_SECONDS = 3600.0
_AGAIN_SECONDS = 900.0
"""After which somebody who could not be told is tried again."""

_MOST_SECONDS = 600.0
"""How long looking at a job, and telling of it, may take: a repository may hang where nobody can wake it."""


_TELLING_SECONDS = 150.0


class Watch:
    """Tells the recipients of jobs what is wrong with them, and what is no longer.

    What each of them knows is written down in the job's repository; where that cannot be reached, on this machine.

    Args:
        remember: is told of every secret that is read.
        known_since: how long the jobs could have been run (aware).
    """

    def __init__(self, remember: Callable[[Iterable[str]], None], known_since: datetime) -> None:
        self._remember, self.known_since = remember, known_since
        self.patience = Patience()
        self._local = LocalLedger()
        self._all_told = True

    def look(
        self, jobs: Sequence[JobSettings], now: datetime, *, ended: bool = False, unrecorded: JobRun | None = None
    ) -> list[str]:
        """Look at jobs, and tell what is new; return what could not be told, or looked at, in a line each.

        Args:
            jobs: which; those that nobody is told of are left out.
            now: the time (aware).
            ended: whether a run of them ended right now, here.
            unrecorded: that run, where it could not be written down.
        """
        views, problems = None, []
        secrets: set[str] = set()  # of all jobs: what was read for one is not read again for the next
        hung: dict[str, NoAnswer] = {}
        for job in jobs:
            if not job.notify:
                continue
            look = _Look(self, job, now, secrets, ended=ended, unrecorded=unrecorded)
            views = views or Views(look.remember)
            try:
                if job.repository not in hung:
                    problems += _within(functools.partial(look.run, views), job)
            except NoAnswer as error:
                hung[job.repository], views = error, None  # whoever hangs has them still
                problems.append(f"{job.name}: {error}")
            except (Exception, SystemExit) as error:  # noqa: BLE001 - of a plugin's store, too: others are told all the same
                problems.append(look.redacted(f"{job.name}: nobody was told how it is: {one_line(error)}"))
            if job.repository in hung:
                problems += look.tell_hung(hung[job.repository])
        if problems:
            self._all_told = False
        return list(dict.fromkeys(problems))

    def look_at_times(self, jobs: Sequence[JobSettings], now: datetime, what: str) -> list[str]:
        """Do so at most once an hour on this machine, however often it is called; sooner where somebody was not told.

        Args:
            jobs: which.
            now: the time (aware).
            what: names those jobs: their configuration.
        """
        digest = hashlib.sha256(os.path.abspath(what).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        path = os.path.join(platformdirs.user_cache_path("dumpty"), "looked", digest)
        with contextlib.suppress(OSError):
            if abs(now.timestamp() - os.stat(path).st_mtime) < _LOOK_SECONDS:
                return []
        problems = self.look(jobs, now)
        # Only a saving of time: where it cannot be noted it is looked again.
        looked = now.timestamp() - (0.0 if self._all_told else _LOOK_SECONDS - _AGAIN_SECONDS)
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(path, "ab"):
                os.utime(path, (looked, looked))
        return problems

    def note_untold(self) -> None:
        """Remember that somebody was not told, by whom it should have been: soon it is looked again."""
        self._all_told = False


class _Look:
    """One look at one job, and what is told of it; no secret that was read for it is in anything that is told."""

    def __init__(
        self,
        watch: Watch,
        job: JobSettings,
        now: datetime,
        secrets: set[str],
        *,
        ended: bool,
        unrecorded: JobRun | None,
    ) -> None:
        self._watch, self._job, self._now = watch, job, now
        self._ended, self._unrecorded = ended, unrecorded
        self._secrets = secrets

    def remember(self, secrets: Iterable[str]) -> None:
        """Remember secrets, here and wherever else."""
        found = set(secrets)
        self._secrets |= found
        self._watch._remember(found)  # noqa: SLF001 - a look is a part of it

    def redacted(self, text: str) -> str:
        """Return a text without what was read."""
        return redact(text, tuple(self._secrets))

    def run(self, views: Views) -> list[str]:
        """Look, and tell what is new; return what went wrong.

        Raises:
            Exception: a plugin's, of whatever kind.
        """
        problems: list[str] = []
        unreachable: list[Condition] = []
        try:
            health = views.health(self._job, self._now, self._watch.known_since)
            manager = views.opened(self._job.repository)[1]
        except NoRepository as error:
            if self._unrecorded is None and not is_late(self._job, self._now, self._watch.known_since):
                return []
            unreachable = [Condition("unreachable", "", one_line(error), self._now)]
        except DumptyError as error:
            unreachable = [Condition("unreachable", "", one_line(error), self._now)]
        else:
            for channel in self._job.notify:
                notebook = Notebook(self._job, channel, manager, self._watch._local)  # noqa: SLF001
                problems += self._tell(notebook, health.conditions, health.undecided)
        return problems + self._tell_here(unreachable)

    def tell_hung(self, error: DumptyError) -> list[str]:
        """Tell that the repository gives no answer; return what went wrong."""
        unreachable = [Condition("unreachable", "", one_line(error), self._now)]
        try:
            return _within(functools.partial(self._tell_here, unreachable), self._job)
        except (Exception, SystemExit) as problem:  # noqa: BLE001 - whatever it is, the next job is looked at
            return [self.redacted(f"{self._job.name}: nobody was told how it is: {one_line(problem)}")]

    def _tell_here(self, unreachable: Sequence[Condition]) -> list[str]:
        """Tell what no repository can take note of: that it cannot be reached, or a run not be written down."""
        conditions, run = [*unreachable], self._unrecorded
        if run is not None:
            text = run.error or "; ".join(run.warnings[-1:]) or "it ended, and that is all that is known"
            conditions.append(Condition("unrecorded", "", text, run.started))
        # That a repository can be read says nothing of that: only a run that is written down does.
        undecided = () if self._ended else ("unrecorded",)
        problems: list[str] = []
        for channel in self._job.notify:
            notebook = Notebook(self._job, channel, None, self._watch._local)  # noqa: SLF001
            problems += self._tell(notebook, conditions, undecided)
        return problems

    def _tell(self, notebook: Notebook, conditions: Sequence[Condition], undecided: Collection[str]) -> list[str]:
        """Tell one recipient what is new to him; return what went wrong."""
        job, patience = self._job, self._watch.patience
        shown = [c._replace(text=self._shown(c.text), subject=self._shown(c.subject)) for c in conditions]
        plan = functools.partial(plan_notices, job.name, shown, undecided, now=self._now, remind=job.remind)
        try:
            if not plan(decode(notebook.told())).changes:
                return []
            with notebook.claimed() as claim:
                if claim is None:  # somebody else tells, or was killed while he did
                    self._watch.note_untold()
                    return []
                planned = plan(decode(claim.known))
                if planned.notices:
                    message = message_of(job.name, notebook.name, noted_at(claim.known), planned.notices, self._now)
                    patience.ask(notebook.channel.url, lambda: deliver(notebook.channel, message, self.remember))
                if planned.changes:
                    claim.finish(encode(planned.known, self._now))
        except DumptyError as error:
            return [self.redacted(f"{job.name}: {one_line(error)}")]
        return []

    def _shown(self, text: str) -> str:
        """Return a text without secrets, as one that can be written down: of a file's name not all bytes are."""
        return self.redacted(text).encode("utf-8", "backslashreplace").decode()


def _within(work: Callable[[], list[str]], job: JobSettings) -> list[str]:
    """Look at a job, but no longer than that may take: whoever is left behind tells what he tells.

    Raises:
        NoAnswer: it took longer.
    """
    # Whoever is told may take a minute, too, and has a limit of his own.
    seconds = _MOST_SECONDS + len(job.notify) * _TELLING_SECONDS
    text = f"looking at its repositories has taken {_MOST_SECONDS / 60:.0f} min, and there is no answer"
    return in_time(work, seconds, text, f"dumpty-look-{job.name}")
