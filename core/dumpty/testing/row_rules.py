"""What ``read_rows`` owes: every row of a table, once, the same wherever it is, and nothing changed by reading it."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from dumpty.errors import DumptyError
from dumpty.testing.databases import missing
from dumpty.testing.rules import difference, refused, require, shown
from dumpty.testing.sources import DriverRules
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.testing.dumps import RecordedDump
    from dumpty.types import RowValue, TableRows

__all__ = ["RowRules"]


class RowRules(DriverRules):
    """The part of ``DriverSuite`` for drivers that give the rows of a table. Having the hook is claiming it."""

    reads_rows: ClassVar[bool] = False
    """Whether the plugin implements ``read_rows``; found out."""

    restores_rows: ClassVar[bool] = False
    """Whether it restores, too; found out."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        **DriverRules.claims,
        "reads_rows": (
            "test_rows_are_all_given",
            "test_rows_read_the_same_where_they_were_restored",
            "test_reading_rows_changes_nothing",
            "test_rows_of_what_is_missing_are_an_error",
            "test_rows_may_be_left_unread",
        ),
        "restores_rows": ("test_rows_read_the_same_where_they_were_restored",),
    }

    def __init_subclass__(cls, **keywords: object) -> None:
        """Find out whether the plugin has the hook."""
        cls.reads_rows = hasattr(getattr(cls, "plugin", None), "read_rows")
        cls.restores_rows = cls.reads_rows and cls.restores
        super().__init_subclass__(**keywords)

    def test_rows_are_all_given(self, host: Host, source: str, tmp_path: Path) -> None:
        """Every row of a table is given, once, and no two have the same values in the columns of the key."""
        expected = dict(self.rows(source))
        dump = self.dumped(host, source, tmp_path)
        counted = [entry.path for entry in dump.evidence.objects if entry.path in expected]
        if not any(expected[path] for path in counted):
            self.unproved("the driver's evidence names no table that has rows")
        for path in counted:
            columns, key, rows = self._read(host, source, path)
            rule = "read_rows() gives every row of its table, each once."
            observed = f"of {expected[path]} rows in {path} it gave {len(rows)}"
            require(len(rows) == expected[path], rule, "Read the table itself, to its end.", observed)
            repeated = _repeated_keys(columns, key, rows)
            rule = "TableRows.key are columns that tell every row from the others; () where none do."
            observed = f"in {path} several rows have {shown(repeated)} in {shown(key)}"
            require(not repeated, rule, "Name a primary key alone, and read its values exactly.", observed)

    def test_rows_read_the_same_where_they_were_restored(
        self, host: Host, source: str, target: str, tmp_path: Path, form: str
    ) -> None:
        """A table that was restored has the columns, the key and the rows of the one that was backed up."""
        dump = self.dumped(host, source, tmp_path, form)
        paths = self._paths_with_rows(dump)
        self.put_back(host, dump, target)
        for path in paths:
            expected, actual = (self._described(host, url, path) for url in (source, target))
            rule = "The same value reads the same on any server, under any settings and however it is stored."
            remedy = "Give what a dump would hold of it, in a form that nothing else decides."
            require(actual == expected, rule, remedy, f"in {path}, {difference(expected, actual)}")

    def test_reading_rows_changes_nothing(self, host: Host, source: str, tmp_path: Path) -> None:
        """read_rows() only reads its source."""
        paths = self._paths_with_rows(self.dumped(host, source, tmp_path))
        content_before = self.content(source)
        for path in paths:
            self._read(host, source, path)
        content_after = self.content(source)
        rule, remedy = "read_rows() only reads its source.", "Open it for reading only."
        require(content_after == content_before, rule, remedy, difference(content_before, content_after))

    def test_rows_of_what_is_missing_are_an_error(self, host: Host, source: str, tmp_path: Path) -> None:
        """read_rows() of a table or a database that does not exist raises, and creates nothing."""
        path = self._paths_with_rows(self.dumped(host, source, tmp_path))[0]
        missing_url, remedy = missing(source), "Raise dumpty.SourceError."
        with refused(DumptyError, "read_rows() of a table that does not exist raises.", remedy):
            self._read(host, source, f"{path}_that_is_not_there")
        with refused(DumptyError, "read_rows() of a database that does not exist raises.", remedy):
            self._read(host, missing_url, path)
        if self.inspects:
            inspection = self.inspected(host, missing_url)
            rule, remedy = "read_rows() creates no database.", "Open it for reading only."
            require(not inspection.exists, rule, remedy, "now it exists")

    def test_rows_may_be_left_unread(self, host: Host, source: str, tmp_path: Path) -> None:
        """The block may end after any row, and an error that is raised in it comes out unchanged."""
        path = self._paths_with_rows(self.dumped(host, source, tmp_path))[0]
        raised: Exception | None = None
        try:
            self._read(host, source, path, 1)
        except Exception as error:  # noqa: BLE001 - told below
            raised = error
        rule = "The block of read_rows() may end before its rows do."
        require(raised is None, rule, "Close what was opened, whatever is unread.", f"it raised {shown(raised)}")
        failure = RuntimeError("there is no room for the rows")
        options = self.options(host, "inspect")
        try:
            # Bare: dumpty itself raises again what its block has raised.
            block: AbstractContextManager[TableRows] = self.call_bare(
                "read_rows", source=parse_url(source), table=path, options=options
            )
            with block as unchecked:
                next(iter(unchecked))
                raise failure
        except Exception as error:  # noqa: BLE001 - compared below
            raised = error
        rule, remedy = "An error in the block of read_rows() comes out of it.", "Do not return True from __exit__."
        observed = f"it raised {shown(raised)}" if raised else "nothing came out"
        require(raised is failure, rule, remedy, observed)

    def _paths_with_rows(self, dump: RecordedDump) -> list[str]:
        """Return the paths of the tables that have rows."""
        paths = [entry.path for entry in dump.evidence.objects if entry.rows]
        if not paths:
            self.unproved("the driver's evidence names no table that has rows")
        return paths

    def _read(
        self, host: Host, url: str, path: str, most: int | None = None
    ) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[RowValue, ...]]]:
        """Return the columns, the key and the rows of a table, all of them or as many as ``most``."""
        options = self.options(host, "inspect")
        plugin = self.plugin_under_test(host)
        with host.read_rows(plugin, source=parse_url(url), table=path, options=options) as rows:
            found = rows.columns, rows.key, list(itertools.islice(rows, most))
        options.require_declared()
        return found

    def _described(self, host: Host, url: str, path: str) -> dict[str, Sequence[str]]:
        """Return what is read of a table, as something that can be compared: 1 is not 1.0, and a NaN is itself."""
        columns, key, rows = self._read(host, url, path)
        return {"columns": columns, "key": key, "rows": sorted(map(repr, rows))}


def _repeated_keys(
    columns: tuple[str, ...], key: tuple[str, ...], rows: list[tuple[RowValue, ...]]
) -> list[tuple[RowValue, ...]]:
    """Return the keys that several rows have; one with a NULL in it is like no other."""
    if not key:
        return []
    places = [columns.index(name) for name in key]
    keys = (tuple(row[place] for place in places) for row in rows)
    counted = Counter(values for values in keys if None not in values)
    return [values for values, number in counted.items() if number > 1]
