"""Names that people give, and the file names that are made of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import InvalidName
from dumpty.repository.names import slug, valid_name


@given(st.text(st.characters()))
def test_a_slug_is_a_short_file_name_whatever_the_text(text):
    made = slug(text)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", made)
    assert not made.startswith((".", "-"))


@pytest.mark.parametrize("name", ["daily", "a b", "ünï", "🙂", "2026-01-01", "a.b", ".hidden", "-x", "con", "x" * 200])
def test_a_name_may_be_any_text_on_one_line(name):
    assert valid_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"), (" \t ", "is empty"), ("x" * 201, "longer than 200"), ("a/b", "separator"), ("a\\b", "separator"),
        ("..", "'..'"), ("a..b", "'..'"), (".", "'.'"), ("a\0", "control"), ("a\nb", "control"), ("\x7f", "control"), ("a\u2028", "control"),
        ("a\ud800", "control"), ("backup_manifest.json", "reserved"), ("BACKUP_Manifest.JSON", "reserved"),
    ],
)  # fmt: skip
def test_a_name_that_could_reach_further_is_refused_in_one_line(name, problem):
    with pytest.raises(InvalidName, match=problem) as caught:
        valid_name(name)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [None, 7, b"x"])
def test_a_name_that_is_no_text_is_a_type_error(name):
    with pytest.raises(TypeError, match=type(name).__name__):
        valid_name(name)
