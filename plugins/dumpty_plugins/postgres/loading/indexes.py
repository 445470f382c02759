"""Whether all indexes of a restored database can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.postgres.server.connection import rows

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

_INVALID = """
SELECT i.indexrelid::regclass::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND i.indexrelid >= 16384 AND (
    c.relkind <> 'I'
    OR (SELECT count(*) FROM pg_inherits h JOIN pg_index p ON p.indexrelid = h.inhrelid
        WHERE h.inhparent = i.indexrelid AND p.indisvalid)
     = (SELECT count(*) FROM pg_inherits h WHERE h.inhparent = i.indrelid))
ORDER BY 1"""
"""One of a partitioned table may lack those of some partitions, as in the original, or because they are foreign tables.

One that has them all and is invalid is nobody's wish: no dump makes such an index, and the server should not.
"""


def require_valid_indexes(connection: Connection) -> None:
    """Look for an index that the server does not use, though all that it consists of is there.

    Raises:
        IntegrityError: there is one.
    """
    if invalid := rows(connection, _INVALID):
        raise IntegrityError(
            f"the index {invalid[0][0]} is not valid in the restored database, though all that it consists of is "
            "there: restore again"
        )
