"""What a drill lets a dump do: it is code of whoever owned the database, and a drill loads it with few rights.

The account that loads it may do everything with the drill's database and nothing with the server: no files, no plugins,
no settings. What a table says of directories outside of the database's own is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import NotProvable, Source
from dumpty_plugins.mysql.server.privileges import rights
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty_plugins.mysql.server.session import Session

NAME = "dumpty_drill"
"""What the name of every database of a drill begins with."""

INSIST = "-o superuser=on"

_FITTING = "SELECT, PROCESS"
_MARIADB = ("SET USER", "BINLOG REPLAY")
_MYSQL = ("SET_USER_ID", "SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER", "SESSION_VARIABLES_ADMIN")
"""Rights that change nothing on the server, and that code of absent definers, or a load, asks for; older servers lack
some."""

_POWER = re.compile(
    r"ALL( PRIVILEGES)?|SUPER|FILE|CREATE USER|SHUTDOWN|INSERT|UPDATE|DELETE|DROP|ALTER|CREATE TABLESPACE|SYSTEM_USER"
    r"|.*ADMIN|SET USER|SET_USER_ID|SET_ANY_DEFINER"
)
_WITH_NO_DIRECTORIES = "SET SESSION sql_mode=CONCAT(@@sql_mode, ',NO_DIR_IN_CREATE')"
_OUTSIDE = frozenset({b"CONNECT", b"SPIDER", b"FEDERATED", b"S3"})
_KINDS = frozenset({b"DATA", b"INDEX"})
_OWN_SPACES = frozenset({b"innodb_system", b"innodb_file_per_table", b"innodb_temporary"})


@dataclass(frozen=True, kw_only=True)
class DrillTarget(Source):
    """The target of a drill, which a restore loads without what reaches out of the database."""


def is_drill(target: Source) -> bool:
    """Return whether ``target`` is that of a drill."""
    return isinstance(target, DrillTarget)


def drill_target(source: Source) -> DrillTarget:
    """Return ``source`` as the target of a drill."""
    return DrillTarget(
        scheme=source.scheme,
        url=source.url,
        host=source.host,
        port=source.port,
        username=source.username,
        password=source.password,
        database=source.database,
        query=source.query,
        secrets=source.secrets,
    )


def ignore_directories(session: Session) -> None:
    """Let the server pass over DATA DIRECTORY and INDEX DIRECTORY of the tables that this session makes."""
    session.execute(_WITH_NO_DIRECTORIES)


def refuse_outside(name: str, words: Iterable[bytes], *, ignored: bool) -> None:
    """Refuse a table whose definition, given in ``words``, keeps its rows outside of the database.

    ``ignored``: the server passes over directories, as ``ignore_directories`` asks; MySQL wants the right FILE first.

    Raises:
        NotProvable: it does.
    """
    before: list[bytes] = [b"", b""]
    for word in words:
        last = before[1] if before[1] != b"=" else before[0]
        plain = word.strip(b'`"')
        if last.upper() == b"ENGINE" and plain.upper() in _OUTSIDE:
            what = f"the engine {plain.decode()}, which reaches out of the database"
        elif last.upper() == b"TABLESPACE" and word != b"=" and plain.lower() not in _OWN_SPACES:
            what = f"the tablespace {plain.decode('utf-8', 'replace')}, which is the server's"
        elif word.upper() == b"DIRECTORY" and before[1].upper() in _KINDS and not ignored:
            what = "a directory of its own, which is the machine's"
        else:
            before = [before[1], word]
            continue
        raise NotProvable(f"the table {name} is in {what}: a drill touches nothing but its own database")


def appoint(session: Session, admin: str, password: str) -> None:
    """Make, as root of a private server, the account that takes root's rights away: nobody may take all of his own."""
    session.execute(f"CREATE USER {literal(admin)}@localhost IDENTIFIED BY {literal(password)}")
    session.execute(f"GRANT ALL PRIVILEGES ON *.* TO {literal(admin)}@localhost WITH GRANT OPTION")


def reduce(session: Session, admin: str) -> None:
    """Leave root, as ``admin``, the databases of drills alone; views and routines of root's run with no more.

    Root's other addresses go, and ``admin`` as well.
    """
    for user, host in session.rows("SELECT User, Host FROM mysql.user WHERE User IN ('root', '')"):
        account = f"{literal((user or b'').decode())}@{literal((host or b'').decode())}"
        if (user, host) != (b"root", b"localhost"):
            session.execute(f"DROP USER {account}")
    root = "root@localhost"
    session.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {root}")
    session.execute(f"GRANT {_FITTING} ON *.* TO {root}")
    for right in _MARIADB if session.mariadb else _MYSQL:
        try:
            session.execute(f"GRANT {right} ON *.* TO {root}")
        except StatementError as error:
            if error.lost:
                raise
    pattern = NAME.replace("_", r"\_") + "%"
    session.execute(f"GRANT ALL PRIVILEGES ON {identifier(pattern)}.* TO {root}")
    session.execute(f"DROP USER {literal(admin)}@localhost")


def power(session: Session) -> str:
    """Return a right of the session's account on the whole server, with which a dump could do harm there, or ""."""
    return next((r for r in sorted(rights(session, NAME).everywhere) if _POWER.fullmatch(r)), "")
