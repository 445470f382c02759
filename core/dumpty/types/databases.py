"""Databases, and what is known of one or of a dump of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    ``lacks``: privileges that a backup needs and this user has not, each with the statements that grant it, on request:
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


class Scratch(Protocol):
    """A scratch database to restore into, for a drill: empty, private, gone when its block ends.

    What is restored there is code of whoever owned the database: it gets no privileges beyond it. Where there is
    more to say, ``notes`` (a tuple of str) tells with whose privileges it runs, and ``not_proved`` (a tuple of str),
    asked after the restore, what of the dump was left out for that; both go into the proof.
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
