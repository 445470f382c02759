"""What a drill lets a dump do: it holds code of whoever owned the database, and a drill loads it with few privileges.

The account that loads it may do everything with the drill's database and nothing with the server: no files, no plugins,
no settings. What a table says of directories outside of the database's own is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import NotProvable, Source
from dumpty_plugins.mysql.server.privileges import held_privileges
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty_plugins.mysql.server.session import Session

DRILL_PREFIX = "dumpty_drill"
"""What the name of every database of a drill begins with."""

SUPERUSER_OPTION = "-o superuser=on"

_DRILL_PRIVILEGES = "SELECT, PROCESS"
_MARIADB_PRIVILEGES = ("SET USER", "BINLOG REPLAY")
_MYSQL_PRIVILEGES = ("SET_USER_ID", "SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER", "SESSION_VARIABLES_ADMIN")
"""Privileges that change nothing on the server, and that stored objects of absent definers, or a load, need; older
servers lack some."""

_HARMFUL_PRIVILEGE = re.compile(
    r"ALL( PRIVILEGES)?|SUPER|FILE|CREATE USER|SHUTDOWN|INSERT|UPDATE|DELETE|DROP|ALTER|CREATE TABLESPACE|SYSTEM_USER"
    r"|.*ADMIN|SET USER|SET_USER_ID|SET_ANY_DEFINER"
)
_WITH_NO_DIRECTORIES = "SET SESSION sql_mode=CONCAT(@@sql_mode, ',NO_DIR_IN_CREATE')"
_REMOTE_ENGINES = frozenset({b"CONNECT", b"SPIDER", b"FEDERATED", b"S3"})
_DIRECTORY_KINDS = frozenset({b"DATA", b"INDEX"})
_INNODB_TABLESPACES = frozenset({b"innodb_system", b"innodb_file_per_table", b"innodb_temporary"})


class DrillTarget(Source, frozen=True, kw_only=True):
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

    ``ignored``: the server passes over directories, as ``ignore_directories`` asks; MySQL wants FILE for that.

    Raises:
        NotProvable: it does.
    """
    previous_words: list[bytes] = [b"", b""]
    for word in words:
        keyword = previous_words[1] if previous_words[1] != b"=" else previous_words[0]
        value = word.strip(b'`"')
        if keyword.upper() == b"ENGINE" and value.upper() in _REMOTE_ENGINES:
            location = f"the engine {value.decode()}, which reaches out of the database"
        elif keyword.upper() == b"TABLESPACE" and word != b"=" and value.lower() not in _INNODB_TABLESPACES:
            location = f"the tablespace {value.decode('utf-8', 'replace')}, which is the server's"
        elif word.upper() == b"DIRECTORY" and previous_words[1].upper() in _DIRECTORY_KINDS and not ignored:
            location = "a directory of its own, which is the machine's"
        else:
            previous_words = [previous_words[1], word]
            continue
        raise NotProvable(f"the table {name} is in {location}: a drill touches nothing but its own database")


def create_admin(session: Session, admin: str, password: str) -> None:
    """Make, as root of a private server, the account that takes root's privileges away: none can take all its own."""
    session.execute(f"CREATE USER {literal(admin)}@localhost IDENTIFIED BY {literal(password)}")
    session.execute(f"GRANT ALL PRIVILEGES ON *.* TO {literal(admin)}@localhost WITH GRANT OPTION")


def confine_root(session: Session, admin: str) -> None:
    """Leave root, as ``admin``, the databases of drills alone; views and routines of root's run with no more.

    Root's other addresses go, and ``admin`` as well.
    """
    for user, host in session.rows("SELECT User, Host FROM mysql.user WHERE User IN ('root', '')"):
        account = f"{literal((user or b'').decode())}@{literal((host or b'').decode())}"
        if (user, host) != (b"root", b"localhost"):
            session.execute(f"DROP USER {account}")
    root = "root@localhost"
    session.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {root}")
    session.execute(f"GRANT {_DRILL_PRIVILEGES} ON *.* TO {root}")
    for privilege in _MARIADB_PRIVILEGES if session.mariadb else _MYSQL_PRIVILEGES:
        try:
            session.execute(f"GRANT {privilege} ON *.* TO {root}")
        except StatementError as error:
            if error.lost:
                raise
    pattern = DRILL_PREFIX.replace("_", r"\_") + "%"
    session.execute(f"GRANT ALL PRIVILEGES ON {identifier(pattern)}.* TO {root}")
    session.execute(f"DROP USER {literal(admin)}@localhost")


def harmful_privilege(session: Session) -> str:
    """Return a privilege of the session's account on the whole server, with which a dump could do harm there, or ""."""
    return next(
        (
            privilege
            for privilege in sorted(held_privileges(session, DRILL_PREFIX).on_server)
            if _HARMFUL_PRIVILEGE.fullmatch(privilege)
        ),
        "",
    )
