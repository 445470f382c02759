"""What ``restore_tables`` owes: one table back, whole, and nothing else touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from msgspec import structs

from dumpty.errors import DumptyError, IntegrityError, TargetNotEmpty
from dumpty.testing.rules import comes_from, difference, refused, require, shown
from dumpty.testing.sources import DriverRules
from dumpty.url import parse_url

if TYPE_CHECKING:
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.testing.dumps import RecordedDump
    from dumpty.types import Evidence

__all__ = ["TableRules"]

_ADVICE = "Load it beside what is there, and put it in its place after the dump's end-of-file and all checks."


class TableRules(DriverRules):
    """The part of ``DriverSuite`` for drivers that restore single tables. Having the hook is claiming it."""

    restores_tables: ClassVar[bool] = False
    """Whether the plugin implements ``restore_tables``; found out."""

    table: ClassVar[str] = ""
    """The path of a table of ``source`` that no other one refers to; "" for the first one that has rows."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        **DriverRules.claims,
        "restores_tables": (
            "test_a_table_comes_back_alone",
            "test_a_table_comes_back_beside_what_is_there",
            "test_a_table_that_is_there_is_refused",
            "test_overwriting_replaces_one_table",
            "test_a_failed_restore_of_a_table_leaves_the_target",
            "test_rows_that_a_table_lacks_are_an_error",
            "test_a_table_that_the_dump_lacks_is_an_error",
        ),
    }

    def __init_subclass__(cls, **keywords: object) -> None:
        """Find out whether the plugin has the hook."""
        cls.restores_tables = hasattr(getattr(cls, "plugin", None), "restore_tables")
        super().__init_subclass__(**keywords)

    def test_a_table_comes_back_alone(self, host: Host, source: str, target: str, tmp_path: Path, form: str) -> None:
        """One table comes back into a missing database, with its rows, and no other one does."""
        path, dump = self._dump_of_table(host, source, tmp_path, form)
        evidence = self._put_table_back(host, dump, target, {path: path})
        expected = {path: dict(self.rows(source))[path]}
        actual = dict(self.rows(target))
        rule = "restore_tables() restores the tables that it was given, all their rows, and no other table."
        require(actual == expected, rule, "Leave out what belongs to others.", difference(expected, actual))
        counted = {entry.path: entry.rows for entry in evidence.objects}
        rule = "restore_tables() returns the rows that it counted in each table, under its path in the backup."
        require(counted == expected, rule, "Count before the commit.", f"it says {shown(counted)}")
        rule = "restore_tables() reads each part that it was given to its end: only then dumpty has verified it."
        require(dump.read_to_end, rule, "Read on to the end.", "it stopped before")

    def test_a_table_comes_back_beside_what_is_there(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """One table comes back under another name into a database with content, which stays as it was."""
        path, dump = self._dump_of_table(host, source, tmp_path, form)
        before, name = dict(self.rows(full_target)), f"{path}_again"
        evidence = self._put_table_back(host, dump, full_target, {path: name})
        rows = dict(self.rows(source))[path]
        expected, actual = {**before, name: rows}, dict(self.rows(full_target))
        rule = "A table that is given another name stands beside what the target holds."
        require(actual == expected, rule, _ADVICE, difference(expected, actual))
        counted = {entry.path: entry.rows for entry in evidence.objects}
        rule = "restore_tables() returns what it counted under the path in the backup, whatever the table's new name."
        require(counted == {path: rows}, rule, "Give the path that was asked for.", f"it says {shown(counted)}")

    def test_a_table_that_is_there_is_refused(self, host: Host, source: str, full_target: str, tmp_path: Path) -> None:
        """A target that has a table of this name is refused with TargetNotEmpty, and stays as it was."""
        path, dump = self._dump_of_table(host, source, tmp_path)
        self._require_there(host, dump, full_target, path)
        content_before = self.content(full_target)
        rule = "restore_tables() of a table that is there raises TargetNotEmpty, unless overwrite is True."
        with refused(TargetNotEmpty, rule, "Look first, and again where nobody else can create it."):
            self._put_table_back(host, dump, full_target, {path: path})
        require(self.content(full_target) == content_before, "A refused restore changes nothing.", "Look first.")

    def test_overwriting_replaces_one_table(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """With overwrite the table is replaced, and nothing else."""
        path, dump = self._dump_of_table(host, source, tmp_path, form)
        self._require_there(host, dump, full_target, path)
        expected = {**self.rows(full_target), path: dict(self.rows(source))[path]}
        self._put_table_back(host, dump, full_target, {path: path}, overwrite=True)
        actual = dict(self.rows(full_target))
        rule = "With overwrite a table that is there is replaced, and nothing else is."
        require(actual == expected, rule, _ADVICE, difference(expected, actual))
        content_before = self.content(full_target)
        self._put_table_back(host, dump, full_target, {path: path}, overwrite=True)
        content_after = self.content(full_target)
        rule = "A table that is replaced by its like leaves the target as it was."
        require(content_after == content_before, rule, _ADVICE, difference(content_before, content_after))

    def test_a_failed_restore_of_a_table_leaves_the_target(
        self, host: Host, source: str, full_target: str, tmp_path: Path, form: str
    ) -> None:
        """Where the dump turns out damaged, the target is as it was, also with overwrite."""
        path, dump = self._dump_of_table(host, source, tmp_path, form)
        content_before = self.content(full_target)
        for position, damaged in self._damaged_dumps(dump):
            raised = None
            try:
                self._put_table_back(host, damaged, full_target, {path: path}, overwrite=True)
            except Exception as error:  # noqa: BLE001 - compared below
                raised = error
            require(
                raised is not None and damaged.error is not None and comes_from(raised, damaged.error),
                "A table of a dump whose reading raises IntegrityError is not restored: the error comes out.",
                "Let it pass; end what runs beside, in finally.",
                f"after damage at {position} restore_tables() " + (f"raised {shown(raised)}" if raised else "returned"),
            )
            content_after = self.content(full_target)
            rule = "A restore of a table that fails leaves the target as it was."
            require(content_after == content_before, rule, _ADVICE, difference(content_before, content_after))

    def test_rows_that_a_table_lacks_are_an_error(
        self, host: Host, source: str, full_target: str, tmp_path: Path
    ) -> None:
        """A table that comes to another number of rows than the dump's evidence says is an error, and not restored."""
        path, dump = self._dump_of_table(host, source, tmp_path)
        content_before = self.content(full_target)
        objects = tuple(structs.replace(o, rows=None if o.rows is None else o.rows + 1) for o in dump.evidence.objects)
        miscounted = replace(dump, evidence=structs.replace(dump.evidence, objects=objects))
        rule = "restore_tables() counts, and raises IntegrityError where dump.evidence says another number of rows."
        with refused(IntegrityError, rule, "Compare before the table is put in place."):
            self._put_table_back(host, miscounted, full_target, {path: path}, overwrite=True)
        require(self.content(full_target) == content_before, "The target stays as it was.", _ADVICE)

    def test_a_table_that_the_dump_lacks_is_an_error(
        self, host: Host, source: str, full_target: str, tmp_path: Path
    ) -> None:
        """A table that is not in the dump is an error, never a restore of nothing."""
        path, dump = self._dump_of_table(host, source, tmp_path)
        content_before = self.content(full_target)
        rule = "restore_tables() of a table that the dump does not hold raises."
        with refused(DumptyError, rule, "Look whether everything that was asked for was found."):
            missing = f"{path}_that_is_not_there"
            objects = tuple(structs.replace(o, path=missing) for o in dump.evidence.objects)
            evidence = structs.replace(dump.evidence, objects=objects)
            self._put_table_back(host, replace(dump, evidence=evidence), full_target, {missing: missing})
        require(self.content(full_target) == content_before, "The target stays as it was.", _ADVICE)

    def _dump_of_table(
        self, host: Host, source: str, directory: Path, form: str | None = None
    ) -> tuple[str, RecordedDump]:
        """Return the path of a table, and a dump as a driver is given it for this table alone."""
        dump = self.dumped(host, source, directory, form)
        paths = [entry.path for entry in dump.evidence.objects if entry.rows]
        if not paths:
            self.unproved("the driver's evidence names no table that has rows")
        path = self.table or paths[0]
        parts = [p for p in dump.recorded if not p.tables or any(t.path == path for t in p.tables)]
        objects = tuple(entry for entry in dump.evidence.objects if entry.path == path)
        evidence = structs.replace(dump.evidence, objects=objects)
        return path, replace(dump, recorded=tuple(parts), evidence=evidence)

    def _require_there(self, host: Host, dump: RecordedDump, url: str, path: str) -> None:
        """See that a target has a table of this name."""
        if path not in self.rows(url):
            self._put_table_back(host, dump, url, {path: path})

    def _put_table_back(
        self, host: Host, dump: RecordedDump, url: str, tables: dict[str, str], *, overwrite: bool = False
    ) -> Evidence:
        options = self.options(host, "restore_tables")
        evidence = host.restore_tables(
            self.plugin_under_test(host),
            target=parse_url(url),
            dump=dump,
            tables=tables,
            overwrite=overwrite,
            options=options,
        )
        options.require_declared()
        return evidence
