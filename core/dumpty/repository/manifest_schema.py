"""Of what a manifest is made: values of exactly these names and types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from dumpty.types import SUFFIX, Section

__all__ = [
    "Content",
    "Entry",
    "Evidence",
    "Manifest",
    "Object",
    "Part",
    "Plugin",
    "Sealed",
    "Signature",
    "TableContent",
]

_Size = Annotated[int, msgspec.Meta(ge=0)]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Suffix = Annotated[str, msgspec.Meta(pattern=rf"^{SUFFIX.pattern}\Z")]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_Base64 = Annotated[bytes, msgspec.Meta(min_length=1)]
_PublicKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Ed25519 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


class Value(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Values of exactly these names and types, and no others."""


class Plugin(Value):
    """A plugin that took part."""

    name: str
    distribution: str
    version: str


class Stage(Value):
    """A stage that an object went through."""

    kind: Literal["compressor", "cipher"]
    plugin: Plugin
    params: dict[str, Any]


class Format(Value):
    """The form of the dump."""

    name: str
    suffix: _Suffix
    directory: bool


class Object(Value):
    """An object as it is stored."""

    name: str
    size: _Size
    sha256: _Digest
    digests: dict[str, str]
    stages: list[Stage]


class Totals(Value):
    """What was counted: tables, and their rows as far as somebody counted them."""

    tables: _Size
    rows: _Size


class Clear(Value):
    """What whoever reads the repository may know."""

    database: str
    source: str
    url: str
    driver: Plugin
    format: Format
    started: _Moment
    ended: _Moment
    objects: Annotated[list[Object], msgspec.Meta(min_length=1)]
    verifiers: list[Plugin]
    totals: Totals
    tags: list[str]
    suspicious: bool


class Table(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One table, as a list; what it is a partition of is left out where it is none."""

    path: str
    rows: _Size | None
    fingerprint: str | None
    part_of: str | None = None


class Evidence(Value):
    """Why the driver believed the dump whole."""

    objects: list[Table]
    snapshot: str | None
    consistent: bool
    versions: dict[str, str]
    notes: list[str]
    properties: dict[str, Any]


class TableContent(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What an object holds of a table, as a list; which rows is left out where it is all of them."""

    path: str
    rows: _Size | None
    range: str = ""


class Part(Value):
    """What is in the object of the same position: before its first stage, and of the database."""

    size: _Size
    sha256: _Digest
    section: Section
    tables: list[TableContent]


class Sealed(Value):
    """What only those need who may read the backup."""

    parts: list[Part]
    evidence: Evidence
    options: dict[str, Any]
    suspicions: list[str]


class Content(Sealed):
    """What of an encrypted backup is sealed; ``id`` is that of the backup that it belongs to."""

    id: str
    recipients: list[str]


class Signature(Value):
    """A signature (Ed25519), and the public key that it is said to be of."""

    key: _PublicKey
    signature: _Ed25519


class Manifest(Value):
    """The manifest of one backup."""

    dumpty_manifest: int
    id: str
    clear: Clear
    sealed: Sealed | _Base64
    signatures: list[Signature] = []
    digest: str = ""
    """Of all that stands before it; it was compared already, by ``is_sealed`` or ``unseal``."""


class Entry(Value):
    """One backup in the manifest of named backups."""

    name: str
    timestamp: _Moment
    database_name: str
    format: str
    size_bytes: _Size
    file: str
    source: str
    checksum: _Digest
    evidence: Evidence
    driver: str = ""
