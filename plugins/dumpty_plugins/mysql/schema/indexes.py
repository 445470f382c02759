"""Indexes that are made after the rows: sorting each once is faster than finding a place for every row.

What is left out is put back such that the table's definition is the same, in the same order. That is tried on the
table while it is still empty: where the server will not, or makes something else of it, the table keeps its indexes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql.server.session import StatementError
from dumpty_plugins.mysql.server.sql import identifier, tokens

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty_plugins.mysql.server.session import Session

_KEY = re.compile(rb"(?:UNIQUE )?KEY (`(?:[^`]|``)*`) \((`(?:[^`]|``)*`)?")
_REFERENCES = re.compile(rb"REFERENCES (`(?:[^`]|``)*`)")
_NOT_BTREE = (b"USING HASH", b"WITHOUT OVERLAPS")
"""Words of keys that are no B-trees, whatever they are printed as."""
_DUPLICATE = frozenset({1062, 1169})
_INTERRUPTED = 1317


def create_parts(create: bytes) -> tuple[list[bytes], bytes]:
    """Return what stands between the outer parentheses of CREATE TABLE, part by part, and what follows them."""
    parts: list[bytes] = []
    depth = 0
    part = b""
    token_stream = tokens(create)
    for kind, text in token_stream:
        if kind == "other" and text == b"(":
            depth += 1
            if depth == 1:
                continue
        elif kind == "other" and text == b")":
            depth -= 1
            if depth == 0:
                break
        elif kind == "other" and text == b"," and depth == 1:
            parts.append(part.strip())
            part = b""
            continue
        part += text if depth else b""
    parts.append(part.strip())
    return parts, b"".join(text for _, text in token_stream)


@dataclass(frozen=True)
class Definition:
    """A table as the server shows it: its columns, keys and constraints in their order, and its engine's name."""

    parts: tuple[bytes, ...]
    engine: bytes

    @property
    def ordered(self) -> bool:
        """Whether rows lie in the order of a key: whoever inserts them in whatever order, the table is the same."""
        return self.engine.lower() == b"innodb" and any(p.startswith(b"PRIMARY KEY ") for p in self.parts)

    def unique(self, excluded: Collection[bytes]) -> bool:
        """Whether there is a unique key besides the primary one and those named in ``excluded``."""
        keys = [m for p in self.parts if p.startswith(b"UNIQUE ") and (m := _KEY.match(p))]
        return any(m[1] not in excluded for m in keys)

    @property
    def deferrable(self) -> tuple[tuple[bytes, bytes], ...]:
        """The name and the definition of every key that the table can do without for a while."""
        if not self.ordered:
            return ()  # a UNIQUE key may be what the rows lie in the order of
        # The server insists on a key that begins with this column.
        auto_increment = {p[: p.index(b"` ") + 1] for p in self.parts if p.startswith(b"`") and b" AUTO_INCREMENT" in p}
        keys: list[tuple[bytes, bytes]] = []
        blocked: set[bool] = set()
        # From the last one: keys stand in the order in which they were made, the unique ones before the others.
        for part in reversed(self.parts):
            match = _KEY.match(part)
            unique = part.startswith(b"UNIQUE ")
            if (
                match
                and unique not in blocked
                and match[2] not in auto_increment
                and not any(word in part for word in _NOT_BTREE)
            ):
                keys.append((match[1], part))
            elif match or part.startswith(b"SPATIAL "):
                blocked.add(unique)
        return tuple(reversed(keys))


def definition(session: Session, table: str) -> Definition:
    """Return the definition of ``table`` as it is now."""
    create = session.rows(f"SHOW CREATE TABLE {identifier(table)}")[0][1] or b""
    parts, options = create_parts(create)
    engine = re.search(rb"\bENGINE=(\w+)", options)
    return Definition(tuple(parts), engine[1] if engine else b"")


def referenced(create: bytes) -> set[str]:
    """Return the tables that a definition may refer to, in lower case: those and perhaps more."""
    return {m[1:-1].replace(b"``", b"`").decode("utf-8", "replace").lower() for m in _REFERENCES.findall(create)}


class Deferral:
    """The keys of one table that are made after its rows; none, if there are no such.

    Args:
        session: where the table, still empty, was made by ``create``.
        table: its name.
        create: the statement that made it, and makes it again where trying went wrong.
        original: its definition.

    Raises:
        SourceError: the table cannot be made again.
    """

    def __init__(self, session: Session, table: str, create: bytes, original: Definition) -> None:
        self._table = table
        self._original = original
        self._keys = original.deferrable
        if not self._keys:
            return
        alter = f"ALTER TABLE {identifier(table)} ".encode()
        self._add = alter + b", ".join(b"ADD " + part for _, part in self._keys)
        drop = alter + b", ".join(b"DROP KEY " + name for name, _ in self._keys)
        try:
            session.execute(drop)
            session.execute(self._add)
            unchanged = definition(session, table) == original
            if unchanged:
                session.execute(drop)
        except StatementError as error:
            if error.lost:
                raise
            unchanged = False
        if not unchanged:
            self._keys = ()
            session.execute(f"DROP TABLE {identifier(table)}")
            session.execute(create)

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def names(self) -> tuple[bytes, ...]:
        """The keys, as they are quoted."""
        return tuple(name for name, _ in self._keys)

    def add(self, session: Session) -> None:
        """Make the keys, now that the rows are there; ``session`` has the ``sql_mode`` of tables.

        Raises:
            SourceError: rows are equal where a key forbids it, or the server gave up.
            IntegrityError: the table is not defined as it was.
        """
        try:
            try:
                session.execute(self._add)
            except StatementError as error:
                if error.lost or error.code in _DUPLICATE or error.code == _INTERRUPTED:
                    raise
                # Most likely no room to sort in the server's tmpdir. A copy of the table needs none there.
                session.execute(self._add + b", ALGORITHM=COPY")
        except StatementError as error:
            names = ", ".join(name[1:-1].decode("utf-8", "replace") for name, _ in self._keys)
            raise SourceError(
                f"the rows of {self._table} are loaded, but its indexes ({names}) cannot be made: {error}"
            ) from error
        if definition(session, self._table) != self._original:
            raise IntegrityError(f"table {self._table} got other indexes than the dump gives it")
