"""What the rules of a driver stand on: what its author supplies, and databases dumped, looked at and put back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import IntegrityError
from dumpty.registry.host import Host
from dumpty.testing.databases import unreachable_url, with_secret
from dumpty.testing.dumps import FileSink, RecordedDump
from dumpty.testing.suite import Suite
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from dumpty.types import Evidence, Inspection, Kind, Options

__all__ = ["DriverRules"]


class DriverRules(Suite):
    """The base of the rules of a driver: fixtures, flags and methods for all of them."""

    kind: ClassVar[Kind] = "driver"

    restores: ClassVar[bool] = True
    """False for a driver that implements no ``restore``."""

    inspects: ClassVar[bool] = True
    """False for a driver that implements no ``inspect``; one that restores needs it."""

    counts_rows: ClassVar[bool] = True
    """False for a driver whose evidence names no tables with their rows."""

    settle: ClassVar[float] = 20.0
    """For how many seconds threads and processes that were told to end are waited for."""

    deadline: ClassVar[float] = 120.0
    """Within how many seconds a backup of a server that is not there has failed."""

    takes_password: ClassVar[bool] = True
    """False for a driver whose URLs have no password, such as one of files."""

    formats: ClassVar[tuple[str, ...]] = ()
    """Those of the plugin's formats that the rules are proved for; empty for all that are streams of one database."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        "restores": (
            "test_a_database_comes_back",
            "test_an_empty_target_is_used",
            "test_a_full_target_is_refused",
            "test_overwriting_replaces_the_target",
            "test_the_old_content_stands_until_the_dump_has_ended",
            "test_a_failed_restore_leaves_no_new_database",
            "test_a_failed_restore_leaves_the_old_content",
            "test_rows_that_are_missing_are_an_error",
            "test_a_restore_reads_the_dump_to_its_end",
            "test_a_backup_is_restored",
            "test_a_missing_target_is_created",
            "test_an_interrupted_restore_leaves_nothing",
        ),
        "not restores": ("test_restore_is_refused_where_it_is_not_claimed",),
        "inspects": (
            "test_inspect_tells_a_filled_database",
            "test_inspect_creates_nothing",
            "test_inspect_tells_a_server_from_its_databases",
        ),
        "takes_password": ("test_no_secret_is_returned_or_shown",),
        "counts_rows": (
            "test_evidence_counts_the_rows",
            "test_rows_that_are_missing_are_an_error",
            "test_every_count_is_of_the_rows",
        ),
    }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test that asks for ``form`` once for each format that is a stream of one database."""
        if "form" in metafunc.fixturenames:
            metafunc.parametrize("form", self.stream_formats())

    # -- what the author supplies --------------------------------------------------------------------------------

    @pytest.fixture
    def source(self) -> str:
        """The URL of a database with content, of every type that it can hold; to be overridden."""
        return pytest.fail("give your suite a fixture source: the URL of a database with content")

    @pytest.fixture
    def target(self) -> str:
        """The URL of a database that does not exist, or is empty, a new one for every test; to be overridden."""
        return pytest.fail("give your suite a fixture target: the URL of a database that does not exist yet")

    @pytest.fixture
    def full_target(self, host: Host, source: str, target: str, tmp_path: Path) -> str:
        """The URL of a database with content, other than the source's if you override this."""
        self.put_back(host, self.dumped(host, source, tmp_path), target)
        return target

    @pytest.fixture
    def empty_target(self) -> str:
        """The URL of a database that exists and holds nothing."""
        self.unproved("give your suite a fixture empty_target: the URL of an existing, empty database")

    @pytest.fixture
    def dying_source(self) -> str:
        """The URL of a database that cannot be read to its end, or that ``kill`` ends; too large to be read ahead."""
        self.unproved("give your suite a fixture dying_source: a database that breaks while it is read (see kill)")

    @pytest.fixture
    def large_source(self) -> str:
        """The URL of a database whose dump is more than twice as large as ``memory``."""
        self.unproved("give your suite a fixture large_source: a database of more than twice `memory` bytes")

    def kill(self, url: str) -> None:
        """End the source behind ``url`` (a session, a server), once a part of its dump was written."""

    def content(self, url: str) -> object:
        """Return everything in the database behind ``url``, as something that can be compared.

        Override it, and read the database by other means than the driver's: without that, only the driver's own
        evidence is compared.
        """
        with tempfile.TemporaryDirectory(prefix="dumpty-") as directory:
            host = Host([self.plugin], discover=False)
            objects = self.dumped(host, url, Path(directory)).evidence.objects
        if not objects:
            self.unproved("give your suite a method content(url): the driver's evidence names no objects to compare")
        return sorted((entry.path, entry.rows or 0, entry.fingerprint or "") for entry in objects)

    def rows(self, url: str) -> Mapping[str, int]:
        """Return the number of rows of each table, named as the driver's evidence names it.

        Count them by other means than the driver's: they are compared with every number that it tells.
        """
        self.unproved(f"give your suite a method rows(url): tables and their numbers of rows ({url.partition(':')[0]})")

    def drop(self, url: str) -> None:
        """Remove the database behind ``url``, which a test restored, by other means than the driver's."""
        self.unproved(
            f"give your suite a method drop(url), which removes a database ({url.partition(':')[0]}): what comes back "
            "into a missing one is then proved"
        )

    def databases(self, url: str) -> Collection[str]:  # noqa: ARG002 - of those who override it
        """Return the names of all databases beside the one behind ``url``: a restore that fails adds none.

        Of files in ``tmp_path`` it is known; override it where they are on a server.
        """
        return ()

    @pytest.fixture
    def unreachable(self, source: str) -> str:
        """The URL, with a password in it, of a server that is not there; of ``source``, at a port that refuses.

        Without a server in ``source``, that of a database which does not exist.
        """
        return unreachable_url(source)

    def with_password(self, url: str) -> str:
        """Return ``url``, that of a source or target, with a password by which the database can be reached.

        To be overridden where a password is not simply ignored. That password must not turn up anywhere.
        """
        return url if parse_url(url).secrets else with_secret(url)

    # -- what the tests stand on ---------------------------------------------------------------------------------

    def stream_formats(self) -> list[str]:
        """Return the names of the formats that the rules are proved for: streams, each of one database."""
        forms = self.plugin.describe().formats  # type: ignore[attr-defined]
        declared = [form.name for form in forms if not form.directory and not form.server]
        return [name for name in declared if name in (self.formats or declared)]

    def inspected(self, host: Host, url: str) -> Inspection:
        """Inspect the database behind ``url``."""
        return host.inspect(self.plugin_under_test(host), source=parse_url(url), options=self.options(host, "inspect"))

    def counted(self, host: Host, url: str) -> Evidence | None:
        """Return what the driver counts in the database behind ``url``; None for one that cannot be asked."""
        plugin = self.plugin_under_test(host)
        declared = [o for o in plugin.described.options if o.name == "evidence" and "inspect" in o.verbs]
        if not self.inspects or not declared:
            return None
        options = self.options(host, "inspect", evidence="counts")
        return host.inspect(plugin, source=parse_url(url), options=options).evidence

    def dumped(
        self,
        host: Host,
        url: str,
        directory: Path,
        form: str | None = None,
        *,
        before_write: Callable[[int, int], None] | None = None,
        options: Options | None = None,
    ) -> RecordedDump:
        """Back up the database behind ``url`` into a file in ``directory``."""
        name = form or self.stream_formats()[0]
        file = Path(tempfile.mkdtemp(dir=directory)) / "dump"
        plugin = self.plugin_under_test(host)
        sink = FileSink(file, before_write, parts=plugin.format(name).parts)
        backup_options = self.options(host, "backup") if options is None else options
        try:
            evidence = host.backup(plugin, source=parse_url(url), sink=sink, format=name, options=backup_options)
        finally:
            sink.close()
        ended = {"late_writes": sink.late_writes, "unfinished": sink.unfinished}
        return RecordedDump(recorded=sink.recorded, format=name, evidence=evidence, **ended)  # type: ignore[arg-type]

    def put_back(self, host: Host, dump: RecordedDump, url: str, *, overwrite: bool = False) -> Evidence:
        """Restore ``dump`` into the database behind ``url``."""
        options = self.options(host, "restore")
        evidence = host.restore(
            self.plugin_under_test(host), target=parse_url(url), dump=dump, overwrite=overwrite, options=options
        )
        options.require_declared()
        return evidence

    def _restore_error(self, host: Host, dump: RecordedDump, url: str, *, overwrite: bool) -> BaseException | None:
        try:
            self.put_back(host, dump, url, overwrite=overwrite)
        except Exception as error:  # noqa: BLE001 - compared by the caller
            return error
        return None

    def _backup_error(
        self, host: Host, url: str, tmp_path: Path, form: str | None, before_write: Callable[[int, int], None] | None
    ) -> BaseException | None:
        """Return what a backup raises."""
        try:
            self.dumped(host, url, tmp_path, form, before_write=before_write)
        except BaseException as error:  # noqa: BLE001 - compared by the caller
            return error
        return None

    def _damaged_dumps(self, dump: RecordedDump) -> list[tuple[str, RecordedDump]]:
        return [
            (
                f"byte {good_bytes} of {dump.size}",
                dump.failing(IntegrityError("the stored file is damaged"), good_bytes),
            )
            for good_bytes in (dump.size // 2, dump.size)
        ]
