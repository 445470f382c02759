"""What the account may see. The server hides what it may not: a dump that trusted the lists would lose it silently.

SHOW TRIGGERS is empty without TRIGGER, information_schema omits tables without SELECT and routines without any
privilege on them. So completeness is shown from SHOW GRANTS, database-wide or global, before the lists are believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.session import StatementError, decode
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty_plugins.mysql.server.session import Session

_GRANT = re.compile(
    r"(?P<verb>GRANT|REVOKE) (?P<rights>.+?) ON (?:TABLE )?"
    r"(?P<where>\*\.\*|`(?:[^`]|``)*`\.(?:\*|`(?:[^`]|``)*`)) (?:TO|FROM) ",
    re.IGNORECASE,
)


_ROUTINE_GRANT = re.compile(
    r" ON (?P<kind>PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE) `(?P<database>(?:[^`]|``)*)`\.`(?P<name>(?:[^`]|``)*)` TO ",
)


@dataclass(frozen=True)
class Privileges:
    """The names of privileges, upper case: on every database, on this one as a whole, and on ``mysql.proc``."""

    on_server: frozenset[str]
    on_database: frozenset[str]
    routines: frozenset[str]

    def has(self, privilege: str) -> bool:
        """Return whether ``privilege`` covers the whole database."""
        return bool({privilege, "ALL PRIVILEGES", "ALL"} & self.on_database)

    def has_global(self, *names: str) -> bool:
        """Return whether one of ``names`` is held on the server."""
        return bool({*names, "ALL PRIVILEGES", "ALL"} & self.on_server)

    @property
    def sees_routines(self) -> bool:
        """Whether every routine of the database is listed."""
        return (
            any(self.has(name) for name in ("EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE", "SHOW CREATE ROUTINE"))
            or self.has_global("SELECT", "SHOW_ROUTINE")
            or bool({"SELECT", "ALL PRIVILEGES"} & self.routines)
        )


def _covers(pattern: str, database: str) -> bool:
    """Return whether the database part of a grant, a LIKE pattern, covers ``database``."""
    expression = ""
    escaped = False
    for character in pattern:
        if escaped or character not in "\\%_":
            expression += re.escape(character)
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            expression += ".*" if character == "%" else "."
    return re.fullmatch(expression, database, re.DOTALL | re.IGNORECASE) is not None


def parse_grants(grants: list[str], database: str) -> Privileges:
    """Return what the lines of SHOW GRANTS allow on ``database``."""
    on_server: set[str] = set()
    on_database: set[str] = set()
    routines: set[str] = set()
    revoked: set[str] = set()
    for line in grants:
        match = _GRANT.match(line)
        if match is None:
            continue
        # A list of columns in parentheses is a privilege on columns only: not on the whole.
        names = {name.strip().upper() for name in re.sub(r"\s*\([^)]*\)", "(columns)", match["rights"]).split(",")}
        scope = match["where"]
        if scope == "*.*":
            on_server |= names
            continue
        quoted, _, rest = scope.partition("`.")
        name = quoted[1:].replace("``", "`")
        if match["verb"].upper() == "REVOKE":
            # A partial revoke of MySQL 8: an exception from the global privileges.
            revoked |= names if _covers(name, database) and rest == "*" else set()
        elif rest == "*":
            on_database |= names if _covers(name, database) else set()
            routines |= names if _covers(name, "mysql") else set()
        elif name == "mysql" and rest == "`proc`":
            routines |= names
    on_database |= on_server - revoked
    return Privileges(frozenset(on_server), frozenset(on_database), frozenset(routines | on_server))


def held_privileges(session: Session, database: str) -> Privileges:
    """Ask the server what the session's account may do with ``database``, its enabled roles included."""
    grants = [decode(row[0]) for row in session.rows("SHOW GRANTS")]
    if session.mariadb:
        roles = session.rows("SELECT ROLE_NAME FROM information_schema.ENABLED_ROLES WHERE ROLE_NAME IS NOT NULL")
        for (role,) in roles:
            if decode(role).upper() not in {"NONE", "PUBLIC"}:
                grants += [decode(row[0]) for row in session.rows(f"SHOW GRANTS FOR {identifier(decode(role))}")]
    else:
        # MySQL leaves the privileges of active roles out unless they are named.
        active = session.text("SELECT CURRENT_ROLE()")
        if active and active != "NONE":
            try:
                grants += [decode(r[0]) for r in session.rows(f"SHOW GRANTS FOR CURRENT_USER() USING {active}")]
            except StatementError:
                grants += []
    return parse_grants(grants, database)


_DEFINER = frozenset({1227, 1449})
"""A privilege is missing: to name another definer, a mightier one, or one that does not exist."""


def definer_advice(session: Session, error: StatementError) -> str:
    """Return which privilege lets the account name other definers, "" where ``error`` is another one; ends in "; "."""
    if error.code not in _DEFINER:
        return ""
    account_name = account(session)
    if session.mariadb:
        return f"its definer is another account: GRANT SET USER ON *.* TO {account_name} (before MariaDB 10.5: SUPER); "
    return (
        f"its definer is another account: GRANT SET_ANY_DEFINER ON *.* TO {account_name} (before MySQL 8.2: "
        "SET_USER_ID), ALLOW_NONEXISTENT_DEFINER where it does not exist, SYSTEM_USER where it has that privilege; "
    )


@dataclass(frozen=True)
class RoutineGrant:
    """Privileges on one routine: they end when it is dropped. ``kind`` is PROCEDURE, FUNCTION or PACKAGE [BODY]."""

    kind: str
    routine: str
    statement: str

    @property
    def statements(self) -> tuple[str, ...]:
        """The statements that give them again."""
        if self.kind.startswith("PACKAGE"):  # a word that only this mode knows
            return "SET sql_mode=ORACLE", self.statement, "SET sql_mode=''"
        return (self.statement,)


def routine_grants(session: Session, database: str) -> tuple[list[RoutineGrant], bool]:
    """Return the grants on single routines of ``database``, and whether the account may know them."""
    try:
        holders = session.rows("SELECT DISTINCT User, Host FROM mysql.procs_priv ORDER BY 1, 2")
        grants = []
        for user, host in holders:
            # Not from that table: MariaDB garbles names beyond ASCII there. A role has no host.
            holder = literal(decode(user)) + (f"@{literal(decode(host))}" if host else "")
            for (line,) in session.rows(f"SHOW GRANTS FOR {holder}"):
                match = _ROUTINE_GRANT.search(decode(line))
                if match and match["database"].replace("``", "`") == database:
                    grants.append(RoutineGrant(match["kind"], match["name"].replace("``", "`"), decode(line)))
    except StatementError:
        return [], False
    return grants, True


def account(session: Session) -> str:
    """Return the session's account, as GRANT wants it."""
    user, _, host = session.text("SELECT CURRENT_USER()").rpartition("@")
    return f"{literal(user)}@{literal(host)}"


@dataclass(frozen=True)
class MissingPrivilege:
    """A privilege that a backup needs and the account has not.

    ``grant`` is the statement that gives it, ``option`` what leaves out the objects that need it, "" where they cannot
    be left out.
    """

    privilege: str
    grant: str
    option: str = ""

    @property
    def text(self) -> str:
        """The privilege and its grant, and what does without them."""
        return f"{self.privilege}: {self.grant}{f' (or leave them out with {self.option})' if self.option else ''}"


_NEEDED = (("SELECT", "", ""), ("TRIGGER", "trigger", "triggers=off"), ("EVENT", "event", "events=off"))


def missing_privileges(session: Session, database: str, *, skip: Collection[str] = ()) -> tuple[MissingPrivilege, ...]:
    """Return what a backup of ``database`` needs and the session's account has not, ``skip`` (kinds) left out."""
    held = held_privileges(session, database)
    account_name = account(session)
    missing = [
        MissingPrivilege(privilege, f"GRANT {privilege} ON {identifier(database)}.* TO {account_name}", option)
        for privilege, kind, option in _NEEDED
        if kind not in skip and not held.has(privilege)
    ]
    if "routine" not in skip and not held.sees_routines:
        source = "SELECT ON mysql.proc" if session.mariadb else "SHOW_ROUTINE ON *.*"
        missing.append(
            MissingPrivilege("the right to see routines", f"GRANT {source} TO {account_name}", "routines=off")
        )
    return tuple(missing)
