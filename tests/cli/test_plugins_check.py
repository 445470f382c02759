"""``dumpty plugins check``: the conformance suite as a verdict, on plugins that are installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

DISTRIBUTIONS = Path(__file__).parents[1] / "registry" / "distributions"


@pytest.fixture
def install(monkeypatch):
    """Put distributions on the path of this process, and take their modules away afterwards."""

    def install(*folders):
        for folder in folders:
            monkeypatch.syspath_prepend(str(DISTRIBUTIONS / folder))

    modules_before = set(sys.modules)
    yield install
    for name in set(sys.modules) - modules_before:
        if name.startswith("dumpty_") and not name.startswith("dumpty_plugins"):
            del sys.modules[name]


def test_a_sound_plugin_keeps_every_rule_and_each_is_listed(dumpty):
    result = dumpty("plugins", "check", "sha256")
    assert (result.status, result.err) == (0, "")
    head, *rules, summary = result.out.splitlines()
    assert head.startswith("verifier: plugin 'sha256' of dumpty 1.")
    assert all(line.startswith("  ok      ") for line in rules)
    assert summary == f"{len(rules)} rules kept, 0 broken, 0 not proved here"
    assert len(rules) >= 14


def test_the_verdict_is_there_for_programs_too(dumpty):
    reply = dumpty("plugins", "check", "sha256", "--kind", "verifier", "--json").json
    assert (reply["success"], reply["status"], reply["kind"], reply["left"]) == (True, 0, "verifier", [])
    assert {rule["state"] for rule in reply["rules"]} <= {"kept", "unproved"}
    assert {tuple(rule) for rule in reply["rules"]} == {("test", "rule", "state", "reason")}


def test_a_broken_rule_is_told_with_what_was_seen_and_what_to_do_and_fails(dumpty, install):
    install("crooked")
    result = dumpty("plugins", "check", "crooked")
    assert result.status == 1
    lines = result.out.splitlines()
    broken_lines = [i for i, line in enumerate(lines) if line.startswith("  BROKEN  ")]
    (at,) = [i for i in broken_lines if "two bytes exchanged" in lines[i]]
    assert re.match(r" {10}\w.*Here .*Digest every byte", lines[at + 1])
    assert lines[-1].endswith(f"{len(broken_lines)} broken, 0 not proved here")
    assert re.fullmatch(
        rf"dumpty: plugin 'crooked' of dumpty-crooked 1\.0 breaks {len(broken_lines)} rules?, the first: .*\n",
        result.err,
    )
    json_result = dumpty("plugins", "check", "crooked", "--json")
    assert json_result.status == 1
    assert (json_result.json["success"], json_result.json["error_type"]) == (False, "PluginError")
    reasons = [rule["reason"] for rule in json_result.json["rules"] if rule["state"] == "broken"]
    assert len(reasons) == len(broken_lines)
    assert all(reasons)


def test_a_rule_that_cannot_be_proved_here_is_listed_under_its_reason_and_is_no_failure(dumpty):
    result = dumpty("plugins", "check", "file", "--kind", "store")
    assert result.status == 0
    lines = result.out.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("not proved here: ")]
    assert "--target URL" in lines[at]
    unproved = [line for line in lines if line.startswith("  -       ")]
    assert lines[at + 1 : -1] == unproved
    assert lines[-1].endswith(f"0 broken, {len(unproved)} not proved here")


@pytest.mark.parametrize("form", ["file://{}/place", "{}/place"])
def test_a_store_is_checked_in_the_place_that_is_given(dumpty, tmp_path, form):
    result = dumpty("plugins", "check", "file", "--target", form.format(tmp_path), "--json")
    assert result.status == 0, result
    states = [rule["state"] for rule in result.json["rules"]]
    assert states.count("kept") + states.count("unproved") == len(states) > 25
    assert states.count("kept") > 25


def test_a_driver_is_checked_with_the_databases_that_are_given(dumpty, shop, orders, tmp_path):
    bytes_before = (tmp_path / "shop.db").read_bytes()
    target = f"sqlite:///{tmp_path}/again.db"
    result = dumpty("plugins", "check", "sqlite", "--source", shop, "--target", target, "--json")
    assert result.status == 0, result
    states = {rule["test"]: rule["state"] for rule in result.json["rules"]}
    assert states["test_a_database_comes_back"] == "kept"
    assert states["test_overwriting_replaces_the_target"] == "kept"
    assert "broken" not in states.values()
    assert (tmp_path / "shop.db").read_bytes() == bytes_before
    assert not (tmp_path / "again.db").exists()  # others were made beside it, and are told
    created = {f"sqlite:///{path}" for path in tmp_path.glob("again*.db")}
    assert created == set(result.json["left"])
    assert orders(next(iter(created)).removeprefix("sqlite:///"))


def test_a_password_in_a_url_is_not_shown(dumpty, install):
    install("good")
    url = "newdb://user:s3cr3t-99@host/shop"
    result = dumpty("plugins", "check", "newdb", "--source", url, "--target", url + "2")
    assert result.out
    assert "s3cr3t-99" not in result.out + result.err


def test_urls_are_taken_from_where_ps_does_not_look(dumpty, tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", f"file://{tmp_path}/place")
    reply = dumpty("plugins", "check", "file", "--target", "env:PLACE", "--json").json
    assert {rule["state"] for rule in reply["rules"]} <= {"kept", "unproved"}


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("papyrus",), "no plugin is called 'papyrus'; installed: age, apprise, command, docker, file"),
        (("zstd", "--kind", "driver"), "no driver is called 'zstd'"),
        (("zstd", "--kind", "magic"), "'magic' is not one of"),
        (("zstd", "--source", "sqlite:///a.db"), "only a driver is checked with --source, and zstd is a compressor"),
        (("sha256", "--target", "sqlite:///a.db"), "only drivers and stores are checked with --target"),
        (("file", "--source", "sqlite:///a.db"), "only a driver is checked with --source, and file is a store"),
        (("sqlite", "--source", "shop.db"), "the database URL"),
        (("sqlite", "--source", "env:NOT_THERE"), "NOT_THERE"),
        ((), "Missing argument"),
    ],
)
def test_a_check_that_cannot_begin_says_why(dumpty, argv, reason):
    result = dumpty("plugins", "check", *argv)
    assert (result.status, result.out) == (2, "")
    assert reason in result.err
    assert result.err.count("\n") == 1


def test_of_two_kinds_of_one_name_one_is_to_be_chosen(dumpty, install):
    install("crooked")
    result = dumpty("plugins", "check", "file")
    assert result.status == 2
    assert "plugins of several kinds are called file: verifier, store; say which with --kind" in result.err
    assert dumpty("plugins", "check", "file", "--kind", "verifier").status == 1


def test_a_plugin_that_does_not_load_or_only_watches_or_is_in_conflict_cannot_be_checked(dumpty, install):
    install("raises", "observer", "poacher")
    for name, reason in (
        ("raisesdb", "of dumpty-raises 1.0 cannot be loaded: RuntimeError"),
        ("observer", "wrapper 'observer' of dumpty-observer 1.0 only watches, and there is no suite for that"),
        ("poacher", "both claim the scheme 'sqlite'"),
    ):
        result = dumpty("plugins", "check", name)
        assert result.status == 2, result
        assert reason in result.err
