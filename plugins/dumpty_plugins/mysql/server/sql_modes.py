"""Sets what a dump asks of a session, above all the ``sql_mode`` of stored objects, on a server with other settings.

MySQL has dropped modes that MariaDB, whose default has one of them, still knows; each has modes that the other never
knew. One that means nothing where it is unknown is left out, and every other one refuses the stored object.
"""

from __future__ import annotations

import re

from dumpty_plugins.mysql.server.session import Session, StatementError

LOOSE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
"""The ``sql_mode`` of tables, and of rows with an ENUM: its error value 0 is refused by strict modes."""
STRICT = f"STRICT_ALL_TABLES,{LOOSE}"
"""The ``sql_mode`` of all other rows: nothing is cut or rounded without an error."""

_UNKNOWN = 1231
_UNKNOWN_VARIABLE = 1193
_NEEDLESS = re.compile(rb"SET (check_constraint_checks|system_versioning_insert_history)=\d")
"""Let MariaDB take rows that MySQL, which has no such setting, refuses with an error."""
_SET_MODE = re.compile(rb"SET sql_mode='([^'\\]*)'")
_MEANINGLESS_MODES = frozenset(
    # A GRANT makes no accounts where this is unknown.
    {"NO_AUTO_CREATE_USER"}
    # How definitions are shown; of the last four all that is more has a mode of its own beside them.
    | {"NO_FIELD_OPTIONS", "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS", "DB2", "MYSQL323", "MYSQL40", "POSTGRESQL"}
)


def is_needless_setting(text: bytes, error: StatementError) -> bool:
    """Return whether ``text`` is a setting that the server does not know and that nothing is lost without."""
    return error.code == _UNKNOWN_VARIABLE and _NEEDLESS.fullmatch(text) is not None


def set_mode(session: Session, text: bytes) -> tuple[list[str], list[str]]:
    """Execute ``text``, a SET of a dump, without modes that the server does not know and that mean nothing there.

    Returns:
        the modes that were left out, and those that may not be: then nothing was set.

    Raises:
        StatementError: the server refused it for another reason, or the connection was lost.
    """
    try:
        session.execute(text)
    except StatementError as error:
        if is_needless_setting(text, error):
            return [], []
        match = _SET_MODE.fullmatch(text)
        if error.code != _UNKNOWN or match is None:
            raise
        modes = match[1].decode("utf-8", "replace").split(",")
    else:
        return [], []
    unknown = [m for m in modes if not _knows_mode(session, m)]
    needed = [m for m in unknown if m.upper() not in _MEANINGLESS_MODES]
    if not needed:
        session.execute(f"SET sql_mode='{','.join(m for m in modes if m not in unknown)}'")
    return unknown, needed


def _knows_mode(session: Session, mode: str) -> bool:
    try:
        session.execute(f"SET sql_mode='{mode}'")
    except StatementError as error:
        if error.code != _UNKNOWN:
            raise
        return False
    return True
