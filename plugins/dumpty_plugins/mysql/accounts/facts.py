"""What a server knows of its accounts, as values: what a dump holds, and what is compared with what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, to_builtins
from msgspec.structs import replace

from dumpty import IntegrityError, ObjectEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator

_Count = Annotated[int, Meta(ge=0, le=4294967295)]
_Days = Annotated[int, Meta(ge=-1, le=65535)]
_Word = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_ ]{0,63}$")]
_MAX_NAME = 255
PUBLIC = "PUBLIC"
"""The role that everybody has on MariaDB: it is there, and only privileges are its own."""

SYSTEM = frozenset((user, "localhost") for user in ("mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys"))
"""Accounts that every server has for itself. One of such a name at another host is like any other."""

PLAIN_PLUGINS = frozenset(
    {
        *("unix_socket", "auth_socket", "pam", "pam_v1", "named_pipe", "gssapi", "authentication_pam"),
        *("authentication_windows", "authentication_ldap_simple", "authentication_ldap_sasl"),
        *("authentication_kerberos", "mysql_no_login"),
    }
)
"""Plugins of authentication that keep no hash of a password, but the name of an account elsewhere."""


class Fact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is so, on one line of a dump."""


class Name(Fact, frozen=True, kw_only=True, order=True):
    """The name of an account; ``host`` None is a role of MariaDB's."""

    user: str
    host: str | None

    @property
    def is_system(self) -> bool:
        """Whether every server has such an account for itself."""
        return (self.user, self.host) in SYSTEM


class Header(Fact, frozen=True, kw_only=True, tag_field="kind", tag="accounts"):
    """Of which server a dump is; ``hashes``: passwords are in it.

    ``partial_revokes``: MySQL takes exceptions from privileges, and then has no wildcards in names of databases.
    """

    flavour: Literal["MariaDB", "MySQL"]
    version: str
    hashes: bool
    partial_revokes: bool


class Factor(Fact, frozen=True, kw_only=True):
    """A way to authenticate. ``secret`` is what the plugin keeps (MySQL's in hexadecimal), "" for nothing.

    ``left_out``: there was a secret, and it is not in the dump.
    """

    plugin: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,64}$")]
    secret: str
    left_out: bool


class User(Fact, frozen=True, kw_only=True, tag_field="kind", tag="user"):
    """A user, or a role.

    ``lifetime`` of the password in days: None is the server's default, 0 for ever. ``lock_days`` -1 is for ever.
    What only one of MariaDB and MySQL has is None, 0 or "" on the other.
    """

    name: Name
    factors: list[Factor]
    require: Literal["NONE", "SSL", "X509", "SPECIFIED"]
    cipher: str
    issuer: str
    subject: str
    queries: _Count
    updates: _Count
    connections: _Count
    user_connections: int
    statement_seconds: float
    locked: bool
    expired: bool
    lifetime: _Count | None
    history: _Count | None
    reuse_days: _Count | None
    require_current: bool | None
    failed_attempts: _Count
    lock_days: _Days
    attributes: str

    @property
    def left_out(self) -> bool:
        """Whether a secret by which this account authenticates is not known."""
        return any(f.left_out for f in self.factors)


class Membership(Fact, frozen=True, kw_only=True, tag_field="kind", tag="membership"):
    """That an account has a role."""

    member: Name
    role: Name
    admin: bool


class DefaultRole(Fact, frozen=True, kw_only=True, tag_field="kind", tag="default role"):
    """That a role is active when an account connects."""

    member: Name
    role: Name


class Privilege(Fact, frozen=True, kw_only=True, order=True):
    """A privilege; ``columns``: on these alone."""

    name: _Word
    columns: list[str]


class Grant(Fact, frozen=True, kw_only=True, tag_field="kind", tag="grant"):
    """Privileges of an account on something: everything (``database`` None), a database, or what is in it.

    The name of a database alone is a pattern, but where MySQL has ``partial_revokes``.

    ``revoked``: they are excepted from what it has on everything, as MySQL's partial revokes do.
    """

    member: Name
    type: Literal["", "PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY", "LIBRARY"]
    database: str | None
    object: str | None
    privileges: list[Privilege]
    grantable: bool
    revoked: bool


class Proxy(Fact, frozen=True, kw_only=True, tag_field="kind", tag="proxy"):
    """That an account may act as another."""

    member: Name
    proxied: Name
    grantable: bool


AnyFact = Header | User | Membership | DefaultRole | Grant | Proxy


class Accounts(Struct, frozen=True, kw_only=True):
    """All that is known of a server's accounts."""

    header: Header
    users: tuple[User, ...] = ()
    memberships: tuple[Membership, ...] = ()
    default_roles: tuple[DefaultRole, ...] = ()
    grants: tuple[Grant, ...] = ()
    proxies: tuple[Proxy, ...] = ()

    @property
    def mariadb(self) -> bool:
        """Whether they are of a MariaDB server."""
        return self.header.flavour == "MariaDB"

    @property
    def patterns(self) -> list[Grant]:
        """The privileges on databases whose names mean something else where they are no patterns."""
        on_databases = (g for g in self.grants if g.database is not None and g.object is None)
        return [g for g in on_databases if set(g.database or "") & {"_", "%", "\\"}]

    @property
    def roles(self) -> set[Name]:
        """The accounts that are roles: on MySQL those that were granted to somebody."""
        return {u.name for u in self.users if u.name.host is None} | {m.role for m in self.memberships}

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        roles = self.roles
        counts = {
            "users": sum(u.name not in roles for u in self.users),
            "roles": sum(u.name in roles for u in self.users),
            "memberships": len(self.memberships),
            "default roles": len(self.default_roles),
            "grants": len(self.grants),
            "proxies": len(self.proxies),
        }
        secrets = sum(bool(f.secret) and f.plugin not in PLAIN_PLUGINS for u in self.users for f in u.factors)
        return counts | ({"passwords": secrets} if self.header.hashes else {})

    @property
    def facts(self) -> Iterator[AnyFact]:
        """Everything, one after another."""
        yield self.header
        yield from self.users
        yield from self.memberships
        yield from self.default_roles
        yield from self.grants
        yield from self.proxies


def without_hashes(accounts: Accounts) -> Accounts:
    """Return accounts with every secret left out that is the hash of a password."""

    def emptied(factor: Factor) -> Factor:
        is_hash = bool(factor.secret) and factor.plugin not in PLAIN_PLUGINS
        return replace(factor, secret="", left_out=True) if is_hash else factor

    users = tuple(replace(u, factors=[emptied(f) for f in u.factors]) for u in accounts.users)
    return replace(accounts, header=replace(accounts.header, hashes=False), users=users)


def count_evidence(counts: dict[str, int], *, uncounted: frozenset[str] = frozenset()) -> tuple[ObjectEvidence, ...]:
    """Return counts as evidence; of the kinds ``uncounted`` nobody vouches for the number."""
    return tuple(ObjectEvidence(path=k, rows=None if k in uncounted else n) for k, n in counts.items())


def require_sound(accounts: Accounts) -> None:
    """Check what no type says: that names may be names, nothing is there twice, and nothing is of an unknown account.

    Raises:
        IntegrityError: something is not as a server has it.
    """
    for fact in accounts.facts:
        for text in _texts(to_builtins(fact)):
            if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
                raise IntegrityError("the accounts hold a name or value that is no UTF-8 text")
    _require_sound_names(accounts)
    keys = [
        *(("user", u.name) for u in accounts.users),
        *(("membership", m.member, m.role) for m in accounts.memberships),
        *(("default", d.member, d.role) for d in accounts.default_roles),
        *(("proxy", p.member, p.proxied) for p in accounts.proxies),
    ]
    if len(set(keys)) != len(keys):
        raise IntegrityError("the accounts say something twice")
    _require_sound_grants(accounts)


def _require_sound_names(accounts: Accounts) -> None:
    known = {u.name for u in accounts.users} | ({Name(user=PUBLIC, host=None)} if accounts.mariadb else set())
    owners = [f.member for f in accounts.facts if isinstance(f, Membership | DefaultRole | Grant | Proxy)]
    if not set(owners) <= known:
        raise IntegrityError("the accounts hold something of an account that is not among them")
    names = [u.name for u in accounts.users] + [m.role for m in accounts.memberships]
    names += [d.role for d in accounts.default_roles]
    if not {m.role for m in accounts.memberships} <= known:
        raise IntegrityError("the accounts hold a role that is not among them")
    if any(n.is_system for n in names):
        raise IntegrityError("the accounts hold one that every server has for itself")
    if any("A" <= c <= "Z" for n in names for c in n.host or ""):
        raise IntegrityError("the accounts hold a host in capitals, and every server keeps hosts in lower case")
    if any(n.host is None and (not accounts.mariadb or n.user.upper() == PUBLIC) for n in names):
        raise IntegrityError("the accounts hold a role that no such server has")
    if any(len(n.user) > _MAX_NAME or len(n.host or "") > _MAX_NAME for n in names):
        raise IntegrityError(f"the accounts hold a name of more than {_MAX_NAME} characters")


def _require_sound_grants(accounts: Accounts) -> None:
    if any(p.name in {"PROXY", "GRANT OPTION"} for g in accounts.grants for p in g.privileges):
        raise IntegrityError("the accounts hold a privilege that is none")
    for grant in accounts.grants:
        inside = grant.object is not None or grant.type
        if (inside and grant.database is None) or (grant.type and grant.object is None):
            raise IntegrityError("the accounts hold privileges on something that is nothing")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
