"""The manifest of one backup: all that is known of it, as JSON that carries its own digest.

It has two parts. ``clear`` is what a repository must know to list, find, check and remove backups; ``sealed`` is what
only whoever may read the backup needs: evidence, sizes and digests of the dump before it was compressed, options, and
which object holds what. Where backups are not encrypted both are plain.

Only names of objects stand in a manifest: nothing outside the repository is ever read or removed through one.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import structs

from dumpty.errors import ManifestError
from dumpty.repository.sealed import VERSION, is_sealed, seal, unseal
from dumpty.types import (
    SUFFIX,
    Evidence,
    ObjectEvidence,
    PluginRef,
    Record,
    Section,
    StageRecord,
    StoredObject,
    is_object_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "bare_name",
    "check_entry",
    "decode",
    "decode_evidence",
    "encode",
    "encode_evidence",
]

T = TypeVar("T")

_Size = Annotated[int, msgspec.Meta(ge=0)]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Suffix = Annotated[str, msgspec.Meta(pattern=rf"^{SUFFIX.pattern}\Z")]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Struct(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Values of exactly these names and types, and no others."""


class _Plugin(_Struct):
    name: str
    distribution: str
    version: str


class _Stage(_Struct):
    plugin: _Plugin
    params: dict[str, Any]


class _Format(_Struct):
    name: str
    suffix: _Suffix
    directory: bool


class _Object(_Struct):
    name: str
    size: _Size
    sha256: _Digest
    digests: dict[str, str]
    stages: list[_Stage]


class _Totals(_Struct):
    """What was counted: tables, and their rows as far as somebody counted them."""

    tables: _Size
    rows: _Size


class _Clear(_Struct):
    database: str
    source: str
    url: str
    driver: _Plugin
    format: _Format
    started: _Moment
    ended: _Moment
    objects: Annotated[list[_Object], msgspec.Meta(min_length=1)]
    verifiers: list[_Plugin]
    totals: _Totals
    tags: list[str]


class _Evidence(_Struct):
    objects: list[tuple[str, _Size | None, str | None]]
    snapshot: str | None
    consistent: bool
    versions: dict[str, str]
    notes: list[str]
    properties: dict[str, Any]


class _Part(_Struct):
    """What is in the object of the same position: before its first stage, and of the database."""

    size: _Size
    sha256: _Digest
    section: Section
    tables: list[str]


class _Sealed(_Struct):
    parts: list[_Part]
    evidence: _Evidence
    options: dict[str, Any]


class _Manifest(_Struct):
    dumpty_manifest: int
    id: str
    clear: _Clear
    sealed: _Sealed
    digest: str = ""
    """Of all that stands before it; it was compared already, by ``is_sealed`` or ``unseal``."""


_DECODER = msgspec.json.Decoder(_Manifest)


class _Entry(_Struct):
    """One backup in the manifest of named backups."""

    name: str
    timestamp: _Moment
    database_name: str
    format: str
    size_bytes: _Size
    file: str
    source: str
    checksum: _Digest
    evidence: _Evidence
    driver: str = ""


def encode(record: Record) -> bytes:
    """Return the manifest of ``record``."""
    counted = [entry.rows for entry in record.evidence.objects if entry.rows is not None]
    clear = {
        "database": record.database,
        "source": record.identity,
        "url": record.url,
        "driver": structs.asdict(record.driver),
        "format": {"name": record.format, "suffix": record.suffix, "directory": record.directory},
        "started": record.started.isoformat(),
        "ended": record.ended.isoformat(),
        "objects": [_encode_object(entry) for entry in record.objects],
        "verifiers": [structs.asdict(ref) for ref in record.verifiers],
        "totals": {"tables": len(record.evidence.objects), "rows": sum(counted)},
        "tags": list(record.tags),
    }
    parts = [
        {"size": o.plain_size, "sha256": o.plain_sha256, "section": o.section, "tables": list(o.tables)}
        for o in record.objects
    ]
    sealed = {"parts": parts, "evidence": encode_evidence(record.evidence), "options": dict(record.options)}
    return seal({"id": record.id, "clear": clear, "sealed": sealed})


def decode(data: bytes, label: object) -> Record:
    """Return the record in a manifest.

    Raises:
        ManifestError: it is damaged, or written by a newer dumpty.
    """
    manifest = _unseal(data, label)
    clear, sealed = manifest.clear, manifest.sealed
    if len(clear.objects) != len(sealed.parts):
        raise ManifestError(f"{label} is damaged: it has {len(clear.objects)} objects and {len(sealed.parts)} parts")
    if len(clear.objects) > 1 and len({entry.name for entry in clear.objects}) < len(clear.objects):
        raise ManifestError(f"{label} is damaged: it names an object twice")
    return Record(
        id=manifest.id,
        url=clear.url,
        identity=clear.source,
        database=clear.database,
        driver=_decode_plugin(clear.driver),
        format=clear.format.name,
        suffix=clear.format.suffix,
        directory=clear.format.directory,
        objects=tuple([_decode_object(o, p, label) for o, p in zip(clear.objects, sealed.parts, strict=True)]),
        started=_in_utc(clear.started, label),
        ended=_in_utc(clear.ended, label),
        verifiers=tuple(map(_decode_plugin, clear.verifiers)),
        evidence=_to_evidence(sealed.evidence),
        options=sealed.options,
        tags=tuple(clear.tags),
    )


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


def decode_evidence(value: Mapping[str, Any], label: object) -> Evidence:
    """Return evidence from its JSON values.

    Raises:
        ManifestError: they are not what they should be.
    """
    return _to_evidence(_convert(value, _Evidence, label))


def check_entry(entry: Mapping[str, Any], label: object) -> None:
    """Check an entry of the manifest of named backups.

    Raises:
        ManifestError: it is not what it should be.
    """
    bare_name(_convert(entry, _Entry, label).file, label)


def bare_name(name: object, label: object) -> str:
    """Return ``name`` if it is a bare file name.

    Raises:
        ManifestError: it would reach outside the backup directory.
    """
    if not isinstance(name, str) or not name or name in {".", ".."} or set(name) & {"/", "\\", "\0"}:
        raise ManifestError(f"{label} is damaged: {name!r} is no bare file name")
    return name


def _unseal(data: bytes, label: object) -> _Manifest:
    if is_sealed(data):
        # In one pass, for a list reads thousands; what cannot be read like that is looked at step by step.
        try:
            manifest = _DECODER.decode(data)
            if manifest.dumpty_manifest == VERSION:
                return manifest
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return _convert(unseal(data, label), _Manifest, label)


def _convert(content: object, kind: type[T], label: object) -> T:
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ManifestError(f"{label} is damaged: {error}") from None


def _object_name(name: str, label: object) -> str:
    if not is_object_name(name):
        raise ManifestError(f"{label} is damaged: {name!r} cannot be the name of an object")
    return name


def _in_utc(moment: datetime, label: object) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ManifestError(f"{label} is damaged: no calendar has the time {moment}") from None


def _encode_object(entry: StoredObject) -> dict[str, Any]:
    return {
        "name": entry.name,
        "size": entry.size,
        "sha256": entry.sha256,
        "digests": dict(entry.digests),
        "stages": [{"plugin": structs.asdict(s.plugin), "params": dict(s.params)} for s in entry.stages],
    }


def _decode_object(entry: _Object, part: _Part, label: object) -> StoredObject:
    return StoredObject(
        name=_object_name(entry.name, label),
        size=entry.size,
        sha256=entry.sha256,
        plain_size=part.size,
        plain_sha256=part.sha256,
        stages=tuple([StageRecord(plugin=_decode_plugin(s.plugin), params=s.params) for s in entry.stages]),
        digests=entry.digests,
        section=part.section,
        tables=tuple(part.tables),
    )


def _to_evidence(value: _Evidence) -> Evidence:
    return Evidence(
        objects=tuple([ObjectEvidence(path=p, rows=r, fingerprint=f) for p, r, f in value.objects]),
        snapshot=value.snapshot,
        consistent=value.consistent,
        versions=value.versions,
        notes=tuple(value.notes),
        properties=value.properties,
    )


def _decode_plugin(ref: _Plugin) -> PluginRef:
    return _plugin(ref.name, ref.distribution, ref.version)


@functools.lru_cache(maxsize=64)
def _plugin(name: str, distribution: str, version: str) -> PluginRef:
    return PluginRef(name=name, distribution=distribution, version=version)
