"""What the rules of a store stand on: objects written, read and listed in a place of every test's own."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.testing.rules import RuleBroken, shown
from dumpty.testing.streams import Collector, read_blocks
from dumpty.testing.suite import Suite
from dumpty.types import Cap, LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.registry.host import Host
    from dumpty.types import Buffer, Kind, Store

__all__ = ["StoreRules"]

_THREADS = 8


class StoreRules(Suite):
    """The base of the rules of a store."""

    kind: ClassVar[Kind] = "store"

    young: ClassVar[timedelta] = timedelta(hours=1)
    """What ``sweep`` is told to take for old where it must spare what was begun just now."""

    many: ClassVar[int] = 1100
    """How many objects a listing of several pages has; a place of object storage gives 1,000 at a time."""

    patience: ClassVar[float] = 60.0
    """For how many seconds another process may be waited for, and a listing, where it may be late."""

    def opened(self, host: Host, url: str) -> Store:
        """Open the store behind ``url``."""
        return host.open_store(self.plugin_under_test(host), url=url, options=self.options(host, "open_store"))

    def claimed(self, store: Store, cap: Cap) -> None:
        """End a test of what the store does not claim."""
        if cap not in store.capabilities():
            self.unproved(f"the store does not claim {cap.name}")

    def store_object(self, store: Store, name: str, *chunks: Buffer) -> None:
        """Write and commit an object."""
        upload = store.upload(name)
        try:
            for chunk in chunks:
                upload.write(chunk)
            upload.commit()
        finally:
            upload.abort()

    def content(self, store: Store, name: str, offset: int = 0) -> bytes:
        """Return an object's bytes, from ``offset`` on."""
        try:
            reader, sink = store.open(name, offset), Collector()
            read_blocks(reader, sink)
            reader.close()
        except Exception as error:
            rule = "A committed object can be read until it is deleted."
            raise RuleBroken(f"{rule} Here {shown(error)}. Keep it.") from error
        return bytes(sink.data)

    def names(self, store: Store, folder: str = "") -> set[str]:
        """Return the names of all objects below a folder."""
        return {found.name for found in store.list(folder)}

    def settled(self, store: Store, expected: set[str], folder: str = "") -> set[str]:
        """Return the names of all objects below a folder, once they are as expected where a listing may be late."""
        end = time.monotonic() + (0 if Cap.STRONG_LIST in store.capabilities() else self.patience)
        while (names := self.names(store, folder)) != expected and time.monotonic() < end:
            time.sleep(0.1)
        return names

    def raw_files(self, store: Store) -> set[str] | None:
        """Return whatever lies in the place, under any name; None where that cannot be seen past the store.

        For a store of files it is known; where another place can be looked into, override this.
        """
        if not isinstance(store, LocalStore):
            return None
        top = str(store.path("folder").parent)
        return {os.path.relpath(os.path.join(folder, n), top) for folder, _, here in os.walk(top) for n in here}

    def put_all(self, store: Store, names: Iterable[str]) -> None:
        """Put small objects, several at a time: the place may be far away."""
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda name: store.put(name, name.encode()), names):
                pass

    @pytest.fixture
    def store_url(self) -> str:
        """The URL of the store; to be overridden."""
        return pytest.fail("give your suite a fixture store_url: the URL of an empty place, a new one for every test")

    @pytest.fixture
    def store(self, host: Host, store_url: str) -> Store:
        """The store behind ``store_url``."""
        return self.opened(host, store_url)
