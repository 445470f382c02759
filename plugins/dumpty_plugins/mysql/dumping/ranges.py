"""The fast path: a table cut into ranges of its key, each range written by the server and fetched as one value.

GROUP_CONCAT cuts its value short with a mere warning, and a row longer than ``max_allowed_packet`` becomes NULL and is
left out. Both are caught by the rows' end mark, a byte that no literal holds: the value must end with it, and hold it
once for each row that COUNT(*) counts in the same statement; where texts come as they are, the lengths before each row
must lead to its end, from row to row. A range that fails is split; a single row that fails is
written in the client. The ranges of a table cover every possible key, whatever the planner believed of it.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.dumping.row_by_row import dump_rows, single_row
from dumpty_plugins.mysql.dumping.spans import beyond, key_of_row, up_to
from dumpty_plugins.mysql.schema.columns import END, finish_rows, raw_columns, row_on_server
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty_plugins.mysql.dumping.script_writer import Script
    from dumpty_plugins.mysql.dumping.spans import Bound, Span
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Row, Session

_ROWS = 4000
_BYTES = 512 << 10
"""What a range is meant to be: at most this many rows, about this many bytes."""
_FIRST_ROWS = 500
"""The same until some were seen: of a table just filled the server may not know yet how long its rows are."""
_LONGEST_VALUE = 2 << 20
"""Where GROUP_CONCAT cuts: a bound on memory, for no value is meant to come near it."""
_SPARSE_SHARE = 0.25
_SPARSE_AFTER_KEYS = 32_000
_SPARSE_AFTER_RANGES = 100
"""When it may be said that few keys have rows; of long rows a range has few keys, and each takes a query."""


@dataclass
class _KeyDensity:
    """What a table's ranges brought: how well arithmetic on an integer key meets its rows, and how long those are."""

    row_bytes: int
    ranges: int = 0
    keys: int = 0
    rows: int = 0
    bytes: int = 0
    steps: deque[int] = field(default_factory=deque)
    """The keys of the ranges that are still being read, of which nobody knows how many have rows."""

    def begin_range(self, keys: int) -> None:
        """Note that a range of so many keys is being read."""
        self.steps.append(keys)

    def end_range(self) -> None:
        """Note that the range that was begun first was read."""
        if self.steps:
            self.ranges += 1
            self.keys += self.steps.popleft()

    @property
    def step(self) -> int:
        """How many rows the next range is meant to have."""
        if not self.rows:
            return max(1, min(_FIRST_ROWS, _BYTES // max(self.row_bytes, 1)))
        return max(1, min(_ROWS, _BYTES // max(self.row_bytes, self.bytes // self.rows, 1)))

    @property
    def sparse(self) -> bool:
        enough = self.keys > _SPARSE_AFTER_KEYS or self.ranges > _SPARSE_AFTER_RANGES
        return enough and self.rows < self.keys * _SPARSE_SHARE


Block = tuple[int, bytes]
"""How many rows, and how they stand in a dump."""


class RangeReader:
    """Writes tables over several sessions of one snapshot, in the order of their keys; several at once, if asked to.

    Args:
        sessions: each inside a transaction of the same snapshot.
        planner: a session outside it, to ask where ranges may end.
        writers: how many threads call ``dump_rows`` at once.
    """

    def __init__(self, sessions: Sequence[Session], planner: Session, *, writers: int = 1) -> None:
        self._planner = planner
        self._planning = threading.Lock()
        self.writers = writers
        self._ahead = 2 * -(-len(sessions) // writers) + 1
        self._sessions = sessions
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in sessions:
            session.execute(f"SET SESSION group_concat_max_len={_LONGEST_VALUE}")
            session.return_bytes()
            self._free.put(session)
        self._pool = ThreadPoolExecutor(len(sessions), thread_name_prefix="dumpty-mysql")

    def close(self) -> None:
        """End the threads. Harmless twice."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def stop(self) -> None:
        """End the threads whatever they wait for: their sessions are lost."""
        self.abandon()
        self.close()

    def abandon(self) -> None:
        """Let whoever waits for a session fail. Harmless twice, and in any thread."""
        for session in self._sessions:
            session.abandon()

    def dump_rows(self, span: Span, script: Script) -> int:
        """Write every row of ``span`` into ``script`` and return how many there are.

        Raises:
            SourceError: a connection was lost, or the server gave up midway.
            IntegrityError: rows that the server counts could not be had.
        """
        table = span.table
        if not table.key:
            with self.session() as session:
                return dump_rows(session, span, script)
        total = 0
        density = _KeyDensity(table.row_bytes)
        pending: deque[Future[tuple[list[Block], list[str]]]] = deque()
        plan = self._plan(span, density)
        try:
            while True:
                while len(pending) < self._ahead and (condition := next(plan, None)) is not None:
                    pending.append(self._pool.submit(self._read, table, [condition]))
                if not pending:
                    return total
                blocks, rest = pending.popleft().result()
                if rest:
                    pending.appendleft(self._pool.submit(self._read, table, rest))
                else:
                    density.end_range()
                for count, block in blocks:
                    density.rows += count
                    density.bytes += len(block)
                    total += count
                    script.rows(block, count)
        finally:
            for future in pending:
                future.cancel()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Lend one of the sessions, as soon as one is free."""
        session = self._free.get()
        try:
            yield session
        finally:
            self._free.put(session)

    def _plan(self, span: Span, density: _KeyDensity) -> Iterator[str]:
        """Yield conditions that together cover every key of ``span`` once."""
        low = span.low
        for high in self._bounds(span, density):
            yield replace(span, low=low, high=high).condition
            low = high
        yield replace(span, low=low).condition or "TRUE"

    def _ask(self, query: str) -> list[Row]:
        with self._planning:
            return self._planner.rows(query)

    def _bounds(self, span: Span, density: _KeyDensity) -> Iterator[Bound]:
        previous = span.low
        if len(span.table.key) == 1 and span.table.key[0].integer:
            name, source = span.key[0], identifier(span.table.name)
            where = f" WHERE {span.condition}" if span.condition else ""
            lowest, highest = self._ask(f"SELECT MIN({name}), MAX({name}) FROM {source}{where}")[0]
            if lowest is None or highest is None:
                return
            bound, top = int(lowest) - 1, int(highest)
            # Whole numbers: a range of n keys holds n rows at most, so these ranges may be empty, but never too big.
            while bound + (step := density.step) < top and not density.sparse:
                density.begin_range(step)
                bound += step
                previous = (str(bound),)
                yield previous
            if not density.sparse:
                return
        yield from self._bounds_from_server(span, density, previous)

    def _bounds_from_server(self, span: Span, density: _KeyDensity, previous: Bound | None) -> Iterator[Bound]:
        """Yield the key of every ``rows``-th row of ``span`` after ``previous``, as the server finds them."""
        while True:
            bound = key_of_row(self._ask, span.table, replace(span, low=previous).condition, density.step)
            if bound is None:
                return
            previous = bound
            yield previous

    def _read(self, table: Table, conditions: list[str]) -> tuple[list[Block], list[str]]:
        """Return what was read of ranges, and what is still to be read: no more is held than one value may be long."""
        blocks: list[Block] = []
        size = 0
        with self.session() as session:
            for count, block in read_ranges(session, table, conditions):
                blocks.append((count, block))
                size += len(block)
                if size >= _LONGEST_VALUE:
                    break
        return blocks, conditions


def read_ranges(session: Session, table: Table, conditions: list[str]) -> Iterator[Block]:
    """Yield ``(rows, block)`` for the ranges that ``conditions`` name, from the last to the first, and take these away.

    A range is split as often as it takes; what is left of ``conditions`` is what was not yielded.

    Raises:
        IntegrityError: the server counts rows that it does not deliver even one by one.
    """
    while conditions:
        condition = conditions.pop()
        block = _read_whole(session, table, condition)
        if isinstance(block, tuple):
            yield block
        else:
            conditions += reversed(block)


def _read_whole(session: Session, table: Table, condition: str) -> Block | list[str]:
    """Return a range, or the conditions of its two halves where the server does not give all of it at once."""
    source = f"{identifier(table.name)} FORCE INDEX ({identifier(table.index)})"
    raw = raw_columns(table.columns, table.row_bytes)
    row = row_on_server(table.columns, session.packet, raw)
    counted, block = session.rows(f"SELECT COUNT(*), GROUP_CONCAT({row} SEPARATOR '') FROM {source} WHERE {condition}")[
        0
    ]
    count, block = int(counted or 0), block or b""
    if raw:
        finished = finish_rows(block, len(raw))
        if finished is not None and finished[0] == count:
            return finished
    elif block.count(END) == count and (not count or block.endswith(END)):
        return count, block
    if count == 1:
        return 1, single_row(session, table, condition)
    key = [identifier(c.name) for c in table.key]
    middle = key_of_row(session.rows, table, condition, count // 2)
    if not count or middle is None:
        raise IntegrityError(
            f"table {table.name}: the server delivers rows in a range where it counts {count}: the dump is discarded; "
            "check the table (CHECK TABLE) and the server's log"
        )
    return [f"{condition} AND {up_to(key, middle)}", f"{condition} AND {beyond(key, middle)}"]
