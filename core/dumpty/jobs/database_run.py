"""One database of a job: backed up, and tried again where what failed may pass."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from dumpty.errors import (
    CommandError,
    DependencyError,
    DumptyError,
    IntegrityError,
    InvalidName,
    Locked,
    MissingFile,
    NotPermitted,
    OptionError,
    PluginError,
    SourceError,
    StoreError,
)
from dumpty.jobs.events import JobEventKind
from dumpty.jobs.outcomes import DatabaseRun
from dumpty.redaction import redact
from dumpty.registry.host import default_host
from dumpty.registry.plugin import AUTO
from dumpty.repository.protocol.attempt import Abandoned
from dumpty.url import MalformedURL, database_name, parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.jobs.events import EventSource
    from dumpty.jobs.settings import JobSettings
    from dumpty.jobs.stop import Stop
    from dumpty.operations.result import Backup
    from dumpty.types import ProgressCallback, Recipient, SigningKey

__all__ = ["HOST_TAG", "Keys", "back_up", "begins_locally", "error_text", "host_tag", "is_transient", "job_tag"]

HOST_TAG = "host="
_LONGEST_WAIT = 3600.0
_FINAL = (
    MalformedURL,
    OptionError,
    InvalidName,
    MissingFile,
    DependencyError,
    NotPermitted,
    IntegrityError,
)
_TRANSIENT = (SourceError, CommandError, StoreError, Locked)


class Keys(NamedTuple):
    """Whom the backups of a job are encrypted to, and what signs them."""

    encrypt_to: list[str | Recipient] | None
    sign_with: SigningKey | None


def job_tag(name: str) -> str:
    """Return the tag of the backups that a job makes."""
    return f"job={name}"


def host_tag() -> str:
    """Return the tag of backups of this machine's files: the same path is another database on another machine."""
    return f"{HOST_TAG}{socket.gethostname()}"


def error_text(error: BaseException) -> str:
    """Return what an error says; of one that nobody foresaw also what it is."""
    text = " ".join(str(error).split())
    if isinstance(error, DumptyError):
        return text
    return f"unexpected {type(error).__name__}: {text}; this is a bug in dumpty or in a plugin"


def is_transient(error: BaseException) -> bool:
    """Return whether what failed may pass by itself: a server away, a lock, a full network."""
    if isinstance(error, _FINAL) or not isinstance(error, _TRANSIENT):
        return False
    return not isinstance(error, PluginError) or isinstance(error, CommandError)


def back_up(
    manager: Callable[[], BackupManager],
    job: JobSettings,
    url: str,
    format: str | None,
    once: str,
    keys: Keys,
    stop: Stop,
    tell: Callable[[str], None],
    events: EventSource,
    *,
    contested: bool = False,
) -> DatabaseRun:
    """Back up one database, as its job has it; failures are in what is returned.

    Args:
        manager: returns this thread's manager of the job's repository; may raise ``DumptyError``.
        job: whose database it is.
        url: of the database, with its secrets.
        format: of the dump; None is the job's.
        once: stands for the backup: one that is there already, for an earlier attempt made it, is not made again.
        keys: the job's.
        stop: ends it, and waiting.
        tell: is told of each failure after which it is tried again.
        events: tells that it begins, how far it has come, and that it is tried again; not that it has ended.
        contested: somebody else may be at the same backup: where that one came first, this one gives way.
    """
    started, start = datetime.now(UTC), time.monotonic()
    shown, secrets = parse_url(url).url, parse_url(url).secrets
    wait, error, backup, attempt = job.retry_wait.total_seconds(), None, None, 0
    events.tell(JobEventKind.DATABASE_BEGUN, database=shown)
    for attempt in range(1, job.retries + 2):
        progress = events.progress(database=shown)
        backup, error = _attempt(manager, job, url, format or job.format, once, keys, stop, progress)
        gives_way = contested and isinstance(error, Abandoned)
        if error is None or attempt > job.retries or stop.asked or gives_way or not is_transient(error):
            break
        text = redact(error_text(error), secrets)
        tell(f"{job.name}: {shown}: {text}; tried again in {wait:.0f} s, {attempt} of {job.retries} times")
        events.tell(JobEventKind.DATABASE_DELAYED, database=shown, error=text)
        if stop.wait(wait):
            break
        wait = max(wait, min(wait * 2, _LONGEST_WAIT))
    facts: dict[str, Any] = {"database": database_name(parse_url(url))} if backup is None else _facts(backup)
    if error is not None:
        facts |= {"error": redact(error_text(error), secrets), "error_type": type(error).__name__}
    seconds = round(time.monotonic() - start, 3)
    times: dict[str, Any] = {"started": started, "duration_seconds": seconds, "attempts": attempt}
    return DatabaseRun(source=shown, ok=error is None, **times, **facts)


def _attempt(
    manager: Callable[[], BackupManager],
    job: JobSettings,
    url: str,
    format: str | None,
    once: str,
    keys: Keys,
    stop: Stop,
    progress: ProgressCallback,
) -> tuple[Backup | None, BaseException | None]:
    kind: dict[str, Any] = {
        "rate_limit": job.rate_limit,
        "shrink_guard": job.shrink_guard,
        "via": job.via,
        "progress": progress,
        "once": once,
        **job.options,
    }
    try:
        driver = default_host().driver(parse_url(url).scheme)
        kind["format"] = format or AUTO
        of_here = driver.described.files or begins_locally(job.via)
        kind["tags"] = (*job.tags, job_tag(job.name), *([host_tag()] if of_here else []))
        result = manager().create_backup(
            url, cancel=stop.token, encrypt_to=keys.encrypt_to, sign_with=keys.sign_with, **kind
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's bug stops no other database
        return None, error
    if result.backup is None:
        return None, result.exception or DumptyError(result.error)
    return result.backup, None


def begins_locally(via: Sequence[str]) -> bool:
    """Return whether a way leads into a container of this machine, of whose name another machine may have one, too."""
    return bool(via) and not via[0].lower().startswith("ssh://")


def _facts(backup: Backup) -> dict[str, Any]:
    return {
        "database": backup.database_name,
        "backup": backup.id,
        "identity": backup.source,
        "size_bytes": backup.size_bytes,
        "plain_size_bytes": backup.plain_size_bytes,
        "tables": backup.tables,
        "rows": backup.rows,
        "suspicions": backup.suspicions,
        "warnings": tuple(_warnings(backup)),
    }


def _warnings(backup: Backup) -> Iterable[str]:
    if backup.suspicious:
        yield (
            f"backup {backup.id} of {backup.database_name} is suspicious: {'; '.join(backup.suspicions)}; no older one "
            f"goes for it until you say dumpty accept {backup.id}"
        )
    if not backup.evidence.consistent:
        yield f"the backup of {backup.database_name} is not of one moment: {'; '.join(backup.evidence.notes)}"
