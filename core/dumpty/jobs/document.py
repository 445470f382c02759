"""``dumpty.toml`` as it is written: its tables, their keys, and of which type each is.

These types are the one source: of what is accepted, and of the JSON schema that editors check a file by.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "ALL",
    "NEVER",
    "Channel",
    "Copy",
    "Defaults",
    "Document",
    "Drill",
    "Guard",
    "Heartbeat",
    "Job",
    "Keep",
    "Limits",
    "json_schema",
]

ALL: Literal["all"] = "all"
NEVER: Literal["never"] = "never"

Count = Annotated[int, Meta(ge=1, le=100_000)]
Share = Annotated[float, Meta(gt=0, le=1)]
Text = Annotated[str, Meta(min_length=1)]
Duration = Annotated[str, Meta(description="A number and its unit: 30s, 90min, 26h, 7d, 4w.", examples=["26h"])]


class Table(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A table of the file: what it does not know is an error."""


class Keep(Table, kw_only=True, frozen=True):
    """Which backups of each database to keep: a backup is removed only if every rule lets it go."""

    last: Annotated[Count | None, Meta(description="The newest N.")] = None
    hourly: Annotated[Count | None, Meta(description="The newest of each of the last N hours that have one.")] = None
    daily: Annotated[Count | None, Meta(description="The newest of each of the last N days that have one.")] = None
    weekly: Annotated[Count | None, Meta(description="The newest of each of the last N weeks that have one.")] = None
    monthly: Annotated[Count | None, Meta(description="The newest of each of the last N months that have one.")] = None
    yearly: Annotated[Count | None, Meta(description="The newest of each of the last N years that have one.")] = None
    newer_than: Annotated[Duration | None, Meta(description="All that are not older than this.")] = None


class Copy(Table, kw_only=True, frozen=True):
    """A repository that every backup is copied into."""

    repository: Annotated[Text, Meta(description="A path, a URL, or where to read it: env:, file:, cmd:.")]
    keep: Annotated[Keep | Literal["all"] | None, Meta(description="What to keep there; else what the job keeps.")] = (
        None
    )


class Drill(Table, kw_only=True, frozen=True):
    """How, and how often, to prove backups."""

    every: Annotated[Text, Meta(description="daily, weekly, monthly, or a duration: 14d.", examples=["weekly"])]
    level: Annotated[Literal["digest", "structure", "restore"], Meta(description="How far a proof goes.")] = "restore"
    on: Annotated[Text | None, Meta(description="The server to restore into, instead of one started here.")] = None
    identities: Annotated[
        list[Text], Meta(description="What opens encrypted backups: a file, or env:, file:, cmd:.")
    ] = []


class Guard(Table, kw_only=True, frozen=True):
    """How much less than the last good backups a new one may hold; what holds even less is suspicious."""

    table_rows: Annotated[Share | None, Meta(description="Of the rows of a table, the share that may not be lost.")] = (
        None
    )
    rows: Annotated[Share | None, Meta(description="The same of the rows of all tables together.")] = None
    size: Annotated[Share | None, Meta(description="The same of the dump's bytes.")] = None
    gone: Annotated[bool | None, Meta(description="Whether a table that held anything may not be gone.")] = None
    backups: Annotated[Count | None, Meta(description="How many of the last good backups it is compared with.")] = None
    least_rows: Annotated[Count | None, Meta(description="Of fewer rows no share says anything.")] = None
    least_bytes: Annotated[Count | None, Meta(description="Of fewer bytes no share says anything.")] = None
    ignore: Annotated[list[Text] | None, Meta(description="Tables not to look at.", examples=[["*.queue_*"]])] = None


class Channel(Table, kw_only=True, frozen=True):
    """Somebody who is told what is wrong."""

    url: Annotated[Text, Meta(description="A notifier's URL, or where to read it: env:, file:, cmd:.")]
    secret: Annotated[
        Text | None, Meta(description="What messages are signed with, or better where to read it: env:, file:, cmd:.")
    ] = None


class Heartbeat(Table, kw_only=True, frozen=True):
    """The URLs that a service expects to hear from; what is left out is not told."""

    start: Annotated[Text | None, Meta(description="When a run begins.")] = None
    success: Annotated[Text | None, Meta(description="When all of it is done, copies and proofs too.")] = None
    failure: Annotated[Text | None, Meta(description="When it ends any other way.")] = None


class Defaults(Table, kw_only=True, frozen=True):
    """What holds for every job that does not say otherwise; a job's own value takes the whole place of this one."""

    repository: Annotated[
        Text | None, Meta(description="Where backups go: a path, a URL, or where to read it: env:, file:, cmd:.")
    ] = None
    copies: Annotated[list[Text | Copy] | None, Meta(description="Repositories that each backup is copied into.")] = (
        None
    )
    encrypt_to: Annotated[
        list[Text] | None, Meta(description="Recipients: age1…, ssh-ed25519 …, a file of them, env:, file:, cmd:.")
    ] = None
    sign_with: Annotated[Text | None, Meta(description="A file with an SSH private key, or env:, file:, cmd:.")] = None
    keep: Annotated[
        Keep | Literal["all"] | None, Meta(description="Which backups to keep; all, unless this says which.")
    ] = None
    drill: Annotated[
        Drill | str | None, Meta(description="How often to prove backups by restoring them: weekly, 14d, never.")
    ] = None
    shrink_guard: Annotated[
        bool | Guard | None,
        Meta(description="Compare each backup with the last good ones: true, unless this says otherwise."),
    ] = None
    max_age: Annotated[
        Duration | None, Meta(description="How old the last good backup of a database may be; older is overdue.")
    ] = None
    notify: Annotated[
        list[Text | Channel] | None,
        Meta(description="Who is told what is wrong: URLs of notifiers, or where to read them: env:, file:, cmd:."),
    ] = None
    remind: Annotated[
        Text | None, Meta(description="How often to tell again what is still wrong: 1d, never. 1d.", examples=["1d"])
    ] = None
    heartbeat: Annotated[
        Text | Heartbeat | None,
        Meta(description="A service's URL that hears of each run: URL/start, URL, URL/fail; or the three of them."),
    ] = None
    schedule: Annotated[
        Text | None, Meta(description="When it is due, as in a crontab: 30 2 * * *.", examples=["30 2 * * *"])
    ] = None
    jitter: Annotated[
        Duration | None, Meta(description="dumpty serve begins it up to so much later, by chance. 0s.")
    ] = None
    timezone: Annotated[
        Text | None, Meta(description="Whose hours, days, weeks, months and years: UTC, Europe/Berlin.")
    ] = None
    format: Annotated[Text | None, Meta(description="The form of the dump.")] = None
    compressor: Annotated[Text | None, Meta(description="gzip, zstd, another plugin's name, or none.")] = None
    verifier: Annotated[Text | None, Meta(description="A further digest to keep; SHA-256 is always kept.")] = None
    via: Annotated[
        Text | list[Text] | None,
        Meta(
            description="How the servers are reached: ssh://user@host, docker://NAME, podman://NAME, "
            "kubectl://NAMESPACE/POD, or several, outermost first; [] for not at all.",
            examples=["ssh://backup@db1.example.org"],
        ),
    ] = None
    options: Annotated[
        dict[str, str | int | float | bool] | None,
        Meta(description="Options of plugins; dumpty plugins show NAME lists them."),
    ] = None
    tags: Annotated[list[Text] | None, Meta(description="What to call its backups, beside their database.")] = None
    rate_limit: Annotated[Text | None, Meta(description="No more dump a second from the database: 20MB.")] = None
    retries: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None,
        Meta(description="How often to try again what may pass: a server away, a lock. 2, unless this says otherwise."),
    ] = None
    retry_wait: Annotated[
        Duration | None, Meta(description="How long to wait before that; twice as long each further time. 30s.")
    ] = None
    deadline: Annotated[Duration | None, Meta(description="When a run of the job is ended as failed. 24h.")] = None


class Job(Defaults, kw_only=True, frozen=True):
    """One job: the databases that it backs up, and how."""

    source: Annotated[
        Text | Annotated[list[Text], Meta(min_length=1)],
        Meta(
            description="A database's URL, several, or where to read it: env:, file:, cmd:. A * means every database "
            "of a server, or every file."
        ),
    ]
    include: Annotated[
        list[Text] | None, Meta(description="Of the databases that a * in the source means only those of such names.")
    ] = None
    exclude: Annotated[list[Text] | None, Meta(description="And none of such names.", examples=[["tmp_*"]])] = None
    accounts: Annotated[
        bool | None, Meta(description="Back up the accounts of each server, too: roles, users, and what they may do.")
    ] = None


class Limits(Table, kw_only=True, frozen=True):
    """How much of a run goes on side by side."""

    parallel: Annotated[Annotated[int, Meta(ge=1, le=256)], Meta(description="How many backups at once.")] = 2
    per_server: Annotated[
        Annotated[int, Meta(ge=1, le=256)], Meta(description="How many of them of one database server.")
    ] = 1

    def of(self, parallel: int) -> Limits:
        """Return the limits of as many at once, and of a server as they were."""
        return Limits(parallel=parallel, per_server=self.per_server)


class Document(Table, kw_only=True, frozen=True):
    """The whole file."""

    defaults: Defaults = Defaults()
    run: Limits = Limits()
    jobs: dict[str, Job] = {}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the file, for editors (https://json-schema.org, draft 2020-12)."""
    schema = msgspec.json.schema(Document)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "dumpty.toml", **schema}
