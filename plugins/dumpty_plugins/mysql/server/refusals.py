"""What is said where a server refuses a statement of a dump: what to do, and whether that speaks against the backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import DumptyError, NotProvable, SourceError
from dumpty_plugins.mysql.server.confinement import INSIST

if TYPE_CHECKING:
    from dumpty_plugins.mysql.server.session import StatementError

_KEYS = "; the table is encrypted: configure a keyring there"
_ADVICE = {
    1286: "; load that engine there",
    1298: "; load the names of time zones there (mysql_tzinfo_to_sql, mariadb-tzinfo-to-sql)",
    1418: "; let it take such functions with SET GLOBAL log_bin_trust_function_creators=1 there",
    1419: "; SET GLOBAL log_bin_trust_function_creators=1 there, or restore as an account with the right SUPER",
    3185: _KEYS,
    3750: "; SET GLOBAL sql_require_primary_key=0 there, or grant the account SESSION_VARIABLES_ADMIN",
    6125: "; SET GLOBAL restrict_fk_on_non_standard_key=0 there, or grant the account SESSION_VARIABLES_ADMIN",
}
"""Errors of a server that asks more than the one that the dump came from, or has less."""
_WRONG_OPTIONS = "errno: 140"
_DENIED = 1227
"""A right on the whole server is missing, as for what is defined by one of the server's own accounts."""


def refused(
    message: str, error: StatementError, *, drilled: bool, encrypted: bool = False, more: str = ""
) -> DumptyError:
    """Return the error to raise where a statement of a dump was refused.

    Args:
        message: what failed.
        error: what the server said.
        drilled: whether it was in a drill, where what a server lacks is no fault of the backup.
        encrypted: whether the statement makes a table that is encrypted.
        more: more advice.
    """
    advice = _ADVICE.get(error.code, "")
    if encrypted and _WRONG_OPTIONS in str(error):  # as MariaDB says it
        advice = _KEYS
    if drilled and error.code == _DENIED:
        advice = f"; a drill is given no such right: {INSIST}"
    kind = NotProvable if drilled and advice else SourceError
    return kind(f"{message}: {str(error).rstrip('.')}{advice}{more}")
