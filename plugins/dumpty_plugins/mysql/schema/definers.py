"""Edits of one statement that creates code: without its definer, or as an event that does not run yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.mysql.server.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = frozenset({b"VIEW", b"TRIGGER", b"PROCEDURE", b"FUNCTION", b"EVENT", b"PACKAGE"})


def _solid(found: Sequence[tuple[str, bytes]]) -> list[int]:
    return [i for i, (kind, _) in enumerate(found) if kind not in {"space", "comment"}]


def without_definer(create: bytes) -> bytes:
    """Return ``create`` without its clause DEFINER: whoever executes it becomes the definer."""
    found = list(tokens(create))
    solid = _solid(found)
    texts = [found[i][1].upper() for i in solid]
    for place, text in enumerate(texts):
        if text in _KINDS:
            break
        if text == b"DEFINER" and texts[place + 1 : place + 2] == [b"="]:
            end = place + 3
            if texts[end : end + 1] == [b"@"] or texts[end : end + 2] == [b"(", b")"]:
                end += 2
            return b"".join(t for _, t in [*found[: solid[place]], *found[solid[end] :]])
    return create


def disabled(create: bytes) -> bytes | None:
    """Return the statement of an event such that it does not run, None where that cannot be told from its text."""
    found = list(tokens(create))
    solid = _solid(found)
    for place, index in enumerate(solid):
        if found[index][1].upper() != b"PRESERVE" or place + 1 >= len(solid):
            continue
        state = solid[place + 1]
        if found[state][1].upper() == b"ENABLE":
            return b"".join(t for _, t in [*found[:state], ("word", b"DISABLE"), *found[state + 1 :]])
        return create if found[state][1].upper() == b"DISABLE" else None
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
    found = list(tokens(create))
    solid = _solid(found)
    for place, index in enumerate(solid[:-1]):
        if found[index] == ("word", b"VIEW"):
            name = solid[place + 1]
            texts = [text for _, text in found]
            quoted = found[name][0] == "quoted"
            return b"".join(texts[:name]), texts[name] if quoted else b"", b"".join(texts[name + 1 :])
    return create, b"", b""
