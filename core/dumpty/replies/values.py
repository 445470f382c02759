"""The objects inside of what is printed under ``--json``: backups, proofs, decisions, plugins.

No key is ever left out: what is not known is null. Times are in UTC, sizes in bytes, durations in seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dumpty.types import Kind, Level, Verb  # noqa: TC001

__all__ = [
    "Backup",
    "BackupFailure",
    "BackupWithTables",
    "Client",
    "Count",
    "Database",
    "Decision",
    "Details",
    "Format",
    "FullProof",
    "KeyCheck",
    "KeyRecipients",
    "LastProof",
    "Library",
    "Moment",
    "Object",
    "Option",
    "Plugin",
    "Proof",
    "Rule",
    "Seconds",
    "ShownBackup",
    "ShownPlugin",
    "Step",
    "Table",
    "Topic",
]

Bytes = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
_UTC = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
Moment = Annotated[datetime, Meta(tz=True, extra_json_schema={"pattern": _UTC})]
Checksum = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
State = Literal["ok", "lost", "suspicious", "damaged"]


class Object(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A JSON object of exactly these keys."""


class LastProof(Object, kw_only=True):
    """The proof that decides what is known of a backup: the one that failed, else the strongest that holds."""

    level: Level
    ok: bool
    at: Moment


class Backup(Object, kw_only=True):
    """One backup."""

    id: str
    database: str
    source: str
    driver: str
    format: str
    timestamp: Moment
    ended: Moment | None
    size_bytes: Bytes
    plain_size_bytes: Bytes | None
    files: Annotated[list[str], Meta(min_length=1)]
    checksum: Checksum
    tags: list[str]
    encrypted: bool
    pinned: str | None
    state: State
    proof: LastProof | None
    copies: list[str]


class BackupFailure(Object, kw_only=True):
    """A database, of several that a URL means, that is not backed up."""

    database: str
    url: str
    error: str
    error_type: str


class Copy(Object, kw_only=True):
    """What came of one backup that was to be copied; ``id`` is null where its manifest cannot be read."""

    id: str | None
    database: str | None
    repository: str
    ok: bool
    copied: bool
    error: str | None
    error_type: str | None


class Table(Object, kw_only=True):
    """One table of a backup, or what its database has in the place of tables.

    ``stored_bytes`` is null where it lies in one object with others.
    """

    path: str
    rows: Count | None
    fingerprint: str | None
    stored_bytes: Bytes | None


class RestoredTable(Object, kw_only=True):
    """One table that was restored: its path in the backup, and its name in the target."""

    path: str
    name: str
    rows: Count | None


class BackupWithTables(Backup, kw_only=True):
    """One backup, and the tables in it."""

    objects: list[Table]


class Step(Object, kw_only=True):
    """One thing that was proved."""

    what: str
    duration_seconds: Seconds


class FullProof(LastProof, kw_only=True):
    """All that is known of a proof."""

    by: str
    duration_seconds: Seconds
    versions: dict[str, str]
    proved: list[Step]
    not_proved: list[str]
    differs: list[str]
    error: str | None


class Details(Object, kw_only=True):
    """What else is known of a backup. ``stages`` are the plugins that the dump went through, in that order.

    Where it is ``sealed``, what stands in the encrypted part of its manifest is null or empty. That it is signed by
    ``claimed_signers`` (fingerprints of keys) is what it says itself: nobody has checked it.
    """

    database_url: str
    file_path: str
    stages: list[str]
    digests: dict[str, str]
    recipient_kinds: list[str]
    recipients: list[str] | None
    tables: Count
    rows: Count
    sealed: bool
    claimed_signers: list[str]
    state_reason: str | None
    suspicions: list[str]
    accepted: str | None
    consistent: bool | None
    snapshot: str | None
    versions: dict[str, str]
    notes: list[str]
    properties: dict[str, Any]
    proof: FullProof | None


class ShownBackup(BackupWithTables, kw_only=True):
    """One backup, and all that is known of it."""

    details: Details


class Proof(Object, kw_only=True):
    """What came of one backup that was to be proved. ``ok`` is null where it could not be decided: ``error`` says why.

    ``id`` and ``database`` are null where a manifest cannot be read.
    """

    id: str | None
    database: str | None
    level: Level
    ok: bool | None
    at: Moment | None
    by: str | None
    duration_seconds: Seconds | None
    versions: dict[str, str]
    proved: list[Step]
    not_proved: list[str]
    differs: list[str]
    recorded: bool
    error: str | None
    error_type: str | None


class KeyRecipients(Object, kw_only=True):
    """Whom a backup is encrypted to: ``recipients`` is null where that is sealed, and no identity opened it."""

    id: str
    database: str
    source: str
    timestamp: Moment
    encrypted: bool
    recipient_kinds: list[str]
    recipients: list[str] | None


class KeyCheck(Object, kw_only=True):
    """Whether the identities open the newest backup of a database; ``id`` is null where a manifest cannot be read."""

    id: str | None
    database: str | None
    source: str | None
    timestamp: Moment | None
    encrypted: bool | None
    opened: bool
    error: str | None
    error_type: str | None


class Decision(Object, kw_only=True):
    """What becomes of one backup, and why."""

    id: str
    database: str
    source: str
    timestamp: Moment
    size_bytes: Bytes
    state: State
    keep: bool
    removed: bool
    reason: str


class Plugin(Object, kw_only=True):
    """One plugin. ``kind`` is null where it serves nothing, or could not be loaded."""

    name: str
    kind: Kind | None
    schemes: list[str]
    suffix: str
    summary: str
    distribution: str
    version: str
    state: Literal["ok", "incomplete", "failed", "blocked", "conflict", "wrapper", "observer"]
    error: str | None
    load_seconds: Seconds


class Format(Object, kw_only=True):
    """One form in which a driver writes dumps."""

    name: str
    suffix: str
    directory: bool
    help: str


class Option(Object, kw_only=True):
    """One option of a plugin, with its type's name in Python."""

    name: str
    type: Literal["str", "int", "float", "bool", "list"]
    default: str | int | float | bool | list[str]
    choices: list[str | int | float | bool | list[str]]
    verbs: list[Verb]
    help: str


class ShownPlugin(Plugin, kw_only=True):
    """One plugin, and all that it says of itself."""

    formats: list[Format]
    options: list[Option]
    requires: str


class Rule(Object, kw_only=True):
    """One rule of a conformance suite, and whether a plugin keeps it."""

    test: str
    rule: str
    state: Literal["kept", "broken", "unproved"]
    reason: str


class Library(Object, kw_only=True):
    """A distribution that plugins need; ``version`` is null where it is missing."""

    name: str
    version: str | None
    needed_by: str
    install: str


class Client(Object, kw_only=True):
    """A program of a database; ``path`` is "" where there is none."""

    name: str
    path: str
    version: str
    install: str


class Database(Object, kw_only=True):
    """A database that was looked at; what is not known, because it was not reached, is null."""

    url: str
    reached: bool
    exists: bool | None
    empty: bool | None
    name: str | None
    identity: str | None
    estimated_bytes: Bytes | None
    versions: dict[str, str]
    notes: list[str]
    lacks: list[str]


class StoreCheck(Object, kw_only=True):
    """One thing that was tried of a place; ``holds`` is null where it could not be; a ``fault`` loses backups."""

    name: str
    holds: bool | None
    seen: str
    follows: str
    fault: bool


class Topic(Object, kw_only=True):
    """A page of the manual, or the help of a command; ``text`` is empty where topics are listed."""

    topic: str
    title: str
    text: str
