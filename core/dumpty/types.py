"""What crosses the boundary between dumpty and its plugins: frozen dataclasses and protocols.

Dataclasses may gain fields, with defaults. Protocols never gain a required method.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

Buffer = bytes | bytearray | memoryview
"""A block of bytes. It is the caller's again when the call it was passed to has returned."""

OptionValue = Union[str, int, float, bool, "list[str]"]
Options = Mapping[str, OptionValue]
"""Read-only, complete with the declared defaults, each value of its declared type."""

SUFFIX = re.compile(r"(\.[A-Za-z0-9_+-]+)+")
"""What may end the name of a backup's file: a format's suffix and a compressor's."""

Kind = Literal["driver", "compressor", "verifier", "store"]
Verb = Literal["backup", "restore", "inspect", "examine", "scratch", "compress", "open_store"]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a plugin.

    ``default`` also decides the type: ``-o name=text`` is coerced to it. ``verbs`` are the hooks that take it.
    ``choices``, where given, are the only values accepted.
    """

    name: str
    default: OptionValue
    help: str
    verbs: tuple[Verb, ...] = ("backup",)
    choices: tuple[OptionValue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Format:
    """One form in which a driver writes dumps.

    ``suffix`` ends the stored name, dot included (``.sql``). ``directory`` is True for a form that is a directory
    of files, written through ``Sink.directory()`` and possible only where no stage follows.
    """

    name: str
    suffix: str
    help: str = ""
    directory: bool = False


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """What a plugin says of itself, without importing anything heavy.

    ``schemes`` (drivers, stores): the URL schemes it answers, lower case. ``formats`` (drivers): the first is the
    default. ``suffix`` (compressors): ends the stored name, dot included. ``requires``: the pip requirement that
    brings its library, for messages (``dumpty[postgres]``).
    """

    kind: Kind
    summary: str = ""
    schemes: tuple[str, ...] = ()
    formats: tuple[Format, ...] = ()
    suffix: str = ""
    options: tuple[Option, ...] = ()
    requires: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A database URL, taken apart and percent-decoded. Serves for the target of a restore, too.

    ``scheme`` is lower case, a ``+driver`` suffix stripped. ``database`` is the path without its first slash (for
    SQLite the file's path). ``url`` is the URL with every secret replaced by ``***``: the only form that may be
    stored, logged or shown. ``secrets`` are the strings that must never appear anywhere.
    """

    scheme: str
    url: str
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class ObjectEvidence:
    """What is known of one table (or the like) in a dump, from the same snapshot as the dump.

    ``path`` names it as the database does (``schema.table``); ``rows`` is its number of rows, or None where
    nobody counted; ``fingerprint`` a digest of its content, or None.
    """

    path: str
    rows: int | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Why a driver believes that a dump (or a restore) is whole.

    ``snapshot`` identifies the database's snapshot, where it has a name. ``consistent`` is False where the dump is
    not of one moment; ``notes`` then say why. ``versions``: server, client and library versions by name.
    ``properties``: what stands around the dump, not in it, and a restore may need (encoding, roles); JSON-able.
    The secrets of the URL and of options are masked in every field, and so is what ``properties`` has under the name
    of a secret (``password``); on the way back a property with a mask in it is left out.
    """

    objects: tuple[ObjectEvidence, ...] = ()
    snapshot: str | None = None
    consistent: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a driver finds at a URL.

    ``exists``: there is a database. ``empty``: it holds nothing that a restore could harm. ``estimated_bytes``: of
    a dump, for progress. ``identity``: one canonical name of this database whatever the spelling of its URL
    (an absolute path; server and database), without secrets; "" leaves the choice to dumpty. ``name``: the
    database's short name, for file names. ``evidence``: counts or fingerprints of its tables, on request: a driver
    that can be asked declares the option ``evidence`` for ``inspect``, one of ``off``, ``counts``, ``fingerprint``.
    ``lacks``: rights that a backup needs and this user has not, each with the statements that grant it, on request:
    a driver that can be asked declares the option ``rights`` (bool) for ``inspect``.
    """

    exists: bool
    empty: bool
    estimated_bytes: int | None = None
    identity: str = ""
    name: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object in a store: its bare name and its size in bytes."""

    name: str
    size: int


class Sink(Protocol):
    """Where a driver writes one dump."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise. After an error every further call raises it again."""
        ...

    def expect(self, total_bytes: int) -> None:
        """Tell how many bytes will come, about: progress only."""
        ...

    def directory(self) -> Path:
        """Return the empty directory to write into, for a format with ``directory=True``; else raise."""
        ...

    def workspace(self) -> Path:
        """Return a private, empty directory on a file system with room; it is removed when the backup ends."""
        ...


class Reader(Protocol):
    """A stream of bytes to read. A reader yields end-of-file only when everything was read and is right."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end only; -1 reads to the end."""
        ...

    def close(self) -> None:
        """Release what the reader holds. Closing twice is harmless."""
        ...


class Writer(Protocol):
    """A stage that transforms bytes on their way to a sink."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...

    def close(self) -> None:
        """Flush everything, the trailer included, to the sink, and leave the sink open. Twice is harmless."""
        ...


class ByteSink(Protocol):
    """What a stage writes into."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...


class Verifier(Protocol):
    """A digest under construction, as ``hashlib`` has them."""

    def update(self, data: Buffer, /) -> None:
        """Add bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hexadecimal."""
        ...


class Dump(Protocol):
    """A stored dump on its way back: its stored bytes were verified before the driver sees it.

    ``size`` is in bytes, before compression. ``evidence`` and ``versions`` are those of the backup.
    """

    @property
    def format(self) -> str:
        """The format's name."""
        ...

    @property
    def size(self) -> int:
        """The dump's size in bytes."""
        ...

    @property
    def evidence(self) -> Evidence:
        """What was known when the dump was made."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions recorded when the dump was made."""
        ...

    def open(self) -> Reader:
        """Return a stream of the dump. End-of-file comes only after size and digest were found right.

        So a driver that commits its target after end-of-file, and only then, cannot commit a damaged dump.
        """
        ...

    def path(self) -> Path:
        """Return a verified, seekable file (or directory) that holds the dump; it is removed afterwards."""
        ...

    def workspace(self) -> Path:
        """Return a private, empty directory on a file system with room; it is removed when the restore ends."""
        ...


class Scratch(Protocol):
    """A throw-away place to restore into, for a drill: empty, private, gone when its block ends.

    What is restored there is code of whoever owned the database: it gets no rights beyond its place. Where there is
    more to say, ``notes`` (a tuple of str) tells under whose rights it runs, and ``not_proved`` (a tuple of str), asked
    after the restore, what of the dump was left out for that; both go into the proof.
    """

    @property
    def target(self) -> Source:
        """Where to restore to."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of what serves it, by name."""
        ...

    def check(self) -> tuple[str, ...]:
        """Run the engine's own checks on what was restored, and return the names of those that were run.

        Raises ``IntegrityError`` where one fails.
        """
        ...

    def ask(self, statement: str, /) -> list[tuple[object, ...]]:
        """Run a query in the restored database and return its rows."""
        ...


class Upload(Protocol):
    """One object on its way into a store. Nothing is visible under its name before ``commit``."""

    def write(self, data: Buffer, /) -> int:
        """Take every byte and return their number, or raise."""
        ...

    def commit(self) -> None:
        """Make the object durable and visible, all at once, or raise."""
        ...

    def abort(self) -> None:
        """Drop it. Harmless after ``commit`` or another ``abort``."""
        ...


class Store(Protocol):
    """A place for objects, flat: names are bare, without separators.

    Every method raises ``StoreError`` (``MissingFile`` for a missing object). All may be called from several
    threads and processes.
    """

    def create(self, name: str) -> Upload:
        """Begin an object. An existing object of that name is replaced only by ``commit``."""
        ...

    def open(self, name: str, offset: int = 0) -> Reader:
        """Read an object from ``offset`` bytes on."""
        ...

    def stat(self, name: str) -> StoredObject:
        """Return name and size, or raise ``MissingFile``."""
        ...

    def list(self) -> Iterator[StoredObject]:
        """Yield every committed object, in no order."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Give an object another name, durably and all at once, or raise and leave it."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object for good, or raise and leave it."""
        ...

    def locate(self, name: str) -> str:
        """Return where a person finds the object: a path, or a URL without secrets. It need not exist."""
        ...

    def clean(self) -> Iterator[str]:
        """Yield the name of each object whose writer died before ``commit``; resumed, remove what it left.

        What a live writer still writes is never touched.
        """
        ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the named lock against every other user of the store; raises ``Locked`` after a bounded wait."""
        ...


@runtime_checkable
class LocalStore(Store, Protocol):
    """A store whose objects are files on this machine: spares copies, and may hold directories as objects."""

    def path(self, name: str) -> Path:
        """Return the object's path. It is only to be read."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """Return a private, empty directory on the store's own file system, removed at the end of the block."""
        ...


@runtime_checkable
class DirectoryUpload(Upload, Protocol):
    """An upload that can also take a directory of files, instead of a stream."""

    def directory(self) -> Path:
        """Return the empty directory that ``commit`` will make visible."""
        ...
