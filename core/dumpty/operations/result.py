"""What ``BackupManager`` returns, and how failures become results."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError, SourceError
from dumpty.process.interruption import track_interruption, unfinished
from dumpty.redaction import one_line, redact, redact_exception
from dumpty.repository.verification import VerificationStatus, verification_status
from dumpty.signing.wire import fingerprint
from dumpty.types import NO_ANNOTATIONS, PRESENT, Evidence, Proof
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dumpty.errors import ManifestError
    from dumpty.repository.retention import Decision
    from dumpty.types import Annotations, Presence, Record

__all__ = [
    "Backup",
    "BackupResult",
    "Listing",
    "Pruning",
    "log",
    "masked_url",
    "require_text",
    "run_as_result",
    "to_backup",
]

log = logging.getLogger("dumpty")


@dataclass(frozen=True)
class Backup:
    """One backup of ``BackupManager``.

    ``database_url`` has its password replaced by ``***``. ``size_bytes`` and ``checksum`` (SHA-256, hexadecimal) are
    those of the stored file, so ``sha256sum FILE`` agrees; of several files the sum, and the digest of the lines that
    ``sha256sum`` prints of them, in the order of their names, and ``file_path`` is what these begin with. ``timestamp``
    is aware, in UTC; so is ``ended``. ``source`` names the database whatever its URL's spelling. ``proofs``, oldest
    first, and ``pinned`` (who pinned it and why; "" where nobody did) are what was known when it was listed; they
    change, and do not count in comparisons. Nor does ``state``: ``lost`` where its data is gone or short, ``damaged``
    where its last proof failed or its data is longer than it was, ``suspicious`` where it held so much less than those
    before it, and nobody has ``accepted`` it since (who did, and why), else ``ok``; ``state_reason`` says what was
    seen. ``suspicions`` are what made it suspicious, accepted or not, in a sentence each: none where that is sealed.
    ``files`` are where a person finds each of its objects; there is one, ``file_path``, unless its format stores
    several. ``tags`` are what its maker called it. ``tables`` and ``rows`` are how many were counted. A backup that is
    encrypted has ``recipient_kinds``, one for each of those whom it is encrypted to (``X25519``, ``ssh-ed25519``,
    ``ssh-rsa``). Where it is ``sealed``, no identity has opened what only they may know of it: ``evidence`` and
    ``recipients``, their public keys, are empty then, and ``plain_size_bytes`` is None. ``claimed_signers`` are the
    fingerprints (``SHA256:…``) of the keys by which it says that it is signed, which proves nothing:
    ``require_signature=`` does. ``table_sizes`` are the stored bytes of each table, by its path, which lies in objects
    of its own.
    """

    id: str
    database_url: str
    file_path: str
    timestamp: datetime
    size_bytes: int
    checksum: str
    database_name: str = ""
    format: str = ""
    driver: str = ""
    stages: tuple[str, ...] = ()
    plain_size_bytes: int | None = 0
    digests: Mapping[str, str] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    source: str = ""
    ended: datetime | None = None
    proofs: tuple[Proof, ...] = field(default=(), compare=False)
    pinned: str = field(default="", compare=False)
    state: str = field(default="ok", compare=False)
    state_reason: str = field(default="", compare=False)
    suspicious: bool = field(default=False, compare=False)
    accepted: str = field(default="", compare=False)
    suspicions: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tables: int = 0
    rows: int = 0
    recipient_kinds: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    sealed: bool = False
    claimed_signers: tuple[str, ...] = ()
    table_sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def verification_status(self) -> VerificationStatus:
        """What its proofs say together: the strongest that holds, or the one that failed."""
        return verification_status(self.proofs)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A backup directory at one look: ``backups``, oldest first, and an error for each file that cannot be read.

    ``problems`` are of manifests, whose backups are not listed; ``lost_proofs`` of proofs and pins, which count as no
    proof.
    """

    backups: list[Backup]
    problems: list[ManifestError]
    lost_proofs: list[ManifestError]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What became of a pruning.

    ``decisions`` has one for each backup, ``listing`` is what they were made of. ``removed`` are the ids of those that
    are gone, ``kept`` those of the others that were to go, with the reason.
    """

    decisions: list[Decision[Backup]]
    listing: Listing
    removed: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BackupResult:
    """How a backup or restore went. ``exception`` is the error itself, where ``error`` is its text."""

    success: bool
    backup: Backup | None
    duration_seconds: float
    error: str | None
    exception: Exception | None = field(default=None, repr=False, compare=False)

    def raise_for_error(self) -> Backup:
        """Return the backup, or raise why there is none: ``create_backup(url).raise_for_error()`` is a ``Backup``.

        Raises:
            Exception: ``exception``, with its own traceback; a ``DumptyError`` of the text where there is none.
        """
        if self.exception is not None:
            raise self.exception
        if not self.success or self.backup is None:
            raise DumptyError(self.error or "it failed, and nothing says why")
        return self.backup


_SEALED_SUSPICIONS = "it holds so much less than the backups before it; how much is sealed"


def to_backup(
    record: Record,
    locate: Callable[[str], str],
    presence: Presence = PRESENT,
    annotations: Annotations = NO_ANNOTATIONS,
) -> Backup:
    """Return a backup as people see it, from its manifest, what became of its data, and its annotations.

    ``locate`` returns where a person finds an object, by its name.
    """
    file_path, first, *others = locate(record.file), *record.objects
    state, state_reason = _state(record, presence, annotations)
    return Backup(
        id=record.id,
        database_url=record.url,
        file_path=file_path,
        timestamp=record.started.astimezone(UTC),
        size_bytes=record.stored_size,
        checksum=record.checksum,
        database_name=record.database,
        format=record.format,
        driver=record.driver.name,
        stages=tuple([s.plugin.name for s in first.stages]),
        plain_size_bytes=record.plain_size,
        digests={} if others else first.digests,
        evidence=record.evidence,
        source=record.identity,
        ended=record.ended.astimezone(UTC),
        proofs=annotations.proofs,
        pinned=annotations.pinned,
        state=state,
        state_reason=state_reason,
        suspicious=_is_suspicious(record, annotations),
        accepted=annotations.accepted if record.suspicious else "",
        suspicions=record.suspicions,
        files=tuple(map(locate, sorted(stored.name for stored in record.objects))) if others else (file_path,),
        tags=record.tags,
        tables=record.tables,
        rows=record.rows,
        recipient_kinds=record.recipient_kinds,
        recipients=record.recipients,
        sealed=record.sealed is not None,
        claimed_signers=tuple([fingerprint(signature.key) for signature in record.signatures]),
        table_sizes=_table_sizes(record) if others else {},
    )


def _table_sizes(record: Record) -> dict[str, int]:
    """Return the stored bytes of each table that shares no object with another one."""
    sizes: dict[str, int] = {}
    shared: set[str] = set()
    for stored in record.objects:
        paths = {table.path for table in stored.tables}
        shared |= paths if len(paths) > 1 else set()
        for path in paths:
            sizes[path] = sizes.get(path, 0) + stored.size
    return {path: size for path, size in sizes.items() if path not in shared}


def _state(record: Record, presence: Presence, annotations: Annotations) -> tuple[str, str]:
    """Return the state of a backup, and what was seen of it."""
    failed = verification_status(annotations.proofs).failed
    if presence.state != "ok":
        return presence.state, presence.reason
    if failed is not None:
        return "damaged", f"its proof by {failed.level} failed: {failed.error}"
    if _is_suspicious(record, annotations):
        return "suspicious", "; ".join(record.suspicions) or _SEALED_SUSPICIONS
    return "ok", presence.reason


def _is_suspicious(record: Record, annotations: Annotations) -> bool:
    return record.suspicious and not annotations.accepted


def run_as_result(verb: str, url: str, work: Callable[[], Backup], more_secrets: tuple[str, ...] = ()) -> BackupResult:
    """Do ``work`` and return how it went: failures become results and log records, both without secrets.

    ``more_secrets`` are secrets that are not in the URL: the store's.
    """
    start = time.monotonic()
    shown_url, secrets = masked_url(url)
    secrets += more_secrets
    unfinished_before = unfinished()
    try:
        with track_interruption():
            backup = work()
    except Exception as error:  # noqa: BLE001 - the contract: failures are results
        redact_exception(error, secrets)
        remaining = [item for item in unfinished() if item not in unfinished_before]
        text = redact(
            "; still there: ".join([one_line(error), *(["; ".join(remaining)] if remaining else [])]), secrets
        )
        seconds = time.monotonic() - start
        fields = {"event": verb, "url": shown_url, "seconds": seconds, "error_type": type(error).__name__}
        log.error("%s of %s failed: %s", verb, shown_url, text, extra=fields)  # noqa: TRY400 - no traceback: locals
        return BackupResult(False, None, seconds, text, error)
    seconds = time.monotonic() - start
    fields = {"event": verb, "url": shown_url, "seconds": seconds, "backup": backup.id, "bytes": backup.size_bytes}
    log.info("%s of %s done", verb, shown_url, extra=fields)
    return BackupResult(True, backup, seconds, None)


def require_text(label: str, value: object) -> None:
    """Check that an argument is a str; ``TypeError`` where not."""
    if not isinstance(value, str):
        raise TypeError(f"{label} is a str, not {type(value).__name__}")


def masked_url(url: str) -> tuple[str, tuple[str, ...]]:
    """Return a database's URL as it may be shown, and the secrets in it."""
    try:
        source = parse_url(url)
    except SourceError:
        return "(malformed URL)", ()
    return source.url, source.secrets
