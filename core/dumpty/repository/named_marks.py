"""Marks of data that the manifest of named backups may not list: ``NAME.HEX.pending`` beside ``NAME.HEX.SUFFIX``.

A mark is put before there is any data (``BACKUP``), or before the manifest ceases to list it (``REMOVAL``), and goes
when the manifest says it all again. So data that a killed process left has a mark, and nothing else is ever removed:
what has neither mark nor entry is not touched.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from msgspec import Struct

from dumpty.errors import MissingFile
from dumpty.repository.names import slug
from dumpty.repository.protocol.process_identity import is_gone, is_here, process_identity
from dumpty.types import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from dumpty.types import Found, Store

__all__ = ["BACKUP", "REMOVAL", "Mark", "Marks", "claim", "give_up", "is_data_name", "new_stem"]

BACKUP = "backup"
"""The kind of a mark whose writer means to have the data listed."""

REMOVAL = "removal"
"""The kind of a mark whose writer means to remove the data; it holds the lock for as long as it lives."""

_PENDING = ".pending"
_STEM = r"(?P<stem>[A-Za-z0-9_.-]+\.[0-9a-f]{32})"
_MARK = re.compile(_STEM + re.escape(_PENDING))
_DATA = re.compile(rf"{_STEM}(?!{re.escape(_PENDING)}\Z){SUFFIX.pattern}")
_SILENCE = timedelta(days=7)
"""How old a mark must be of which nobody here can tell whether its process lives."""

_under_way: WeakValueDictionary[str, object] = WeakValueDictionary()


def new_stem(name: str) -> str:
    """Return what the data of a new backup, and its mark, are called, up to what ends either."""
    return f"{slug(name)}.{uuid.uuid4().hex}"


def is_data_name(file: str) -> bool:
    """Return whether data of a named backup can be called that."""
    return _DATA.fullmatch(file) is not None


def claim(stem: str, owner: object) -> None:
    """Note that ``owner``, in this process, works on a backup. Where it is forgotten, so is that."""
    _under_way[stem] = owner


def give_up(stem: str) -> None:
    """Note that nobody in this process works on a backup any more. Harmless twice."""
    _under_way.pop(stem, None)


class Mark(Struct, frozen=True, kw_only=True):
    """One mark: its kind, the data that it is of, its writer's process, and when it was put, by the store's clock."""

    kind: str
    file: str
    identity: Mapping[str, Any]
    modified: datetime

    def is_abandoned(self, now: Callable[[], datetime]) -> bool:
        """Return whether nobody works on that data any more; asked under the lock. ``now`` is the store's clock."""
        if self.kind == REMOVAL:
            return True
        # What a fork()ed child remembers is its parent's, and ends with that.
        if _stem(self.file) in _under_way and self.identity.get("pid") == os.getpid():
            return False
        return is_here(self.identity) or is_gone(self.identity) or now() - self.modified > _SILENCE


class Marks:
    """The marks in one store. Every method raises ``StoreError`` where that fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, kind: str, file: str) -> None:
        """Put a mark; that of a removal takes the place of one that the backup left."""
        content = {"version": 1, "kind": kind, "file": file, **process_identity()}
        self._store.put(_stem(file) + _PENDING, json.dumps(content).encode(), new=kind != REMOVAL)

    def delete(self, files: Iterable[str]) -> None:
        """Delete the marks of data; those that are gone already are no error."""
        self._store.delete([_stem(file) + _PENDING for file in files])

    def find(self) -> list[Found]:
        """Return what is called as marks are."""
        return [found for found in self._store.list() if _MARK.fullmatch(found.name)]

    def read(self, found: Found) -> Mark | None:
        """Return a mark, or None where it is gone by now, or is none of dumpty's."""
        try:
            content = json.loads(self._store.get(found.name))
        except (MissingFile, ValueError, RecursionError):
            return None
        if not isinstance(content, dict) or content.get("kind") not in {BACKUP, REMOVAL}:
            return None
        file = content.get("file")
        if not isinstance(file, str) or not is_data_name(file) or _stem(file) + _PENDING != found.name:
            return None
        identity = {key: content.get(key) for key in process_identity()}
        return Mark(kind=content["kind"], file=file, identity=identity, modified=found.modified)


def _stem(file: str) -> str:
    match = _DATA.fullmatch(file)
    if match is None:
        raise ValueError(f"{file!r} is no name of a named backup's data")
    return match["stem"]
