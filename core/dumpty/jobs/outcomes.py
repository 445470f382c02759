"""What became of a run of a job, as it is written down in the repository and told."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec asks for it
from typing import Any, Literal

import msgspec
from msgspec import Struct

from dumpty.errors import ManifestError

__all__ = ["CopyRun", "DatabaseRun", "DrillRun", "JobRun", "Outcome", "as_json", "decode", "encodable", "encode"]

Outcome = Literal["ok", "attention", "failed", "skipped"]
"""``attention``: the backups are made, and somebody should look. ``skipped``: it runs, or has run, elsewhere."""

VERSION = 1


class DatabaseRun(Struct, frozen=True, kw_only=True):
    """How the backup of one database went.

    ``source`` is its URL, without secrets. ``backup`` is the new backup's id, None where there is none; sizes are in
    bytes, ``plain_size_bytes`` that of the dump (None where that is not known). ``suspicions`` say what it has lost.
    ``attempts`` is how often it was tried. ``started`` is aware, in UTC.
    """

    source: str
    database: str
    ok: bool
    started: datetime
    duration_seconds: float
    attempts: int
    backup: str | None = None
    identity: str = ""
    size_bytes: int = 0
    plain_size_bytes: int | None = None
    tables: int = 0
    rows: int = 0
    suspicions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    error_type: str | None = None


class CopyRun(Struct, frozen=True, kw_only=True):
    """How a backup came into another repository."""

    backup: str
    repository: str
    ok: bool
    error: str | None = None
    error_type: str | None = None


class DrillRun(Struct, frozen=True, kw_only=True):
    """How the proof of a backup went: ``ok`` is None where this machine could not decide."""

    backup: str
    database: str
    level: str
    ok: bool | None
    duration_seconds: float = 0.0
    error: str | None = None
    error_type: str | None = None


class JobRun(Struct, frozen=True, kw_only=True):
    """What became of one run of a job. ``slot`` begins with when it was due; ``removed`` are ids."""

    job: str
    slot: str
    outcome: Outcome
    host: str = ""
    started: datetime
    ended: datetime
    duration_seconds: float = 0.0
    databases: tuple[DatabaseRun, ...] = ()
    copies: tuple[CopyRun, ...] = ()
    drills: tuple[DrillRun, ...] = ()
    removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    error_type: str | None = None
    version: int = VERSION


# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODER = msgspec.json.Decoder(JobRun)


def encode(run: JobRun) -> bytes:
    """Return what is written down of a run."""
    return as_json(run)


def as_json(value: Struct) -> bytes:
    """Return a value as JSON, whatever its texts hold."""
    return msgspec.json.encode(encodable(msgspec.to_builtins(value)))


def encodable(value: Any) -> Any:
    """Return a value in which bytes that are no text, in a file's name say, are shown escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: encodable(entry) for name, entry in value.items()}
    return [encodable(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def decode(content: bytes, label: str) -> JobRun:
    """Return the run that ``content`` says; ``label`` names it in errors.

    Raises:
        ManifestError: it says none, or was written by a newer dumpty.
    """
    try:
        run = _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ManifestError(f"what is written down of the {label} is damaged: {error}") from None
    if run.version != VERSION:
        raise ManifestError(f"the {label} was written down by a newer dumpty: update this one to read it")
    return run
