"""Facts as SQL, made of nothing but quoted values and words of a grammar."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty import IntegrityError
from dumpty_plugins.mysql.accounts.facts import PUBLIC
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty_plugins.mysql.accounts.facts import (
        DefaultRole,
        Factor,
        Grant,
        Membership,
        Name,
        Privilege,
        Proxy,
        User,
    )

MODES = {"MariaDB": "NO_AUTO_CREATE_USER", "MySQL": ""}
"""The sql_mode in which statements are read: a grant makes no account, and backslashes escape."""

_ESCAPES = {"\\": "\\\\", "'": "''", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z"}
_HEX = re.compile(r"([0-9A-F]{2})+")


def name_sql(name: Name) -> str:
    """Return the name of an account as SQL."""
    if name.host is None:
        return PUBLIC if name.user == PUBLIC else identifier(name.user)
    return f"{identifier(name.user)}@{identifier(name.host)}"


def text_sql(text: str) -> str:
    """Return a string as SQL."""
    return "'" + "".join(_ESCAPES.get(c, c) for c in text) + "'"


def create(user: User, *, mariadb: bool) -> list[str]:
    """Return what creates a user or a role as it was.

    One whose password is not known is locked: without it, everybody could log in.
    """
    name = name_sql(user.name)
    if user.name.host is None:
        return [f"CREATE ROLE {name}"]
    locked = replace(user, locked=user.locked or user.left_out)
    parts = [f"CREATE USER {name}", *_identified(user.factors, mariadb=mariadb), *_options(locked, mariadb=mariadb)]
    if user.attributes:
        parts.append(f"ATTRIBUTE {text_sql(user.attributes)}")
    return [" ".join(parts), *expire(user)]


def alter(user: User, found: User, *, mariadb: bool) -> list[str]:
    """Return what makes a user of ``found`` what it was; how it authenticates is left where that is not known."""
    if user.name.host is None:
        return []
    name = name_sql(user.name)
    factors = _identified(user.factors, mariadb=mariadb)
    if not factors and mariadb:
        factors = ["IDENTIFIED VIA mysql_native_password USING ''"]
    parts = [
        f"ALTER USER {name}",
        *(() if user.left_out else factors),
        *_options(user, mariadb=mariadb, all_limits=True),
    ]
    if not mariadb and attributes(user) != attributes(found):
        # What is given is merged into what is there.
        changed = {**dict.fromkeys(attributes(found)), **attributes(user)}
        parts.append(f"ATTRIBUTE {text_sql(json.dumps(changed))}")
    return [" ".join(parts), *expire(user)]


def expire(user: User) -> list[str]:
    """Return what lets a password expire that had; not in one statement with how long it lasts."""
    return [f"ALTER USER {name_sql(user.name)} PASSWORD EXPIRE"] if user.expired else []


def attributes(user: User) -> dict[str, object]:
    """Return the attributes of an account, which say something to people and programs alone.

    Raises:
        IntegrityError: they are none.
    """
    try:
        value = json.loads(user.attributes or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise IntegrityError(f"the attributes of the account {name_sql(user.name)} are none")
    return value


def _identified(factors: Iterable[Factor], *, mariadb: bool) -> list[str]:
    texts = []
    for factor in factors:
        if mariadb:
            using = f" USING {text_sql(factor.secret)}" if factor.secret else ""
            texts.append(f"{factor.plugin}{using}")
        else:
            if factor.secret and not _HEX.fullmatch(factor.secret):
                raise IntegrityError("the accounts hold the hash of a password that is none")
            using = f" AS 0x{factor.secret}" if factor.secret else ""
            texts.append(f"IDENTIFIED WITH {text_sql(factor.plugin)}{using}")
    if mariadb:
        return [f"IDENTIFIED VIA {' OR '.join(texts)}"] if texts else []
    return [" AND ".join(texts)] if texts else []


def _options(user: User, *, mariadb: bool, all_limits: bool = False) -> list[str]:
    specified = {"CIPHER": user.cipher, "ISSUER": user.issuer, "SUBJECT": user.subject}
    given = " AND ".join(f"{word} {text_sql(text)}" for word, text in specified.items() if text)
    parts = [f"REQUIRE {given or 'NONE' if user.require == 'SPECIFIED' else user.require}"]
    limits: dict[str, float] = {
        "MAX_QUERIES_PER_HOUR": user.queries,
        "MAX_UPDATES_PER_HOUR": user.updates,
        "MAX_CONNECTIONS_PER_HOUR": user.connections,
        "MAX_USER_CONNECTIONS": user.user_connections,
        **({"MAX_STATEMENT_TIME": user.statement_seconds} if mariadb else {}),
    }
    shown = [f"{word} {number}" for word, number in limits.items() if number or all_limits]
    parts += ["WITH", *shown] if shown else []
    parts.append(f"PASSWORD EXPIRE {_lifetime(user)}")
    if not mariadb:
        parts.append(f"PASSWORD HISTORY {'DEFAULT' if user.history is None else user.history}")
        parts.append(f"PASSWORD REUSE INTERVAL {'DEFAULT' if user.reuse_days is None else f'{user.reuse_days} DAY'}")
        current = {None: " DEFAULT", True: "", False: " OPTIONAL"}[user.require_current]
        parts.append(f"PASSWORD REQUIRE CURRENT{current}")
        if user.failed_attempts or user.lock_days or all_limits:
            lock_time = "UNBOUNDED" if user.lock_days < 0 else user.lock_days
            parts.append(f"FAILED_LOGIN_ATTEMPTS {user.failed_attempts} PASSWORD_LOCK_TIME {lock_time}")
    parts.append("ACCOUNT LOCK" if user.locked else "ACCOUNT UNLOCK")
    return parts


def _lifetime(user: User) -> str:
    if user.lifetime is None:
        return "DEFAULT"
    return f"INTERVAL {user.lifetime} DAY" if user.lifetime else "NEVER"


def drop(name: Name) -> str:
    """Return what drops a user or a role."""
    return f"DROP {'ROLE' if name.host is None else 'USER'} {name_sql(name)}"


def grant_role(membership: Membership) -> str:
    """Return what gives an account a role."""
    option = " WITH ADMIN OPTION" if membership.admin else ""
    return f"GRANT {name_sql(membership.role)} TO {name_sql(membership.member)}{option}"


def revoke_role(role: Name, member: Name) -> str:
    """Return what takes a role from an account."""
    return f"REVOKE {name_sql(role)} FROM {name_sql(member)}"


def set_default_roles(member: Name, roles: Iterable[Name], *, mariadb: bool) -> str:
    """Return what makes roles, and no others, active when an account connects."""
    names = ", ".join(name_sql(role) for role in roles) or "NONE"
    return f"SET DEFAULT ROLE {names} {'FOR' if mariadb else 'TO'} {name_sql(member)}"


def by_member(default_roles: Iterable[DefaultRole]) -> dict[Name, list[Name]]:
    """Return the default roles of each account."""
    roles: dict[Name, list[Name]] = {}
    for default_role in default_roles:
        roles.setdefault(default_role.member, []).append(default_role.role)
    return roles


def target(grant: Grant) -> str:
    """Return what privileges are on, as SQL."""
    if grant.database is None:
        return "*.*"
    inside = "*" if grant.object is None else identifier(grant.object)
    return f"{grant.type}{' ' if grant.type else ''}{identifier(grant.database)}.{inside}"


def privilege_sql(privilege: Privilege) -> str:
    """Return a privilege as SQL."""
    columns = ", ".join(map(identifier, privilege.columns))
    return f"{privilege.name} ({columns})" if columns else privilege.name


def grant_privileges(grant: Grant) -> str:
    """Return what grants privileges, or excepts them from others."""
    privileges = ", ".join(map(privilege_sql, grant.privileges)) or "USAGE"
    if grant.revoked:
        return f"REVOKE {privileges} ON {target(grant)} FROM {name_sql(grant.member)}"
    option = " WITH GRANT OPTION" if grant.grantable else ""
    return f"GRANT {privileges} ON {target(grant)} TO {name_sql(grant.member)}{option}"


def revoke_privileges(grant: Grant) -> str:
    """Return what takes privileges back, or the exception from others."""
    if grant.revoked:
        privileges = ", ".join(map(privilege_sql, grant.privileges))
        return f"GRANT {privileges} ON {target(grant)} TO {name_sql(grant.member)}"
    names = [*map(privilege_sql, grant.privileges), *["GRANT OPTION"] * grant.grantable]
    return f"REVOKE {', '.join(names)} ON {target(grant)} FROM {name_sql(grant.member)}"


def grant_proxy(proxy: Proxy) -> str:
    """Return what lets an account act as another."""
    option = " WITH GRANT OPTION" if proxy.grantable else ""
    return f"GRANT PROXY ON {name_sql(proxy.proxied)} TO {name_sql(proxy.member)}{option}"


def revoke_proxy(proxy: Proxy) -> str:
    """Return what ends that."""
    return f"REVOKE PROXY ON {name_sql(proxy.proxied)} FROM {name_sql(proxy.member)}"
