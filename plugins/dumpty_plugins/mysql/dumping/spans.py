"""Spans of a table: its rows from one key to another, and the SQL that says so.

Keys never hold NULL, and a span is closed where the next one is open: spans that follow each other cover every key that
there may be, once, whatever anybody believed of the rows when they were cut.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Row

Bound = tuple[str, ...]
"""Literals of the first columns of a key."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Rows of ``table``: those whose key comes after ``low``, up to and with ``high``; None is no end.

    ``label`` says which, for people; "" for the whole table. ``size`` is about how many bytes they are.
    """

    table: Table
    low: Bound | None = None
    high: Bound | None = None
    label: str = ""
    size: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the key, quoted."""
        return tuple(identifier(c.name) for c in self.table.key)

    @property
    def condition(self) -> str:
        """SQL for: a row belongs to it; "" where every row does."""
        return " AND ".join(
            [beyond(self.key, self.low)] * (self.low is not None)
            + [up_to(self.key, self.high)] * (self.high is not None)
        )


def beyond(key: Sequence[str], bound: Bound | None) -> str:
    """Return SQL for: the first columns of ``key``, in this order, come after ``bound``."""
    return _compared(key, bound or (), ">", ">")


def up_to(key: Sequence[str], bound: Bound | None) -> str:
    """Return SQL for: the first columns of ``key`` come before ``bound``, or are it."""
    return _compared(key, bound or (), "<", "<=")


def key_of_row(ask: Callable[[str], list[Row]], table: Table, condition: str, number: int) -> Bound | None:
    """Return the key of the ``number``-th row, from 1, for which ``condition`` is true; None where there is none.

    Args:
        ask: runs a query.
        table: it has a key.
        condition: SQL, "" for every row.
        number: which row, in the order of the key.
    """
    source = f"{identifier(table.name)} FORCE INDEX ({identifier(table.index)})"
    columns, order = ",".join(c.boundary for c in table.key), ",".join(identifier(c.name) for c in table.key)
    where = f" WHERE {condition}" if condition else ""
    rows = ask(f"SELECT {columns} FROM {source}{where} ORDER BY {order} LIMIT {number - 1},1")
    return tuple((v or b"NULL").decode() for v in rows[0]) if rows else None


def _compared(key: Sequence[str], bound: Bound, comparison: str, last_comparison: str) -> str:
    alternatives = []
    for i, (column, value) in enumerate(zip(key, bound, strict=False)):
        equal = [f"{c}={v}" for c, v in zip(key[:i], bound[:i], strict=True)]
        operator = last_comparison if i == len(bound) - 1 else comparison
        alternatives.append("(" + " AND ".join([*equal, f"{column}{operator}{value}"]) + ")")
    return "(" + " OR ".join(alternatives) + ")"
