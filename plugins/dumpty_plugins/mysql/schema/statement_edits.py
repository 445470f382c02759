"""Edits of one statement that creates a stored object: without its definer, or as an event that does not run yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = frozenset({b"VIEW", b"TRIGGER", b"PROCEDURE", b"FUNCTION", b"EVENT", b"PACKAGE"})


def _solid(pieces: Sequence[tuple[str, bytes]]) -> list[int]:
    return [i for i, (kind, _) in enumerate(pieces) if kind not in {"space", "comment"}]


def without_definer(create: bytes) -> bytes:
    """Return ``create`` without its clause DEFINER: whoever executes it becomes the definer."""
    pieces = list(tokens(create))
    significant = _solid(pieces)
    texts = [pieces[i][1].upper() for i in significant]
    for position, text in enumerate(texts):
        if text in _KINDS:
            break
        if text == b"DEFINER" and texts[position + 1 : position + 2] == [b"="]:
            end = position + 3
            if texts[end : end + 1] == [b"@"] or texts[end : end + 2] == [b"(", b")"]:
                end += 2
            return b"".join(t for _, t in [*pieces[: significant[position]], *pieces[significant[end] :]])
    return create


def disabled_event(create: bytes) -> bytes | None:
    """Return the statement of an event such that it does not run, None where its text does not show it."""
    pieces = list(tokens(create))
    significant = _solid(pieces)
    for position, index in enumerate(significant):
        if pieces[index][1].upper() != b"PRESERVE" or position + 1 >= len(significant):
            continue
        state = significant[position + 1]
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
    significant = _solid(pieces)
    for position, index in enumerate(significant[:-1]):
        if pieces[index] == ("word", b"VIEW"):
            name = significant[position + 1]
            texts = [text for _, text in pieces]
            quoted = pieces[name][0] == "quoted"
            return b"".join(texts[:name]), texts[name] if quoted else b"", b"".join(texts[name + 1 :])
    return create, b"", b""
