"""Options: shared out, completed, coerced, and refused with the valid ones named."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty import Option, OptionError, PluginInfo
from dumpty.registry.options import coerce, share

DRIVER = PluginInfo(
    kind="driver",
    options=(
        Option(name="jobs", default=1, help="", verbs=("backup", "restore")),
        Option(name="level", default="low", help="", verbs=("restore",)),
        Option(name="wait", default=1.5, help="", verbs=("inspect",)),
    ),
)
GZIP = PluginInfo(kind="compressor", options=(Option(name="level", default=2, help="", verbs=("compress",)),))


def test_each_verb_gets_its_own_options_complete_with_defaults():
    shared = share({"backup": ("db", DRIVER), "inspect": ("db", DRIVER), "compress": ("gzip", GZIP)}, {})
    assert {verb: dict(options) for verb, options in shared.items()} == {
        "backup": {"jobs": 1},
        "inspect": {"wait": 1.5},
        "compress": {"level": 2},
    }


def test_options_are_read_only():
    with pytest.raises(TypeError):
        share({"backup": ("db", DRIVER)}, {})["backup"]["jobs"] = 2


def test_a_value_goes_to_every_verb_of_the_one_plugin_that_declares_it():
    shared = share({"backup": ("db", DRIVER), "restore": ("db", DRIVER)}, {"jobs": "4"})
    assert shared["backup"]["jobs"] == shared["restore"]["jobs"] == 4


def test_a_name_that_two_plugins_declare_is_refused_with_both_ways_to_write_it():
    verbs = {"restore": ("db", DRIVER), "compress": ("gzip", GZIP)}
    with pytest.raises(OptionError, match=r"'level' is ambiguous; write one of: db\.level, gzip\.level"):
        share(verbs, {"level": 3})
    shared = share(verbs, {"gzip.level": 3, "db.level": "high"})
    assert (shared["compress"]["level"], shared["restore"]["level"]) == (3, "high")


@pytest.mark.parametrize("name", ["levle", "gzip.jobs", "other.jobs", "wait", ".jobs", "jobs."])
def test_an_unknown_option_is_refused_and_the_valid_ones_listed(name):
    with pytest.raises(OptionError, match=rf"unknown option '{name}'; valid here: jobs \(db\), level \(gzip\)"):
        share({"backup": ("db", DRIVER), "compress": ("gzip", GZIP)}, {name: 1})


def test_where_nothing_is_declared_the_text_says_so():
    with pytest.raises(OptionError, match="valid here: none"):
        share({"verify": ("x", PluginInfo(kind="verifier"))}, {"a": 1})


def option(default, choices=()):
    return Option(name="o", default=default, help="", choices=choices)


@pytest.mark.parametrize(
    ("default", "value", "result"),
    [
        (1, "7", 7),
        (1, " -7 ", -7),
        (1, 7, 7),
        (1, 7.0, 7),
        (1.0, "2.5", 2.5),
        (1.0, 2, 2.0),
        ("a", "b", "b"),
        ("a", "", ""),
        (True, False, False),
        (False, "YES", True),
        (False, " on ", True),
        (False, "1", True),
        (True, "off", False),
        (True, "0", False),
        (True, "No", False),
        (False, "true", True),
        (True, "false", False),
        (["a"], "b, c,,d", ["b", "c", "d"]),
        (["a"], "", []),
        (["a"], ("x", 1), ["x", "1"]),
    ],
)
def test_a_value_is_coerced_to_the_type_of_the_default(default, value, result):
    got = coerce(option(default), value)
    assert got == result
    assert type(got) is type(default)


@pytest.mark.parametrize(
    ("default", "value"),
    [
        (1, "7.5"), (1, 7.5), (1, "x"), (1, ""), (1, True), (1, None), (1, float("inf")), (1, float("nan")), (1, "9" * 5000),
        (1.0, "x"), (1.0, True), (1.0, None), (1.0, float("nan")), (1.0, 10**400),
        ("a", 1), ("a", None), ("a", b"x"),
        (True, "maybe"), (True, 1), (True, None), (True, 2.0),
        (["a"], 7), (["a"], None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(default, value):
    with pytest.raises(OptionError, match=f"the option o takes a value of type {type(default).__name__}"):
        coerce(option(default), value)


def test_only_the_choices_are_accepted():
    assert coerce(option(2, (1, 2)), "1") == 1
    with pytest.raises(OptionError, match="o takes one of 1, 2, not '3'"):
        coerce(option(2, (1, 2)), "3")


@given(
    st.sampled_from([1, 1.5, "a", True, ["a"]]),
    st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans()),
)
def test_any_value_is_of_the_declared_type_or_an_option_error(default, value):
    with contextlib.suppress(OptionError):
        assert type(coerce(option(default), value)) is type(default)
