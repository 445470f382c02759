"""What ``databases`` owes, for a driver that has it: every database of a server, each as it can be backed up."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, ClassVar

from dumpty.errors import DumptyError, PluginError
from dumpty.redaction import encodings
from dumpty.testing.dumps import FileSink
from dumpty.testing.rules import require, shown
from dumpty.testing.sources import DriverRules
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.types import Source

__all__ = ["ListingRules"]


class ListingRules(DriverRules):
    """The part of ``DriverSuite`` for drivers that list databases. Implementing the hook is claiming it."""

    lists_databases: ClassVar[bool] = False
    """Whether the plugin implements ``databases``; found out."""

    system_databases: ClassVar[Collection[str]] = ()
    """The names of the databases that a server has for itself, and that are never listed."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        **DriverRules.claims,
        "lists_databases": (
            "test_the_databases_of_a_server_are_listed",
            "test_databases_are_listed_in_order",
            "test_no_database_of_the_server_itself_is_listed",
            "test_what_is_listed_can_be_backed_up",
            "test_a_listed_database_keeps_its_password_to_itself",
        ),
        "takes_password": (
            *DriverRules.claims["takes_password"],
            "test_a_listed_database_keeps_its_password_to_itself",
        ),
    }

    def __init_subclass__(cls, **keywords: object) -> None:
        """Find out whether the plugin has the hook."""
        # Marked as a hook: an object may well keep databases under that name.
        cls.lists_databases = hasattr(getattr(getattr(cls, "plugin", None), "databases", None), "dumpty_impl")
        super().__init_subclass__(**keywords)

    # -- what the tests stand on ---------------------------------------------------------------------------------

    def server_of(self, host: Host, url: str) -> Source:
        """Return what ``databases`` is asked about: the server of a database, or the files beside it."""
        source = parse_url(url)
        if not self.plugin_under_test(host).described.files:
            return source.replace(database=None)
        return source.replace(database=os.path.join(glob.escape(os.path.dirname(source.database or "")), "*"))

    def listed(self, host: Host, url: str) -> dict[str, Source]:
        """Return the databases of the server of ``url``, by their names, in their order."""
        options = self.options(host, "databases")
        try:
            found = host.databases(self.plugin_under_test(host), source=self.server_of(host, url), options=options)
        except PluginError as error:
            rule = "databases() returns source.replace(database=NAME) for every database, each once."
            require(False, rule, "Make each like that, of the source that it was given.", str(error))
            raise
        options.require_declared()
        return {str(source.database): source for source in found}

    # -- rules ---------------------------------------------------------------------------------------------------

    def test_the_databases_of_a_server_are_listed(self, host: Host, source: str) -> None:
        """databases() lists the database of the suite, under the name that its URL has."""
        name, listed = parse_url(source).database, self.listed(host, source)
        rule = "databases() lists every database that a backup may want: what is left out is backed up by nobody."
        require(name in listed, rule, "Ask the server for all.", f"{name!r} is not in {shown(sorted(listed))}")

    def test_databases_are_listed_in_order(self, host: Host, source: str) -> None:
        """databases() lists them by name, whenever it is asked."""
        for _ in range(2):
            names = list(self.listed(host, source))
            require(names == sorted(names), "Databases are listed by name.", "Sort them.", f"it was {shown(names)}")

    def test_no_database_of_the_server_itself_is_listed(self, host: Host, source: str) -> None:
        """databases() lists no database that a server has for itself."""
        if not self.system_databases and not self.plugin_under_test(host).described.files:
            self.unproved("give your suite system_databases: the names of those that the server has for itself")
        own = {name for name in self.listed(host, source) if os.path.basename(name) in self.system_databases}
        rule = "What a server has for itself is no database to be backed up, or restored anywhere."
        require(not own, rule, "Leave it out.", f"there was {shown(sorted(own))}")

    def test_what_is_listed_can_be_backed_up(self, host: Host, source: str, tmp_path: Path) -> None:
        """backup() of a Source that databases() returned is a backup of the database of that name."""
        plugin, form = self.plugin_under_test(host), self.stream_formats()[0]
        entry = self.listed(host, source).get(str(parse_url(source).database))
        if entry is None:
            self.unproved("the database of the suite is not listed, which another test says")
        expected = self.dumped(host, source, tmp_path).evidence
        rule, remedy = "What is listed can be backed up as it is listed.", "Name it as a URL does."
        sink = FileSink(tmp_path / "listed-dump", parts=plugin.format(form).parts)
        try:
            evidence = host.backup(plugin, source=entry, sink=sink, format=form, options=self.options(host, "backup"))
        except DumptyError as error:
            require(False, rule, remedy, f"backup() raised {shown(error)}")
            raise
        finally:
            sink.close()
        require(evidence.objects == expected.objects, rule, remedy, f"there was {shown(evidence.objects)}")

    def test_a_listed_database_keeps_its_password_to_itself(self, host: Host, source: str) -> None:
        """A Source that databases() returned has the password of the one that was given, and does not show it."""
        server = self.server_of(host, self.with_password(source))
        secrets = [secret for secret in server.secrets if secret not in server.url]
        if not secrets:
            self.unproved("override with_password(url): it gave no URL with a password of its own")
        try:
            found = list(self.call_bare("databases", source=server, options=self.options(host, "databases")))
        except (DumptyError, ImportError) as error:
            self.unproved(f"with a password, the server could not be asked (see with_password): {error}")
        remedy = "Make each by source.replace(database=NAME)."
        for entry in found:
            kept = entry.password == server.password and set(server.secrets) <= set(entry.secrets)
            require(kept, "A listed database is reached with the password that the server was.", remedy)
            texts = f"{entry!r} {entry.url}"
            visible = any(spelling in texts for secret in secrets for spelling in encodings(secret))
            require(not visible, "A listed database shows no password.", remedy, "its url does")
