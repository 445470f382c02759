"""Which databases a server has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.connection import SYSTEM_DATABASES, connect, with_stall_timeout
from dumpty_plugins.mysql.server.privileges import account, held_privileges
from dumpty_plugins.mysql.server.session import address, decode

if TYPE_CHECKING:
    from dumpty import Options, Source


def list_databases(source: Source, options: Options) -> list[Source]:
    """Return the databases of a server that the account sees, and warn where there may be others.

    Raises:
        SourceError: the server cannot be reached, or refuses the account.
    """
    session = connect(with_stall_timeout(source, options), None)
    try:
        names = [decode(name) for (name,) in session.rows("SHOW DATABASES")]
        if not held_privileges(session, "").has_global("SHOW DATABASES", "SELECT"):
            logging.getLogger("dumpty").warning(
                "on %s the account %s sees only the databases that it has privileges for, and others would be left "
                "out unnoticed: GRANT SHOW DATABASES ON *.* TO %s",
                address(source),
                account(session),
                account(session),
                extra={"event": "databases-hidden"},
            )
    finally:
        session.close()
    return [source.replace(database=name) for name in sorted(names) if name.lower() not in SYSTEM_DATABASES]
