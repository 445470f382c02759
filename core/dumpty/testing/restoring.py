"""What ``restore`` owes, and what all rules of a driver stand on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import IntegrityError, RestoreNotSupported, TargetNotEmpty
from dumpty.registry.host import Host
from dumpty.testing.databases import missing
from dumpty.testing.dumps import FileSink, RecordedDump
from dumpty.testing.rules import comes_from, difference, refused, require, shown
from dumpty.testing.suite import Suite
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dumpty.types import Evidence, Inspection, Kind, Options

__all__ = ["RestoreRules"]

_ADVICE = "Load beside the target, and put it in place after the dump's end-of-file and all checks."


class RestoreRules(Suite):
    """The part of ``DriverSuite`` that restores, with fixtures, flags and methods for all of it."""

    kind: ClassVar[Kind] = "driver"

    restores: ClassVar[bool] = True
    """False for a driver that implements no ``restore``."""

    inspects: ClassVar[bool] = True
    """False for a driver that implements no ``inspect``; one that restores needs it."""

    counts_rows: ClassVar[bool] = True
    """False for a driver whose evidence names no tables with their rows."""

    formats: ClassVar[tuple[str, ...]] = ()
    """Those of the plugin's formats that the rules are proved for; empty for all that are streams."""

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
        ),
        "not restores": ("test_restore_is_refused_where_it_is_not_claimed",),
        "inspects": ("test_inspect_tells_a_filled_database", "test_inspect_creates_nothing"),
        "counts_rows": ("test_evidence_counts_the_rows", "test_rows_that_are_missing_are_an_error"),
    }

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test that asks for ``form`` once for each format that is a stream."""
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
        """Return the number of rows of each table, named as the driver's evidence names it."""
        self.unproved(f"give your suite a method rows(url): tables and their numbers of rows ({url.partition(':')[0]})")

    # -- what the tests stand on ---------------------------------------------------------------------------------

    def stream_formats(self) -> list[str]:
        """Return the names of the formats that the rules are proved for."""
        declared = [form.name for form in self.plugin.describe().formats if not form.directory]  # type: ignore[attr-defined]
        return [name for name in declared if name in (self.formats or declared)]

    def inspected(self, host: Host, url: str) -> Inspection:
        """Inspect the database behind ``url``."""
        return host.inspect(self.plugin_under_test(host), source=parse_url(url), options=self.options(host, "inspect"))

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
        sink = FileSink(file, before_write)
        backup_options = self.options(host, "backup") if options is None else options
        try:
            evidence = host.backup(
                self.plugin_under_test(host), source=parse_url(url), sink=sink, format=name, options=backup_options
            )
        finally:
            sink.close()
        return RecordedDump(file=file, format=name, evidence=evidence)

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

    def _damaged_dumps(self, dump: RecordedDump) -> list[tuple[str, RecordedDump]]:
        return [
            (
                f"byte {good_bytes} of {dump.size}",
                dump.failing(IntegrityError("the stored file is damaged"), good_bytes),
            )
            for good_bytes in (dump.size // 2, dump.size)
        ]

    # -- rules ---------------------------------------------------------------------------------------------------

    def test_a_database_comes_back(self, host: Host, source: str, target: str, tmp_path: Path, form: str) -> None:
        """What was backed up comes back into a missing database, in every format."""
        dump = self.dumped(host, source, tmp_path, form)
        evidence = self.put_back(host, dump, target)
        expected, actual = self.content(source), self.content(target)
        rule = "What was backed up comes back."
        require(actual == expected, rule, "See where it differs.", difference(expected, actual))
        rows = [{o.path: o.rows for o in e.objects if o.rows is not None} for e in (dump.evidence, evidence)]
        agree = rows[0] == rows[1] or not rows[1]
        require(agree, "The evidence of a restore agrees with the dump's.", "Count again.", f"{rows[0]}, {rows[1]}")

    def test_an_empty_target_is_used(self, host: Host, source: str, empty_target: str, tmp_path: Path) -> None:
        """An existing database that holds nothing is used, without overwrite."""
        try:
            self.put_back(host, self.dumped(host, source, tmp_path), empty_target)
        except TargetNotEmpty as error:
            require(False, "An existing empty database is used.", "Refuse only what holds something.", str(error))
        expected, actual = self.content(source), self.content(empty_target)
        rule = "What was backed up comes back into an empty database."
        require(actual == expected, rule, "See where it differs.", difference(expected, actual))

    def test_a_full_target_is_refused(self, host: Host, source: str, full_target: str, tmp_path: Path) -> None:
        """A target that holds anything is refused with TargetNotEmpty, and stays as it was."""
        dump, content_before = self.dumped(host, source, tmp_path), self.content(full_target)
        rule = "restore() into a database that holds anything raises TargetNotEmpty, unless overwrite is True."
        with refused(TargetNotEmpty, rule, "Look first: dumpty does, too, but the database may fill meanwhile."):
            self.put_back(host, dump, full_target)
        unchanged = self.content(full_target) == content_before
        require(
            unchanged, "A refused restore changes nothing.", "Look before the first change.", "the target has changed"
        )

    def test_overwriting_replaces_the_target(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """With overwrite, the target afterwards holds what was backed up, and nothing else."""
        self.put_back(host, self.dumped(host, source, tmp_path, form), full_target, overwrite=True)
        expected, actual = self.content(source), self.content(full_target)
        rule = "Overwriting replaces: nothing of the old content stays, and nothing is merged."
        require(actual == expected, rule, _ADVICE, difference(expected, actual))

    def test_the_old_content_stands_until_the_dump_has_ended(
        self, host: Host, source: str, full_target: str, tmp_path: Path
    ) -> None:
        """With overwrite, the old content is there, whole, until the dump has come to its end."""
        from dataclasses import replace

        dump, content_before = self.dumped(host, source, tmp_path), self.content(full_target)
        states: list[str] = []

        def look() -> None:
            try:
                states.append("whole" if self.content(full_target) == content_before else "changed")
            except Exception as error:  # noqa: BLE001 - compared below
                states.append(shown(error))

        self.put_back(host, replace(dump, before_end=look), full_target, overwrite=True)
        rule = "The old content is replaced only after the dump has come to its end: until then anybody can read it."
        require(set(states) == {"whole"}, rule, _ADVICE, f"just before the end it was: {', '.join(states) or 'unread'}")

    def test_a_failed_restore_leaves_no_new_database(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """Where the dump turns out damaged, midway or at its end, a missing target is still missing."""
        dump, inspection_before = self.dumped(host, source, tmp_path, form), self.inspected(host, target)
        for position, damaged in self._damaged_dumps(dump):
            raised = self._restore_error(host, damaged, target, overwrite=False)
            self._require_damage(raised, damaged, position)
            inspection_after = self.inspected(host, target)
            require(
                (inspection_after.exists, inspection_after.empty)
                == (inspection_before.exists, inspection_before.empty),
                "A restore that fails leaves its target as it was: missing, or empty.",
                _ADVICE,
                f"after damage at {position} there was {shown(inspection_after)}",
            )

    def test_a_failed_restore_leaves_the_old_content(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """Where the dump turns out damaged, with overwrite, the old content is still there."""
        dump, content_before = self.dumped(host, source, tmp_path, form), self.content(full_target)
        for position, damaged in self._damaged_dumps(dump):
            raised = self._restore_error(host, damaged, full_target, overwrite=True)
            self._require_damage(raised, damaged, position)
            try:
                content_after = self.content(full_target)
            except Exception as error:  # noqa: BLE001 - the content is gone
                content_after = error
            rule = "A restore that fails leaves the old content as it was, overwrite or not."
            observed = f"after damage at {position} it was {shown(content_after)}"
            require(
                type(content_after) is type(content_before) and content_after == content_before, rule, _ADVICE, observed
            )

    def test_rows_that_are_missing_are_an_error(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """A restore that comes to other numbers of rows than the dump's evidence raises, and leaves the target."""
        from dataclasses import replace

        dump, inspection_before = self.dumped(host, source, tmp_path, form), self.inspected(host, target)
        objects = tuple(replace(o, rows=None if o.rows is None else o.rows + 1) for o in dump.evidence.objects)
        miscounted = replace(dump, evidence=replace(dump.evidence, objects=objects))
        rule = "restore() counts, and raises IntegrityError where dump.evidence says another number of rows."
        with refused(IntegrityError, rule, "Compare before the target is put in place."):
            self.put_back(host, miscounted, target)
        inspection_after = self.inspected(host, target)
        unchanged = (inspection_after.exists, inspection_after.empty) == (
            inspection_before.exists,
            inspection_before.empty,
        )
        require(unchanged, "A restore that fails leaves its target as it was.", _ADVICE, shown(inspection_after))

    def test_a_restore_reads_the_dump_to_its_end(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """restore() reads the dump to end-of-file: only there it is known to be whole."""
        dump = self.dumped(host, source, tmp_path, form)
        self.put_back(host, dump, target)
        rule = "restore() reads the dump until read() returns b'': only then dumpty has verified it."
        require(dump.ends, rule, "Read on to the end, behind your own end mark, too.", "it stopped before")

    def test_restore_is_refused_where_it_is_not_claimed(self, host: Host, source: str, tmp_path: Path) -> None:
        """A driver that claims no restore has none: it raises NotImplementedError."""
        dump = self.dumped(host, source, tmp_path)
        rule = "A driver whose suite says restores = False implements no restore()."
        with refused(RestoreNotSupported, rule, "Set restores = True, and let it be tested."):
            self.put_back(host, dump, missing(source))

    def test_a_backup_is_restored(self, source: str, target: str, tmp_path: Path) -> None:
        """BackupManager restores what it backed up, in its own default format."""
        from dumpty.backup_manager import BackupManager

        manager = BackupManager(str(tmp_path / "backups"), plugins=[self.plugin])
        backed_up = manager.create_backup(source)
        restored = manager.restore(backed_up.backup.id, target) if backed_up.backup else backed_up
        require(restored.success, "A backup is restored.", "Mend what the error says.", str(restored.error))
        expected, actual = self.content(source), self.content(target)
        require(
            actual == expected, "What was backed up comes back.", "See where it differs.", difference(expected, actual)
        )

    def _require_damage(self, raised: BaseException | None, damaged: RecordedDump, position: str) -> None:
        require(
            raised is not None and damaged.error is not None and comes_from(raised, damaged.error),
            "A dump whose reading raises IntegrityError is not restored: the error comes out of restore().",
            "Let it pass; end what runs beside, in finally.",
            f"after damage at {position} restore() " + (f"raised {shown(raised)}" if raised else "returned"),
        )
