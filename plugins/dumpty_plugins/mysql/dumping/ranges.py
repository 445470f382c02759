"""The fast path: a table cut into ranges of its key, each range written by the server and fetched as one value.

GROUP_CONCAT cuts its value short with a mere warning, and a row longer than ``max_allowed_packet`` becomes NULL and is
left out. Both are caught by the rows' end mark, a byte that no literal holds: the value must end with it, and hold it
once for each row that COUNT(*) counts in the same statement. A range that fails is split; a single row that fails is
written in the client. The ranges of a table cover every possible key, whatever the planner believed of it.
"""

# ruff: noqa: S608 - every name and value in a statement passes through identifier() or literal()

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.mysql.dumping.row_by_row import dump_rows, single_row
from dumpty_plugins.mysql.schema.columns import END, row_on_server
from dumpty_plugins.mysql.server.sql import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty_plugins.mysql.dumping.script_writer import Script
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session

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


def _beyond(key: Sequence[str], bound: Sequence[str]) -> str:
    """Return SQL for: the columns ``key``, in this order, come after ``bound``."""
    alternatives = []
    for i, (column, value) in enumerate(zip(key, bound, strict=True)):
        equal = [f"{c}={v}" for c, v in zip(key[:i], bound[:i], strict=True)]
        alternatives.append("(" + " AND ".join([*equal, f"{column}>{value}"]) + ")")
    return "(" + " OR ".join(alternatives) + ")"


def _up_to(key: Sequence[str], bound: Sequence[str]) -> str:
    alternatives = []
    for i, (column, value) in enumerate(zip(key, bound, strict=True)):
        equal = [f"{c}={v}" for c, v in zip(key[:i], bound[:i], strict=True)]
        comparison = "<=" if i == len(key) - 1 else "<"
        alternatives.append("(" + " AND ".join([*equal, f"{column}{comparison}{value}"]) + ")")
    return "(" + " OR ".join(alternatives) + ")"


Bound = tuple[str, ...]
Block = tuple[int, bytes]
"""How many rows, and how they stand in a dump."""


class RangeReader:
    """Writes tables over several sessions of one snapshot, in the order of their keys.

    Args:
        sessions: each inside a transaction of the same snapshot.
        planner: a session outside it, to ask where ranges may end.
    """

    def __init__(self, sessions: Sequence[Session], planner: Session) -> None:
        self._planner = planner
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
        for session in self._sessions:
            session.abandon()
        self.close()

    def dump_rows(self, table: Table, script: Script) -> int:
        """Write every row of ``table`` into ``script`` and return how many there are.

        Raises:
            SourceError: a connection was lost, or the server gave up midway.
            IntegrityError: rows that the server counts could not be had.
        """
        if not table.key:
            with self._session() as session:
                return dump_rows(session, table, script)
        total = 0
        density = _KeyDensity(table.row_bytes)
        pending: deque[Future[tuple[list[Block], list[str]]]] = deque()
        plan = self._plan(table, density)
        limit = 2 * len(self._sessions) + 1
        try:
            while True:
                while len(pending) < limit and (condition := next(plan, None)) is not None:
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
    def _session(self) -> Iterator[Session]:
        session = self._free.get()
        try:
            yield session
        finally:
            self._free.put(session)

    def _plan(self, table: Table, density: _KeyDensity) -> Iterator[str]:
        """Yield conditions that together cover every key once."""
        key = [identifier(c.name) for c in table.key]
        bounds = self._bounds(table, density)
        low: Bound | None = next(bounds, None)
        if low is None:
            yield "TRUE"
            return
        yield _up_to(key, low)
        for high in bounds:
            yield f"{_beyond(key, low)} AND {_up_to(key, high)}"
            low = high
        yield _beyond(key, low)

    def _bounds(self, table: Table, density: _KeyDensity) -> Iterator[Bound]:
        previous: Bound | None = None
        if len(table.key) == 1 and table.key[0].integer:
            name, source = identifier(table.key[0].name), identifier(table.name)
            lowest, highest = self._planner.rows(f"SELECT MIN({name}), MAX({name}) FROM {source}")[0]
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
        yield from self._bounds_from_server(table, density, previous)

    def _bounds_from_server(self, table: Table, density: _KeyDensity, previous: Bound | None) -> Iterator[Bound]:
        """Yield the key of every ``rows``-th row after ``previous``, as the server finds them."""
        key = [identifier(c.name) for c in table.key]
        order, columns = ",".join(key), ",".join(c.boundary for c in table.key)
        source = f"{identifier(table.name)} FORCE INDEX ({identifier(table.index)})"
        while True:
            after = f" WHERE {_beyond(key, previous)}" if previous is not None else ""
            rows = self._planner.rows(
                f"SELECT {columns} FROM {source}{after} ORDER BY {order} LIMIT {density.step - 1},1"
            )
            if not rows:
                return
            previous = tuple((v or b"NULL").decode() for v in rows[0])
            yield previous

    def _read(self, table: Table, conditions: list[str]) -> tuple[list[Block], list[str]]:
        """Return what was read of ranges, and what is still to be read: no more is held than one value may be long."""
        blocks: list[Block] = []
        size = 0
        with self._session() as session:
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
    counted, block = session.rows(
        f"SELECT COUNT(*), GROUP_CONCAT({row_on_server(table.columns)} SEPARATOR '') FROM {source} WHERE {condition}"
    )[0]
    count, block = int(counted or 0), block or b""
    if block.count(END) == count and (not count or block.endswith(END)):
        return count, block
    if count == 1:
        return 1, single_row(session, table, condition)
    key = [identifier(c.name) for c in table.key]
    columns = ",".join(c.boundary for c in table.key)
    middle = session.rows(
        f"SELECT {columns} FROM {source} WHERE {condition} ORDER BY {','.join(key)} LIMIT {count // 2 - 1},1"
    )
    if not count or not middle:
        raise IntegrityError(
            f"table {table.name}: the server delivers rows in a range where it counts {count}: the dump is discarded; "
            "check the table (CHECK TABLE) and the server's log"
        )
    bound = tuple((v or b"NULL").decode() for v in middle[0])
    return [f"{condition} AND {_up_to(key, bound)}", f"{condition} AND {_beyond(key, bound)}"]
