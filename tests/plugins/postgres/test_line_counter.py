"""Lines are counted, however long they are and however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dumpty_plugins.postgres.dumping.line_counter import LineCounter


@given(st.lists(st.binary(max_size=200) | st.integers(0, 60).map(lambda width: (b"x" * width + b"\n") * 20)))
def test_lines_of_all_lengths_are_counted(blocks):
    counter = LineCounter()
    for block in blocks:
        counter.feed(block)
    assert counter.lines == b"".join(blocks).count(b"\n")
