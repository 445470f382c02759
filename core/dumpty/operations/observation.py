"""From the beginning of a verb to its event: what observers (the hook ``finished``) are told of it."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from dumpty.errors import PluginError
from dumpty.operations.result import BackupResult, log, masked_url, run_as_result
from dumpty.process.cancellation import cancellable, require_token
from dumpty.process.interruption import track_interruption
from dumpty.redaction import one_line, redact
from dumpty.registry.host import Host, default_host
from dumpty.types import Event, EventBackup
from dumpty.url import secrets_in, shown_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.operations.result import Backup
    from dumpty.process.call import Call
    from dumpty.process.cancellation import Cancellation
    from dumpty.types import EventVerb, Level, Proof, Record

__all__ = ["Observation", "Observers", "Opening"]


class Observers:
    """Those who are told of what happens in one repository.

    Args:
        host: whose plugins they are.
        address: the repository's path or URL, whose secrets they are not told.
    """

    def __init__(self, host: Host, address: str) -> None:
        self._host = host
        self._shown = shown_address(address)
        self.secrets = secrets_in(address)

    def observation(
        self, verb: EventVerb, *, url: str = "", secrets: tuple[str, ...] = (), level: Level | None = None
    ) -> Observation:
        """Begin a verb; ``secrets`` are those that are neither in ``url`` nor the repository's."""
        secrets += self.secrets
        return Observation(self._host, verb, repository=self._shown, url=url, secrets=secrets, level=level)


class Observation:
    """One run of a verb. A context manager: at its end, when the manifest is written or the failure known, it tells.

    An interrupt within the block tells nobody: whoever asks to end does not wait for observers.

    Args:
        host: whose plugins are told.
        verb: what is done.
        repository: where the backups are, without secrets.
        url: the database that is backed up or restored into; secrets in it are masked.
        secrets: those that are not in the URL: the store's.
        level: that of a proof.
    """

    def __init__(
        self,
        host: Host,
        verb: EventVerb,
        *,
        repository: str,
        url: str = "",
        secrets: tuple[str, ...] = (),
        level: Level | None = None,
    ) -> None:
        self._host = host
        self._verb: EventVerb = verb
        self._repository = repository
        self._url, self._secrets = "", secrets
        if url:
            self.concerns(*masked_url(url))
        self._level: Level | None = level
        self._backup: EventBackup | None = None
        self._removed: tuple[str, ...] = ()
        self._failure: tuple[str, str] | None = None

    def concerns(self, url: str, secrets: tuple[str, ...]) -> None:
        """Note which database is backed up or restored into, its URL masked, and the secrets that were in it."""
        self._url = url
        self._secrets += secrets

    def about(self, backup: Record | EventBackup) -> None:
        """Note which backup it is about."""
        if not isinstance(backup, EventBackup):
            backup = EventBackup(
                id=backup.id,
                database=backup.database,
                url=backup.url,
                size_bytes=backup.stored_size,
                plain_size_bytes=backup.plain_size,
                suspicious=backup.suspicious,
            )
        self._backup = backup

    def removes(self, *ids: str) -> None:
        """Note what was removed."""
        self._removed += ids

    def fail(self, text: str, error_type: str) -> None:
        """Note a failure that is not raised."""
        self._failure = text, error_type

    def proved(self, proof: Proof) -> None:
        """Note whether a proof held."""
        if not proof.ok:
            self.fail(proof.error, type(proof.exception).__name__ if proof.exception else "IntegrityError")

    def result(self, url: str, work: Callable[[Call], Backup], cancel: Cancellation | None) -> BackupResult:
        """Do ``work``, which ``cancel`` ends, tell how it went, and return that (``run_as_result``)."""
        require_token(cancel)

        def do_work() -> Backup:
            with cancellable(cancel, f"the {self._verb} of {masked_url(url)[0]}") as call:
                return work(call)

        with self:
            result = run_as_result(self._verb, url, do_work, self._secrets)
            if not result.success:
                self.fail(result.error or "", type(result.exception).__name__)
        return result

    def __enter__(self) -> Self:
        self._started, self._start = datetime.now(UTC), time.monotonic()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and not isinstance(error, Exception):
            return
        if error is not None:
            self.fail(one_line(error), type(error).__name__)
        text, error_type = self._failure or ("", "")
        event = Event(
            verb=self._verb,
            success=self._failure is None,
            started=self._started,
            ended=datetime.now(UTC),
            duration_seconds=time.monotonic() - self._start,
            repository=self._repository,
            url=self._url,
            error=redact(text, self._secrets),
            error_type=error_type,
            backup=self._backup,
            level=self._level,
            removed=self._removed,
        )
        try:
            with track_interruption() as interruption:
                self._host.finished(event, self._secrets)
                interruption.check_signal()  # an observer may have swallowed it
        except (KeyboardInterrupt, SystemExit):
            self._report_interrupted(event)
            raise

    def _report_interrupted(self, event: Event) -> None:
        """Say what had become of the verb: the interrupt undoes nothing of it, and hides its result from the caller."""
        subject = f"{event.verb} {event.backup.id if event.backup else ''}".rstrip()
        outcome = "was done" if event.success else f"had failed ({event.error})"
        fields = {"event": "interrupted", "verb": event.verb, "success": event.success}
        log.warning("%s %s before the interrupt, which came while observers were told", subject, outcome, extra=fields)


class Opening:
    """A backup whose repository is yet to be opened: where that fails, so has the backup."""

    def __init__(self, database_url: str, address: str, plugins: tuple[object, ...]) -> None:
        self._url = database_url
        self._address = address
        self._plugins = plugins
        self._start = time.monotonic()

    def failed(self, error: Exception) -> BackupResult:
        """Log the failure, tell it, and return it."""
        text = redact(one_line(error), secrets_in(self._address))
        log.error("backup into %s failed: %s", shown_address(self._address), text, extra={"event": "backup"})
        result = BackupResult(False, None, time.monotonic() - self._start, text, error)
        with contextlib.suppress(PluginError):  # the plugins are what failed: nobody is left who could be told
            host = Host(self._plugins) if self._plugins else default_host()
            with Observers(host, self._address).observation("backup", url=self._url) as observation:
                observation.fail(text, type(error).__name__)
        return result
