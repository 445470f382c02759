r"""How a part of a dump holds rows: a script that psql loads, of one table, and of no statement but these.

::

    -- Rows of public.orders, pages 0 to 8191
    SET client_encoding = 'UTF8';
    SELECT pg_catalog.set_config('search_path', '', false);
    SET xmloption = content;
    SET row_security = off;
    COPY "public"."orders" ("id", "customer") FROM stdin;
    1    Ada
    \.

    -- End of the rows

The settings are those that pg_dump puts before rows, as far as these depend on any.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty.process import masks
from dumpty_plugins.postgres.dumping.script_reader import ROWS_END, Script
from dumpty_plugins.postgres.schema.tables import identifier, table_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty_plugins.postgres.dumping.script_reader import Statement

__all__ = ["END", "head", "rows_statements"]

_NAME = rb'"(?:[^"]|"")+"'
_SETTING = re.compile(
    rb"SET client_encoding = '\w+';|SELECT pg_catalog\.set_config\('search_path', '', false\);"
    rb"|SET xmloption = content;|SET row_security = off;"
)
_COPY = re.compile(rb"COPY %(name)s\.%(name)s \(%(name)s(?:, %(name)s)*\) FROM stdin;" % {b"name": _NAME})

END = b"\\.\n\n" + ROWS_END + b"\n"
"""What stands behind the rows."""


def head(label: str, encoding: str, table: str, columns: Sequence[str]) -> bytes:
    """Return what stands before the rows.

    Args:
        label: says which they are; for people.
        encoding: PostgreSQL's name of the encoding that they are in.
        table: as SQL, quoted.
        columns: their names, in the order in which they were copied.
    """
    names = ", ".join(map(identifier, columns))
    return (
        f"-- Rows of {' '.join(label.split())}\n"
        f"SET client_encoding = '{encoding}';\n"
        "SELECT pg_catalog.set_config('search_path', '', false);\n"
        "SET xmloption = content;\n"
        "SET row_security = off;\n"
        f"COPY {table} ({names}) FROM stdin;\n"
    ).encode("utf-8", "surrogateescape")


def rows_statements(read: Callable[[], bytes], path: str) -> Iterator[tuple[Statement, str, Iterator[bytes] | None]]:
    """Yield the statements of a part that holds rows of one table.

    With its COPY comes the path of the table, and the data, to be read to their end.

    Args:
        read: returns the next block of it, b"" at the end.
        path: the table's, as a manifest has it: with a mask, where a secret is in its name.

    Raises:
        IntegrityError: it holds anything else, rows of another table, or no end.
    """
    script, copied = Script(read), False
    for statement in script:
        if not statement.copy:
            if copied or not _SETTING.fullmatch(statement.text):
                raise IntegrityError(f"what should be rows of {path} holds other statements: is it forged?")
            yield statement, "", None
            continue
        found = table_path(statement.copy_table, script.encoding)
        if copied or not _COPY.fullmatch(statement.text) or not (found == path or masks(path, found)):
            raise IntegrityError(f"what should be rows of {path} is not that: is it forged?")
        copied = True
        yield statement, found, script.data()
    if not copied or not script.rows_ended:
        raise IntegrityError(f"the rows of {path} end without their end mark: they are cut off")
