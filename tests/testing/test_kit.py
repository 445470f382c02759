"""What the suites are made of: verdicts in words, suites for installed plugins, and the record of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.modules import modules_of

from dumpty.testing.checked import SOURCE, TARGET, suite_for
from dumpty.testing.databases import url_below
from dumpty.testing.rules import RuleBroken, comes_from, difference, refused, require, shown


def test_a_broken_rule_says_the_rule_what_was_seen_and_what_to_do():
    require(1, "It holds.", "Do so.")
    with pytest.raises(RuleBroken, match=r"^It holds\. Here 3 came\. Do so\.$"):
        require(0, "It holds.", "Do so.", "3 came")
    with pytest.raises(RuleBroken, match=r"^It holds\. Do so\.$"):
        require(0, "It holds.", "Do so.")


def test_an_error_that_is_asked_for_is_told_from_any_other_and_from_none():
    with refused(KeyError, "It is refused.", "Raise KeyError.") as texts:
        raise KeyError("k")
    assert texts == ["'k'"]
    with pytest.raises(RuleBroken, match="it raised ValueError: no"), refused(KeyError, "It is refused.", "Raise it."):
        raise ValueError("no")
    with pytest.raises(RuleBroken, match="it raised nothing"), refused(KeyError, "It is refused.", "Raise it."):
        pass
    with pytest.raises(RuleBroken, match=r"^inner$"), refused(AssertionError, "It is refused.", "Raise it."):
        raise RuleBroken("inner")


def test_an_error_is_known_as_the_cause_of_another():
    origin, unrelated = ValueError("a"), ValueError("b")
    unrelated.__cause__ = origin
    origin.__context__ = unrelated  # a circle ends, too
    assert comes_from(unrelated, origin)
    assert comes_from(origin, origin)
    assert not comes_from(unrelated, KeyError())
    assert not comes_from(None, origin)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {}, "'a' is gone"),
        ({}, {"a": 1}, "'a' is new"),
        ({"a": 1}, {"a": 2}, "at 'a', 1 became 2"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "at 'a', at 1 of 2, [2] became [3]"),
        (b"ab", b"a", "at 1 of 2, b'b' became b''"),
        (1, "1", "1 became '1'"),
    ],
)
def test_a_difference_is_told_where_it_is(before, after, message):
    assert difference(before, after) == message


def test_what_is_shown_is_one_line_of_bounded_length():
    assert shown(ValueError("a\nb")) == "ValueError: a b"
    assert len(shown("x" * 10_000)) < 1000


@pytest.mark.parametrize(
    ("url", "below"),
    [
        ("/srv/backups/", "/srv/backups/check/1"),
        ("/srv/what?", "/srv/what?/check/1"),
        ("s3://bucket", "s3://bucket/check/1"),
        (
            "s3://me:secret@host/bucket/prefix/?region=x&style=path",
            "s3://me:secret@host/bucket/prefix/check/1?region=x&style=path",
        ),
    ],
)
def test_a_folder_in_a_store_has_its_url(url, below):
    assert url_below(url, "check/1") == below


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sqlite", "driver"),
        ("gzip", "compressor"),
        ("age", "cipher"),
        ("sha256", "verifier"),
        ("file", "store"),
        ("webhook", "notifier"),
        ("ssh", "transport"),
    ],
)
def test_every_kind_of_installed_plugin_has_its_suite(name, kind):
    suite = suite_for(name, kind)
    assert suite.plugin.describe().kind == kind
    assert any(test.startswith("test_") for test in dir(suite))
    if kind == "driver":
        assert suite.restores
        assert suite.inspects


def test_the_record_of_a_run_tells_of_every_rule_how_it_ended_and_why(tmp_path, monkeypatch):
    for name in (SOURCE, TARGET, "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from dumpty.testing.rules import RuleBroken\n"
        "class TestIt:\n"
        "    def test_a(self):\n        '''It holds.\n\n        And more.'''\n"
        "    def test_b(self):\n        raise RuleBroken('a rule\\n is broken')\n"
        "    def test_c(self):\n        raise KeyError('k')\n"
        "def test_d():\n    pytest.skip('not here')\n"
    )
    verdict = tmp_path / "verdict.json"
    argv = ["-q", "-p", "no:cacheprovider", "-p", "dumpty.testing.record", "-c", os.devnull, "--rootdir", str(tmp_path)]
    with modules_of(tmp_path):
        assert pytest.main([*argv, f"--dumpty-verdict={verdict}", str(tmp_path / "test_it.py")]) == 1
    message = [(e["suite"], e["test"], e["rule"], e["outcome"], e["reason"]) for e in json.loads(verdict.read_text())]
    assert message == [
        ("TestIt", "test_a", "It holds.", "passed", ""),
        ("TestIt", "test_b", "test_b", "failed", "a rule is broken"),
        ("TestIt", "test_c", "test_c", "failed", "KeyError: 'k'"),
        ("", "test_d", "test_d", "skipped", "not here"),
    ]


def test_the_watch_over_programs_leaves_python_as_it_was():
    """An audit hook would stay, and end threads of a process that is traced."""
    program = """
import subprocess, sys
from dumpty.testing.footprint import ProgramWatch

hooks = []
sys.addaudithook(lambda event, _: hooks.append(event) if event == "sys.addaudithook" else None)
before = subprocess.Popen.__init__
with ProgramWatch() as outer, ProgramWatch() as inner:
    subprocess.run(["true", "watched"], check=True)
assert subprocess.Popen.__init__ is before
subprocess.run(["true", "unwatched"], check=True)
assert outer.command_lines == inner.command_lines == ["true watched"], (outer.command_lines, inner.command_lines)
assert hooks == []
"""
    subprocess.run([sys.executable, "-c", program], check=True)
