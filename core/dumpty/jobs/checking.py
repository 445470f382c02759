"""Whether a configuration can work on this machine: what it refers to is read, and nobody is connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import DumptyError, OptionError
from dumpty.indirection import indirect_line, is_indirect
from dumpty.jobs.finding import ACCOUNTS
from dumpty.jobs.notifying import heartbeat_urls, open_channel, shown_channel
from dumpty.jobs.upkeep import read_address
from dumpty.operations.given_keys import CIPHER, given_identities, given_recipients, given_signing_key
from dumpty.registry.host import default_host
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dumpty.jobs.settings import Configuration, JobSettings
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Verb

__all__ = ["check", "warnings_of"]


def check(configuration: Configuration, remember: Callable[[Iterable[str]], None]) -> list[str]:
    """Return every mistake: a secret that cannot be read, a URL, key or option that is none, a missing plugin."""
    problems: list[str] = []
    for job in configuration.jobs:
        for key, step in _steps(job, remember):
            try:
                step()
            except DumptyError as error:
                problems.append(configuration.problem(job.name, key, str(error)))
    return list(dict.fromkeys(problems))


def _steps(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is to be tried, each with the key that it is about."""
    host = default_host()
    yield "repository", lambda: _check_place(job.repository, remember)
    for copy in job.copies:
        yield "copies", lambda copy=copy: _check_place(copy.repository, remember)  # type: ignore[misc]
    for written in job.sources:
        yield "source", lambda written=written: _driver(written, remember)  # type: ignore[misc]
        yield "format", lambda written=written: _check_format(job, written, remember)  # type: ignore[misc]
    yield "via", lambda: _check_way(job, remember)
    if job.accounts:
        yield "accounts", lambda: _check_accounts(job, remember)
    yield "options", lambda: _check_options(job, remember)
    if job.compressor != "none":
        yield "compressor", lambda: host.named("compressor", job.compressor)
    yield "verifier", lambda: host.named("verifier", job.verifier)
    if job.encrypt_to:
        yield "encrypt_to", lambda: _check_recipients(job)
    if job.sign_with is not None:
        yield "sign_with", lambda: given_signing_key(job.sign_with or "")
    for channel in job.notify:
        yield "notify", lambda channel=channel: open_channel(channel, remember)  # type: ignore[misc]
    if job.heartbeat is not None:
        yield "heartbeat", lambda: heartbeat_urls(job.heartbeat, remember)
    if job.drill is not None:
        yield "drill", lambda: _check_drill(job, remember)


def _check_place(written: str, remember: Callable[[Iterable[str]], None]) -> None:
    default_host().store(read_address(written, remember))


def _driver(written: str, remember: Callable[[Iterable[str]], None]) -> Plugin:
    source = parse_url(indirect_line(written, "database URL"))
    remember(source.secrets)
    return default_host().driver(source.scheme)


def _known_driver(written: str, remember: Callable[[Iterable[str]], None]) -> Plugin | None:
    """Return the driver of a source; None where that is wrong already."""
    try:
        return _driver(written, remember)
    except DumptyError:
        return None


def _check_format(job: JobSettings, written: str, remember: Callable[[Iterable[str]], None]) -> None:
    driver = _known_driver(written, remember)
    if driver is not None and job.format is not None:
        driver.formats(job.format)


def _check_accounts(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> None:
    for written in job.sources:
        driver = _known_driver(written, remember)
        name = "" if driver is None else driver.format(ACCOUNTS).sensitive
        if name and not job.encrypt_to and job.options.get(name, "on") == "on":
            raise OptionError(
                f"accounts hold secrets ({name}), so they are not backed up without encryption: write encrypt_to, "
                f'leave them out (options = {{ {name} = "off" }}), or keep them readable on purpose ("plain")'
            )


def _check_way(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> None:
    from dumpty.operations.addressing import destination_of
    from dumpty.operations.reach import read_way

    if read_way(default_host(), job.via) is None:
        return
    for written in job.sources:
        driver = _known_driver(written, remember)
        if driver is not None:
            destination_of(driver, parse_url(indirect_line(written, "database URL")))


def _check_options(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> None:
    """See that each option is declared by a plugin that takes part, for the first source."""
    host = default_host()
    driver = _known_driver(job.sources[0], remember)
    if driver is None:
        return
    verbs: dict[Verb, Plugin] = {"backup": driver, "inspect": driver}
    if job.compressor != "none":
        verbs["compress"] = host.named("compressor", job.compressor)
    if job.encrypt_to:
        verbs["encrypt"] = host.named("cipher", CIPHER)
    host.options(verbs, job.options)


def _check_recipients(job: JobSettings) -> None:
    from dumpty.encryption.recipients import read_recipients

    default_host().named("cipher", CIPHER)
    read_recipients(given_recipients(job.encrypt_to))


def _check_drill(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> None:
    assert job.drill is not None  # noqa: S101 - asked for where it is not
    identities = given_identities(job.drill.identities)
    remember(secret for identity in identities for secret in identity.secrets)
    if job.drill.on is not None:
        _driver(job.drill.on, remember)


def warnings_of(configuration: Configuration) -> list[str]:
    """Return what is no mistake, and should be known."""
    if not configuration.file.readable_by_others:
        return []
    for job in configuration.jobs:
        for written in (*job.sources, job.repository, *(copy.repository for copy in job.copies)):
            if "://" in written and _has_secrets(written):
                path = configuration.file.path
                return [f"{path} holds a password, and everybody may read it: chmod 600 it, or write env: or file:"]
        if any(not is_indirect(url) and shown_channel(url) != url for url in _told(job)):
            path = configuration.file.path
            return [f"{path} says where to notify, and everybody may read it: chmod 600 it, or write env: or file:"]
    return []


def _told(job: JobSettings) -> list[str]:
    """Return the addresses of those who are told of a job, as they are written."""
    beats = job.heartbeat
    written = [beats] if isinstance(beats, str) or beats is None else [beats.start, beats.success, beats.failure]
    return [*(channel.url for channel in job.notify), *(url for url in written if url is not None)]


def _has_secrets(written: str) -> bool:
    from dumpty.url import secrets_in

    return bool(secrets_in(written))
