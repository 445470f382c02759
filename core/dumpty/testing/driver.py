"""``DriverSuite``: what ``inspect`` and ``backup`` owe; the rest stands in the modules of its bases."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import PluginError
from dumpty.testing.databases import missing
from dumpty.testing.facade import FacadeRules
from dumpty.testing.listing import ListingRules
from dumpty.testing.parts import PartRules
from dumpty.testing.proving import ProofRules
from dumpty.testing.row_rules import RowRules
from dumpty.testing.rules import comes_from, require, shown
from dumpty.testing.secrecy import SecrecyRules
from dumpty.testing.streams import Interrupted, Refusal, at_once, peak_memory
from dumpty.testing.tables import TableRules
from dumpty.testing.traces import TraceRules
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dumpty.registry.host import Host

__all__ = ["DriverSuite"]


class DriverSuite(ListingRules, PartRules, TableRules, RowRules, ProofRules, SecrecyRules, TraceRules, FacadeRules):
    r"""The rules of a driver.

    A subclass needs ``plugin``, the fixtures ``source`` and ``target``, and the method ``content``; it proves more
    with ``rows``, ``drop``, ``full_target``, ``empty_target``, ``dying_source`` (and ``kill``) and ``large_source``.
    Without one of those its tests are skipped, and say so. For databases on a server, give ``unreachable``,
    ``with_password`` and ``databases``, too, and, where the plugin has the hook ``databases``, ``system_databases``.
    Where the plugin has ``examine`` and ``scratch``, they are tested as well, and with ``question`` and ``questions``
    also what can be asked of a scratch::

        class TestCsv(DriverSuite):
            plugin = dumpty_csv
            libraries = ("pandas",)

            @pytest.fixture
            def source(self, tmp_path):
                (tmp_path / "shop").mkdir()
                (tmp_path / "shop" / "item.csv").write_text("id,name\n1,apple\n")
                return f"csv:///{tmp_path}/shop"

            @pytest.fixture
            def target(self, tmp_path):
                return f"csv:///{tmp_path}/again"

            def content(self, url):
                return {p.name: p.read_text() for p in Path(url.removeprefix("csv:///")).iterdir()}

            def drop(self, url):
                shutil.rmtree(url.removeprefix("csv:///"))
    """

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        **ProofRules.claims,
        **PartRules.claims,
        **TableRules.claims,
        **RowRules.claims,
        **ListingRules.claims,
    }

    # -- inspect -------------------------------------------------------------------------------------------------

    def test_inspect_tells_a_filled_database(self, host: Host, source: str) -> None:
        """inspect() of a database with content: it exists, is not empty, and no secret is in what it says."""
        inspection = self.inspected(host, source)
        remedy = "Look for anything that a restore could harm."
        require(
            inspection.exists and not inspection.empty,
            "A database with content exists and is not empty.",
            remedy,
            shown(inspection),
        )
        plausible = inspection.estimated_bytes is None or inspection.estimated_bytes >= 0
        require(
            plausible, "estimated_bytes is a number of bytes, or None.", "Estimate, or say None.", shown(inspection)
        )
        second_inspection = self.inspected(host, source)
        rule = "A database has one identity, the same whenever it is asked for."
        require(
            second_inspection.identity == inspection.identity,
            rule,
            "Build it from its place.",
            f"{second_inspection.identity!r}",
        )

    def test_inspect_creates_nothing(self, host: Host, source: str, target: str) -> None:
        """inspect() of a database that is missing says so, every time, and creates nothing."""
        rule = "A database that does not exist is exists=False, empty=True; asking does not create it."
        for _ in range(2):
            inspection = self.inspected(host, missing(source))
            require(
                not inspection.exists and inspection.empty,
                rule,
                "Open for reading only, never creating.",
                shown(inspection),
            )
        first, second = self.inspected(host, target), self.inspected(host, target)
        unchanged = first.exists == second.exists and first.empty and second.empty
        require(
            unchanged, "inspect() changes nothing; `target` is missing or empty.", "", f"{shown(first)}, then {second}"
        )

    def test_inspect_tells_a_server_from_its_databases(self, host: Host, source: str) -> None:
        """inspect() of the server, where a format is of one: it exists, and is called otherwise than any database."""
        plugin = self.plugin_under_test(host)
        if not any(form.server for form in plugin.described.formats):
            return
        database = self.inspected(host, source)
        options = self.options(host, "inspect", server=True)
        server, again = (host.inspect(plugin, source=parse_url(source), options=options) for _ in range(2))
        rule = (
            "With the option server on, inspect() is of the server: it exists, with an identity and a name of its own."
        )
        remedy = "Give the identity of a database whose name is empty, and the host (with its port) as the name."
        told = server.exists and server.identity and server.name and server.identity == again.identity
        require(told and server.identity != database.identity, rule, remedy, f"{shown(server)}, and {shown(database)}")

    # -- backup --------------------------------------------------------------------------------------------------

    def test_a_backup_leaves_the_source_as_it_was(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """backup() writes at least one byte, and only reads the source."""
        content_before = self.content(source)
        dump = self.dumped(host, source, tmp_path, form)
        require(dump.size, "A dump has at least one byte, even of an empty database.", "Write a header.")
        unchanged = self.content(source) == content_before
        require(
            unchanged, "backup() only reads its source.", "Write nothing, create nothing.", "the source has changed"
        )

    def test_evidence_counts_the_rows(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """The evidence names every table with the number of rows that the dump holds."""
        expected = dict(self.rows(source))
        evidence = self.dumped(host, source, tmp_path, form).evidence
        counted = {entry.path: entry.rows for entry in evidence.objects if entry.rows is not None}
        require(
            counted == expected,
            "Evidence.objects names every table, with its number of rows in the dump's own snapshot.",
            "Count within the transaction that is dumped, or set counts_rows = False.",
            f"it says {shown(counted)}, and the database has {shown(expected)}",
        )

    def test_evidence_is_plain_data(self, host: Host, source: str, tmp_path: Path, form: str) -> None:
        """Evidence can be written as JSON, names each object once, and says what it is not sure of."""
        try:
            evidence = self.dumped(host, source, tmp_path, form).evidence
        except PluginError as error:
            require(
                "an Evidence from backup" not in str(error),
                "Evidence is kept in a manifest, as JSON, and has one entry for each object.",
                "Use str, int, bool and None, and name objects in full.",
                shown(error),
            )
            raise
        explained = evidence.consistent or evidence.notes
        require(explained, "A dump that is not of one moment says why, in notes.", "Add a note.", "there is none")

    def test_only_declared_options_are_read(self, host: Host, source: str, tmp_path: Path) -> None:
        """inspect() and backup() read only options that describe() declares for them."""
        inspect_options, backup_options = self.options(host, "inspect"), self.options(host, "backup")
        if self.inspects:
            host.inspect(self.plugin_under_test(host), source=parse_url(source), options=inspect_options)
        self.dumped(host, source, tmp_path, options=backup_options)
        inspect_options.require_declared()
        backup_options.require_declared()

    # -- errors --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", [Refusal, Interrupted], ids=["disk", "ctrl-c"])
    def test_an_error_of_the_sink_comes_out(
        self, host: Host, source: str, tmp_path: Path, form: str, kind: type[BaseException]
    ) -> None:
        """Where the sink fails, at once or midway, backup() raises that error: nothing swallows it."""
        total = self.dumped(host, source, tmp_path, form).size
        for good_bytes in (0, total // 2, total - 1):
            failed: list[int] = []
            error = kind("no space left on device")

            def fail(
                _: int, end: int, good_bytes: int = good_bytes, failed: list[int] = failed, error: BaseException = error
            ) -> None:
                if end > good_bytes:
                    failed.append(end)
                    raise error

            raised = self._backup_error(host, source, tmp_path, form, fail)
            require(
                comes_from(raised, error) or not failed,
                "An error out of sink.write() comes out of backup(), unchanged or as the cause.",
                "Let it pass; end what runs beside, in finally.",
                f"the sink failed at byte {good_bytes} of {total}, and backup() "
                + (f"raised {shown(raised)}" if raised else "returned as if all were well"),
            )

    def test_a_source_that_does_not_exist_is_an_error(self, host: Host, source: str, tmp_path: Path) -> None:
        """backup() of a database that does not exist raises, and does not create it."""
        missing_url = missing(source)
        raised = self._backup_error(host, missing_url, tmp_path, None, None)
        rule = "backup() of a database that does not exist raises."
        require(raised, rule, "Raise dumpty.SourceError.", "it returned, with a dump of nothing")
        if self.inspects:
            inspection = self.inspected(host, missing_url)
            require(not inspection.exists, "backup() creates no source.", "Open it for reading only.", "now it exists")

    def test_a_source_that_dies_midway_is_an_error(
        self, host: Host, dying_source: str, tmp_path: Path, form: str
    ) -> None:
        """backup() raises where its source dies, is cut off, or cannot be read on."""
        killed: list[str] = []

        def kill(begin: int, _: int) -> None:
            if begin and not killed:
                killed.append(dying_source)
                self.kill(dying_source)

        raised = self._backup_error(host, dying_source, tmp_path, form, kill)
        require(
            raised,
            "backup() raises where its source dies midway: half a dump is never a success.",
            "Check exit status, end mark and error of everything that the dump came from.",
            "it returned as if all were well",
        )

    # -- behaviour -----------------------------------------------------------------------------------------------

    def test_memory_stays_flat(self, host: Host, large_source: str, target: str, tmp_path: Path, form: str) -> None:
        """Backing up and restoring take no more memory for a large database than for a small one."""
        peak = peak_memory(lambda: self.dumped(host, large_source, tmp_path, form))
        dump = self.dumped(host, large_source, tmp_path, form)
        if dump.size < 2 * self.memory:
            self.unproved(f"the dump of large_source has {dump.size >> 20} MiB; twice {self.memory >> 20} are needed")
        rule, remedy = "A driver streams: memory does not grow with the database.", "Work in pieces of bounded size."
        require(peak < self.memory, rule, remedy, f"backup() held {peak >> 20} MiB of {dump.size >> 20}")
        if self.restores:
            peak = peak_memory(lambda: self.put_back(host, dump, target))
            require(peak < self.memory, rule, remedy, f"restore() held {peak >> 20} MiB of {dump.size >> 20}")

    def test_several_backups_at_once_do_not_mix(self, host: Host, source: str, tmp_path: Path) -> None:
        """Several threads may back up the same database at once."""
        single_backup = self.dumped(host, source, tmp_path).evidence

        def work(number: int, meet: Callable[[], None]) -> None:
            (tmp_path / str(number)).mkdir()
            evidence = self.dumped(host, source, tmp_path / str(number), before_write=_every_few(meet)).evidence
            require(evidence.objects == single_backup.objects, "Each backup has its own evidence.", "Keep no state.")

        errors = at_once([functools.partial(work, number) for number in range(2)], patience=1.0)
        require(
            not errors,
            "Several backups may run at once, each with its own connection and state.",
            "Keep no state in the module.",
            f"with two threads, {shown(errors[0]) if errors else ''}",
        )


def _every_few(meet: Callable[[], None]) -> Callable[[int, int], None]:
    calls = [0]

    def before_write(_begin: int, _end: int) -> None:
        calls[0] += 1
        if calls[0] <= 4:  # noqa: PLR2004 - enough to be inside at the same time
            meet()

    return before_write
