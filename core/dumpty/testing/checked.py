"""The suites as ``dumpty.testing.check`` runs them: against an installed plugin, with URLs from the environment."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import DumptyError
from dumpty.registry.host import Host
from dumpty.testing.compressor import CompressorSuite
from dumpty.testing.databases import sibling_url
from dumpty.testing.driver import DriverSuite
from dumpty.testing.store import StoreSuite
from dumpty.testing.verifier import VerifierSuite
from dumpty.types import LocalStore
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty.types import Kind, Store

__all__ = ["REMAINING", "SOURCE", "TARGET", "suite_for"]

SOURCE, TARGET, REMAINING = "DUMPTY_CHECK_SOURCE", "DUMPTY_CHECK_TARGET", "DUMPTY_CHECK_LEFT"
_numbers = itertools.count(1)


def suite_for(name: str, kind: Kind) -> type:
    """Return the suite of an installed plugin."""
    host = Host()
    plugin = host.named(kind, name)
    bases = {
        "driver": CheckedDriver,
        "compressor": CompressorSuite,
        "verifier": VerifierSuite,
        "store": CheckedStore,
    }
    members: dict[str, object] = {"plugin": plugin.module, "__module__": "dumpty_checked"}
    if kind == "driver":
        members |= {"restores": host.can(plugin, "restore"), "inspects": host.can(plugin, "inspect")}
    return type("Checked", (bases[kind],), members)


class CheckedDriver(DriverSuite):
    """A driver, known by the URLs of a database and of a place for others alone."""

    @pytest.fixture
    def source(self) -> str:
        """The URL that the caller gave."""
        if not os.environ.get(SOURCE):
            self.unproved("no source was given: the URL of a database with content (--source URL)")
        return os.environ[SOURCE]

    @pytest.fixture
    def target(self, host: Host) -> Iterator[str]:
        """The URL of a database of this test's own, beside the one that the caller gave."""
        if not os.environ.get(TARGET):
            self.unproved("no target was given: the URL of a database that does not exist yet (--target URL)")
        url = sibling_url(os.environ[TARGET], f"_{next(_numbers)}")
        yield url
        try:
            exists = not self.inspects or self.inspected(host, url).exists
        except DumptyError:
            exists = True
        if exists:
            with open(os.environ[REMAINING], "a", encoding="utf-8") as file:
                file.write(parse_url(url).url + "\n")

    def rows(self, url: str) -> Mapping[str, int]:
        """Nobody can say."""
        scheme = url.partition(":")[0]
        self.unproved(f"only a suite of one's own can count the rows of a {scheme} database by other means")


class CheckedStore(StoreSuite):
    """A store, known by the URL of a place alone."""

    local: ClassVar[bool] = True

    @pytest.fixture
    def store_url(self) -> str:
        """The URL of a place of this test's own, within the one that the caller gave."""
        if not os.environ.get(TARGET):
            self.unproved("no target was given: the URL of an empty store (--target URL)")
        return f"{os.environ[TARGET].rstrip('/')}/check-{next(_numbers)}"

    @pytest.fixture
    def store(self, host: Host, store_url: str) -> Store:
        """The store behind ``store_url``."""
        return self.opened(host, store_url)

    def _require_local(self, store: Store) -> None:
        if not isinstance(store, LocalStore):
            self.unproved("the store's objects are no files on this machine")

    def test_a_local_object_has_a_path(self, store: Store) -> None:
        """A local store tells the path of an object, and the file there is the object."""
        self._require_local(store)
        super().test_a_local_object_has_a_path(store)

    def test_a_workspace_is_private_and_goes_away(self, store: Store) -> None:
        """workspace() is an empty directory, readable by its owner alone, that goes away with the block."""
        self._require_local(store)
        super().test_a_workspace_is_private_and_goes_away(store)
