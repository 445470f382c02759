"""What a driver owes for a format in parts: each complete when it returns, and what they say they hold is true."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, ClassVar

from dumpty.testing.rules import require
from dumpty.testing.sources import DriverRules

if TYPE_CHECKING:
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.testing.dumps import RecordedDump
    from dumpty.types import TableContent

__all__ = ["PartRules"]


class PartRules(DriverRules):
    """The part of ``DriverSuite`` for drivers with a format in parts. Declaring one is claiming it."""

    writes_parts: ClassVar[bool] = False
    """Whether the plugin has a format with ``parts=True``; found out."""

    claims: ClassVar[dict[str, tuple[str, ...]]] = {
        **DriverRules.claims,
        "writes_parts": (
            "test_every_part_is_left_before_the_backup_returns",
            "test_the_rows_in_the_parts_are_those_that_were_counted",
            "test_a_table_in_several_parts_says_which_rows_are_where",
        ),
    }

    def __init_subclass__(cls, **keywords: object) -> None:
        """Find out whether the plugin has such a format."""
        with contextlib.suppress(Exception):  # what is wrong with a description is another rule's
            cls.writes_parts = any(form.parts for form in cls.plugin.describe().formats)  # type: ignore[attr-defined]
        super().__init_subclass__(**keywords)

    def test_every_part_is_left_before_the_backup_returns(self, host: Host, source: str, tmp_path: Path) -> None:
        """backup() returns only when the block of every part that it began was left, in whichever thread."""
        for form, dump in self._dumps_in_parts(host, source, tmp_path):
            require(
                dump.recorded and not dump.unfinished,
                "backup() returns only when every part is left, of which there is one at least.",
                "Write each in a with block, and wait for the threads that do.",
                f"of {len(dump.recorded)} parts of {form}, {dump.unfinished} were not left",
            )

    def test_the_rows_in_the_parts_are_those_that_were_counted(self, host: Host, source: str, tmp_path: Path) -> None:
        """The rows that the parts hold of a table add up to what the evidence counts, where both are known."""
        for form, dump in self._dumps_in_parts(host, source, tmp_path):
            counted = {entry.path: entry.rows for entry in dump.evidence.objects}
            for path, contents in _by_table(dump).items():
                require(
                    path in counted or not counted,
                    "A part names a table as Evidence.objects does.",
                    "Give holds() the path of its ObjectEvidence.",
                    f"a part of {form} holds {path}, and the evidence has {', '.join(sorted(counted))}",
                )
                rows = [content.rows for content in contents if content.rows is not None]
                expected = counted.get(path)
                if len(rows) == len(contents) and expected is not None:
                    require(
                        sum(rows) == expected,
                        "The rows in the parts of a table are those that were counted in it.",
                        "Count what is written into each part, or let rows be None.",
                        f"the parts of {form} hold {sum(rows)} rows of {path}, and the evidence has {expected}",
                    )

    def test_a_table_in_several_parts_says_which_rows_are_where(self, host: Host, source: str, tmp_path: Path) -> None:
        """What is in several parts of a table has a range of its own in each: none is all of it."""
        for form, dump in self._dumps_in_parts(host, source, tmp_path):
            for path, contents in _by_table(dump).items():
                ranges = [content.range for content in contents]
                require(
                    len(ranges) == 1 or (all(ranges) and len(set(ranges)) == len(ranges)),
                    "Of a table in several parts each says which of its rows it holds.",
                    'Give holds() a range: "pages 0 to 8191".',
                    f"the parts of {form} hold of {path}: {', '.join(text or 'all of it' for text in ranges)}",
                )

    def _dumps_in_parts(self, host: Host, source: str, directory: Path) -> list[tuple[str, RecordedDump]]:
        plugin = self.plugin_under_test(host)
        forms = [form for form in self.stream_formats() if plugin.format(form).parts]
        return [(form, self.dumped(host, source, directory, form)) for form in forms]


def _by_table(dump: RecordedDump) -> dict[str, list[TableContent]]:
    """Return what the parts of a dump hold of each table."""
    contents: defaultdict[str, list[TableContent]] = defaultdict(list)
    for part in dump.recorded:
        for table in part.tables:
            contents[table.path].append(table)
    return contents
