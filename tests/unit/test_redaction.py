"""Secrets are taken out of texts, whatever spelling they have and wherever an exception keeps them."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import CommandError, DependencyError, MissingFile, StoreError
from dumpty.redaction import redact, redact_exception

SECRET = "pä ss/w'\\rd"


@pytest.mark.parametrize(
    "spelling", [SECRET, quote(SECRET, safe=""), quote(SECRET), repr(SECRET)[1:-1], "p%C3%A4+ss%2Fw%27%5Crd"]
)
def test_a_secret_is_replaced_in_every_spelling(spelling):
    assert redact(f"cannot log in with {spelling}, sorry", [SECRET]) == "cannot log in with ***, sorry"


def test_the_longer_of_two_secrets_goes_first():
    assert redact("abcdefgh abcd", ["abcd", "abcdefgh"]) == "*** ***"


@pytest.mark.parametrize(
    ("text", "shown"), [("the pw is pw.", "the *** is ***."), ("spwn pwd", "spwn pwd"), ("u:pw@h", "u:***@h")]
)
def test_a_short_secret_is_replaced_only_as_a_word_of_its_own(text, shown):
    assert redact(text, ["pw"]) == shown


def test_no_secret_and_an_empty_one_change_nothing():
    assert redact("text", []) == redact("text", [""]) == "text"


@given(st.text(st.characters(), min_size=4), st.text(st.characters()))
def test_no_text_keeps_a_secret_and_none_is_an_error(secret, text):
    shown = redact(f"{text} {secret} {text}", [secret])
    assert secret not in shown.replace("***", "")


class Odd(Exception):
    pass


class Point(NamedTuple):
    x: str
    y: int


def errors():
    text = f"failed with {SECRET}"
    odd = Odd("plain")
    odd.said = text
    odd.raw = text.encode()
    odd.parts = [text, (text,), {text: text}, Point(text, 1)]
    odd.number = 7
    noted = Odd("plain")
    noted.__notes__ = [text]
    return [
        Odd(text),
        Odd(1, (text, b"x" + SECRET.encode())),
        odd,
        noted,
        DependencyError(text),
        ImportError(text, name=SECRET, path=SECRET),
        MissingFile(text),
        StoreError(text),
        OSError(2, text, SECRET, None, SECRET),
        KeyError(text),
        CommandError(text, argv=["a", SECRET], stderr_tail=text),
        SyntaxError(text),
        UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, text),
        UnicodeEncodeError("ascii", SECRET, 0, 1, text),
    ]


SPELLINGS = (SECRET, SECRET.encode(), repr(SECRET)[1:-1])


def shown(error):
    slots = ("filename", "filename2", "strerror", "msg", "name", "path", "object", "reason", "text", "argv")
    return repr([error, str(error), vars(error), [getattr(error, s, None) for s in slots]])


@pytest.mark.parametrize("error", errors(), ids=lambda e: type(e).__name__)
def test_an_exception_keeps_no_secret_in_any_of_its_texts(error):
    assert repr(SECRET)[1:-1] in shown(error) or SECRET in shown(error) or "\\xc3\\xa4" in shown(error)
    redact_exception(error, [SECRET])
    for spelling in (SECRET, repr(SECRET)[1:-1], repr(SECRET.encode())[2:-1]):
        assert spelling not in shown(error)
    assert "***" in shown(error)


def test_the_whole_chain_is_cleaned_and_a_circle_ends():
    first, second, third = Odd(SECRET), Odd(SECRET), Odd(SECRET)
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    redact_exception(first, ["", SECRET])
    assert [str(e) for e in (first, second, third)] == ["***"] * 3


def test_the_exceptions_of_a_group_are_cleaned():
    class Group(Exception):
        exceptions = (Odd(SECRET),)

    redact_exception(Group("x"), [SECRET])
    assert str(Group.exceptions[0]) == "***"


def test_without_a_secret_nothing_is_touched():
    error = Odd(["x"])
    kept = error.args
    redact_exception(error, [""])
    assert error.args is kept


def test_types_other_than_text_stay_what_they_are():
    error = Odd(1, None, 2.5, SECRET)
    redact_exception(error, [SECRET])
    assert error.args == (1, None, 2.5, "***")
