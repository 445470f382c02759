"""What a server knows of its accounts, as values: what a dump holds, and what is compared with what is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins

from dumpty import IntegrityError, ObjectEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME_BYTES = 63
PREDEFINED = "pg_"
"""What the names of PostgreSQL's own roles begin with, and no others."""
_Limit = Annotated[int, Meta(ge=-1, le=2147483647)]
HASH = re.compile(r"md5[0-9a-f]{32}|SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+")
_Hash = Annotated[str, Meta(pattern=f"^(?:{HASH.pattern})$")]

ATTRIBUTES = ("superuser", "inherit", "createrole", "createdb", "login", "replication", "bypassrls")


class Fact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is so, on one line of a dump."""


class Header(Fact, frozen=True, kw_only=True, tag_field="kind", tag="accounts"):
    """Of which server a dump is.

    ``bootstrap`` is the superuser that its initdb made, ``hashes`` whether passwords are in it.
    """

    major: int
    server: str
    bootstrap: str
    hashes: bool


class Role(Fact, frozen=True, kw_only=True, tag_field="kind", tag="role"):
    """A role. ``password`` is the hash of it."""

    name: str
    superuser: bool
    inherit: bool
    createrole: bool
    createdb: bool
    login: bool
    replication: bool
    bypassrls: bool
    limit: _Limit
    valid_until: str | None
    password: _Hash | None
    comment: str | None


class Membership(Fact, frozen=True, kw_only=True, tag_field="kind", tag="membership"):
    """That ``member`` is a member of ``role``. What servers before PostgreSQL 16 do not know is None."""

    role: str
    member: str
    admin: bool
    inherit: bool | None
    set: bool | None
    grantor: str | None


class Setting(Fact, frozen=True, kw_only=True, tag_field="kind", tag="setting"):
    """A setting of a role (None: of all of them), in one database (None: in every one)."""

    role: str | None
    database: str | None
    name: str
    value: str


class ParameterGrant(Fact, frozen=True, kw_only=True, tag_field="kind", tag="parameter"):
    """A privilege on a parameter of the server's configuration; ``grantee`` None is everybody."""

    grantee: str | None
    parameter: str
    privilege: Literal["SET", "ALTER SYSTEM"]
    grantable: bool


class TablespaceGrant(Fact, frozen=True, kw_only=True, order=True):
    """A privilege on a tablespace; ``grantee`` "" is everybody, for no role is called that."""

    grantee: str
    grantable: bool


class Tablespace(Fact, frozen=True, kw_only=True, tag_field="kind", tag="tablespace"):
    """A tablespace. ``location`` "" is in the server's own directory."""

    name: str
    owner: str
    location: str
    options: list[str]
    grants: list[TablespaceGrant]
    comment: str | None


AnyFact = Header | Role | Membership | Setting | ParameterGrant | Tablespace


class Accounts(Struct, frozen=True, kw_only=True):
    """All that is known of a server's accounts."""

    header: Header
    roles: tuple[Role, ...] = ()
    memberships: tuple[Membership, ...] = ()
    settings: tuple[Setting, ...] = ()
    parameters: tuple[ParameterGrant, ...] = ()
    tablespaces: tuple[Tablespace, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        counts = {
            "roles": len(self.roles),
            "memberships": len(self.memberships),
            "settings": sum(s.database is None for s in self.settings),
            "settings in databases": sum(s.database is not None for s in self.settings),
            "privileges on parameters": len(self.parameters),
            "tablespaces": len(self.tablespaces),
        }
        return counts | ({"passwords": sum(r.password is not None for r in self.roles)} if self.header.hashes else {})

    @property
    def facts(self) -> Iterator[AnyFact]:
        """Everything, one after another."""
        yield self.header
        yield from self.roles
        yield from self.memberships
        yield from self.settings
        yield from self.parameters
        yield from self.tablespaces


def count_evidence(counts: dict[str, int], *, uncounted: frozenset[str] = frozenset()) -> tuple[ObjectEvidence, ...]:
    """Return counts as evidence; of the kinds ``uncounted`` nobody vouches for the number."""
    return tuple(ObjectEvidence(path=k, rows=None if k in uncounted else n) for k, n in counts.items())


def require_sound(accounts: Accounts) -> None:
    """Check what no type says: that every name may be one, and nothing is there twice.

    Raises:
        IntegrityError: something is not as PostgreSQL has it.
    """
    for fact in accounts.facts:
        for text in _texts(to_builtins(fact)):
            if "\0" in text or re.search("[\ud800-\udfff]", text):
                raise IntegrityError("the accounts hold a name or value that is no UTF-8 text")
    names = [
        *(name for r in accounts.roles for name in (r.name,)),
        *(name for m in accounts.memberships for name in (m.role, m.member, m.grantor)),
        *(name for s in accounts.settings for name in (s.role, s.database)),
        *(name for t in accounts.tablespaces for name in (t.name, t.owner)),
    ]
    if any(name is not None and not 0 < len(name.encode()) <= _NAME_BYTES for name in names):
        raise IntegrityError(f"the accounts hold a name that is empty or longer than {_NAME_BYTES} bytes")
    keys = [
        *(("role", r.name) for r in accounts.roles),
        *(("membership", m.role, m.member, m.grantor) for m in accounts.memberships),
        *(("setting", s.role, s.database, s.name) for s in accounts.settings),
        *(("parameter", p.grantee, p.parameter, p.privilege) for p in accounts.parameters),
        *(("tablespace", t.name) for t in accounts.tablespaces),
    ]
    if len(set(keys)) != len(keys):
        raise IntegrityError("the accounts say something twice")


def require_closed(accounts: Accounts) -> None:
    """Check that whatever a dump says is of roles that are in it, or of predefined ones: it changes no others.

    Raises:
        IntegrityError: it is not.
    """
    known = {r.name for r in accounts.roles}
    settings = {s.role for s in accounts.settings} - {None}
    named = {
        *(name for m in accounts.memberships for name in (m.role, m.member, m.grantor)),
        *(p.grantee for p in accounts.parameters),
        *(name for t in accounts.tablespaces for name in (t.owner, *(g.grantee or None for g in t.grants))),
    } - {None}
    strangers = (settings - known) | {n for n in named - known if not str(n).startswith(PREDEFINED)}
    if strangers:
        raise IntegrityError(
            f"the accounts say something of roles that are not among them, {min(map(str, strangers))!r} for one: the "
            "dump was altered"
        )
    if any(name.startswith(PREDEFINED) for name in known):
        raise IntegrityError(f"the accounts hold a role whose name begins with {PREDEFINED}, as PostgreSQL's own do")
    if any(s.role is None and s.database is not None for s in accounts.settings):
        raise IntegrityError("the accounts hold a setting of all roles in one database, which is that database's own")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
