"""Definitions that the server keeps and would not take again: found when a backup is taken, and named."""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import SourceError
from dumpty_plugins.mysql.schema.indexes import create_parts
from dumpty_plugins.mysql.server.sql import literal, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

_NAME = rb"`(?:[^`]|``)*`"
_LINK = re.compile(
    rb"CONSTRAINT (" + _NAME + rb") FOREIGN KEY \([^)]*\) REFERENCES (" + _NAME + rb") \((.*?)\)(?: ON |\Z)", re.DOTALL
)
_KEY = re.compile(rb"(?:UNIQUE |PRIMARY |)KEY (?:" + _NAME + rb" )?\((.*)\)", re.DOTALL)
_COLUMNS = re.compile(_NAME + rb"(?:\(\d+\))?(?: DESC)?")
_SEQUENCES = frozenset({b"NEXTVAL", b"LASTVAL", b"SETVAL"})


def check_definition(session: Session, database: str, table: Table) -> None:
    """See that a server would take the definition of ``table`` again.

    Raises:
        SourceError: it stands on a sequence that is gone, or on an index that was dropped under a foreign key.
    """
    if b"val(" in table.create:
        _check_sequences(session, database, table)
    quoted = b"`" + table.name.encode("utf-8", "surrogateescape").replace(b"`", b"``") + b"`"
    if b" REFERENCES " + quoted in table.create:
        _check_links(table, quoted)


def _check_sequences(session: Session, database: str, table: Table) -> None:
    significant = [text for kind, text in tokens(table.create) if kind not in {"space", "comment"}]
    for position, text in enumerate(significant):
        if text.upper() not in _SEQUENCES or significant[position + 1 : position + 2] != [b"("]:
            continue
        names = [_unquoted(t) for t in significant[position + 2 : position + 5 : 2]]
        if significant[position + 3 : position + 4] != [b"."]:
            names = [database, names[0]]
        # What stands elsewhere may be hidden from the account.
        if names[0].casefold() == database.casefold() and not session.rows(
            f"SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA={literal(names[0])} "
            f"AND TABLE_NAME={literal(names[1])}"
        ):
            raise SourceError(
                f"table {table.name} has a default from the sequence {'.'.join(names)}, which is gone: no server makes "
                "such a table again; create the sequence, or drop that default (ALTER TABLE … ALTER … DROP DEFAULT)"
            )


def _check_links(table: Table, quoted: bytes) -> None:
    """A table that refers to itself needs the index at once; where another one does, it may come later."""
    parts, _ = create_parts(table.create)
    keys = [_COLUMNS.findall(match[1]) for part in parts if (match := _KEY.match(part))]
    primary = next((_COLUMNS.findall(m[1]) for p in parts if p.startswith(b"PRIMARY ") and (m := _KEY.match(p))), [])
    for part in parts:
        link = _LINK.match(part)
        if link and link[2] == quoted:
            referenced_columns = _COLUMNS.findall(link[3])
            if not any(_starts_with([*key, *primary], referenced_columns) for key in keys):
                raise SourceError(
                    f"foreign key {_unquoted(link[1])} of table {table.name} refers to columns of the same table that "
                    "no index begins with, and no server makes such a table again: create the index, or drop the key"
                )


def _starts_with(key: Sequence[bytes], columns: Sequence[bytes]) -> bool:
    return [k.removesuffix(b" DESC") for k in key[: len(columns)]] == list(columns)


def _unquoted(quoted: bytes) -> str:
    return quoted.strip(b"`").replace(b"``", b"`").decode("utf-8", "surrogateescape")
