"""A store in this process's memory: honest to the contract, or lacking just what a test wants it to lack."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import Exists, MissingFile, NotPermitted, Retained, StoreError
from dumpty.testing.streams import BytesReader
from dumpty.types import Cap, Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dumpty.types import Buffer

__all__ = ["ALL", "MemoryStore"]

ALL = Cap.CREATE_NEW | Cap.STRONG_LIST | Cap.DELETE | Cap.BATCH
_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9_.-]+"
_NAME = re.compile(rf"(?=.{{1,400}}$){_SEGMENT}(?:/{_SEGMENT}){{0,3}}")


class MemoryStore:
    """Objects in memory, a clock that stands unless it is moved, and a count of calls.

    Args:
        capabilities: what it guarantees. Without ``CREATE_NEW`` a put of a new object that is raced overwrites, as on
            a server that ignores conditional headers; without ``STRONG_LIST`` listings are ``lag`` behind; without
            ``DELETE`` nothing can be deleted; without ``BATCH`` every deletion is a call of its own.
        lag: how far listings are behind.
        latency: seconds that every call takes.

    ``calls`` counts calls by the method's name. ``denied`` and ``retained`` (until when) are names that cannot
    be deleted; ``tells_retention`` is whether listings say so. After ``cut_listing`` objects a listing is cut.
    ``race`` is called within every put of a new object, between the question whether there is one and the writing.
    """

    def __init__(self, capabilities: Cap = ALL, *, lag: timedelta = timedelta(hours=12), latency: float = 0.0) -> None:
        self.lag = lag
        self.latency = latency
        self.calls: Counter[str] = Counter()
        self.denied: set[str] = set()
        self.retained: dict[str, datetime] = {}
        self.tells_retention = True
        self.cut_listing: int | None = None
        self.race: Callable[[str], object] = lambda _name: None
        self._capabilities = capabilities
        self._now = datetime(2026, 11, 26, 17, tzinfo=UTC)
        self._lock = threading.RLock()
        self._objects: dict[str, tuple[bytes, Found]] = {}
        self._history: dict[str, list[tuple[datetime, Found | None]]] = {}
        self._writes = 0

    # -- for tests -----------------------------------------------------------------------------------------------

    def advance(self, by: timedelta) -> None:
        """Move the clock."""
        with self._lock:
            self._now += by

    def objects(self) -> dict[str, bytes]:
        """Return all there is, by name, without a call."""
        with self._lock:
            return {name: data for name, (data, _found) in self._objects.items()}

    # -- the contract --------------------------------------------------------------------------------------------

    def capabilities(self) -> Cap:
        """Return what it guarantees."""
        return self._capabilities

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        """Write a small object."""
        self._call("put", name)
        self._write(name, bytes(data), new=new)

    def upload(self, name: str, expected: int | None = None) -> MemoryUpload:  # noqa: ARG002 - nothing is reserved
        """Begin a large object."""
        self._call("upload", name)
        return MemoryUpload(lambda data: self._write(name, data, new=True))

    def get(self, name: str) -> bytes:
        """Return the bytes of an object."""
        self._call("get", name)
        return self._find(name)[0]

    def open(self, name: str, offset: int = 0) -> BytesReader:
        """Read an object."""
        self._call("open", name)
        return BytesReader(self._find(name)[0][offset:])

    def stat(self, name: str) -> Found:
        """Return what is known of an object."""
        self._call("stat", name)
        return self._shown(self._find(name)[1])

    def list(self, folder: str = "") -> Iterator[Found]:
        """Yield what is below a folder."""
        self._call("list", folder or "all")
        with self._lock:
            shown = [
                self._shown(found) for found in self._listed() if not folder or found.name.startswith(folder + "/")
            ]
        for number, found in enumerate(shown):
            if number == self.cut_listing:
                raise StoreError(f"the listing of {self.locate(folder)} was cut after {number} objects; try again")
            yield found

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects."""
        refused: StoreError | None = None
        wanted = list(names)
        for number, name in enumerate(wanted):
            if number == 0 or Cap.BATCH not in self._capabilities:
                self._call("delete", name)
            with self._lock:
                if name not in self._objects:
                    continue
                if Cap.DELETE not in self._capabilities or name in self.denied:
                    refused = NotPermitted(f"{self.locate(name)} cannot be deleted with the rights at hand")
                elif self._now < (until := self.retained.get(name, self._now)):
                    refused = refused or Retained(f"{self.locate(name)} is kept until {until:%Y-%m-%d %H:%M} UTC")
                else:
                    del self._objects[name]
                    self._history.setdefault(name, []).append((self._now, None))
        if refused is not None:
            raise refused

    def now(self) -> datetime:
        """Return the clock."""
        self._call("now", "now")
        return self._now

    def locate(self, name: str) -> str:
        """Return where a person finds an object."""
        return f"memory:///{name}"

    def sweep(self, older: timedelta) -> None:  # noqa: ARG002 - an upload that was not committed holds nothing here
        """Remove nothing: there is nothing."""
        self._call("sweep", "sweep")

    # ------------------------------------------------------------------------------------------------------------

    def _call(self, method: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise StoreError(f"{name[:80]!r} cannot be a name in a store")
        self.calls[method] += 1
        if self.latency:
            time.sleep(self.latency)

    def _write(self, name: str, data: bytes, *, new: bool) -> None:
        if new and name in self._objects:
            raise Exists(f"there is {self.locate(name)} already")
        if new:
            self.race(name)
        with self._lock:
            if new and Cap.CREATE_NEW in self._capabilities and name in self._objects:
                raise Exists(f"there is {self.locate(name)} already")
            self._writes += 1
            found = Found(name=name, size=len(data), tag=str(self._writes), modified=self._now)
            self._objects[name] = (data, found)
            self._history.setdefault(name, []).append((self._now, found))

    def _find(self, name: str) -> tuple[bytes, Found]:
        with self._lock:
            if name not in self._objects:
                raise MissingFile(f"there is no {self.locate(name)}")
            return self._objects[name]

    def _shown(self, found: Found) -> Found:
        until = self.retained.get(found.name)
        return replace(found, retained_until=until) if until and self.tells_retention else found

    def _listed(self) -> Sequence[Found]:
        if Cap.STRONG_LIST in self._capabilities:
            return [found for _data, found in self._objects.values()]
        before = self._now - self.lag
        latest = [[found for moment, found in history if moment <= before][-1:] for history in self._history.values()]
        return [found for shown in latest for found in shown if found is not None]


class MemoryUpload:
    """A large object on its way."""

    def __init__(self, commit: Callable[[bytes], None]) -> None:
        self._commit = commit
        self._data = bytearray()
        self._ended = False

    def write(self, data: Buffer, /) -> int:
        """Take every byte."""
        if self._ended:
            raise StoreError("this upload has ended")
        self._data += data
        return len(data)

    def commit(self) -> None:
        """Make it visible."""
        if self._ended:
            raise StoreError("this upload has ended")
        self._commit(bytes(self._data))
        self._ended = True

    def abort(self) -> None:
        """Drop it."""
        self._ended = True
        self._data.clear()
