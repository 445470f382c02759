"""What is printed where: results, warnings, errors, and how they stay harmless."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

from dumpty import Phase, Progress
from dumpty.cli.progress import progress_bar

HOSTILE = ("\x1b", "\x07", "\x9b", "\u202e")


@pytest.mark.parametrize("argv", [("backup", "odd://torn/db"), ("list",), ("show", "latest"), ("verify", "latest")])
def test_no_name_or_note_can_send_control_characters_to_a_terminal(dumpty, make, odd, argv):
    make("odd://fine/db%1B%5B2J")
    result = dumpty(*argv)
    assert result.status == 0
    assert not any(c in result.out + result.err for c in HOSTILE)


def test_json_is_plain_ascii_and_says_what_was_there(dumpty, make, odd):
    make("odd://fine/db")
    result = dumpty("show", "latest", "--json")
    assert result.out.isascii()
    assert "\x1b" in result.json["backups"][0]["objects"][0]["path"]


@pytest.mark.parametrize(
    ("argv", "status", "kind"),
    [
        (("backup", "nonsense", "--json"), 2, "SourceError"),
        (("backup", "papyrus://x/y", "--json"), 2, "PluginNotFound"),
        (("backup", "--json"), 2, "UsageError"),
        (("backup", "sqlite:///x.db", "--json", "--what"), 2, "UsageError"),
        (("backup", "sqlite:///x.db", "--json", "-o", "x=1"), 2, "OptionError"),
        (("nonsense", "--json"), 2, "UsageError"),
        (("--json",), 2, "UsageError"),
        (("backup", "sqlite:///nothing.db", "--json"), 1, None),
        (("restore", "nope", "--to", "sqlite:///x.db", "--json"), 1, "UnknownBackup"),
        (("show", "nope", "--json"), 1, "UnknownBackup"),
        (("list", "--json", "--dir", "absent"), 10, "StoreError"),
        (("list", "--json", "--dir", "odd://x"), 1, "KeyError"),
        (("plugins", "show", "nope", "--json"), 2, "PluginNotFound"),
        (("prune", "--json"), 2, "UsageError"),
        (("doctor", "sqlite:///nothing.db", "--json"), 1, "DumptyError"),
        (("backup", "odd://locked/db", "--json"), 11, "Locked"),
    ],
)
def test_every_failure_is_exactly_one_json_object_when_json_was_asked_for(dumpty, odd, argv, status, kind):
    os.makedirs("backups", exist_ok=True)
    result = dumpty(*argv)
    assert result.status == result.json["status"] == status
    assert result.json["success"] is False
    assert result.json["error"]
    assert kind is None or result.json["error_type"] == kind


def test_json_behind_two_dashes_is_an_argument(dumpty):
    result = dumpty("backup", "--", "--json")
    assert result.status == 2
    assert result.out == ""


@pytest.mark.parametrize(
    "argv", [("list",), ("show", "latest"), ("plugins",), ("plugins", "show", "gzip"), ("prune", "--keep", "1")]
)
def test_every_success_is_exactly_one_json_object_when_json_was_asked_for(dumpty, make, shop, argv):
    make(shop)
    result = dumpty(*argv, "--json")
    assert (result.json["success"], result.json["status"], result.status) == (True, 0, 0)


def test_what_nobody_foresaw_is_one_line_with_advice(dumpty, odd):
    result = dumpty("list", "--dir", "odd://x")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "unexpected KeyError" in result.err
    assert "DUMPTY_DEBUG=1" in result.err


def test_debugging_shows_the_traceback(dumpty, odd, monkeypatch):
    monkeypatch.setenv("DUMPTY_DEBUG", "1")
    result = dumpty("list", "--dir", "odd://x")
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1].startswith("dumpty: unexpected KeyError")


def test_the_library_log_is_shown_only_when_debugging(dumpty, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/nothing.db"
    assert "backup of" not in dumpty("backup", url).err
    monkeypatch.setenv("DUMPTY_DEBUG", "1")
    assert f"backup of {url} failed" in dumpty("backup", url).err


@pytest.mark.parametrize(
    ("command_line", "status"), [("list", 0), ("verify latest", 4), ("backup nonsense --json", 2), ("--help", 1)]
)
def test_a_reader_that_leaves_is_silence_and_the_status_is_the_verbs(make, shop, command_line, status):
    with open(make(shop)["files"][0], "ab") as stream:
        stream.write(b"x")
    argv = [sys.executable, "-c", _LEAVES, sys.executable, "-m", "dumpty", *command_line.split()]
    process = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert process.returncode == status
    assert "roken pipe" not in process.stderr
    assert "Traceback" not in process.stderr
    assert status == 4 or process.stderr == ""


# Runs a command with a pipe as its output whose reader has gone.
_LEAVES = """
import os, subprocess, sys
read, write = os.pipe()
os.close(read)
sys.exit(subprocess.run(sys.argv[1:], stdout=write).returncode)
"""


@pytest.mark.parametrize("argv", [("list",), ("list", "--json"), ("show", "nope", "--json")])
def test_a_reader_that_leaves_is_silence_in_this_process_too(dumpty, make, shop, monkeypatch, argv):
    make(shop)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody, contextlib.redirect_stdout(nobody):
        result = dumpty(*argv)
    assert (result.status, result.err) == (1 if "nope" in argv else 0, "")


@pytest.mark.parametrize("argv", [("list",), ("show", "nope", "--json")])
def test_a_full_disk_is_a_failure_in_this_process_too(dumpty, make, shop, argv):
    make(shop)
    with open("/dev/full", "w") as full, contextlib.redirect_stdout(full):
        result = dumpty(*argv)
    assert (result.status, result.err) == (1, "dumpty: cannot write to the standard output: No space left on device\n")


def test_each_phase_is_named_and_starts_its_bar_again(terminal):
    with terminal, progress_bar("twice", quiet=False) as report:
        report(Progress(phase=Phase.CHECKING, bytes_done=50, bytes_total=100))
        report(Progress(phase=Phase.CHECKING, bytes_done=100, bytes_total=100))
        report(Progress(phase=Phase.LOADING, bytes_done=2000, bytes_total=2000, items_done=1, items_total=3))
    shown = terminal.read()
    assert "twice: loading (1 of 3)" in shown
    assert "2.0/2.0 kB" in shown


@pytest.mark.parametrize("json_too", [(), ("--json",)])
def test_a_full_disk_behind_standard_output_is_a_failure_of_one_line(make, shop, json_too):
    make(shop)
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "dumpty", "list", *json_too],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 1
    assert process.stderr == "dumpty: cannot write to the standard output: No space left on device\n"


def test_any_locale_can_show_any_name(program, make, tmp_path, shop):
    os.rename("shop.db", "Ёлка 🥚.db")
    make(f"sqlite:///{tmp_path}/Ёлка 🥚.db")
    result = program("list", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert result.status == 0
    assert "\\u0401" in result.out


def test_a_terminal_shows_progress_and_wipes_it(dumpty, odd, terminal):
    result = dumpty("backup", "odd://fine/db", terminal=terminal)
    assert result.status == 0
    shown = terminal.read()
    assert "backup of odd://fine/db: " in shown
    assert "MB" in shown
    assert "MB/s" not in result.out


@pytest.mark.parametrize("argv", [("verify", "latest"), ("restore", "latest", "--to", "sqlite:///new.db")])
def test_reading_back_shows_progress_too(dumpty, make, shop, terminal, argv):
    make(shop)
    assert dumpty(*argv, terminal=terminal).status == 0
    assert argv[0] in terminal.read()


def test_quiet_shows_no_progress(dumpty, make, shop, terminal):
    make(shop)
    assert dumpty("verify", "latest", "--quiet", terminal=terminal).status == 0
    assert terminal.read() == ""


def test_a_terminal_gets_no_progress_through_a_pipe(dumpty, shop):
    assert dumpty("backup", shop).err == ""


def test_a_narrow_terminal_gets_whole_rows_with_a_bold_head(make, shop):
    import pty

    backup = make(shop)
    master, slave = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "dumpty", "list"],
        stdout=slave,
        check=True,
        env={**os.environ, "COLUMNS": "20", "TERM": "xterm"},
    )
    os.close(slave)
    head, row = os.read(master, 65536).decode().splitlines()
    os.close(master)
    assert "\x1b[1m" in head
    assert row.endswith(os.path.basename(backup["files"][0]))


def test_a_pipe_gets_one_line_for_each_backup(program, make, shop):
    for _ in range(2):
        make(shop)
    assert program("list", env={**os.environ, "COLUMNS": "20"}).out.count("\n") == 3


def test_the_result_is_json_for_any_reader(program, shop):
    result = program("backup", shop, "--json")
    assert json.loads(result.out)["backups"][0]["database"] == "shop"
