"""The rows of a table on two sides, put beside one another by their keys, on disk: a table may be larger than memory.

Only digests of rows are kept, and the values of their keys, shortened, to be shown. SQLite sorts them; it makes the
file and unlinks it at once, so that nothing stays, whatever ends this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import struct
from itertools import islice
from marshal import dumps, loads
from typing import TYPE_CHECKING, Literal, Self
from zlib import crc32

from dumpty.errors import SourceError
from dumpty.operations.row_changes import Changes, RowDifference
from dumpty.streaming.worker import run_in_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dumpty.types import RowValue

__all__ = ["RowStore"]

_BATCH = 1000
_DIGEST_BYTES = 16
_SHOWN_CHARACTERS = 200
_MOST_BITS = 64
_FORMAT = 2
"""Of marshal: the last that writes equal values alike, whatever else refers to them; within one process alone."""

_SETUP = (
    "PRAGMA journal_mode=OFF",
    "PRAGMA synchronous=OFF",
    "PRAGMA cache_size=-32000",  # KiB
    "PRAGMA temp_store=FILE",
    "CREATE TABLE rows(side INTEGER, place INTEGER, keyed INTEGER, key BLOB, digest BLOB, sums BLOB, shown BLOB)",
)
_COMPARE = """
    CREATE TABLE differing AS
    SELECT min(place) AS place, max(keyed) AS told_apart, sum(side = 0) AS first, sum(side = 1) AS second,
           max(CASE side WHEN 0 THEN sums END) AS before, max(CASE side WHEN 1 THEN sums END) AS after,
           max(shown) AS shown
    FROM rows GROUP BY key
    HAVING first <> second OR min(digest) <> max(digest) OR (told_apart AND first > 1)"""

_COUNT = """
    SELECT coalesce(sum(max(first - second, 0)), 0), coalesce(sum(max(second - first, 0)), 0),
           coalesce(sum(first = second), 0)
    FROM differing"""
_LIST = "SELECT first, second, before, after, shown FROM differing ORDER BY place LIMIT ?"
_ALL = 2**63 - 1
_SIDE_BITS = 62
"""A row that both sides have stands where the first has it."""


class RowStore:
    """Takes the rows of both sides, and says which differ. A context manager.

    Args:
        columns: the names of the columns that are compared.
        key: which of them tell rows apart; none where they can only be compared as a whole.
    """

    def __init__(self, columns: Sequence[str], key: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._key = tuple(self._columns.index(name) for name in key)
        self._sums = struct.Struct(f">{len(self._columns)}I")

    def __enter__(self) -> Self:
        with _translated():
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            for statement in _SETUP:
                self._database.execute(statement)
            self._database.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, side: Literal[0, 1], rows: Iterable[tuple[RowValue, ...]], tell: Callable[[int], None]) -> int:
        """Take all rows of one side, each with the values of ``columns``, and return how many they are.

        Args:
            side: 0 for the first, 1 for the second.
            rows: read to their end.
            tell: called now and then with how many more were read.

        Raises:
            SourceError: there is no room for what is kept of them.
        """
        total = 0
        prepared = (self._prepared(side, place, row) for place, row in enumerate(rows))
        while batch := list(islice(prepared, _BATCH)):
            with _translated():
                self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", batch)
            total += len(batch)
            tell(len(batch))
        return total

    def compare(self, limit: int) -> Changes:
        """Return what differs, and of that up to ``limit`` rows (0: all), those of the first side first, as they came.

        Raises:
            SourceError: there is no room to sort them, or two rows of one side have one key.
        """
        # Sorting gives signals no turn.
        return run_in_worker(
            lambda: self._compared(min(limit, _ALL) or _ALL), stop=self._database.interrupt, name="dumpty-rows"
        )

    def _compared(self, limit: int) -> Changes:
        with _translated():
            self._database.execute(_COMPARE)
            self._require_unique()
            removed, added, changed = map(int, self._database.execute(_COUNT).fetchone())
            found = self._database.execute(_LIST, (limit,))
            rows = tuple(self._difference(*row) for row in found)
        return Changes(removed=removed, added=added, changed=changed, rows=rows)

    def _require_unique(self) -> None:
        twice = "SELECT shown FROM differing WHERE told_apart AND (first > 1 OR second > 1) LIMIT 1"
        for (shown,) in self._database.execute(twice).fetchall():
            names = ", ".join(self._columns[index] for index in self._key)
            values = ", ".join(map(str, _loaded(shown)))
            raise SourceError(
                f"two rows have one key ({names}), {values}: an index of that table is damaged; let the database "
                "rebuild it, and compare again"
            )

    def _prepared(self, side: int, place: int, row: tuple[RowValue, ...]) -> tuple[object, ...]:
        digest = _digest(dumps(row, _FORMAT))
        key = tuple([row[index] for index in self._key])
        keyed = bool(key) and None not in key  # nothing equals NULL
        shown = dumps(key if self._key else row, _FORMAT)
        told_by = _digest(b"k" + shown) if keyed else digest
        if len(shown) > _SHOWN_CHARACTERS:
            shown = dumps(tuple(map(_cut, key if self._key else row)), _FORMAT)
        sums = self._sums.pack(*[crc32(dumps(value, _FORMAT)) for value in row]) if keyed else b""
        return side, place + (side << _SIDE_BITS), keyed, told_by, digest, sums, shown

    def _difference(self, first: int, second: int, before: bytes, after: bytes, shown: bytes) -> RowDifference:
        key = _loaded(shown)
        if first != second:
            return RowDifference(kind="removed" if first > second else "added", key=key, count=abs(first - second))
        pairs = zip(self._columns, self._sums.unpack(before), self._sums.unpack(after), strict=True)
        return RowDifference(kind="changed", key=key, columns=tuple(name for name, old, new in pairs if old != new))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _cut(value: RowValue) -> RowValue:
    return value[: _SHOWN_CHARACTERS + 1] if isinstance(value, (str, bytes)) else value


def _loaded(shown: bytes) -> tuple[str | int | float | None, ...]:
    return tuple(map(_shown, loads(shown)))  # noqa: S302 - written by this process


def _shown(value: RowValue) -> str | int | float | None:
    """Return a value that was cut as JSON and a terminal can show it."""
    if isinstance(value, bytes):
        value = "\\x" + value.hex()
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # more than JSON's readers take for a number
        value = f"{value:#x}"
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 1] + "…"
        return text.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and value - value != 0:  # JSON has no such numbers
        return str(value)
    return value


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SourceError(
            f"what is kept of the rows to compare them could not be written: {error}; free some space where temporary "
            "files go, or name another place in TMPDIR"
        ) from error
