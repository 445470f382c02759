"""The manifest of one backup: all that is known of it, as JSON that carries its own digest.

Only bare file names stand in a manifest: nothing outside the backup directory is ever read or removed through one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dumpty.errors import ManifestError
from dumpty.types import SUFFIX, Evidence, ObjectEvidence, OptionValue

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
"""Of the manifests written here. Older ones are read for ever; newer ones are refused, never overwritten."""


@dataclass(frozen=True, kw_only=True)
class PluginRef:
    """A plugin that took part: enough to say what to install when it is missing."""

    name: str
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"plugin '{self.name}' of {self.distribution} {self.version}".rstrip()


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage of the pipeline with its parameters, in the order in which the dump went through."""

    plugin: PluginRef
    params: Mapping[str, OptionValue] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the manifest of one backup says. Sizes in bytes, digests in hexadecimal, times aware and in UTC."""

    id: str
    url: str
    identity: str
    database: str
    driver: PluginRef
    format: str
    suffix: str
    file: str
    directory: bool = False
    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str
    started: datetime
    ended: datetime
    stages: tuple[StageRecord, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    verifiers: tuple[PluginRef, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    options: Mapping[str, OptionValue] = field(default_factory=dict)


def seal(content: Mapping[str, Any]) -> bytes:
    """Return ``content`` as JSON with ``dumpty_manifest`` (the version) and ``digest`` (of all the rest) added."""
    sealed = {"dumpty_manifest": VERSION, **content}
    sealed["digest"] = _digest(sealed)
    try:
        return (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a file name that is no UTF-8: JSON can say it in ASCII
        return (json.dumps(sealed, indent=1) + "\n").encode()


def unseal(data: bytes, label: str) -> dict[str, Any]:
    """Return the content of sealed JSON; ``label`` names it in messages.

    Raises:
        ManifestError: it is damaged, or written by a newer dumpty.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{label} is damaged: it is not JSON ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise ManifestError(f"{label} is damaged: it is not a JSON object")
    version = content.get("dumpty_manifest")
    if isinstance(version, int) and version > VERSION:
        raise ManifestError(
            f"{label} was written by a newer dumpty (manifest version {version}, this one reads up to {VERSION}): "
            "pip install --upgrade dumpty"
        )
    digest = content.pop("digest", None)
    try:
        same = digest == _digest(content)
    except RecursionError:
        same = False
    if version != VERSION or not same:
        raise ManifestError(f"{label} is damaged: its digest does not match its content")
    return content


def encode(record: Record) -> bytes:
    """Return the manifest of ``record``."""
    return seal(
        {
            "id": record.id,
            "url": record.url,
            "identity": record.identity,
            "database": record.database,
            "driver": vars(record.driver),
            "format": {"name": record.format, "suffix": record.suffix, "directory": record.directory},
            "stages": [{"plugin": vars(s.plugin), "params": dict(s.params)} for s in record.stages],
            "verifiers": [vars(ref) for ref in record.verifiers],
            "plain": {"size": record.plain_size, "sha256": record.plain_sha256},
            "stored": {
                "file": record.file,
                "size": record.stored_size,
                "sha256": record.stored_sha256,
                "digests": dict(record.digests),
            },
            "evidence": encode_evidence(record.evidence),
            "options": dict(record.options),
            "started": record.started.isoformat(),
            "ended": record.ended.isoformat(),
        }
    )


def decode(data: bytes, label: str) -> Record:
    """Return the record in a manifest.

    Raises:
        ManifestError: it is damaged, or written by a newer dumpty.
    """
    content = unseal(data, label)
    try:
        return Record(
            id=str(content["id"]),
            url=str(content["url"]),
            identity=str(content["identity"]),
            database=str(content["database"]),
            driver=_decode_plugin(content["driver"]),
            format=str(content["format"]["name"]),
            suffix=_decode_suffix(content["format"]["suffix"]),
            directory=content["format"]["directory"],
            stages=tuple(
                StageRecord(plugin=_decode_plugin(s["plugin"]), params=s["params"]) for s in content["stages"]
            ),
            plain_size=int(content["plain"]["size"]),
            plain_sha256=str(content["plain"]["sha256"]),
            file=bare_name(content["stored"]["file"], label),
            stored_size=int(content["stored"]["size"]),
            stored_sha256=str(content["stored"]["sha256"]),
            digests=dict(content["stored"]["digests"]),
            verifiers=tuple(_decode_plugin(ref) for ref in content.get("verifiers", ())),
            evidence=decode_evidence(content["evidence"]),
            options=dict(content["options"]),
            started=utc(content["started"]),
            ended=utc(content["ended"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ManifestError(f"{label} is damaged: {type(error).__name__} at {error}") from error


def encode_evidence(evidence: Evidence) -> dict[str, Any]:
    """Return evidence as JSON values; an object is ``[path, rows, fingerprint]``."""
    return {
        "objects": [[o.path, o.rows, o.fingerprint] for o in evidence.objects],
        "snapshot": evidence.snapshot,
        "consistent": evidence.consistent,
        "versions": dict(evidence.versions),
        "notes": list(evidence.notes),
        "properties": dict(evidence.properties),
    }


def decode_evidence(value: Mapping[str, Any]) -> Evidence:
    """Return evidence from its JSON values."""
    return Evidence(
        objects=tuple(ObjectEvidence(path=p, rows=r, fingerprint=f) for p, r, f in value["objects"]),
        snapshot=value["snapshot"],
        consistent=value["consistent"],
        versions=dict(value["versions"]),
        notes=tuple(value["notes"]),
        properties=dict(value["properties"]),
    )


_ENTRY = {"name": str, "timestamp": str, "database_name": str, "format": str, "size_bytes": int, "source": str}
_ENTRY |= {"checksum": str, "evidence": dict}


def check_entry(entry: Mapping[str, Any], label: str) -> None:
    """Check an entry of the manifest of named backups.

    Raises:
        ManifestError: it is not what it should be.
    """
    try:
        wrong = [key for key, kind in _ENTRY.items() if type(entry[key]) is not kind]
        utc(entry["timestamp"])
        decode_evidence(entry["evidence"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ManifestError(f"{label} is damaged: {type(error).__name__} at {error}") from error
    if wrong:
        raise ManifestError(f"{label} is damaged: the {wrong[0]} of an entry is not what it should be")


def bare_name(name: object, label: str) -> str:
    """Return ``name`` if it is a bare file name.

    Raises:
        ManifestError: it would reach outside the backup directory.
    """
    if not isinstance(name, str) or not name or name in {".", ".."} or set(name) & {"/", "\\", "\0"}:
        raise ManifestError(f"{label} is damaged: {name!r} is no bare file name")
    return name


def _decode_plugin(ref: Mapping[str, Any]) -> PluginRef:
    return PluginRef(**{key: str(value) for key, value in ref.items()})


def _decode_suffix(value: object) -> str:
    # It ends names of files that are made when a dump is spooled.
    if not isinstance(value, str) or not SUFFIX.fullmatch(value):
        raise ValueError(f"the suffix {value!r}")
    return value


def utc(text: str) -> datetime:
    """Return an ISO 8601 time as an aware datetime in UTC.

    Raises:
        ValueError: it is none, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text} has no offset")
    return moment.astimezone(UTC)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()
