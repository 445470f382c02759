"""Databases, and what is known of one or of a dump of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from msgspec import Struct, structs

from dumpty.redaction import names_secret
from dumpty.types import masked_url
from dumpty.types.partly_shown import PartlyShown
from dumpty.types.transports import Remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import EllipsisType


Section = Literal["whole", "pre-data", "data", "post-data"]
"""What of a database an object holds: all of it that other objects do not, or, as ``pg_dump`` divides it, what stands
before the rows, rows, and what is made after them (indexes, constraints, triggers)."""


class Source(PartlyShown, frozen=True, kw_only=True):
    """A database URL, taken apart and percent-decoded. Serves for the target of a restore, too.

    ``scheme`` is lower case, a ``+driver`` suffix stripped. ``database`` is the path without its first slash (for
    SQLite the file's path). ``url`` is the URL with every secret replaced by ``***``: the only form that may be
    stored, logged or shown; left out, it is made of the other fields. ``secrets`` are the strings that must never
    appear anywhere; the password, and parameters with the name of a secret, are always among them. ``remote`` is where
    its server is, if a way leads there (``--via``): the other fields then name this machine's end of that.
    """

    scheme: str
    url: str = ""
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: str | None = None
    database: str | None = None
    query: Mapping[str, str] = {}
    secrets: tuple[str, ...] = ()
    remote: Remote | None = None

    def __post_init__(self) -> None:
        named = (value for name, value in self.query.items() if names_secret(name))
        secrets = dict.fromkeys(s for s in (*self.secrets, self.password, *named) if s)
        structs.force_setattr(self, "secrets", tuple(secrets))
        if not self.url:
            structs.force_setattr(self, "url", masked_url.masked_url(**{n: getattr(self, n) for n in _PARTS}))

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # Neither password nor parameters, nor what must never appear anywhere.
        return [(name, getattr(self, name)) for name in ("scheme", "url", "host", "port", "username", "database")]

    def replace(
        self,
        *,
        scheme: str | EllipsisType = ...,
        host: str | EllipsisType | None = ...,
        port: int | EllipsisType | None = ...,
        username: str | EllipsisType | None = ...,
        password: str | EllipsisType | None = ...,
        database: str | EllipsisType | None = ...,
        query: Mapping[str, str] | EllipsisType = ...,
    ) -> Self:
        """Return this source with other parts: another database of the same server, another user, another path.

        ``url`` says the same as the parts do, secrets masked, and is otherwise spelled as it was; ``secrets`` keeps the
        old ones and takes in the new. ``query`` replaces all parameters; ``host`` and ``port`` also replace a list of
        hosts::

            scratch = source.replace(database=f"{source.database}_drill")

        Use ``msgspec.structs.replace`` for what no user shall see in ``url``, such as a parameter of your own.
        """
        given = {
            "scheme": scheme,
            "host": host,
            "port": port,
            "username": username,
            "password": password,
            "database": database,
            "query": query,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not ...}
        renewed = set(changes)
        listed: dict[str, str] = {}
        if masked_url.has_several_hosts(self.url):  # then they are parameters, which the URL does not show as such
            listed = {n: self.query[n] for n in ("host", "port") if n in self.query}
            changes["query"] = {n: v for n, v in changes.get("query", self.query).items() if n not in listed}
        shown = structs.replace(self, **changes, url="")
        query = shown.query if {"host", "port"} & renewed else {**shown.query, **listed}
        return structs.replace(shown, query=query, url=masked_url.respell(self.url, shown.url, renewed))


def url_with_secrets(source: Source) -> str:
    """Return the URL that leads to ``source``, secrets included: for who connects, and nobody may be shown it."""
    return masked_url.masked_url(**{name: getattr(source, name) for name in _PARTS}, masked=False)


class ListedDatabase(PartlyShown, frozen=True, kw_only=True):
    """One of the databases that a URL with wildcards means.

    ``url`` is its own URL, secrets included: what ``create_backup`` takes, and nobody may be shown. ``source`` is the
    same taken apart, whose ``url`` and ``database`` may be shown.
    """

    url: str
    source: Source

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("source", self.source)]


_PARTS = ("scheme", "host", "port", "username", "password", "database", "query")


class ObjectEvidence(Struct, frozen=True, kw_only=True):
    """What is known of one table (or the like) in a dump, from the same snapshot as the dump.

    ``path`` names it as the database does (``schema.table``); ``rows`` is its number of rows, or None where
    nobody counted; ``fingerprint`` a digest of its content, or None. ``part_of`` is for a partition: the path of the
    table that its rows belong to, of nested ones the outermost. Partitions come and go; whoever looks whether a
    database has lost rows counts theirs as that table's. Rows that a restore may put into another partition have no
    number there, and are in that of the outermost table.
    """

    path: str
    rows: int | None = None
    fingerprint: str | None = None
    part_of: str | None = None


class TableContent(Struct, frozen=True, kw_only=True):
    """What one object of a backup holds of one table.

    ``path`` names the table as ``ObjectEvidence`` does; ``rows`` is how many of its rows are there, None where nobody
    counted them. ``range`` says which, in the driver's words (``pages 0 to 8191``); "" for all of them.
    """

    path: str
    rows: int | None = None
    range: str = ""

    def __str__(self) -> str:
        return f"{self.path}, {self.range}" if self.range else self.path


class Evidence(Struct, frozen=True, kw_only=True):
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
    versions: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    properties: Mapping[str, Any] = {}


class Inspection(Struct, frozen=True, kw_only=True):
    """What a driver finds at a URL.

    ``exists``: there is a database. ``empty``: it holds nothing that a restore could harm. ``estimated_bytes``: of
    a dump, for progress. ``identity``: one canonical name of this database whatever the spelling of its URL
    (an absolute path; server and database), without secrets; "" leaves the choice to dumpty. ``name``: the
    database's short name, for file names. ``evidence``: counts or fingerprints of its tables, on request: a driver
    that can be asked declares the option ``evidence`` for ``inspect``, one of ``off``, ``counts``, ``fingerprint``.
    ``lacks``: privileges that a backup needs and this user has not, each with the statements that grant it, on request:
    a driver that can be asked declares the option ``rights`` (bool) for ``inspect``. Where it declares the option
    ``server`` (bool), and that is on, all of this is of the server, not of a database: ``identity`` and ``name``
    are the server's, ``empty`` says whether it has none of what its formats of a whole server restore.
    """

    exists: bool
    empty: bool
    estimated_bytes: int | None = None
    identity: str = ""
    name: str = ""
    versions: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    evidence: Evidence | None = None
    lacks: tuple[str, ...] = ()


RowValue = None | int | float | str | bytes
"""What a column holds in one row, as ``TableRows`` gives it."""


class TableRows(Protocol):
    """The rows of one table at one moment, each once, to be iterated once.

    Each row is a tuple with a value for each of ``columns``: None for NULL; int, float or bytes where the value is such
    a thing; else text that tells it from every other value of its column (a date, an array, a document). The same value
    always reads the same: on another server, under other settings, and however it is stored. ``columns`` are those that
    a dump holds; what the database computes from others is left out. ``key`` are those of them that tell the rows apart
    (a primary key), in its order; () where none do.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        ...

    @property
    def key(self) -> tuple[str, ...]:
        """Those of them that are no two rows' alike; ()."""
        ...

    def __iter__(self) -> Iterator[tuple[RowValue, ...]]:
        """Return the rows, in whatever order. What cannot be read on raises ``SourceError``."""
        ...


class Scratch(Protocol):
    """A scratch database to restore into, for a drill: empty, private, gone when its block ends.

    What is restored there is code of whoever owned the database: it gets no privileges beyond it. Where there is
    more to say, ``notes`` (a tuple of str) tells with whose privileges it runs, and ``not_proved`` (a tuple of str),
    asked after the restore, what of the dump was left out for that; both go into the proof. So does ``differs`` (a
    tuple of str), asked after the restore: what is not as on the server that the dump came from. Where the user chose
    a server of another version, ``rehearsal`` (a str) says so (``a rehearsal on PostgreSQL 18.1``): a proof that fails
    there is told, and not written down.

    For ``dumpty try`` it may have two methods more. ``environment()`` returns what variables lead the database's own
    programs to ``target`` and nowhere else: a mapping of str to str, or to None for one that would lead away.
    ``shell()`` returns the arguments of an interactive client in ``target``, a tuple of str, the first the program's
    path: it is run on the user's terminal with that environment, which is where secrets belong. It is asked before the
    restore, and raises ``CommandError``, which says what to install, where there is no such program. Without it only
    programs of the user's can be tried, who find it by its URL in ``DUMPTY_URL``.

    For tests, which each want a database of their own, it may have one of two further methods, called behind the
    restore, any number of times, by one thread at a time. ``clone()`` returns a context manager that yields another
    ``Scratch`` with what was restored in this one, to the last setting; nobody uses this one meanwhile. ``another()``,
    where the database has no way to copy itself, yields an empty one instead, into which the dump is restored again.
    Either is gone when its block ends, whoever is connected to it, and at the latest with this one. Without them each
    test waits for a restore on a server of its own.
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
        """Run one query in the restored database, and return all its rows, in its order.

        Each row is a tuple of Python's own values: a query of one value gives ``[(value,)]``, a number as int, float or
        Decimal (a drill takes one that is not 0 for true), NULL as None, and one without any row ``[]``. It can only
        read: a statement that writes is refused or undone, and what was restored stays as it is.

        Raises ``SourceError`` where the engine cannot answer, with its own words.
        """
        ...
