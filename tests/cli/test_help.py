"""``dumpty help``: pages of the manual, and of the commands."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

import dumpty as package
from dumpty.cli import main

MANUAL = Path(package.__file__).parent / "manual"


def test_without_a_topic_every_page_is_listed_with_what_is_in_it(dumpty):
    result = dumpty("help")
    assert result.status == 0
    listed = dict(re.findall(r"(?m)^([a-z0-9-]+) {2,}(\S.*)$", result.out))
    assert set(listed) == {page.stem for page in MANUAL.glob("*.md")}
    assert next(iter(listed)) == "getting-started"
    topics = dumpty("help", "--json").json["topics"]
    assert [topic["topic"] for topic in topics] == list(listed)
    assert all(topic["title"].endswith(listed[topic["topic"]]) for topic in topics)


def test_a_page_is_plain_markdown_where_nobody_looks(dumpty):
    text = (MANUAL / "restoring.md").read_text()
    assert "```sh tested apart" in text  # a note for the tests, which says nothing to readers
    text = re.sub(r"(?m)^```sh .*$", "```sh", text)
    result = dumpty("help", "restoring")
    assert (result.status, result.out, result.err) == (0, text, "")
    described = dumpty("help", "restoring", "--json").json
    [topic] = described["topics"]
    assert (described["success"], topic["topic"], topic["text"]) == (True, "restoring", text)
    [command] = dumpty("help", "prune", "--json").json["topics"]
    assert command["text"] + "\n" == dumpty("prune", "--help").out


def shown(*argv: str) -> str:
    """Run a command line whose standard input and output are a terminal, and return what was shown there."""
    master, slave = pty.openpty()
    streams_before = sys.stdin, sys.stdout
    with os.fdopen(slave, "w") as stdout, os.fdopen(os.dup(slave)) as stdin:
        sys.stdin, sys.stdout = stdin, stdout
        try:
            assert main(list(argv)) == 0
            stdout.flush()
        finally:
            sys.stdin, sys.stdout = streams_before
        os.set_blocking(master, False)
        text = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                text += os.read(master, 1 << 16)
    os.close(master)
    return text.decode()


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


def test_on_a_terminal_a_page_is_drawn_and_links_are_commands(monkeypatch):
    monkeypatch.setenv("PAGER", "no-such-pager")
    text = shown("help", "retention")
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "dumpty help promises" in " ".join(plain.split())
    assert "promises.md" not in plain
    assert "```" not in plain


def test_a_page_goes_through_the_pager_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("PAGER", f"cat > {tmp_path}/paged")
    assert shown("help", "retention") == ""
    assert "never removed" in (tmp_path / "paged").read_text()


def test_json_is_never_paged(monkeypatch):
    monkeypatch.setenv("PAGER", "false")
    assert json.loads(shown("help", "retention", "--json"))["success"]


@pytest.mark.parametrize("verb", ["prune", "help", "plugins new"])
def test_the_name_of_a_command_shows_its_help(dumpty, verb):
    assert dumpty("help", *verb.split()).out == dumpty(*verb.split(), "--help").out


def test_a_topic_is_never_hidden_by_a_command_of_its_name(dumpty):
    result = dumpty("help", "plugins")
    assert result.out.startswith("# ")
    assert "dumpty plugins --help" in result.out


@pytest.mark.parametrize(
    ("words", "meant"), [("verificaton", "verification"), ("restor", "restore"), ("plugins neww", "new")]
)
def test_an_unknown_topic_is_wrong_usage_with_what_was_meant(dumpty, words, meant):
    result = dumpty("help", *words.split())
    assert (result.status, result.out) == (2, "")
    assert f"Did you mean {meant!r}?" in result.err
    assert dumpty("help", *words.split(), "--json").json["error_type"] == "UsageError"
