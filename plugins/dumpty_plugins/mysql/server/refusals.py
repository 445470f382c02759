"""What is said where a server refuses a statement of a dump: what to do, and whether that speaks against the backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import DumptyError, NotProvable, SourceError
from dumpty_plugins.mysql.server.confinement import SUPERUSER_OPTION

if TYPE_CHECKING:
    from dumpty_plugins.mysql.server.session import StatementError

_KEYRING_ADVICE = "; the table is encrypted: configure a keyring there"
_ADVICE = {
    1286: "; load that engine there",
    1298: "; load the names of time zones there (mysql_tzinfo_to_sql, mariadb-tzinfo-to-sql)",
    1418: "; let it take such functions with SET GLOBAL log_bin_trust_function_creators=1 there",
    1419: "; SET GLOBAL log_bin_trust_function_creators=1 there, or restore as an account with the right SUPER",
    3185: _KEYRING_ADVICE,
    3750: "; SET GLOBAL sql_require_primary_key=0 there, or grant the account SESSION_VARIABLES_ADMIN",
    6125: "; SET GLOBAL restrict_fk_on_non_standard_key=0 there, or grant the account SESSION_VARIABLES_ADMIN",
}
"""Errors of a server that asks more than the one that the dump came from, or has less."""
_WRONG_OPTIONS = "errno: 140"
_DENIED = 1227
"""A right on the whole server is missing, as for what is defined by one of the server's own accounts."""


def refusal_error(
    message: str, error: StatementError, *, in_drill: bool, encrypted: bool = False, extra_advice: str = ""
) -> DumptyError:
    """Return the error to raise where a statement of a dump was refused.

    Args:
        message: what failed.
        error: what the server said.
        in_drill: whether it was in a drill, where what a server lacks is no fault of the backup.
        encrypted: whether the statement makes a table that is encrypted.
        extra_advice: more advice.
    """
    advice = _ADVICE.get(error.code, "")
    if encrypted and _WRONG_OPTIONS in str(error):  # as MariaDB says it
        advice = _KEYRING_ADVICE
    if in_drill and error.code == _DENIED:
        advice = f"; a drill is given no such right: {SUPERUSER_OPTION}"
    error_class = NotProvable if in_drill and advice else SourceError
    return error_class(f"{message}: {str(error).rstrip('.')}{advice}{extra_advice}")
