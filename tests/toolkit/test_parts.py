"""The parts of a dump by their sections: what a driver writes comes back in its order, anything else is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import IntegrityError, TableContent, parts_by_section

TABLES = (TableContent(path="orders", rows=3),)


def part(section: str, tables: tuple = ()):
    return SimpleNamespace(section=section, tables=tables)


def dump(*parts):
    return SimpleNamespace(parts=parts)


FIRST, ROWS, OTHER_ROWS, LAST = part("pre-data"), part("data", TABLES), part("data", TABLES), part("post-data")
WRONG = {
    "nothing": ((), "has 0, 0 and 0 others"),
    "no beginning": ((ROWS, LAST), "has 0, 1 and 0 others"),
    "no end": ((FIRST, ROWS), "has 1, 0 and 0 others"),
    "two beginnings": ((FIRST, FIRST, LAST), "has 2, 1 and 0 others"),
    "an archive of all": ((FIRST, ROWS, part("whole"), LAST), "has 1, 1 and 1 others"),
    "rows of nothing": ((FIRST, part("data"), LAST), "does not say which rows it holds"),
    "rows before the tables": ((part("pre-data", TABLES), LAST), "should hold none"),
    "rows behind the tables": ((FIRST, part("post-data", TABLES)), "should hold none"),
}


@given(rows=st.lists(st.builds(lambda: part("data", TABLES)), max_size=5))
def test_parts_with_rows_keep_the_order_in_which_they_were_written(rows):
    first, found, last = parts_by_section(dump=dump(FIRST, *rows, LAST))
    assert (first, last) == (FIRST, LAST)
    assert [id(p) for p in found] == [id(p) for p in rows]


@given(parts=st.permutations([FIRST, ROWS, OTHER_ROWS, LAST]))
def test_each_part_is_found_wherever_the_manifest_names_it(parts):
    first, found, last = parts_by_section(dump=dump(*parts))
    assert first is FIRST
    assert last is LAST
    assert [id(p) for p in found] == [id(p) for p in parts if p.section == "data"]


@pytest.mark.parametrize("what", WRONG)
def test_parts_that_no_driver_writes_are_refused(what):
    parts, message = WRONG[what]
    with pytest.raises(IntegrityError, match=message):
        parts_by_section(dump=dump(*parts))
