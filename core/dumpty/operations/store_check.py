"""What a place guarantees, found out by trying: in a folder of its own, which is left as it was.

The rules are those of ``dumpty.types.Store``. What a place does not guarantee is no fault of it: backups are as safe,
but something is slower, or stays for longer; what follows is said. What loses data is a fault.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.errors import DumptyError, Exists, MissingFile, NotPermitted, PluginError, Retained, StoreError
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.registry.host import Host
    from dumpty.types import Store

__all__ = ["StoreFinding", "check_store"]

_ROUNDS = 3
_CONTENDERS = 8
_LISTINGS = 5
_LARGE = 16 << 20
_BLOCK = 1 << 18
_SKEW_SECONDS = 60


class StoreFinding(Struct, frozen=True, kw_only=True):
    """One thing that was tried: whether it ``holds`` (None: it could not be tried), what was seen, what follows."""

    name: str
    holds: bool | None
    seen: str
    follows: str = ""
    fault: bool = False
    """Whether backups are not safe there."""


def check_store(host: Host, url: str) -> Iterator[StoreFinding]:
    """Try what the store behind ``url`` guarantees; yield each finding when it is known.

    Raises:
        DumptyError: the store cannot be opened, or nothing can be written to it.
    """
    plugin = host.store(url)
    if not host.can(plugin, "open_store"):
        raise PluginError(f"{plugin} keeps a layout of its own, which only `dumpty plugins check` proves")
    store = host.open_store(plugin, url=url, options=host.options({"open_store": plugin}, {})["open_store"])
    check = _Check(store)
    try:
        for try_it in (check.writing, check.creating, check.listing, check.reading, check.streaming, check.clock):
            yield try_it()
    finally:
        finding = check.deleting()
    yield finding


class _Check:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = f".check/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        self._names: list[str] = []

    def writing(self) -> StoreFinding:
        """Put small objects, one after the other; what fails here fails the whole check."""
        seconds = []
        for _ in range(_LISTINGS):
            name, data = self._name("small"), secrets.token_bytes(1000)
            begun = time.monotonic()
            self._store.put(name, data)
            seconds.append(time.monotonic() - begun)
            if self._store.get(name) != data:
                return self._fault("write and read back", f"{self._store.locate(name)} holds other bytes than were put")
        return StoreFinding(
            name="write and read back", holds=True, seen=f"{1000 * median(seconds):.1f} ms for each put"
        )

    def creating(self) -> StoreFinding:
        """Let several create one new name at once."""
        claimed = Cap.CREATE_NEW in self._store.capabilities()
        winners = []
        for _ in range(_ROUNDS):
            name = self._name("race")
            contents = [secrets.token_bytes(3000) for _ in range(_CONTENDERS)]
            with ThreadPoolExecutor(_CONTENDERS) as pool:
                won = [
                    c for c, success in zip(contents, pool.map(self._creator(name), contents), strict=True) if success
                ]
            winners.append(len(won))
            if claimed and len(won) == 1 and self._store.get(name) != won[0]:
                return self._fault("one of several wins a new name", "what is there is not the winner's")
        seen = f"of {_CONTENDERS} at once {', '.join(map(str, winners))} won"
        holds = claimed and set(winners) == {1}
        if claimed and not holds:
            return self._fault("one of several wins a new name", f"{seen}, and the store says that one does")
        follows = (
            "" if holds else "what a killed backup left is removed after a week, and of two removals at once one waits"
        )
        return StoreFinding(name="one of several wins a new name", holds=holds, seen=seen, follows=follows)

    def listing(self) -> StoreFinding:
        """List what was written, and what was deleted, right afterwards."""
        claimed = Cap.STRONG_LIST in self._store.capabilities()
        late = stale = 0
        for _ in range(_LISTINGS):
            name = self._name("listed")
            self._store.put(name, b"x")
            late += name not in self._listed()
            with contextlib.suppress(Retained, NotPermitted):
                self._store.delete([name])
                stale += name in self._listed()
        seen = f"{_LISTINGS - late} of {_LISTINGS} were in the listing that came next"
        seen += f", {stale} still when they were deleted" if stale else ""
        late += stale
        if claimed and late:
            return self._fault("what was written is listed at once", f"{seen}, and the store says that all are")
        follows = "" if claimed else "a removal announces what it takes, and takes it a day later, when it is run again"
        return StoreFinding(name="what was written is listed at once", holds=claimed, seen=seen, follows=follows)

    def reading(self) -> StoreFinding:
        """Read from the middle of an object on."""
        name, data = self._name("ranges"), secrets.token_bytes(100_000)
        self._store.put(name, data)
        for offset in (0, 1, 54_321, len(data)):
            reader = self._store.open(name, offset)
            try:
                same = b"".join(iter(lambda r=reader: r.read(_BLOCK), b"")) == data[offset:]  # type: ignore[misc]
            finally:
                reader.close()
            if not same:
                return self._fault("read from any byte on", f"from byte {offset} on other bytes came")
        return StoreFinding(name="read from any byte on", holds=True, seen="four offsets")

    def streaming(self) -> StoreFinding:
        """Upload and read what is large; nothing of it may be seen before it is committed."""
        what = "a large object is there whole or not at all"
        name, blocks = self._name("large"), [os.urandom(_BLOCK) for _ in range(_LARGE // _BLOCK)]
        written, read = hashlib.sha256(b"".join(blocks)), hashlib.sha256()
        upload = self._store.upload(name, _LARGE)
        try:
            begun = time.monotonic()
            for block in blocks:
                upload.write(block)
            if name in self._listed() or self._is_there(name):
                return self._fault(what, "it was there before it was committed")
            upload.commit()
            up = time.monotonic() - begun
        finally:
            upload.abort()
        begun, size = time.monotonic(), 0
        reader = self._store.open(name)
        try:
            while data := reader.read(_BLOCK):
                size += len(data)
                read.update(data)
        finally:
            reader.close()
        down = time.monotonic() - begun
        if size != _LARGE or self._store.stat(name).size != _LARGE:
            return self._fault(what, f"of {_LARGE:,} bytes {size:,} came back")
        if read.digest() != written.digest():
            return self._fault(what, "other bytes came back")
        speed = f"{_LARGE / 1e6 / up:.0f} MB/s up, {_LARGE / 1e6 / down:.0f} MB/s down, {_LARGE >> 20} MiB each"
        return StoreFinding(name=what, holds=True, seen=speed)

    def clock(self) -> StoreFinding:
        """Compare the place's clock with this machine's."""
        skew = (self._store.now() - datetime.now(UTC)).total_seconds()
        near = abs(skew) < _SKEW_SECONDS
        # Nothing follows: ages are told by the place's clock alone.
        seen = f"{skew:+.0f} s" + ("" if near else ": set the one that is wrong (NTP)")
        return StoreFinding(name="its clock is near this machine's", holds=near, seen=seen)

    def deleting(self) -> StoreFinding:
        """Delete all that was written."""
        what = "what was written can be deleted"
        try:
            self._store.delete(self._names)
        except (Retained, NotPermitted) as error:
            why = "retained" if isinstance(error, Retained) else "refused"
            follows = (
                f"prune and remove do not work with these rights; what this check wrote is left in {self._folder}; "
                "see `dumpty help s3`, Rights"
            )
            return StoreFinding(name=what, holds=False, seen=f"{why}: {error}", follows=follows)
        except DumptyError as error:
            return self._fault(what, str(error))
        left = [name for name in self._names if self._is_there(name)]
        if left:
            return self._fault(what, f"{len(left)} of {len(self._names)} are still there, and no error was told")
        return StoreFinding(name=what, holds=True, seen=f"{len(self._names)} objects")

    def _creator(self, name: str) -> Callable[[bytes], bool]:
        def create(content: bytes) -> bool:
            try:
                self._store.put(name, content)
            except Exists:
                return False
            return True

        return create

    def _name(self, kind: str) -> str:
        self._names.append(f"{self._folder}/{kind}-{len(self._names)}")
        return self._names[-1]

    def _listed(self) -> set[str]:
        return {found.name for found in self._store.list(self._folder)}

    def _is_there(self, name: str) -> bool:
        try:
            self._store.stat(name)
        except MissingFile:
            return False
        except StoreError:
            return True
        return True

    def _fault(self, name: str, seen: str) -> StoreFinding:
        follows = "keep no backups there: what is said to be safe may not be"
        return StoreFinding(name=name, holds=False, seen=seen, follows=follows, fault=True)
