"""The manifest of one backup: all that is known of it, as JSON that carries its own digest.

It has two parts. ``clear`` is what a repository must know to list, find, check and remove backups; ``sealed`` is what
only whoever may read the backup needs: evidence, sizes and digests of the dump before it was compressed, options, and
which object holds what. Where a backup is encrypted, so is that part, as an age file in base64 to the same recipients;
``encode_sealed`` and ``open_sealed`` are of its content. Else both are plain. Where it is signed, ``signatures`` are of
``statement``: of both parts as they stand there, but for the names of objects, which a copy gives anew.

Only names of objects stand in a manifest: nothing outside the repository is ever read or removed through one.
"""

from __future__ import annotations

import base64
import functools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import structs

from dumpty.errors import ManifestError
from dumpty.repository import manifest_schema as schema
from dumpty.repository.sealed import VERSION, is_sealed, seal, unseal
from dumpty.types import (
    Evidence,
    ObjectEvidence,
    PluginRef,
    Record,
    SealedPart,
    Signature,
    StageRecord,
    StoredObject,
    TableContent,
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
    "encode_sealed",
    "open_sealed",
    "statement",
]

T = TypeVar("T")

# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODER = msgspec.json.Decoder(schema.Manifest)
_OTHER_DECODERS = tuple(msgspec.json.Decoder(kind) for kind in (schema.Content, schema.Evidence, schema.Entry))
_STATEMENT = b"dumpty manifest signature v1\0"
"""What every statement begins with: nothing else that such a key may sign begins like that."""


def encode(record: Record) -> bytes:
    """Return the manifest of ``record``."""
    content = _content(record)
    if record.signatures:
        content["signatures"] = [
            {"key": base64.b64encode(s.key).decode(), "signature": base64.b64encode(s.data).decode()}
            for s in record.signatures
        ]
    return seal(content)


def statement(record: Record) -> bytes:
    """Return what is signed of ``record``, which is as it is stored: where it is encrypted, nothing of it was opened.

    It is made of the values that a reader goes by, and not of the manifest's bytes: nothing that these could say in
    more than one way makes a difference.

    Raises:
        ValueError: a number in it is none that JSON has.
    """
    content = _content(record)
    for entry in content["clear"]["objects"]:
        del entry["name"]
    return _STATEMENT + json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _content(record: Record) -> dict[str, Any]:
    clear = {
        "database": record.database,
        "source": record.identity,
        "url": record.url,
        "driver": structs.asdict(record.driver),
        "format": {"name": record.format, "suffix": record.suffix, "directory": record.directory},
        "started": record.started.astimezone(UTC).isoformat(),
        "ended": record.ended.astimezone(UTC).isoformat(),
        "objects": [_encode_object(entry) for entry in record.objects],
        "verifiers": [structs.asdict(ref) for ref in record.verifiers],
        "totals": {"tables": record.tables, "rows": record.rows},
        "tags": list(record.tags),
        "suspicious": record.suspicious,
    }
    sealed = _sealed(record) if record.sealed is None else base64.b64encode(record.sealed.data).decode()
    return {"id": record.id, "clear": clear, "sealed": sealed}


def decode(data: bytes, label: object) -> Record:
    """Return the record in a manifest.

    Raises:
        ManifestError: it is damaged, or written by a newer dumpty.
    """
    manifest = _unseal(data, label)
    clear, sealed = manifest.clear, manifest.sealed
    if len(clear.objects) > 1 and len({entry.name for entry in clear.objects}) < len(clear.objects):
        raise ManifestError(f"{label} is damaged: it names an object twice")
    opened: schema.Sealed | None = None
    closed: SealedPart | None = None
    if isinstance(sealed, bytes):
        totals = clear.totals
        closed = SealedPart(data=sealed, tables=totals.tables, rows=totals.rows, suspicious=clear.suspicious)
    else:
        opened = sealed
        if bool(opened.suspicions) != clear.suspicious:
            raise ManifestError(f"{label} is damaged: whether the backup is suspicious it says in two ways")
    for entry in clear.objects:
        if [stage.kind for stage in entry.stages].count("cipher") != (opened is None):
            raise ManifestError(f"{label} is damaged: of what it tells and what it names only one is encrypted")
    parts = _parts(opened, len(clear.objects), label) if opened else [None] * len(clear.objects)
    return Record(
        id=manifest.id,
        url=clear.url,
        identity=clear.source,
        database=clear.database,
        driver=_decode_plugin(clear.driver),
        format=clear.format.name,
        suffix=clear.format.suffix,
        directory=clear.format.directory,
        objects=tuple([_decode_object(o, p, label) for o, p in zip(clear.objects, parts, strict=True)]),
        started=_in_utc(clear.started, label),
        ended=_in_utc(clear.ended, label),
        verifiers=tuple(map(_decode_plugin, clear.verifiers)),
        evidence=_to_evidence(opened.evidence) if opened else Evidence(),
        options=opened.options if opened else {},
        tags=tuple(clear.tags),
        sealed=closed,
        signatures=tuple([Signature(key=s.key, data=s.signature) for s in manifest.signatures]),
        suspicions=tuple(opened.suspicions) if opened else (),
    )


def encode_sealed(record: Record) -> bytes:
    """Return what of the manifest of ``record`` only those may read whom it is encrypted to."""
    content = {"id": record.id, **_sealed(record), "recipients": list(record.recipients)}
    return json.dumps(content, allow_nan=False).encode()


def open_sealed(record: Record, content: bytes, label: object) -> Record:
    """Return ``record`` with all that is known of it; ``content`` is what its sealed part was found to hold.

    Raises:
        ManifestError: it is not what it should be, or another backup's.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the sealed part of {label} is damaged: it is no JSON ({type(error).__name__})") from None
    sealed = _convert(values, schema.Content, f"the sealed part of {label}")
    if sealed.id != record.id:
        raise ManifestError(f"{label} is damaged: its sealed part belongs to backup {sealed.id}")
    objects = [
        structs.replace(o, plain_size=p.size, plain_sha256=p.sha256, section=p.section, tables=_to_contents(p))
        for o, p in zip(record.objects, _parts(sealed, len(record.objects), label), strict=True)
    ]
    opened = structs.replace(
        record,
        objects=tuple(objects),
        evidence=_to_evidence(sealed.evidence),
        options=sealed.options,
        recipients=tuple(sealed.recipients),
        sealed=None,
        suspicions=tuple(sealed.suspicions),
    )
    if (opened.tables, opened.rows, opened.suspicious) != (record.tables, record.rows, record.suspicious):
        raise ManifestError(f"{label} is damaged: its sealed part has other totals than stand beside it")
    return opened


def encode_evidence(evidence: Evidence) -> dict[str, Any]:
    """Return evidence as JSON values; an object is ``[path, rows, fingerprint]``, and of a partition ``part_of``."""
    return {
        "objects": [[o.path, o.rows, o.fingerprint, *([o.part_of] if o.part_of else [])] for o in evidence.objects],
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
    return _to_evidence(_convert(value, schema.Evidence, label))


def check_entry(entry: Mapping[str, Any], label: object) -> None:
    """Check an entry of the manifest of named backups.

    Raises:
        ManifestError: it is not what it should be.
    """
    bare_name(_convert(entry, schema.Entry, label).file, label)


def bare_name(name: object, label: object) -> str:
    """Return ``name`` if it is a bare file name.

    Raises:
        ManifestError: it would reach outside the backup directory.
    """
    if not isinstance(name, str) or not name or name in {".", ".."} or set(name) & {"/", "\\", "\0"}:
        raise ManifestError(f"{label} is damaged: {name!r} is no bare file name")
    return name


def _unseal(data: bytes, label: object) -> schema.Manifest:
    if is_sealed(data):
        # In one pass, for a list reads thousands; what cannot be read like that is looked at step by step.
        try:
            manifest = _DECODER.decode(data)
            if manifest.dumpty_manifest == VERSION:
                return manifest
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return _convert(unseal(data, label), schema.Manifest, label)


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
        "stages": [
            {"kind": s.kind, "plugin": structs.asdict(s.plugin), "params": dict(s.params)} for s in entry.stages
        ],
    }


def _sealed(record: Record) -> dict[str, Any]:
    parts = [
        {
            "size": o.plain_size,
            "sha256": o.plain_sha256,
            "section": o.section,
            "tables": [_encode_content(t) for t in o.tables],
        }
        for o in record.objects
    ]
    return {
        "parts": parts,
        "evidence": encode_evidence(record.evidence),
        "options": dict(record.options),
        "suspicions": list(record.suspicions),
    }


def _encode_content(table: TableContent) -> list[Any]:
    return [table.path, table.rows, *([table.range] if table.range else [])]


def _to_contents(part: schema.Part) -> tuple[TableContent, ...]:
    return tuple([TableContent(path=t.path, rows=t.rows, range=t.range) for t in part.tables])


def _parts(sealed: schema.Sealed, count: int, label: object) -> list[schema.Part]:
    if count != len(sealed.parts):
        raise ManifestError(f"{label} is damaged: it has {count} objects and {len(sealed.parts)} parts")
    return sealed.parts


def _decode_object(entry: schema.Object, part: schema.Part | None, label: object) -> StoredObject:
    return StoredObject(
        name=_object_name(entry.name, label),
        size=entry.size,
        sha256=entry.sha256,
        plain_size=part.size if part else 0,
        plain_sha256=part.sha256 if part else "",
        stages=tuple(
            [StageRecord(plugin=_decode_plugin(s.plugin), params=s.params, kind=s.kind) for s in entry.stages]
        ),
        digests=entry.digests,
        section=part.section if part else "whole",
        tables=_to_contents(part) if part else (),
    )


def _to_evidence(value: schema.Evidence) -> Evidence:
    return Evidence(
        objects=tuple(
            [
                ObjectEvidence(path=o.path, rows=o.rows, fingerprint=o.fingerprint, part_of=o.part_of)
                for o in value.objects
            ]
        ),
        snapshot=value.snapshot,
        consistent=value.consistent,
        versions=value.versions,
        notes=tuple(value.notes),
        properties=value.properties,
    )


def _decode_plugin(ref: schema.Plugin) -> PluginRef:
    return _plugin(ref.name, ref.distribution, ref.version)


@functools.lru_cache(maxsize=64)
def _plugin(name: str, distribution: str, version: str) -> PluginRef:
    return PluginRef(name=name, distribution=distribution, version=version)
