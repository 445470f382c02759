"""Edits of one statement that creates a stored object: without its definer, an event that does not run, other names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = frozenset({b"VIEW", b"TRIGGER", b"PROCEDURE", b"FUNCTION", b"EVENT", b"PACKAGE"})


def significant(pieces: Sequence[tuple[str, bytes]]) -> list[int]:
    """Return where tokens are that are neither space nor comment."""
    return [i for i, (kind, _) in enumerate(pieces) if kind not in {"space", "comment"}]


def unquoted(kind: str, text: bytes) -> bytes:
    """Return the name that a token is."""
    if kind == "quoted":
        return text[1:-1].replace(b"``", b"`")
    return text[1:-1].replace(b'""', b'"') if kind == "string" else text


def quoted(name: bytes) -> bytes:
    """Return a name as a quoted identifier."""
    return b"`" + name.replace(b"`", b"``") + b"`"


def without_definer(create: bytes) -> bytes:
    """Return ``create`` without its clause DEFINER: whoever executes it becomes the definer."""
    pieces = list(tokens(create))
    solid = significant(pieces)
    texts = [pieces[i][1].upper() for i in solid]
    for position, text in enumerate(texts):
        if text in _KINDS:
            break
        if text == b"DEFINER" and texts[position + 1 : position + 2] == [b"="]:
            end = position + 3
            if texts[end : end + 1] == [b"@"] or texts[end : end + 2] == [b"(", b")"]:
                end += 2
            return b"".join(t for _, t in [*pieces[: solid[position]], *pieces[solid[end] :]])
    return create


def disabled_event(create: bytes) -> bytes | None:
    """Return the statement of an event such that it does not run, None where its text does not show it."""
    pieces = list(tokens(create))
    solid = significant(pieces)
    for position, index in enumerate(solid):
        if pieces[index][1].upper() != b"PRESERVE" or position + 1 >= len(solid):
            continue
        state = solid[position + 1]
        if pieces[state][1].upper() == b"ENABLE":
            return b"".join(t for _, t in [*pieces[:state], ("word", b"DISABLE"), *pieces[state + 1 :]])
        return create if pieces[state][1].upper() == b"DISABLE" else None
    return None


def view_in(database: bytes, create: bytes) -> bytes | None:
    """Return the statement of a view such that it is created in ``database``, None where its name cannot be found."""
    head, name, rest = _view(create)
    return head + database + b"." + name + rest if name else None


def trial_view(create: bytes, name: bytes) -> bytes:
    """Return a statement that makes, or replaces, a view ``name`` of the same definer, which reads no table."""
    head, _, _ = _view(create)
    return head.replace(b"CREATE", b"CREATE OR REPLACE", 1) + name + b" AS SELECT 1"


def _view(create: bytes) -> tuple[bytes, bytes, bytes]:
    pieces = list(tokens(create))
    solid = significant(pieces)
    for position, index in enumerate(solid[:-1]):
        if pieces[index] == ("word", b"VIEW"):
            name = solid[position + 1]
            texts = [text for _, text in pieces]
            quoted = pieces[name][0] == "quoted"
            return b"".join(texts[:name]), texts[name] if quoted else b"", b"".join(texts[name + 1 :])
    return create, b"", b""


@dataclass(frozen=True)
class TriggerHead:
    """What stands before the body of a trigger: its own name, its table, and the trigger next to which it runs.

    Each name is in the character set of the statement; ``neighbour`` is empty where there is none.
    """

    name: bytes
    table: bytes
    neighbour: bytes
    _pieces: tuple[tuple[str, bytes], ...]
    _positions: tuple[int, ...]

    def renamed(self, *, name: bytes, table: bytes, neighbour: bytes) -> bytes:
        """Return the statement with these names; nothing else in it changes."""
        pieces = list(self._pieces)
        pairs = ((self.name, name), (self.table, table), (self.neighbour, neighbour))
        for position, (before, after) in zip(self._positions, pairs, strict=False):
            if before != after:
                pieces[position] = ("quoted", quoted(after))
        return b"".join(text for _, text in pieces)


def trigger_head(create: bytes) -> TriggerHead | None:
    """Return the names at the head of a trigger's statement, None where it does not read as a server shows one."""
    pieces = tuple(tokens(create))
    solid = significant(pieces)
    texts = [pieces[i][1].upper() for i in solid]
    try:
        name = texts.index(b"TRIGGER") + 1
        name += 3 if texts[name : name + 3] == [b"IF", b"NOT", b"EXISTS"] else 0
        table = texts.index(b"ON", name + 1) + 1
        begun = texts[name + 1] in {b"BEFORE", b"AFTER"}
        body = solid[table + 3] + 1
    except (ValueError, IndexError):
        return None
    if not begun or texts[table + 1 : table + 4] != [b"FOR", b"EACH", b"ROW"]:
        return None
    # What the server executes in a comment says something else to it than to us.
    if any(kind == "comment" and text.startswith((b"/*!", b"/*M!")) for kind, text in pieces[:body]):
        return None
    positions = [solid[name], solid[table]]
    if texts[table + 4 : table + 5] in ([b"FOLLOWS"], [b"PRECEDES"]) and len(solid) > table + 5:
        positions.append(solid[table + 5])
    names = [unquoted(*pieces[i]) for i in positions]
    return TriggerHead(names[0], names[1], names[2] if len(names) > 2 else b"", pieces, tuple(positions))  # noqa: PLR2004
