"""The reader of plain dumps ends statements where psql does, however the blocks fall."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dumpty import IntegrityError
from dumpty_plugins.postgres.dumping.script_reader import Script

text = st.text(alphabet="ab;'\"\\$-/*\n()é,x", max_size=20)
plain = text.map(lambda t: "'" + t.replace("'", "''") + "'")
escaped = text.map(lambda t: "E'" + t.replace("\\", "\\\\").replace("'", "\\'") + "'")
identifier = text.filter(bool).map(lambda t: '"' + t.replace('"', '""') + '"')
dollar = st.tuples(st.sampled_from(["$$", "$a$", "$body_1$"]), text).map(lambda p: p[0] + p[1].replace("$", "") + p[0])
comment = text.map(lambda t: "--" + t.replace("\n", "") + "\n")
block = text.map(lambda t: "/*" + t.replace("*", "").replace("/", "") + "/* ; */ */")
word = st.sampled_from(
    ["select", "x$1", "e", "E", "$1", "1e10", "a.b", "::", "+", "- -", "date", "begin", "END", "case"]
)
inside = st.tuples(st.sampled_from(["(", "("]), st.lists(plain | word, max_size=3)).map(
    lambda p: "(" + "; ".join(p[1]) + ")"
)
piece = plain | escaped | identifier | dollar | comment | block | word | inside
statement = st.tuples(word, st.lists(piece, max_size=8)).map(lambda p: " ".join([p[0], *p[1]]) + " ;")


def parse(data: bytes, size: int) -> list[object]:
    stream = io.BytesIO(data)
    script = Script(lambda: stream.read(size))
    parsed: list[object] = []
    for script_statement in script:
        parsed.append(script_statement.text)
        if script_statement.copy:
            parsed.append((script_statement.copy_table, b"".join(script.data())))
    parsed.append(script.complete)
    return parsed


@settings(deadline=None, max_examples=60)
@given(st.lists(statement, max_size=6), st.integers(1, 40))
def test_statements_end_where_they_should_in_blocks_of_any_size(statements, size):
    data = "\n".join(statements).encode()
    assert parse(data, size) == [*(s.encode() for s in statements), False]


rows = st.lists(
    st.lists(st.sampled_from(["a", "\\\\.", "\\N", "\\.x", "COPY t FROM stdin;", "'", "--", ""]), min_size=1).map(
        "\t".join
    )
)


@settings(deadline=None, max_examples=60)
@given(st.lists(rows, max_size=4), st.integers(1, 40))
def test_the_data_of_copy_is_left_alone(tables, size):
    data, expected = "", []
    for number, lines in enumerate(tables):
        body = "".join(line + "\n" for line in lines)
        head = f'COPY public."t "";{number}" (a, "b;") FROM stdin;'
        data += f"\n--\n-- Data\n--\n\n{head}\n{body}\\.\n\n\n"
        expected += [head.encode(), (f'public."t "";{number}"'.encode(), body.encode())]
    data += "--\n-- PostgreSQL database dump complete\n--\n\n"
    assert parse(data.encode(), size) == [*expected, True]


@settings(deadline=None, max_examples=60)
@given(st.lists(statement, min_size=1, max_size=3), st.integers(1, 40), st.data())
def test_a_script_cut_inside_a_statement_says_so(statements, size, data):
    whole = "\n".join(statements).encode()
    cut = data.draw(st.integers(len(whole) - len(statements[-1].encode()) + 1, len(whole) - 1))
    with pytest.raises(IntegrityError, match="cut off"):
        parse(whole[:cut], size)


@pytest.mark.parametrize(
    ("tail", "complete"),
    [
        (b"", False),
        (b"-- PostgreSQL database dump complete\n", True),
        (b"-- PostgreSQL database dump complete", True),
        (b"-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n", True),
        (b"-- PostgreSQL database dump complete\nSELECT 1;", False),
        (b"SELECT '\n-- PostgreSQL database dump complete\n';", False),
        (b"SELECT 1 -- PostgreSQL database dump complete\n;", False),
        (b"-- PostgreSQL database dump complete or not\n", False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_only_a_marker_at_the_very_end_makes_a_dump_complete(tail, complete, size):
    assert parse(b"SELECT 0;\n" + tail, size)[-1] is complete


def test_a_restriction_that_is_not_lifted_means_that_the_end_is_missing():
    data = b"\\restrict abc\nSELECT 1;\n-- PostgreSQL database dump complete\n--\n\n"
    assert parse(data, 50)[-1] is False
    assert parse(data + b"\\unrestrict abd\n", 50)[-1] is False
    assert parse(data + b"\\unrestrict abc\n", 50)[-1] is True


def test_backslashes_end_no_string_when_strings_do_not_conform():
    data = rb"SET standard_conforming_strings = off; SELECT 'a\'; b'; SELECT 1;"
    assert parse(data, 5)[1:3] == [rb"SELECT 'a\'; b';", b"SELECT 1;"]
