"""Which rows come in which part of a dump in parts: large tables in spans of their keys, small ones together.

Where a table is cut is a guess at where its rows are, from the statistics of the server; that its spans cover all of it
is none (see ``spans``). A table without a key that orders its rows is one part, however large.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.dumping.spans import Span, key_of_row
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dumpty_plugins.mysql.dumping.spans import Bound
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Row

    Ask = Callable[[str], list[Row]]

LARGE_BYTES = 8 << 20
"""Smaller tables share a part: each costs some milliseconds."""
RANGE_BYTES = (2 << 20, 4 << 30)
"""What a part is meant to have at least, and at most.

The least is little: where each connection is slow, eight jobs are eight times as fast only where each has several
parts, of a small database, too."""
_RANGES_PER_JOB = 4
"""So that all end at about the same time, though some have longer rows than others."""
_MOST_RANGES = 2000
"""A manifest tells of each: there are twice as many parts at most, whatever was asked for."""
_LOOKS_PER_RANGE, _MOST_LOOKS = 8, 256
"""How often ranges may be cut in two to find where they should end, and how much more often than there are to be."""
_TRADITIONAL_COLUMNS = 10
"""Of MariaDB's EXPLAIN, whose number of rows is the last but one. MySQL's has two more."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What one part holds: a span of a large table, or several small tables."""

    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """About how many bytes it has."""
        return sum(span.size for span in self.spans)


def plan_parts(ask: Ask, tables: Sequence[Table], *, jobs: int, part_size: int = 0, whole: bool = False) -> list[Piece]:
    """Return what is to come in which part, the largest first; every table but merged ones is in some.

    Args:
        ask: runs a query, outside the snapshot.
        tables: those of a database.
        jobs: how many parts are to be loaded or written at once.
        part_size: bytes that a table has at least to come in parts of its own, and that one of its ranges has; 0 for
            what suits.
        whole: no table is cut into ranges.
    """
    own = [t for t in tables if not t.merged]
    total = sum(t.data_bytes for t in own)
    range_bytes = part_size or min(max(total // (jobs * _RANGES_PER_JOB), RANGE_BYTES[0]), RANGE_BYTES[1])
    range_bytes = max(range_bytes, total // _MOST_RANGES, 1)
    large_bytes = max(part_size or LARGE_BYTES, total // _MOST_RANGES)
    pieces = _together([t for t in own if t.data_bytes < large_bytes], range_bytes)
    for table in own:
        if table.data_bytes >= large_bytes:
            count = 1 if whole or not table.key else round(table.data_bytes / range_bytes)
            pieces += [Piece(spans=(span,)) for span in _cut(ask, table, count)]
    require_each_row_once(own, pieces)
    return sorted(pieces, key=lambda piece: -piece.size)


def _together(tables: Sequence[Table], size: int) -> list[Piece]:
    """Return parts of about ``size`` bytes that hold ``tables``, each whole."""
    pieces: list[list[Span]] = []
    room = 0
    for table in tables:
        if not pieces or room < table.data_bytes:
            pieces.append([])
            room = size
        pieces[-1].append(Span(table=table, size=table.data_bytes))
        room -= table.data_bytes
    return [Piece(spans=tuple(spans)) for spans in pieces]


def require_each_row_once(tables: Sequence[Table], pieces: Sequence[Piece]) -> None:
    """Check that each of ``tables`` is in the pieces, from below every key to above every key, and nothing is twice.

    Raises:
        IntegrityError: it is not so.
    """
    spans: dict[str, list[Span]] = {table.name: [] for table in tables}
    for piece in pieces:
        for span in piece.spans:
            spans.setdefault(span.table.name, []).append(span)
    for name, found in spans.items():
        by_low: dict[Bound | None, Span] = {span.low: span for span in found}
        bound: Bound | None = None
        remaining = len(found)
        while remaining and (following := by_low.pop(bound, None)):
            bound, remaining = following.high, remaining - 1
        if not found or remaining or bound is not None:
            raise IntegrityError(f"the parts of table {name} are not all of it, each row once: take the backup again")


def _cut(ask: Ask, table: Table, count: int) -> list[Span]:
    """Return ``table`` in about ``count`` spans."""
    whole = Span(table=table, size=table.data_bytes)
    if count <= 1:
        return [whole]
    ends = _integer_ends(ask, whole, count) if table.key[0].integer else []
    bounds: list[Bound] = [(str(end),) for end in ends]
    if not table.key[0].integer or (len(table.key) > 1 and len(ends) < count // 2):
        ends, bounds = [], list(_ends(ask, whole, count))  # of one value of the first column there may be many rows
    spans = [
        Span(table=table, low=low, high=high, size=table.data_bytes // (len(bounds) + 1))
        for low, high in zip([None, *bounds], [*bounds, None], strict=True)
    ]
    if len(spans) == 1:
        return [whole]
    name = table.key[0].name
    labels = [f"{name} from {low + 1} to {high}" for low, high in itertools.pairwise(ends)]
    labels = [f"{name} to {ends[0]}", *labels, f"{name} from {ends[-1] + 1}"] if ends else []
    labels = labels or [
        f"range {number} of {len(spans)}" for number in range(1, len(spans) + 1)
    ]  # keys are nobody's business
    return [replace(span, label=label) for span, label in zip(spans, labels, strict=True)]


def _ends(ask: Ask, whole: Span, count: int) -> Iterator[Bound]:
    """Yield the key of every so many rows, which the server has to count."""
    rows = whole.table.data_bytes // max(whole.table.row_bytes, 1)
    bound: Bound | None = None
    for _ in range(count - 1):
        bound = key_of_row(ask, whole.table, replace(whole, low=bound).condition, max(rows // count, 1))
        if bound is None:
            return
        yield bound


def _integer_ends(ask: Ask, whole: Span, count: int) -> list[int]:
    """Return where the first column of the key may be cut: halves of halves, by what the server believes of them."""
    name, source = whole.key[0], f"{identifier(whole.table.name)} FORCE INDEX ({identifier(whole.table.index)})"
    lowest, highest = ask(f"SELECT MIN({name}), MAX({name}) FROM {source}")[0]
    if lowest is None or highest is None:
        return []

    def estimate(low: int, high: int) -> int:
        query = f"SELECT COUNT({name}) FROM {source} WHERE {name}>{low} AND {name}<={high}"
        try:
            row = ask(f"EXPLAIN FORMAT=TRADITIONAL {query}")[0]
        except StatementError as error:
            if error.lost:
                raise
            return high - low  # as if every key had its row
        return int(row[-2 if len(row) == _TRADITIONAL_COLUMNS else -3] or 0)

    low, high = int(lowest) - 1, int(highest)
    ranges = [(-estimate(low, high), low, high)]
    # Far more than are wanted: of much of a table the server believes that it is half of it, whatever it is.
    for _ in range(min(_LOOKS_PER_RANGE * count, count + _MOST_LOOKS)):
        size, low, high = ranges[0]
        if size >= -1 or high - low < 2:  # noqa: PLR2004 - one key cannot be cut
            break
        middle = (low + high) // 2
        heapq.heapreplace(ranges, (-estimate(low, middle), low, middle))
        heapq.heappush(ranges, (-estimate(middle, high), middle, high))
    wanted = sum(-size for size, _, _ in ranges) / count
    ends: list[int] = []
    rows = 0
    for size, low, _ in sorted(ranges, key=lambda found: found[1]):
        if rows and rows - size / 2 > wanted:
            ends.append(low)
            rows = 0
        rows -= size
    return ends
