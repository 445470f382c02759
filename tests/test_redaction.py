"""Secrets are taken out of texts, whatever spelling they have and wherever an exception keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import CommandError, DependencyError, MissingFile, StoreError
from dumpty.redaction import masks, one_line, redact, redact_exception, redact_name

SECRET = "pä ss/w'\\rd"


@pytest.mark.parametrize(
    "spelling", [SECRET, quote(SECRET, safe=""), quote(SECRET), repr(SECRET)[1:-1], "p%C3%A4+ss%2Fw%27%5Crd"]
)
def test_a_secret_is_replaced_in_every_spelling(spelling):
    assert redact(f"cannot log in with {spelling}, sorry", [SECRET]) == "cannot log in with ***, sorry"


def test_the_longer_of_two_secrets_goes_first():
    assert redact("abcdefgh abcd", ["abcd", "abcdefgh"]) == "*** ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("the pw is pw.", "the *** is ***."), ("spwn pwd", "spwn pwd"), ("u:pw@h", "u:***@h"), ("1.pw pw.1", "1.pw pw.1")],
)
def test_a_short_secret_is_replaced_only_as_a_word_of_its_own(text, shown):
    assert redact(text, ["pw"]) == shown


def test_no_secret_and_an_empty_one_change_nothing():
    assert redact("text", []) == redact("text", [""]) == "text"


@given(st.text(st.characters(), min_size=4), st.text(st.characters()))
def test_no_text_keeps_a_secret_and_none_is_an_error(secret, text):
    shown = redact(f"{text} {secret} {text}", [secret])
    assert secret not in shown.replace("***", "")


class CustomError(Exception):
    pass


class Point(NamedTuple):
    x: str
    y: int


def errors():
    text = f"failed with {SECRET}"
    error = CustomError("plain")
    error.message = text
    error.raw = text.encode()
    error.collected = [text, (text,), {text: text}, Point(text, 1)]
    error.number = 7
    noted = CustomError("plain")
    noted.__notes__ = [text]
    return [
        CustomError(text),
        CustomError(1, (text, b"x" + SECRET.encode())),
        error,
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
    first, second, third = CustomError(SECRET), CustomError(SECRET), CustomError(SECRET)
    first.__cause__, second.__context__, third.__cause__ = second, third, first
    redact_exception(first, ["", SECRET])
    assert [str(e) for e in (first, second, third)] == ["***"] * 3


def test_the_exceptions_of_a_group_are_cleaned():
    group = ExceptionGroup(SECRET, [CustomError(SECRET), ExceptionGroup("inner", [CustomError(SECRET)])])
    redact_exception(group, [SECRET])
    assert str(group.exceptions[0]) == str(group.exceptions[1].exceptions[0]) == "***"


class Answering(Exception):
    """Answers to any attribute, as the errors of some clients of web services do."""

    def __getattr__(self, name):
        return Answering(name)


class Raising(Exception):
    @property
    def exceptions(self):
        raise RuntimeError

    filename = exceptions

    def __setattr__(self, name, value):
        raise RuntimeError

    def __str__(self):
        raise RuntimeError


class Slotted(Exception):
    __slots__ = ("message", "unset")


def test_an_exception_that_answers_to_anything_is_cleaned_of_what_it_holds():
    error = Answering(SECRET)
    error.message = SECRET
    redact_exception(error, [SECRET])
    assert (error.args, error.message) == (("***",), "***")


def test_an_exception_that_raises_when_it_is_looked_at_is_cleaned_of_what_it_holds():
    error = Raising(SECRET)
    redact_exception(error, [SECRET])
    assert error.args == ("***",)
    assert one_line(error) == "Raising"


def test_an_exception_with_slots_is_cleaned():
    error = Slotted(SECRET)
    error.message = SECRET
    redact_exception(error, [SECRET])
    assert (error.args, error.message) == (("***",), "***")


class Closed(Mapping):
    """As a shelf, or the headers of an answer, once its file or connection is closed."""

    def __getitem__(self, key):
        raise ValueError(key)

    def __iter__(self):
        raise ValueError("it is closed")

    def __len__(self):
        return 1


class Unbound:
    """As a framework's proxy of what there is only while a request is served."""

    @property
    def __class__(self):
        raise RuntimeError("there is no request")


@pytest.mark.parametrize("kind", [Closed, Unbound])
def test_a_value_that_raises_when_it_is_looked_at_is_replaced_and_nothing_else(kind):
    value = kind()
    error = Slotted(SECRET, value)
    error.message, error.values = value, [value, SECRET]
    redact_exception(error, [SECRET])
    assert (error.args, error.values) == (("***", "***"), ["***", "***"])


class Answered(Exception):
    def __init__(self, address):
        super().__init__()
        self.address = address

    def __str__(self):
        return f"no answer at {self.address.x}:{self.address.y}"


def test_an_error_whose_text_is_made_of_a_named_tuple_keeps_its_text():
    error = Answered(Point(f"u:{SECRET}@h", 80))
    redact_exception(error, [SECRET])
    assert one_line(error) == "no answer at u:***@h:80"


def test_values_that_hold_themselves_end():
    error = CustomError()
    error.collected = [SECRET]
    error.collected += [error.collected, error.collected]
    error.deep = SECRET
    for _ in range(5000):
        error.deep = [error.deep]
    redact_exception(error, [SECRET])
    assert error.collected == ["***", "***", "***"]
    while isinstance(error.deep, list):
        (error.deep,) = error.deep
    assert error.deep == "***"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shop.orders", "shop.orders"),
        ("mysql://shop:shop@host/shop", "mysql://shop:***@host/shop"),
        ("user=shop password=shop", "user=shop password=***"),
        ("a hunter2_b", "a ***_b"),
        ("1045", "1045"),
        ("//u:1@h:1", "//u:***@h:1"),
    ],
)
def test_in_a_name_what_the_url_shows_anyway_is_replaced_only_where_a_password_stands(name, shown):
    assert redact_name(name, ["shop", "hunter2", "1"], "mysql://shop:***@host/shop") == shown


def test_a_masked_name_is_known_by_what_is_left_of_it():
    assert masks("public.***_x", "public.hunter2_x")
    assert not masks("public.***_x", "public._x")
    assert not masks("public.a", "public.a")


def test_without_a_secret_nothing_is_touched():
    error = CustomError(["x"])
    arguments = error.args
    redact_exception(error, [""])
    assert error.args is arguments


def test_types_other_than_text_stay_what_they_are():
    error = CustomError(1, None, 2.5, SECRET)
    redact_exception(error, [SECRET])
    assert error.args == (1, None, 2.5, "***")
