"""The suites as ``dumpty.testing.check`` runs them: against an installed plugin, with URLs from the environment."""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dumpty.errors import DumptyError
from dumpty.registry.host import Host
from dumpty.testing.cipher import CipherSuite
from dumpty.testing.compressor import CompressorSuite
from dumpty.testing.databases import sibling_url, url_below
from dumpty.testing.driver import DriverSuite
from dumpty.testing.notifier import NotifierSuite
from dumpty.testing.repository import RepositorySuite
from dumpty.testing.rules import require
from dumpty.testing.store import StoreSuite
from dumpty.testing.transport import TransportSuite
from dumpty.testing.verifier import VerifierSuite
from dumpty.types import LocalStore, is_object_name
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dumpty.registry.plugin import Plugin
    from dumpty.testing.recipients import Behaviour, Recipient
    from dumpty.testing.ways import ReachablePlace
    from dumpty.types import Kind, Repository, Store

__all__ = ["REMAINING", "RUN", "SOURCE", "TARGET", "suite_for"]

SOURCE, TARGET, REMAINING = "DUMPTY_CHECK_SOURCE", "DUMPTY_CHECK_TARGET", "DUMPTY_CHECK_LEFT"
RUN = "DUMPTY_CHECK_RUN"
_ID = os.environ.get(RUN) or uuid.uuid4().hex[:8]
_RUN = f"dumpty-check-{_ID}"
_NOT_CLEARED = "it could not be listed before the test, so nothing was removed after it"
_numbers = itertools.count(1)
_noted: set[str] = set()


def suite_for(name: str, kind: Kind) -> type:
    """Return the suite of an installed plugin."""
    host = Host()
    plugin = host.named(kind, name)
    bases = {
        "driver": CheckedDriver,
        "compressor": CompressorSuite,
        "cipher": CipherSuite,
        "verifier": VerifierSuite,
        "notifier": CheckedNotifier,
        "transport": CheckedTransport,
        "store": CheckedRepository if _brings_a_layout(host, plugin) else CheckedStore,
    }
    members: dict[str, object] = {"plugin": plugin.module, "__module__": "dumpty_checked"}
    if kind == "driver":
        members |= {"restores": host.can(plugin, "restore"), "inspects": host.can(plugin, "inspect")}
    if kind == "cipher":
        members["makes_identities"] = host.can(plugin, "new_identity")
    return type("Checked", (bases[kind],), members)


def _brings_a_layout(host: Host, plugin: Plugin) -> bool:
    """Return whether a store is nothing but a layout of its own."""
    return host.can(plugin, "open_repository") and not host.can(plugin, "open_store")


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
        # No name that a database may have: what an earlier check left is none, and a production's never.
        url = sibling_url(os.environ[TARGET], f"_{_ID}_{next(_numbers)}")
        yield url
        try:
            exists = not self.inspects or self.inspected(host, url).exists
        except DumptyError:
            exists = True
        if exists:
            note_remaining(parse_url(url).url)

    def rows(self, url: str) -> Mapping[str, int]:
        """Nobody can say."""
        scheme = url.partition(":")[0]
        self.unproved(f"only a suite of one's own can count the rows of a {scheme} database by other means")


class CheckedStore(StoreSuite):
    """A store, known by the URL of a place alone: each test has a folder of its own there, and leaves nothing."""

    @pytest.fixture
    def store_url(self, host: Host) -> Iterator[str]:
        """The URL of a place of this test's own, within the one that the caller gave."""
        if not os.environ.get(TARGET):
            self.unproved("no target was given: the URL of a place that may be written to (--target URL)")
        url = url_below(os.environ[TARGET], f"{_RUN}/{next(_numbers)}")
        known = self._require_unused(host, url)
        yield url
        try:
            remaining = self._clear(self.opened(host, url)) if known else _NOT_CLEARED
        except DumptyError as error:
            remaining = str(error)
        if remaining:
            note_remaining(f"{parse_url(url).url} ({remaining})" if "://" in url else f"{url} ({remaining})")

    def _require_unused(self, host: Host, url: str) -> bool:
        """Require that nothing is listed in a folder that is new; return whether that could be seen."""
        try:
            found = next(iter(self.opened(host, url).list()), None)
        except DumptyError:
            return False  # a test says what is wrong with it
        _require_nothing_there(found.name if found else "")
        return True

    def _clear(self, store: Store) -> str:
        store.sweep(timedelta(0))
        names = {found.name for found in store.list()}
        store.delete(names)
        if isinstance(store, LocalStore):
            top = store.path("folder").parent
            if top.parent.name == _RUN:  # it is this test's, and what the store keeps there for itself goes with it
                for path in [p for p in top.glob("*") if not is_object_name(p.name)]:
                    with contextlib.suppress(OSError):
                        path.unlink()
            for empty in (top, top.parent):  # with the last test's goes that of the run
                with contextlib.suppress(OSError):
                    empty.rmdir()
            return "it is not empty" if top.exists() else ""
        return f"{len(left)} objects" if (left := self.settled(store, set())) else ""


class CheckedRepository(RepositorySuite):
    """A repository, known by the URL of a place alone: each test has one of its own there, and empties it."""

    @pytest.fixture
    def repository_url(self, host: Host) -> Iterator[str]:
        """The URL of a place of this test's own, within the one that the caller gave."""
        if not os.environ.get(TARGET):
            self.unproved("no target was given: the URL of a place that may be written to (--target URL)")
        url = url_below(os.environ[TARGET], f"{_RUN}/{next(_numbers)}")
        known = self._require_unused(host, url)
        yield url
        # What the layout keeps for itself only its author can tell.
        run = url.rpartition("/")[0]
        shown = parse_url(run).url if "://" in run else run
        try:
            remaining = self._clear(self.opened(host, url)) if known else _NOT_CLEARED
        except DumptyError as error:
            remaining = str(error)
        if remaining:
            note_remaining(f"{shown}/{url.rpartition('/')[2]} ({remaining})")
        elif shown not in _noted:
            _noted.add(shown)
            note_remaining(f"{shown} (repositories that hold no backup any more)")

    def _require_unused(self, host: Host, url: str) -> bool:
        """Require that nothing is listed in a folder that is new; return whether that could be seen."""
        try:
            listing = self.opened(host, url).listing()
        except DumptyError:
            return False  # a test says what is wrong with it
        _require_nothing_there(
            next((f"backup {b.record.id}" for b in listing.backups), "; ".join(map(str, listing.problems)))
        )
        return True

    def _clear(self, repository: Repository) -> str:
        """Remove all backups, and return what is left."""
        for backup in repository.listing().backups:
            repository.unpin(backup.record)
        repository.remove(lambda listed: {backup.record.id for backup in listed})
        listing = repository.listing()
        count = len(listing.backups) + len(listing.problems)
        return f"{count} backups" if count else ""


class CheckedNotifier(NotifierSuite):
    """A notifier, of which nobody here can say what arrived."""

    @pytest.fixture
    def new_recipient(self) -> Callable[[Behaviour], Recipient]:
        """Nobody receives here."""
        self.unproved("only a suite of one's own has recipients that tell what arrived (dumpty.testing.NotifierSuite)")


class CheckedTransport(TransportSuite):
    """A transport, of which nobody here knows a place."""

    @pytest.fixture
    def place(self) -> ReachablePlace:
        """Nobody knows one here."""
        self.unproved("only a suite of one's own has a place that it leads to (dumpty.testing.TransportSuite)")


def _require_nothing_there(what: str) -> None:
    """End a test before it touches anything, where a place that is new holds something: it is somebody's."""
    require(
        not what,
        "What a URL's path names is a place of its own: nothing of another place is listed in it.",
        "Let the whole path decide. Nothing was written or removed here.",
        f"in a folder that nobody used before there was {what}",
    )


def note_remaining(what: str) -> None:
    """Write down what a check leaves, for its caller to remove."""
    with open(os.environ[REMAINING], "a", encoding="utf-8") as file:
        file.write(what + "\n")
