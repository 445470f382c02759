"""What the account may see. The server hides what it may not: a dump that trusted the lists would lose it silently.

SHOW TRIGGERS is empty without TRIGGER, information_schema omits tables without SELECT and routines without any
right on them. So completeness is shown from SHOW GRANTS, database-wide or global, before the lists are believed.
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


_ON_ROUTINE = re.compile(
    r" ON (?P<kind>PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE) `(?P<database>(?:[^`]|``)*)`\.`(?P<name>(?:[^`]|``)*)` TO ",
)


@dataclass(frozen=True)
class Rights:
    """The names of rights, upper case: on every database, on this one as a whole, and on ``mysql.proc``."""

    everywhere: frozenset[str]
    here: frozenset[str]
    routines: frozenset[str]

    def has(self, right: str) -> bool:
        """Return whether ``right`` covers the whole database."""
        return bool({right, "ALL PRIVILEGES", "ALL"} & self.here)

    def has_global(self, *rights: str) -> bool:
        """Return whether one of ``rights`` is held on the server."""
        return bool({*rights, "ALL PRIVILEGES", "ALL"} & self.everywhere)

    @property
    def sees_routines(self) -> bool:
        """Whether every routine of the database is listed."""
        return (
            any(self.has(r) for r in ("EXECUTE", "ALTER ROUTINE", "CREATE ROUTINE", "SHOW CREATE ROUTINE"))
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


def understand(grants: list[str], database: str) -> Rights:
    """Return what the lines of SHOW GRANTS allow on ``database``."""
    everywhere: set[str] = set()
    here: set[str] = set()
    routines: set[str] = set()
    revoked: set[str] = set()
    for line in grants:
        match = _GRANT.match(line)
        if match is None:
            continue
        # A list of columns in parentheses is a right on columns only: not on the whole.
        rights = {r.strip().upper() for r in re.sub(r"\s*\([^)]*\)", "(columns)", match["rights"]).split(",")}
        where = match["where"]
        if where == "*.*":
            everywhere |= rights
            continue
        quoted, _, rest = where.partition("`.")
        name = quoted[1:].replace("``", "`")
        if match["verb"].upper() == "REVOKE":
            # A partial revoke of MySQL 8: an exception from the global rights.
            revoked |= rights if _covers(name, database) and rest == "*" else set()
        elif rest == "*":
            here |= rights if _covers(name, database) else set()
            routines |= rights if _covers(name, "mysql") else set()
        elif name == "mysql" and rest == "`proc`":
            routines |= rights
    here |= everywhere - revoked
    return Rights(frozenset(everywhere), frozenset(here), frozenset(routines | everywhere))


def rights(session: Session, database: str) -> Rights:
    """Ask the server what the session's account may do with ``database``, its enabled roles included."""
    grants = [decode(row[0]) for row in session.rows("SHOW GRANTS")]
    if session.mariadb:
        roles = session.rows("SELECT ROLE_NAME FROM information_schema.ENABLED_ROLES WHERE ROLE_NAME IS NOT NULL")
        for (role,) in roles:
            if decode(role).upper() not in {"NONE", "PUBLIC"}:
                grants += [decode(row[0]) for row in session.rows(f"SHOW GRANTS FOR {identifier(decode(role))}")]
    else:
        # MySQL leaves the rights of active roles out unless they are named.
        active = session.text("SELECT CURRENT_ROLE()")
        if active and active != "NONE":
            try:
                grants += [decode(r[0]) for r in session.rows(f"SHOW GRANTS FOR CURRENT_USER() USING {active}")]
            except StatementError:
                grants += []
    return understand(grants, database)


_DEFINER = frozenset({1227, 1449})
"""A privilege is missing: to name another definer, a mightier one, or one that does not exist."""


def definer_advice(session: Session, error: StatementError) -> str:
    """Return which privilege lets the account name other definers, "" where ``error`` is another one; ends in "; "."""
    if error.code not in _DEFINER:
        return ""
    who = account(session)
    if session.mariadb:
        return f"its definer is another account: GRANT SET USER ON *.* TO {who} (before MariaDB 10.5: SUPER); "
    return (
        f"its definer is another account: GRANT SET_ANY_DEFINER ON *.* TO {who} (before MySQL 8.2: SET_USER_ID), "
        "ALLOW_NONEXISTENT_DEFINER where it does not exist, SYSTEM_USER where it has that privilege; "
    )


@dataclass(frozen=True)
class RoutineGrant:
    """Rights on one routine: they end when it is dropped. ``kind`` is PROCEDURE, FUNCTION or PACKAGE [BODY]."""

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
        found = []
        for user, host in holders:
            # Not from that table: MariaDB garbles names beyond ASCII there. A role has no host.
            to = literal(decode(user)) + (f"@{literal(decode(host))}" if host else "")
            for (line,) in session.rows(f"SHOW GRANTS FOR {to}"):
                match = _ON_ROUTINE.search(decode(line))
                if match and match["database"].replace("``", "`") == database:
                    found.append(RoutineGrant(match["kind"], match["name"].replace("``", "`"), decode(line)))
    except StatementError:
        return [], False
    return found, True


def account(session: Session) -> str:
    """Return the session's account, as GRANT wants it."""
    user, _, host = session.text("SELECT CURRENT_USER()").rpartition("@")
    return f"{literal(user)}@{literal(host)}"


@dataclass(frozen=True)
class Lack:
    """A right that a backup needs and the account has not.

    ``grant`` is the statement that gives it, ``option`` what leaves out the objects that need it, "" where they cannot
    be left out.
    """

    right: str
    grant: str
    option: str = ""

    @property
    def text(self) -> str:
        """The right and its grant, and what does without them."""
        return f"{self.right}: {self.grant}{f' (or leave them out with {self.option})' if self.option else ''}"


_NEEDED = (("SELECT", "", ""), ("TRIGGER", "trigger", "triggers=off"), ("EVENT", "event", "events=off"))


def lacking(session: Session, database: str, *, skip: Collection[str] = ()) -> tuple[Lack, ...]:
    """Return what a backup of ``database`` needs and the session's account has not, ``skip`` (kinds) left out."""
    held = rights(session, database)
    who = account(session)
    found = [
        Lack(right, f"GRANT {right} ON {identifier(database)}.* TO {who}", option)
        for right, kind, option in _NEEDED
        if kind not in skip and not held.has(right)
    ]
    if "routine" not in skip and not held.sees_routines:
        where = "SELECT ON mysql.proc" if session.mariadb else "SHOW_ROUTINE ON *.*"
        found.append(Lack("the right to see routines", f"GRANT {where} TO {who}", "routines=off"))
    return tuple(found)
