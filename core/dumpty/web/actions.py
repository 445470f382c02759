"""What may be asked for on the page: run a job, prove, pin, accept, and restore into a new database beside the old one.

Nobody writes a URL, a path or an option here, only the name of a new database: what else a command needs comes from the
configuration and the backup. Whoever has the token can so neither reach another server, nor replace what exists.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError, OptionError
from dumpty.indirection import indirect_line, is_indirect
from dumpty.redaction import MASK
from dumpty.url import is_of_server, parse_url, secrets_in, shown_address
from dumpty.web.targets import beside, is_file, require_free
from dumpty.web.tasks import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dumpty.jobs.protection import Protected
    from dumpty.jobs.settings import Configuration, JobSettings
    from dumpty.operations.result import Backup

__all__ = ["Actions"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_LONGEST_REASON = 200
_REPOSITORY, _TARGET = "DUMPTY_DIR", "DUMPTY_PAGE_TARGET"


class Actions:
    """Says which command does what is asked for.

    Args:
        configuration: returns the one that counts now; None where a repository is shown.
        address: of the repository that is shown; "" where a configuration is.
        remember: is told of every secret that is read.
    """

    def __init__(
        self,
        configuration: Callable[[], Configuration] | None,
        address: str,
        remember: Callable[[Iterable[str]], None],
    ) -> None:
        self._configuration, self._address, self._remember = configuration, address, remember

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs that can be run."""
        return () if self._configuration is None else tuple(job.name for job in self._configuration().jobs)

    def run(self, job: str) -> Order:
        """Return what runs a job now.

        Raises:
            OptionError: there is none of that name.
        """
        if self._configuration is None or job not in self.jobs:
            raise OptionError(f"there is no job {job!r}")
        path = os.path.abspath(self._configuration().file.path)
        return Order(f"run of the job {job}", ("run", "--config", path, "--", job), {}, ())

    def drill(self, database: Protected, backup: Backup) -> Order:
        """Return what proves a backup by restoring it."""
        words = ("drill", *self._identities(database, backup))
        return self._order(f"drill of {_called(database, backup)}", database, backup, *words)

    def pin(self, database: Protected, backup: Backup, reason: str) -> Order:
        """Return what pins a backup."""
        what = f"pin of {_called(database, backup)}"
        return self._order(what, database, backup, "pin", f"--reason={_reason(reason)}")

    def unpin(self, database: Protected, backup: Backup) -> Order:
        """Return what unpins a backup."""
        return self._order(f"unpinning of {_called(database, backup)}", database, backup, "unpin")

    def accept(self, database: Protected, backup: Backup, reason: str) -> Order:
        """Return what accepts a suspicious backup."""
        what = f"acceptance of {_called(database, backup)}"
        return self._order(what, database, backup, "accept", f"--reason={_reason(reason)}")

    def restore(self, database: Protected, backup: Backup, name: str) -> Order:
        """Return what restores a backup into a new database of a name, on the server, or in the directory, of its own.

        Raises:
            OptionError: the name is none, or it is not known here how to get there.
        """
        if not _NAME.fullmatch(name):
            raise OptionError(f"{name!r} can name no new database: use letters, digits, '_', '.' and '-', at most 63")
        self._require_restorable(database, backup)
        ways = [word for hop in (database.job.via if database.job else ()) for word in ("--via", hop)]
        url = self._target(database, backup, name)
        source = parse_url(url)
        self._remember(source.secrets)
        words = ("restore", "--to", f"env:{_TARGET}", "--create", *ways, *self._identities(database, backup))
        order = self._order(f"restore of {_called(database, backup)} into {source.url}", database, backup, *words)
        return order._replace(
            environment={**order.environment, _TARGET: url}, secrets=(*order.secrets, *source.secrets)
        )

    def why_not_restored(self, database: Protected, backup: Backup) -> str:
        """Return why a backup cannot be restored from here, as far as is known before anything is read; "" else."""
        try:
            self._require_restorable(database, backup)
        except DumptyError as error:
            return str(error)
        return ""

    def _require_restorable(self, database: Protected, backup: Backup) -> None:
        from dumpty.jobs.health import is_there, place_of
        from dumpty.operations.reach import is_reached

        job = database.job
        if is_of_server(backup.source, backup.format):
            raise OptionError("it is of a whole server, not of a database: restore it by hand")
        if job is None and is_reached(backup.source):
            raise OptionError("by which way its server is reached is not known here: restore it by hand")
        if job is not None and not is_there(backup.source, place_of(job)):
            raise OptionError("its server is reached by another way than its job has now: restore it by hand")
        self._identities(database, backup)
        if is_file(backup.database_url):
            beside(backup.database_url, "name")
        elif job is None and MASK in backup.database_url:
            raise OptionError("how to log in to its server is not known here: restore it by hand")

    def _target(self, database: Protected, backup: Backup, name: str) -> str:
        from dumpty.jobs.finding import server_of

        shown, job = backup.database_url, database.job
        if is_file(shown):
            url = beside(shown, name)
            if job is None or not job.via:
                require_free(url)
            return url
        for url in self._urls(job):
            if server_of(url) == server_of(shown):
                return beside(url, name, keeps_secrets=True)
        if job is None:
            return beside(shown, name)
        raise OptionError("how to log in to its server is not known here: restore it by hand")

    def _urls(self, job: JobSettings | None) -> Iterator[str]:
        """Yield the URLs of a job, with their secrets; one that cannot be read hides no other."""
        for written in job.sources if job is not None else ():
            with contextlib.suppress(DumptyError):
                url = indirect_line(written, "database URL")
                self._remember(secrets_in(url))
                yield url

    def _identities(self, database: Protected, backup: Backup) -> list[str]:
        """Return the words that name what opens a backup.

        Raises:
            OptionError: that is not known here.
        """
        if not backup.recipient_kinds:
            return []
        drill = database.job.drill if database.job is not None else None
        named = [n for n in (drill.identities if drill is not None else ()) if is_indirect(n) or os.path.isfile(n)]
        if not named:
            raise OptionError(
                "it is encrypted, and its job names no identity for drills: do it by hand, --identity FILE"
            )
        return [f"--identity={name}" for name in named]

    def _order(self, what: str, database: Protected, backup: Backup, *words: str) -> Order:
        address = self._repository(database)
        self._remember(secrets := secrets_in(address))
        return Order(what, (*words, "--", backup.id), {_REPOSITORY: address}, secrets)

    def _repository(self, database: Protected) -> str:
        """Return the address of the repository that a database's backups are in, with its secrets."""
        if self._configuration is None:
            return self._address
        jobs = [database.job] if database.job is not None else list(self._configuration().jobs)
        addresses = [indirect_line(job.repository, "repository") for job in jobs]
        if database.job is not None:
            return addresses[0]
        found = [address for address in addresses if shown_address(address) == database.repository]
        if not found:
            raise OptionError(f"the configuration has no repository {database.repository} any more")
        return found[0]


def _called(database: Protected, backup: Backup) -> str:
    return f"backup {backup.id} of {database.database} in {database.repository}"


def _reason(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON] or "asked for on the page"
