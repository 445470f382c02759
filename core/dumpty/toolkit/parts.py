"""The parts of a stored dump, checked against how drivers whose restores have three sections write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError

if TYPE_CHECKING:
    from dumpty.types import Dump, DumpPart, Section

__all__ = ["parts_by_section"]


def parts_by_section(*, dump: Dump) -> tuple[DumpPart, tuple[DumpPart, ...], DumpPart]:
    """Return what comes before the rows of a dump in parts, the parts with rows, and what comes behind them.

    For drivers that write one part of the section ``pre-data``, one of ``post-data``, both without rows of any table,
    and parts of ``data`` that each say which tables they are of::

        first, rows, last = parts_by_section(dump=dump)

    Raises:
        IntegrityError: the dump is made of anything else: whoever altered its manifest could leave a part out.
    """
    by_section: dict[Section, list[DumpPart]] = {}
    for part in dump.parts:
        by_section.setdefault(part.section, []).append(part)
    first, last = by_section.pop("pre-data", []), by_section.pop("post-data", [])
    rows = by_section.pop("data", [])
    if len(first) != 1 or len(last) != 1 or by_section:
        others = sum(map(len, by_section.values()))
        raise IntegrityError(
            "a dump in parts has one with what comes before its rows, one with what comes behind them, and between "
            f"them parts with rows; this one has {len(first)}, {len(last)} and {others} others: is it forged?"
        )
    if first[0].tables or last[0].tables or not all(part.tables for part in rows):
        raise IntegrityError("a part of the dump does not say which rows it holds, or should hold none: is it forged?")
    return first[0], tuple(rows), last[0]
