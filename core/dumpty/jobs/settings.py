"""What each job is to do: its own settings over the defaults, each checked, with nothing read from elsewhere yet."""

from __future__ import annotations

import difflib
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, structs

from dumpty.errors import ConfigurationError, DumptyError, OptionError
from dumpty.indirection import is_indirect
from dumpty.jobs import configuration
from dumpty.jobs.document import ALL, NEVER, Channel, Copy, Defaults, Drill, Job, Keep, Limits
from dumpty.jobs.schedule import Schedule
from dumpty.jobs.values import parse_duration, parse_interval
from dumpty.registry.options import RESERVED
from dumpty.repository.protocol.run_slots import is_job_name
from dumpty.repository.quantities import parse_size, parse_timezone
from dumpty.repository.retention import Rules
from dumpty.types import ShrinkRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import tzinfo

    from dumpty.jobs.configuration import ConfigFile
    from dumpty.jobs.document import Heartbeat
    from dumpty.types import Level

__all__ = ["Configuration", "CopySettings", "DrillSettings", "JobSettings", "load", "settings_of"]

_RETRIES = 2
_RETRY_WAIT = timedelta(seconds=30)
_DEADLINE = timedelta(hours=24)
_REMIND = timedelta(days=1)


class CopySettings(NamedTuple):
    """A repository to copy into: as it is written, and what to keep there (None: everything)."""

    repository: str
    rules: Rules | None


class DrillSettings(NamedTuple):
    """How, and how often, to prove backups."""

    every: timedelta
    level: Level
    on: str | None
    identities: tuple[str, ...]


class JobSettings(Struct, frozen=True, kw_only=True):
    """One job, whole. Whatever may be a secret is as it is written, unread; ``rules`` None keeps everything."""

    name: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    accounts: bool
    repository: str
    copies: tuple[CopySettings, ...]
    encrypt_to: tuple[str, ...]
    sign_with: str | None
    rules: Rules | None
    drill: DrillSettings | None
    shrink_guard: ShrinkRules | None
    max_age: timedelta | None
    notify: tuple[Channel, ...]
    remind: timedelta | None
    heartbeat: Heartbeat | str | None
    schedule: Schedule | None
    jitter: timedelta
    format: str | None
    compressor: str
    verifier: str
    via: tuple[str, ...]
    options: Mapping[str, str | int | float | bool]
    tags: tuple[str, ...]
    rate_limit: int | None
    retries: int
    retry_wait: timedelta
    deadline: timedelta


class Configuration(NamedTuple):
    """A whole configuration: the file, its jobs in their order, and how much of them goes on side by side.

    ``written`` has what is written for each job, over the defaults; ``own`` which keys are its own.
    """

    file: ConfigFile
    jobs: tuple[JobSettings, ...]
    limits: Limits
    written: Mapping[str, Job]
    own: Mapping[str, frozenset[str]]

    def problem(self, job: str, key: str, text: str) -> str:
        """Return the sentence that says what is wrong with what a job has for ``key``, and in which line."""
        where = ("jobs", job) if key in self.own[job] or key not in Defaults.__struct_fields__ else ("defaults",)
        return self.file.problem((*where, key), text)

    def chosen(self, names: Sequence[str]) -> tuple[JobSettings, ...]:
        """Return the jobs of these names, in their order; all of them where none is named.

        Raises:
            OptionError: there is no job of a name, or there is none at all.
        """
        by_name = {job.name: job for job in self.jobs}
        for name in names:
            if name not in by_name:
                near = difflib.get_close_matches(name, by_name, n=1)
                known = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(by_name) or 'none'}"
                raise OptionError(f"{self.file.path} has no job {name!r}; {known}")
        if not self.jobs:
            raise ConfigurationError(f"{self.file.path} has no jobs: add a table [jobs.NAME] with a source")
        return tuple(job for job in self.jobs if not names or job.name in names)

    def scheduled(self) -> tuple[JobSettings, ...]:
        """Return the jobs that are due by themselves.

        Raises:
            ConfigurationError: there is none.
        """
        scheduled = tuple(job for job in self.chosen(()) if job.schedule is not None)
        if not scheduled:
            raise ConfigurationError(f"{self.file.path} has no job with a schedule: nothing would ever be due")
        return scheduled


def load(path: str | None) -> Configuration:
    """Read the configuration, and check it; nothing that it refers to is read, and nobody is connected to.

    Raises:
        ConfigurationError: there is none, or it holds mistakes; ``problems`` has them all.
    """
    file, document = configuration.read(configuration.find(path))
    problems: list[str] = []
    jobs = [_Job(file, name, job, document.defaults, problems).settings() for name, job in document.jobs.items()]
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    written = {name: _merged(job, document.defaults) for name, job in document.jobs.items()}
    own = {
        name: frozenset(key for key in Job.__struct_fields__ if getattr(job, key) is not None)
        for name, job in document.jobs.items()
    }
    return Configuration(file, tuple(job for job in jobs if job is not None), document.run, written, own)


def settings_of(name: str, job: Job) -> JobSettings:
    """Return the settings of a job that is written whole (``Configuration.written``), read elsewhere and checked there.

    Raises:
        ConfigurationError: it holds mistakes.
    """
    problems: list[str] = []
    file = configuration.ConfigFile("the configuration", "", datetime.min.replace(tzinfo=UTC))
    settings = _Job(file, name, job, Defaults(), problems).settings()
    if settings is None:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return settings


def _merged(job: Job, defaults: Defaults) -> Job:
    unset = {name: getattr(defaults, name) for name in Defaults.__struct_fields__ if getattr(job, name) is None}
    return structs.replace(job, **unset)


class _Job:
    """The settings of one job on their way; each mistake becomes a problem, at the line that it stands in."""

    def __init__(self, file: ConfigFile, name: str, job: Job, defaults: Defaults, problems: list[str]) -> None:
        self._file, self._name, self._problems = file, name, problems
        self._own, self._job = job, _merged(job, defaults)

    def settings(self) -> JobSettings | None:
        before, job = len(self._problems), self._job
        if not is_job_name(self._name):
            self._add((), "cannot name a job: use letters, digits, '_', '.' and '-', at most 100, not first '.' or '-'")
        if job.repository is None:
            self._add((), "it has no repository: give it one, or one to all in [defaults]")
        else:
            self._require_same_everywhere("repository", job.repository)
        for name in sorted(RESERVED & (job.options or {}).keys()):
            self._add(("options",), f"{name!r} is no option of a plugin; see dumpty help configuration for its key")
        zone = self._parsed("timezone", job.timezone, _zone) or UTC
        values = self._values(zone)
        if len(self._problems) > before:
            return None
        return JobSettings(
            name=self._name,
            sources=(job.source,) if isinstance(job.source, str) else tuple(job.source),
            include=tuple(job.include or ()),
            exclude=tuple(job.exclude or ()),
            accounts=bool(job.accounts),
            repository=job.repository or "",
            copies=values["copies"],
            encrypt_to=tuple(job.encrypt_to or ()),
            sign_with=job.sign_with,
            rules=values["rules"],
            drill=values["drill"],
            shrink_guard=values["shrink_guard"],
            max_age=values["max_age"],
            notify=tuple(self._channels()),
            remind=None if job.remind == NEVER else values["remind"] or _REMIND,
            heartbeat=job.heartbeat,
            schedule=values["schedule"],
            jitter=values["jitter"] or timedelta(),
            format=job.format,
            compressor=job.compressor or "gzip",
            verifier=job.verifier or "sha256",
            via=(job.via,) if isinstance(job.via, str) else tuple(job.via or ()),
            options=job.options or {},
            tags=tuple(job.tags or ()),
            rate_limit=values["rate_limit"],
            retries=_RETRIES if job.retries is None else job.retries,
            retry_wait=_RETRY_WAIT if values["retry_wait"] is None else values["retry_wait"],
            deadline=values["deadline"] or _DEADLINE,
        )

    def _values(self, zone: tzinfo) -> dict[str, Any]:
        """Return what is written in a form of its own, as what it means."""
        job = self._job
        return {
            "rules": self._rules("keep", job.keep, zone),
            "copies": tuple(self._copies(zone)),
            "drill": self._drill(),
            "shrink_guard": self._shrink_guard(),
            "max_age": self._parsed("max_age", job.max_age, parse_interval),
            "remind": self._parsed("remind", None if job.remind == NEVER else job.remind, parse_interval),
            "schedule": self._parsed("schedule", job.schedule, lambda text: Schedule(text, zone)),
            "jitter": self._parsed("jitter", job.jitter, parse_duration),
            "rate_limit": self._parsed("rate_limit", job.rate_limit, _rate),
            "retry_wait": self._parsed("retry_wait", job.retry_wait, parse_duration),
            "deadline": self._parsed("deadline", job.deadline, parse_interval),
        }

    def _copies(self, zone: tzinfo) -> Iterable[CopySettings]:
        named = {self._job.repository}
        for written in self._job.copies or ():
            copy = Copy(repository=written) if isinstance(written, str) else written
            if copy.repository in named:
                self._add(("copies",), "names other repositories than the job's own, each once")
            named.add(copy.repository)
            self._require_same_everywhere("copies", copy.repository)
            keep = self._job.keep if copy.keep is None else copy.keep
            yield CopySettings(copy.repository, self._rules("copies", keep, zone))

    def _channels(self) -> Iterable[Channel]:
        named = set()
        for written in self._job.notify or ():
            channel = Channel(url=written) if isinstance(written, str) else written
            if channel.url not in named:
                yield channel
            named.add(channel.url)

    def _rules(self, key: str, keep: Keep | str | None, zone: tzinfo) -> Rules | None:
        if keep is None or isinstance(keep, str):
            return None
        numbers = {
            "keep": keep.last,
            **{n: getattr(keep, n) for n in ("hourly", "daily", "weekly", "monthly", "yearly")},
        }
        newer_than = self._parsed(key, keep.newer_than, parse_interval)
        if newer_than is None and not any(numbers.values()):
            self._add((key,), f'names no rule: write for example keep = {{ daily = 7 }}, or keep = "{ALL}"')
            return None
        return Rules(**numbers, older_than=newer_than, zone=zone)

    def _drill(self) -> DrillSettings | None:
        drill = self._job.drill
        if drill is None or drill == NEVER:
            return None
        asked = Drill(every=drill) if isinstance(drill, str) else drill
        every = self._parsed("drill", asked.every, parse_interval)
        if self._job.encrypt_to and asked.level != "digest" and not asked.identities:
            self._add(
                ("drill",),
                'its backups are encrypted: write drill = { every = "weekly", identities = ["file:PATH"] }, or level = '
                '"digest", which needs no identity',
            )
        if asked.on is not None and asked.level != "restore":
            self._add(("drill",), f"on is for the level restore, not for {asked.level}")
        return None if every is None else DrillSettings(every, asked.level, asked.on, tuple(asked.identities))

    def _require_same_everywhere(self, key: str, address: str) -> None:
        """See that a repository is the same one wherever dumpty is called from."""
        if "://" not in address and not os.path.isabs(address) and not is_indirect(address):
            self._add((key,), f"{address!r} is another directory wherever dumpty is called from: write its whole path")

    def _shrink_guard(self) -> ShrinkRules | None:
        guard = self._job.shrink_guard
        if guard is False:
            return None
        if guard is None or guard is True:
            return ShrinkRules()
        given = {name: value for name, value in structs.asdict(guard).items() if value is not None}
        given["ignore"] = tuple(given.get("ignore", ()))
        return ShrinkRules(**given)

    def _parsed(self, key: str, text: str | None, parse: Callable[[str], Any]) -> Any:
        if text is None:
            return None
        try:
            return parse(text)
        except (ValueError, DumptyError) as error:
            self._add((key,), str(error))
            return None

    def _add(self, keys: tuple[str, ...], text: str) -> None:
        own = not keys or getattr(self._own, keys[0]) is not None
        self._problems.append(self._file.problem((*(("jobs", self._name) if own else ("defaults",)), *keys), text))


def _zone(text: str) -> tzinfo:
    zone = parse_timezone(text)
    if zone is None:
        raise ValueError("'local' may be another zone on another machine; write its name: Europe/Berlin")
    return zone


def _rate(text: str) -> int:
    rate = parse_size(text)
    if rate < 1:
        raise ValueError(f"{text!r} is less than a byte a second")
    return rate
