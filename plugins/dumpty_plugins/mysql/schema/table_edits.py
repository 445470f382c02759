"""Edits of the statement that creates a table: its constraints, one by one, and where its defaults find sequences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dumpty_plugins.mysql.schema.indexes import create_parts
from dumpty_plugins.mysql.schema.statement_edits import quoted, significant, unquoted
from dumpty_plugins.mysql.server.sql import tokens

if TYPE_CHECKING:
    from collections.abc import Callable

_SEQUENCES = frozenset({b"NEXTVAL", b"LASTVAL", b"SETVAL"})
_MERGED = re.compile(rb"\bENGINE\s*=?\s*(?:MRG_MyISAM|MERGE)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Constraint:
    """A foreign key or a check among the parts of a table's definition.

    ``name`` is empty where the server makes one; ``references`` is the table that a foreign key refers to, with its
    database before it where that is said.
    """

    kind: Literal["FOREIGN KEY", "CHECK"]
    name: bytes
    references: tuple[bytes, ...]


def constraint(part: bytes) -> Constraint | None:
    """Return what constraint a part of a table's definition is, None where it is none of these."""
    pieces = list(tokens(part))
    solid = significant(pieces)
    words = [pieces[i][1].upper() for i in solid]
    start, name = 0, b""
    if words[:1] == [b"CONSTRAINT"]:
        start = 1
        if words[1:2] and words[1] not in {b"FOREIGN", b"CHECK"}:
            start, name = 2, unquoted(*pieces[solid[1]])
    if words[start : start + 1] == [b"CHECK"]:
        return Constraint("CHECK", name, ())
    if words[start : start + 2] != [b"FOREIGN", b"KEY"] or b"REFERENCES" not in words[start:]:
        return None
    position = words.index(b"REFERENCES", start) + 1
    end = position + (3 if words[position + 1 : position + 2] == [b"."] else 1)
    return Constraint("FOREIGN KEY", name, tuple(unquoted(*pieces[i]) for i in solid[position:end:2]))


def renamed_constraint(part: bytes, name: bytes) -> bytes:
    """Return a constraint that has a name with another one."""
    pieces = list(tokens(part))
    pieces[significant(pieces)[1]] = ("quoted", quoted(name))
    return b"".join(text for _, text in pieces)


def with_parts(create: bytes, edit: Callable[[bytes], bytes | None]) -> bytes:
    """Return a table's definition with each of its parts as ``edit`` returns it, without those that become None."""
    parts, rest = create_parts(create)
    edited = [text for part in parts if (text := edit(part)) is not None]
    if edited == parts:
        return create
    head = b""
    for _, text in tokens(create):
        head += text
        if text == b"(":
            break
    return head + b"\n  " + b",\n  ".join(edited) + b"\n)" + rest


def is_merged(create: bytes) -> bool:
    """Whether a table's rows are those of other tables."""
    return bool(_MERGED.search(create_parts(create)[1]))


def with_sequences_in(database: bytes, create: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return a table's definition with its plain names of sequences in ``database``, and those names."""
    pieces = list(tokens(create))
    solid = significant(pieces)
    names: list[bytes] = []
    for position, index in enumerate(solid[:-2]):
        kind, text = pieces[index]
        if kind != "word" or text.upper() not in _SEQUENCES or pieces[solid[position + 1]][1] != b"(":
            continue
        name = solid[position + 2]
        after = [pieces[i][1] for i in solid[position + 3 : position + 4]]
        if pieces[name][0] in {"quoted", "word"} and after != [b"."]:
            names.append(unquoted(*pieces[name]))
            pieces[name] = ("quoted", quoted(database) + b"." + pieces[name][1])
    return b"".join(text for _, text in pieces), tuple(names)
