"""Which databases a job has, and which of them share a server."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from dumpty.errors import OptionError
from dumpty.indirection import indirect_line
from dumpty.jobs.database_run import begins_locally
from dumpty.operations import databases
from dumpty.registry.host import default_host
from dumpty.url import parse_url, with_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dumpty.jobs.settings import JobSettings

__all__ = ["ACCOUNTS", "Database", "find_databases", "has_files", "heard_warnings", "is_local"]

ACCOUNTS = "accounts"
"""The format of what belongs to a server, and to none of its databases."""


class Database(NamedTuple):
    """A database to back up: its URL with secrets, the server that it is on ("" for a file), and if a * meant it.

    ``format`` is None for what the job says; ``accounts`` is of the whole server. ``written`` is the source that means
    it, as it stands in the configuration.
    """

    url: str
    server: str
    was_found: bool = False
    format: str | None = None
    written: str = ""


def find_databases(job: JobSettings, remember: Callable[[Iterable[str]], None]) -> list[Database]:
    """Return the databases of a job, each once, and before them the accounts of their servers, where it has those, too.

    Servers and directories are asked what there is.

    Raises:
        DumptyError: a URL cannot be read, or is none, or it cannot be told what there is.
    """
    host = default_host()
    urls = [indirect_line(written, "database URL") for written in job.sources]
    for url in urls:
        source = parse_url(url)
        remember(source.secrets)
        if host.driver(source.scheme).described.files and not os.path.isabs(source.database or ""):
            raise OptionError(
                f"{source.url} is another file wherever dumpty is called from: write its whole path, with four slashes"
            )
    found: dict[str, Database] = {}
    if job.accounts:
        for url, written in zip(urls, job.sources, strict=True):
            host.driver(parse_url(url).scheme).format(ACCOUNTS)
            server = server_of(url, job.via)
            accounts = Database(with_database(url, ""), server, format=ACCOUNTS, written=written)
            found.setdefault(f"{ACCOUNTS} {server}", accounts)
    several = {url for url in urls if databases.has_wildcards(host, url)}
    for url, written in zip(urls, job.sources, strict=True):
        # They choose among several; where no source means several, the first says that they have no sense.
        choice = {"include": job.include, "exclude": job.exclude} if url in several or not several else {}
        for each in databases.find_databases(host, url, **choice, via=job.via, overrides=job.options):
            server = server_of(each.url, job.via)
            found.setdefault(each.url, Database(each.url, server, url in several, written=written))
    return list(found.values())


def has_files(job: JobSettings) -> bool:
    """Return whether a source of a job is a file: on another machine it is another one."""
    host = default_host()
    urls = (indirect_line(written, "database URL") for written in job.sources)
    return any(host.driver(parse_url(url).scheme).described.files for url in urls)


def is_local(url: str, via: Sequence[str] = ()) -> bool:
    """Return whether a URL means another database on another machine: a file, a server on this one, a container."""
    source = parse_url(url)
    if via:
        return begins_locally(via)
    if default_host().driver(source.scheme).described.files:
        return True
    host = source.host or source.query.get("host") or source.query.get("unix_socket") or "localhost"
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.startswith("/")


_EVENTS = {"databases-altered", "databases-hidden", "include-unmatched"}


@contextlib.contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """Within the block, keep what this thread's search for databases warns of: a list that grows."""
    warnings: list[str] = []
    thread = threading.get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and getattr(record, "event", "") in _EVENTS:
                warnings.append(record.getMessage())

    log, handler = logging.getLogger("dumpty"), Ear(logging.WARNING)
    log.addHandler(handler)
    try:
        yield warnings
    finally:
        log.removeHandler(handler)


def server_of(url: str, via: Sequence[str] = ()) -> str:
    """Return what tells the database server behind a URL, reached by ``via``, from others; "" for a file."""
    source = parse_url(url)
    if default_host().driver(source.scheme).described.files:
        return ""
    host = source.host or source.query.get("host") or source.query.get("unix_socket") or "localhost"
    way = "".join(f"{hop} " for hop in via)
    return f"{way}{source.scheme}://{host.lower()}:{source.port or source.query.get('port', '')}"
