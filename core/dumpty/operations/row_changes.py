"""Which rows of a table differ."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Changes", "RowDifference"]


class RowDifference(Struct, frozen=True, kw_only=True):
    r"""One row that a table has on one side alone, or otherwise on the other.

    ``kind``: it was ``removed`` (is on the first side alone), ``added`` (on the second) or ``changed``. ``key`` are the
    values of its key, long texts shortened, bytes as text (``\x00ff``); of a table without a key those of all columns.
    ``columns`` are those whose values changed. ``count`` is how many equal rows of a table without a key that stands
    for.
    """

    kind: str
    key: tuple[str | int | float | None, ...]
    columns: tuple[str, ...] = ()
    count: int = 1


class Changes(Struct, frozen=True, kw_only=True):
    """How many rows differ, by kind, and the first of them."""

    removed: int
    added: int
    changed: int
    rows: tuple[RowDifference, ...]
