"""What is known of a backup: what its manifest says, what was proved of it, and what became of its data."""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from msgspec import Struct, field

from dumpty.errors import ManifestError
from dumpty.types.databases import Evidence, Section, TableContent
from dumpty.types.partly_shown import PartlyShown
from dumpty.types.plugins import OptionValue

Level = Literal["digest", "structure", "restore"]
"""How far a proof goes, each further than the one before.

``digest``: the stored bytes, and the dump in them, are those that were written. ``structure``: the driver reads the
dump to its end. ``restore``: a database loads it, and holds what the backup's evidence says.
"""

LEVELS: tuple[Level, ...] = get_args(Level)

State = Literal["ok", "lost", "damaged"]


class PluginRef(Struct, frozen=True, kw_only=True):
    """A plugin that took part: enough to say what to install when it is missing."""

    name: str
    distribution: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"plugin '{self.name}' of {self.distribution} {self.version}".rstrip()


class StageRecord(Struct, frozen=True, kw_only=True):
    """One stage of the pipeline with its parameters, in the order in which the dump went through.

    A cipher's parameters have, under ``recipients``, what kind of key each recipient has.
    """

    plugin: PluginRef
    params: Mapping[str, OptionValue] = {}
    kind: Literal["compressor", "cipher"] = "compressor"

    @property
    def recipient_kinds(self) -> tuple[str, ...]:
        """For a cipher: of which kind each recipient is, sorted."""
        kinds = self.params.get("recipients", ()) if self.kind == "cipher" else ()
        return tuple(sorted(k for k in kinds if isinstance(k, str))) if isinstance(kinds, (list, tuple)) else ()


class StoredObject(Struct, frozen=True, kw_only=True):
    """One object that a backup is stored in, and the part of the dump that is in it.

    ``size`` and ``sha256`` are those of the stored bytes, ``plain_size`` and ``plain_sha256`` those before the first
    stage; sizes in bytes, digests in hexadecimal. ``digests`` are further ones of the stored bytes, by verifier.
    ``section`` and ``tables`` (none means that it is not only of some) say what of the database it holds.
    Of a record that is sealed (``Record.sealed``) nothing is known of the part: 0, "", "whole" and no tables.
    """

    name: str
    size: int
    sha256: str
    plain_size: int
    plain_sha256: str
    stages: tuple[StageRecord, ...] = ()
    digests: Mapping[str, str] = {}
    section: Section = "whole"
    tables: tuple[TableContent, ...] = ()


class SealedPart(Struct, frozen=True, kw_only=True):
    """What of a manifest only those can read whom it is encrypted to.

    ``data`` is an age file. ``tables`` and ``rows`` (of those that were counted), and whether the backup is
    ``suspicious``, are what is known without opening it.
    """

    data: bytes
    tables: int = 0
    rows: int = 0
    suspicious: bool = False


class Signature(Struct, frozen=True, kw_only=True):
    """What somebody signed a manifest with: ``key`` is the public key (Ed25519, 32 bytes), ``data`` the signature.

    That there is one says nothing yet: whoever may write to a repository can put one there, of any key.
    """

    key: bytes
    data: bytes


class Record(Struct, frozen=True, kw_only=True):
    """What the manifest of one backup says. Times are aware and in UTC; there is at least one object.

    ``sealed`` is None where all of it is known. Else it has what is encrypted and was not opened: ``evidence``,
    ``options``, ``recipients`` (the public keys that the backup is encrypted to) and what the objects hold are empty
    then, which says nothing of the database. ``signatures`` are of all that its manifest says but for them, and but for
    the names of its objects; nobody has checked them. ``suspicions`` are what made it suspicious when it was made, in a
    sentence each: it holds so much less than the backups before it.
    """

    id: str
    url: str
    identity: str
    database: str
    driver: PluginRef
    format: str
    suffix: str
    directory: bool = False
    objects: tuple[StoredObject, ...]
    started: datetime
    ended: datetime
    verifiers: tuple[PluginRef, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    options: Mapping[str, OptionValue] = {}
    tags: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    sealed: SealedPart | None = None
    signatures: tuple[Signature, ...] = ()
    suspicions: tuple[str, ...] = ()

    @property
    def tables(self) -> int:
        """How many tables there are."""
        return len(self.evidence.objects) if self.sealed is None else self.sealed.tables

    @property
    def rows(self) -> int:
        """How many rows they have, as far as somebody counted them."""
        if self.sealed is not None:
            return self.sealed.rows
        return sum(entry.rows for entry in self.evidence.objects if entry.rows is not None)

    @property
    def suspicious(self) -> bool:
        """Whether it was suspicious when it was made."""
        return bool(self.suspicions) if self.sealed is None else self.sealed.suspicious

    @property
    def recipient_kinds(self) -> tuple[str, ...]:
        """For how many, and with which kinds of keys, it is encrypted; () where it is not."""
        return tuple(kind for stage in self.objects[0].stages for kind in stage.recipient_kinds)

    @property
    def stored_size(self) -> int:
        """How many bytes all its objects take."""
        return sum(o.size for o in self.objects)

    @property
    def plain_size(self) -> int | None:
        """How many bytes its dump has before the first stage; None where that is sealed."""
        return None if self.sealed is not None else sum(o.plain_size for o in self.objects)

    @property
    def checksum(self) -> str:
        """SHA-256 of its object; of several that of the lines that ``sha256sum`` prints for them, in order of name."""
        if len(self.objects) == 1:
            return self.objects[0].sha256
        lines = (f"{o.sha256}  {o.name}\n" for o in sorted(self.objects, key=lambda o: o.name))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def file(self) -> str:
        """The name of its object; of several what they begin with."""
        if len(self.objects) == 1:
            return self.objects[0].name
        return os.path.commonprefix([o.name for o in self.objects])  # noqa: RUF071 - names of one folder


class Proved(Struct, frozen=True, kw_only=True):
    """One thing that was seen to be so, in a sentence, and how many seconds it took to see it."""

    what: str
    seconds: float = 0.0


class Proof(PartlyShown, frozen=True, kw_only=True):
    """How one attempt to prove a backup went.

    ``ok`` is False where the backup is not what it should be; ``error`` then says why. An attempt that could not
    decide (a program is missing, the store cannot be read) is no proof either way, and leaves none. ``at`` is aware,
    in UTC; ``by`` is user@host. ``versions`` are those of dumpty, the driver, and what served the scratch database.
    ``differs`` is what was not as on the server that the dump came from, without being an error: versions, what a
    loader warned of. ``exception`` and ``unrecorded``, the reason why the proof is not written down, are not kept.
    """

    level: Level
    ok: bool
    at: datetime
    by: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = {}
    proved: tuple[Proved, ...] = ()
    not_proved: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    error: str = ""
    exception: Exception | None = None
    unrecorded: str = ""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # An exception's text says ``error``; its arguments, and what it came from, are nobody's to show.
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name != "exception"]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proof):
            return NotImplemented
        names = (name for name in self.__struct_fields__ if name not in {"exception", "unrecorded"})
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]  # as every value that has a dict


class Annotations(Struct, frozen=True, kw_only=True):
    """What lies beside a backup: its proofs, oldest first, and what its pin says ("" where it has none).

    ``accepted`` says who took it as good, suspicious as it was, and why; "" where nobody did. ``unreadable`` has an
    error for each of them that cannot be read: a proof or an acceptance that counts as none, a pin that is one.
    """

    proofs: tuple[Proof, ...] = ()
    pinned: str = ""
    accepted: str = ""
    unreadable: tuple[ManifestError, ...] = ()


NO_ANNOTATIONS = Annotations()


class Presence(Struct, frozen=True, kw_only=True):
    """What became of a backup's data: ``ok``, ``lost`` (gone, or short) or ``damaged`` (longer), and what was seen."""

    state: State = "ok"
    reason: str = ""


PRESENT = Presence()
