"""Runs jobs whenever they are due, for as long as it is left to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import select
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import ConfigurationError
from dumpty.jobs.lookout import Lookout
from dumpty.jobs.planning import plan
from dumpty.jobs.runner import Runner
from dumpty.jobs.watch import Watch
from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from dumpty.jobs.job_run import ActiveJob, Listener
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.planning import Planned
    from dumpty.jobs.settings import Configuration, JobSettings

__all__ = ["AGAIN", "Clock", "Followers", "Serving", "upcoming"]

AGAIN = timedelta(minutes=5)
"""When a run is tried again that has no result in the repository: that is away, or somebody else is at the job."""
_LOOK = timedelta(minutes=1)
"""The longest wait: whoever sets the clock, or wakes a machine that slept, tells nobody."""
_SET_BACK = timedelta(seconds=30)
_GRACE = timedelta(hours=1)
_REMINDER_SECONDS = 86_400.0


class Clock:
    """The time, and waiting for it."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.now(UTC)

    def ticks(self) -> float:
        """Return seconds that nobody sets."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until ``wake``."""
        select.select([self._reading], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reading, 4096):
                pass

    def wake(self) -> None:
        """End a ``wait``, this one or the next, from any thread or a signal's handler."""
        with contextlib.suppress(BlockingIOError):  # it is full of them
            os.write(self._writing, b"w")


class Followers(NamedTuple):
    """Who is told: ``problem`` of what somebody should know, ``tell`` of what goes as it should, line by line.

    ``ended`` is told of what came of each run, ``idle`` that none goes on any more; ``ready`` of False before a
    configuration is read again, and of True when one is taken up.
    """

    problem: Callable[[str], None]
    tell: Callable[[str], None]
    ended: Callable[[JobRun], None]
    idle: Callable[[], None]
    ready: Callable[[bool], None]


class _State:
    """What is known of a job's runs: whether one goes on, the last that is done, and when to try again.

    ``entry`` is what is due, from when on and until when that is so: it is asked for at every turn, of a thousand jobs.
    """

    def __init__(self) -> None:
        self.running: datetime | None = None
        self.late_at = self.crowded_at = float("inf")
        self.forget()

    def forget(self) -> None:
        """Know no more than what goes on: the rest is asked for anew."""
        self.entry: Planned | None = None
        self.since = self.until = datetime.max.replace(tzinfo=UTC)
        self.done: datetime | None = None
        self.again: datetime | None = None
        self.said: datetime | None = None


class Serving:
    """Runs each job once for every time that it is due; of several that were missed the last stands for all.

    Which runs are done stands in the repository, so whoever is killed, or started twice, on one machine or on several,
    neither loses a run nor counts one twice. A job that is still at work when it is due again is run once more after
    that.

    Args:
        configuration: the jobs.
        load: reads the configuration again.
        reload_asked: whether that is asked for; it is asked at every turn, and ``clock.wake`` makes one.
        listener: is told what jobs tell.
        followers: who is told of the rest.
        clock: the time.

    Raises:
        ConfigurationError: no job has a schedule.
    """

    def __init__(
        self,
        configuration: Configuration,
        load: Callable[[], Configuration],
        reload_asked: Callable[[], bool],
        listener: Listener,
        followers: Followers,
        clock: Clock,
    ) -> None:
        configuration.scheduled()
        self._configuration = configuration
        self._load, self._reload_asked = load, reload_asked
        self._followers, self._clock = followers, clock
        self._watch = Watch(listener.remember, configuration.file.modified)
        self._runner = Runner(configuration.limits, listener, configuration.written, self._watch)
        self._lookout = Lookout(self._watch, followers.problem, clock)
        self._states: dict[str, _State] = {}
        self._ended: queue.SimpleQueue[ActiveJob] = queue.SimpleQueue()
        self._began = self._last = clock.now()

    def run(self) -> NoReturn:
        """Go on until a signal asks to end.

        Raises:
            KeyboardInterrupt: it did. What was begun is ended within seconds, and nothing is written down of it: it is
                run again by whoever serves next.
        """
        with self._runner.ended_in_good_order():
            self._runner.start(self._clock.wake)
            self._followers.ready(True)
            while True:
                self._runner.check()
                if self._reload_asked():
                    self._reload()
                self._take_ended()
                self._lookout.look(self._configuration.jobs)
                self._clock.wait(self._begin_due().total_seconds())

    @property
    def configuration(self) -> Configuration:
        """The configuration that counts now."""
        return self._configuration

    @property
    def busy(self) -> bool:
        """Whether a job is being run, or looked at."""
        return self._lookout.busy or any(state.running for state in self._states.values())

    def _begin_due(self) -> timedelta:
        """Begin what is due, and return how long there is nothing to do."""
        now = self._clock.now()
        self._notice_clock(now)
        looks, ready = [now + _LOOK], []
        for job in self._configuration.jobs:
            state = self._states.setdefault(job.name, _State())
            if job.schedule is None or state.running is not None:
                continue
            if not state.since <= now < state.until:
                state.entry = next(iter(plan([job], now, due_only=True)), None)
                state.since, state.until = now, job.schedule.next(now)
            looks.append(state.until)
            if (when := self._begins(state)) is not None:
                looks += [when] * (when > now)
                ready += [(when, job.name)] * (when <= now)
        for _, name in sorted(ready):
            self._begin(name, self._states[name])
        self._notice_late()
        return min(looks) - now

    def _begins(self, state: _State) -> datetime | None:
        """Return when a job is to be begun next, of what is due by now; None where nothing is."""
        entry = state.entry
        if entry is None or entry.due is None or (state.done is not None and entry.due <= state.done):
            return None
        return state.again or max(entry.due, self._began) + _delay(entry.job, entry.due)

    def _begin(self, name: str, state: _State) -> None:
        """Begin what is due, where there is room; else it is asked for again as soon as there is, or is outdated."""
        ticks = self._clock.ticks()
        if state.entry is not None and self._runner.has_room:
            state.running, state.crowded_at = state.entry.due, float("inf")
            state.late_at = ticks + (state.entry.job.deadline + _GRACE).total_seconds()
            self._runner.add(state.entry, self._note_end)
            return
        if state.crowded_at == float("inf"):
            state.crowded_at = ticks + _GRACE.total_seconds()
        if ticks >= state.crowded_at:
            state.crowded_at = ticks + _REMINDER_SECONDS
            self._followers.problem(
                f"{name}: it is due, and waits for others to end for long; give more of them room: parallel under [run]"
            )

    def _notice_late(self) -> None:
        """Tell of runs that go on although their deadline is over: nobody can end what hangs in the system."""
        ticks = self._clock.ticks()
        for name, state in self._states.items():
            if state.running is not None and ticks >= state.late_at:
                state.late_at = ticks + _REMINDER_SECONDS
                self._followers.problem(
                    f"{name}: its run goes on beyond its deadline, and nothing ends it: look at its disk, its network "
                    "file system, its server; meanwhile it is not run again, and others have less room"
                )

    def _note_end(self, job: ActiveJob) -> None:
        self._ended.put(job)
        self._clock.wake()

    def _take_ended(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._ended.get_nowait()
                state = self._states.setdefault(job.job.name, _State())
                due, state.running = state.running, None
                now = self._clock.now()
                if job.settled:
                    # By a clock that was ahead it may be due in years, which would keep it from running until then; and
                    # what another configuration says of it is another run.
                    counts = due is not None and due <= now and self._current(job.job.name) == job.job
                    state.done, state.again = due if counts else None, None
                else:
                    state.again = now + AGAIN
                if job.result is not None:
                    self._say(job.result, state, due)
                if not self.busy:
                    self._followers.idle()

    def _current(self, name: str) -> JobSettings | None:
        return next((job for job in self._configuration.jobs if job.name == name), None)

    def _say(self, run: JobRun, state: _State, due: datetime | None) -> None:
        """Tell of a run; that somebody else is at it, once."""
        if run.outcome == "skipped" and state.said == due:
            return
        state.said = due
        self._followers.ended(run)

    def _notice_clock(self, now: datetime) -> None:
        """Begin anew where the clock was set back: what is done then stands in the repository alone."""
        if now < self._last - _SET_BACK:
            back = timedelta(seconds=round((self._last - now).total_seconds()))
            self._followers.problem(f"the clock was set back by {back}; jobs go by it as it is now")
            self._began = now
            for state in self._states.values():
                state.forget()
        self._last = now

    def _reload(self) -> None:
        self._followers.ready(False)
        try:
            configuration = self._load()
            configuration.scheduled()
            self._runner.change(configuration.limits, configuration.written)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, what was right before goes on
            for problem in error.problems if isinstance(error, ConfigurationError) else (one_line(error),):
                self._followers.problem(problem)
            self._followers.problem("the configuration was not taken up: the one from before goes on")
        else:
            before = {job.name: job for job in self._configuration.jobs}
            for job in configuration.jobs:
                state = self._states.get(job.name)
                if state is not None and job != before.get(job.name):
                    state.forget()
            self._configuration = configuration
            self._watch.known_since = configuration.file.modified
            self._lookout.forget()
            self._followers.tell(
                f"{configuration.file.path} is read again: {upcoming(configuration, self._clock.now())}"
            )
        self._followers.ready(True)


def upcoming(configuration: Configuration, now: datetime) -> str:
    """Return how many jobs are run by schedule, and which is due next, after ``now`` (aware)."""
    next_times = [(job.schedule.next(now), job.name) for job in configuration.jobs if job.schedule is not None]
    when, name = min(next_times)
    by_hand = len(configuration.jobs) - len(next_times)
    left = f", {by_hand} by hand only" if by_hand else ""
    jobs = "1 job" if len(next_times) == 1 else f"{len(next_times)} jobs"
    return f"{jobs} by schedule{left}; next: {name}, at {when:%Y-%m-%d %H:%M:%SZ}"


def _delay(job: JobSettings, due: datetime) -> timedelta:
    """Return how much later than due this machine begins a run: by chance, and the same whenever it is asked.

    It stays well before the next time that the job is due, or a job that is due often would never be run.
    """
    if not job.jitter or job.schedule is None:
        return timedelta()
    drawn = hashlib.sha256(f"{socket.gethostname()}\0{job.name}\0{due.isoformat()}".encode()).digest()
    most = min(job.jitter, (job.schedule.next(due) - due) / 2)
    return most * (int.from_bytes(drawn[:4]) / 2**32)
