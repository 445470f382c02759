"""Reads a server's accounts out of its own tables, and what was granted to them out of what it says of each."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from dumpty import SourceError
from dumpty_plugins.mysql.accounts.facts import (
    PUBLIC,
    Accounts,
    DefaultRole,
    Factor,
    Grant,
    Header,
    Membership,
    Name,
    Privilege,
    Proxy,
    User,
    require_sound,
)
from dumpty_plugins.mysql.accounts.statements import name_sql
from dumpty_plugins.mysql.server.privileges import account
from dumpty_plugins.mysql.server.session import StatementError, decode
from dumpty_plugins.mysql.server.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dumpty_plugins.mysql.server.session import Session

_DENIED = frozenset({1142, 1143, 1044, 1227})
_NO_TABLE = 1146
_NO_GRANT = 1141
_ATTEMPTS = 4
_SSL = {0: "NONE", 1: "SSL", 2: "X509", 3: "SPECIFIED"}
_MYSQL_SSL = {"": "NONE", "ANY": "SSL", "X509": "X509", "SPECIFIED": "SPECIFIED"}
_TYPES = ("PROCEDURE", "FUNCTION", "PACKAGE", "LIBRARY")

_PASSWORD = frozenset({"plugin", "authentication_string"})
_KNOWN = {
    "MariaDB": _PASSWORD
    | {"access", "version_id", "auth_or", "password_last_changed", "password_lifetime", "account_locked", "is_role"}
    | {"default_role", "ssl_type", "ssl_cipher", "x509_issuer", "x509_subject", "max_questions", "max_updates"}
    | {"max_connections", "max_user_connections", "max_statement_time"},
    "MySQL": {"metadata", "Password_locking", "Restrictions", "additional_password", "multi_factor_authentication"},
}
"""What the servers keep of an account in their JSON, as far as it is in a dump, noted or refused."""


_MYSQL_USERS = """
    SELECT User, Host, plugin, HEX(authentication_string), ssl_type, ssl_cipher, x509_issuer, x509_subject,
           max_questions, max_updates, max_connections, max_user_connections, account_locked, password_expired,
           password_lifetime, Password_reuse_history, Password_reuse_time, Password_require_current, User_attributes
    FROM mysql.user"""

_ROLES = {
    "MariaDB": "SELECT User, Host, Role, NULL, Admin_option FROM mysql.roles_mapping",
    "MySQL": "SELECT TO_USER, TO_HOST, FROM_USER, FROM_HOST, WITH_ADMIN_OPTION FROM mysql.role_edges",
}


def read_grant(session: Session) -> str:
    """Return the statement that lets this account read all accounts."""
    return f"GRANT SELECT ON mysql.* TO {account(session)}"


def may_read(session: Session) -> bool:
    """Return whether this account may read all accounts, hashes of passwords included."""
    try:
        for table in ("global_priv", "roles_mapping") if session.mariadb else ("user", "role_edges"):
            session.rows(f"SELECT 1 FROM mysql.{table} LIMIT 0")  # noqa: S608 - of ours
    except StatementError as error:
        if error.code in _DENIED:
            return False
        raise
    return True


def read_accounts(session: Session) -> Accounts:
    """Return a server's accounts: as they were twice in a row, for no snapshot holds them.

    Raises:
        SourceError: this account may not read them, they change all the time, or are not understood.
    """
    try:
        previous = _read(session)
        for _ in range(_ATTEMPTS):
            accounts = _read(session)
            if accounts == previous:
                require_sound(accounts)
                return accounts
            previous = accounts
    except StatementError as error:
        if error.code in _DENIED:
            raise SourceError(
                f"{error}; accounts are read by who may read the server's own tables, hashes of passwords among them: "
                f"{read_grant(session)}; no option does without that"
            ) from error
        if error.code == _NO_TABLE:
            raise SourceError(f"{error}; accounts need MariaDB 10.4, MySQL 8.0, or newer") from error
        raise
    raise SourceError("the accounts of the server change while they are read; try again when nobody changes them")


def ignored_accounts(session: Session, accounts: Accounts) -> list[str]:
    """Return the accounts that are in the server's own tables, and that it does not know, so that nobody logs in.

    Such are those of named hosts under ``skip_name_resolve``, and what nobody has told it to read (FLUSH PRIVILEGES).
    """
    known = {u.name for u in accounts.users}
    users = _mariadb_users(session) if session.mariadb else _mysql_users(session)
    return [name_sql(u.name) for u in users if u.name not in known]


def second_passwords(session: Session) -> int:
    """Return how many accounts of MySQL's have a second password, which no statement gives them again."""
    if session.mariadb:
        return 0
    sql = "SELECT COUNT(*) FROM mysql.user WHERE JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password')"
    return session.number(sql)


def unknown_properties(session: Session) -> dict[str, list[str]]:
    """Return what else the server keeps of each account, by its name, which no dump holds; without its values."""
    flavour = "MariaDB" if session.mariadb else "MySQL"
    column = "Priv FROM mysql.global_priv" if session.mariadb else "User_attributes FROM mysql.user"
    unknown: dict[str, list[str]] = {}
    for user, host, text in session.rows(f"SELECT User, Host, {column}"):
        values = json.loads(decode(text or b"{}"))
        name = Name(user=decode(user), host=decode(host) or None if values.get("is_role") else decode(host))
        keys = {*values} - _KNOWN[flavour]
        keys |= {key for entry in values.get("auth_or", []) for key in entry if key not in _PASSWORD}
        keys |= {*values.get("Password_locking", {})} - {"failed_login_attempts", "password_lock_time_days"}
        if keys and not name.is_system:
            unknown[name_sql(name)] = sorted(json.dumps(key[:64]) for key in keys)
    return unknown


def _read(session: Session) -> Accounts:
    flavour = "MariaDB" if session.mariadb else "MySQL"
    listed = sorted(_mariadb_users(session) if session.mariadb else _mysql_users(session), key=lambda u: _key(u.name))
    everybody = [u.name for u in listed] + [Name(user=PUBLIC, host=None)] * session.mariadb
    grants = {n: granted for n in everybody if (granted := grants_of(session, n)) is not None}
    users = [u for u in listed if u.name in grants]
    roles = {u.name for u in users if u.name.host is None}

    def name(user: bytes | None, host: bytes | None) -> Name:
        known_role = Name(user=decode(user), host=None)
        return known_role if known_role in roles and not host else Name(user=decode(user), host=decode(host))

    names = [u.name for u in users]
    members = [
        Membership(member=name(u, h), role=name(r, s), admin=decode(a) == "Y")
        for u, h, r, s, a in session.rows(_ROLES[flavour])
    ]
    proxies = [
        Proxy(member=name(u, h), proxied=Name(user=decode(p), host=decode(q)), grantable=decode(g) != "0")
        for u, h, p, q, g in session.rows(
            "SELECT User, Host, Proxied_user, Proxied_host, With_grant FROM mysql.proxies_priv"
        )
    ]
    partial_revokes = {decode(value) for _, value in session.rows("SHOW GLOBAL VARIABLES LIKE 'partial_revokes'")}
    return Accounts(
        header=Header(
            flavour=flavour,  # type: ignore[arg-type]
            version=session.version,
            hashes=True,
            partial_revokes="ON" in partial_revokes,
        ),
        users=tuple(users),
        memberships=_sorted(m for m in members if m.member in names and m.role in names),
        default_roles=_sorted(d for d in _default_roles(session) if d.member in names),
        grants=_sorted(itertools.chain.from_iterable(grants.values())),
        proxies=_sorted(p for p in proxies if p.member in names),
    )


def _key(name: Name) -> tuple[bool, str, str]:
    return name.host is not None, name.user, name.host or ""  # roles come first


def _sorted(facts: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(facts, key=lambda f: (_key(f.member), repr(f))))


# -- users -----------------------------------------------------------------------------------------------------------


def _mariadb_users(session: Session) -> Iterator[User]:
    for user, host, text in session.rows("SELECT User, Host, Priv FROM mysql.global_priv"):
        values: dict[str, Any] = json.loads(decode(text))
        role = bool(values.get("is_role"))
        name = Name(user=decode(user), host=None if role else decode(host))
        if name.is_system or (role and decode(user).upper() == PUBLIC):
            continue
        lifetime = int(values.get("password_lifetime", -1))
        yield User(
            name=name,
            factors=[] if role else _mariadb_factors(values),
            require=_SSL[int(values.get("ssl_type", 0))],  # type: ignore[arg-type]
            cipher=values.get("ssl_cipher", ""),
            issuer=values.get("x509_issuer", ""),
            subject=values.get("x509_subject", ""),
            queries=int(values.get("max_questions", 0)),
            updates=int(values.get("max_updates", 0)),
            connections=int(values.get("max_connections", 0)),
            user_connections=int(values.get("max_user_connections", 0)),
            statement_seconds=float(values.get("max_statement_time", 0)),
            locked=bool(values.get("account_locked", False)),
            expired=values.get("password_last_changed") == 0,
            lifetime=None if lifetime < 0 else lifetime,
            history=None,
            reuse_days=None,
            require_current=None,
            failed_attempts=0,
            lock_days=0,
            attributes="",
        )


def _mariadb_factors(values: dict[str, Any]) -> list[Factor]:
    """Return the ways to authenticate; in a list of several an empty one is the place of the first."""
    entries = [entry or values for entry in values.get("auth_or", [values])]
    factors = [
        Factor(plugin=e["plugin"], secret=e.get("authentication_string", ""), left_out=False)
        for e in entries
        if e.get("plugin")
    ]
    plain = [f.plugin for f in factors] == ["mysql_native_password"] and not factors[0].secret
    return [] if plain else factors


def _mysql_users(session: Session) -> Iterator[User]:
    for row in session.rows(_MYSQL_USERS):
        values = [None if v is None else decode(v) for v in row]
        user, host, plugin, secret, tls, cipher, issuer, subject, *numbers = values
        queries, updates, connections, user_connections, locked, expired, lifetime = numbers[:7]
        history, reuse, current, text = numbers[7:]
        name = Name(user=user or "", host=host or "")
        if name.is_system:
            continue
        attributes = json.loads(text or "{}")
        if attributes.get("multi_factor_authentication"):
            raise SourceError(
                f"the account {name_sql(name)} authenticates by several factors, which no statement gives it again "
                "as they are; note it down, drop its further factors (ALTER USER ... DROP 2 FACTOR), and try again"
            )
        locking = attributes.get("Password_locking", {})
        metadata = attributes.get("metadata")
        yield User(
            name=name,
            factors=[Factor(plugin=plugin or "", secret=secret or "", left_out=False)],
            require=_MYSQL_SSL[tls or ""],  # type: ignore[arg-type]
            cipher=cipher or "",
            issuer=issuer or "",
            subject=subject or "",
            queries=int(queries or 0),
            updates=int(updates or 0),
            connections=int(connections or 0),
            user_connections=int(user_connections or 0),
            statement_seconds=0.0,
            locked=locked == "Y",
            expired=expired == "Y",
            lifetime=None if lifetime is None else int(lifetime),
            history=None if history is None else int(history),
            reuse_days=None if reuse is None else int(reuse),
            require_current=None if current is None else current == "Y",
            failed_attempts=int(locking.get("failed_login_attempts", 0)),
            lock_days=int(locking.get("password_lock_time_days", 0)),
            attributes="" if not metadata else json.dumps(metadata, sort_keys=True),
        )


def _default_roles(session: Session) -> Iterator[DefaultRole]:
    if not session.mariadb:
        sql = "SELECT USER, HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles"
        for user, host, role, role_host in session.rows(sql):
            member = Name(user=decode(user), host=decode(host))
            yield DefaultRole(member=member, role=Name(user=decode(role), host=decode(role_host)))
        return
    for user, host, text in session.rows("SELECT User, Host, Priv FROM mysql.global_priv"):
        if role := json.loads(decode(text)).get("default_role"):
            yield DefaultRole(member=Name(user=decode(user), host=decode(host)), role=Name(user=role, host=None))


# -- privileges ------------------------------------------------------------------------------------------------------


def grants_of(session: Session, name: Name) -> list[Grant] | None:
    """Return the privileges of an account, as the server says them; None of one that it does not know.

    Raises:
        SourceError: it says something that is not understood.
    """
    try:
        lines = [decode(row[0]) for row in session.rows(f"SHOW GRANTS FOR {name_sql(name)}")]
    except StatementError as error:
        if error.code == _NO_GRANT:  # PUBLIC, before anything was granted to it; or see ``ignored_accounts``
            return None
        raise
    grants = []
    for line in lines:
        grant = _Line(line).grant(name)
        if grant is not None and (grant.privileges or grant.grantable):
            grants.append(grant)
    return grants


class _Line:
    """One line of SHOW GRANTS: every name in it is quoted, so that its words are the server's."""

    def __init__(self, line: str) -> None:
        self._line = line
        encoded = line.encode("utf-8", "surrogateescape")
        self._tokens = [(k, t.decode("utf-8", "surrogateescape")) for k, t in tokens(encoded) if k != "space"]
        self._position = 0

    def grant(self, name: Name) -> Grant | None:
        """Return the privileges that it is about; None where it is about something else, or another account."""
        verb = self._word()
        if verb not in {"GRANT", "REVOKE"} or self._kind() == "quoted":
            return None  # SET DEFAULT ROLE, or a role that is granted
        privileges = self._privileges()
        if [p.name for p in privileges] == ["PROXY"]:
            return None
        type_words = []
        while self._kind() == "word":
            type_words.append(self._word())
        database, obj = self._target()
        preposition = self._word()
        member = self._name()
        rest = [text.upper() for _, text in self._tokens[self._position :]]
        grantable = any(pair == ("GRANT", "OPTION") for pair in itertools.pairwise(rest))
        kind = " ".join(type_words).replace("TABLE", "")
        known = not kind or kind.split()[0] in _TYPES
        if preposition not in {"TO", "FROM"} or not known:
            self._fail()
        if member != name:
            return None  # MariaDB also says what the roles of a role have
        privileges = [p for p in privileges if p.name != "USAGE"]
        return Grant(
            member=name,
            type=kind,  # type: ignore[arg-type]
            database=database,
            object=obj,
            privileges=sorted(privileges),
            grantable=grantable,
            revoked=verb == "REVOKE",
        )

    def _privileges(self) -> list[Privilege]:
        privileges = []
        while True:
            words = []
            while self._kind() == "word" and self._text().upper() != "ON":
                words.append(self._word())
            columns = []
            if self._text() == "(":
                self._position += 1
                while self._text() != ")":
                    columns.append(self._quoted())
                    if self._text() == ",":
                        self._position += 1
                self._position += 1
            if not words:
                self._fail()
            privileges.append(Privilege(name=" ".join(words), columns=sorted(columns)))
            separator = self._text().upper()
            self._position += 1
            if separator == "ON":
                return privileges
            if separator != ",":
                self._fail()

    def _target(self) -> tuple[str | None, str | None]:
        database = self._part()
        if self._text() != ".":
            self._fail()
        self._position += 1
        return database, self._part()

    def _part(self) -> str | None:
        if self._text() == "*":
            self._position += 1
            return None
        return self._quoted()

    def _name(self) -> Name:
        if self._kind() == "word":
            return Name(user=self._word(), host=None)
        user = self._quoted()
        if self._text() != "@":
            return Name(user=user, host=None)
        self._position += 1
        return Name(user=user, host=self._quoted())

    def _kind(self) -> str:
        return self._tokens[self._position][0] if self._position < len(self._tokens) else ""

    def _text(self) -> str:
        return self._tokens[self._position][1] if self._position < len(self._tokens) else ""

    def _word(self) -> str:
        if self._kind() != "word":
            self._fail()
        self._position += 1
        return self._tokens[self._position - 1][1].upper()

    def _quoted(self) -> str:
        if self._kind() != "quoted":
            self._fail()
        self._position += 1
        return self._tokens[self._position - 1][1][1:-1].replace("``", "`")

    def _fail(self) -> None:
        # Without what comes behind the account's name, which may be the hash of its password.
        shown = self._line.partition(" IDENTIFIED ")[0][:200]
        raise SourceError(f"the server says of a privilege what is not understood here: {shown!r}")
