"""How far jobs have come: a live line for each on a terminal, and elsewhere a line for each event, or none."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from support.screen import ProgramOnTerminal, Screen

from dumpty import BackupManager
from dumpty.cli.live_lines import LiveLines

DISTS = Path(__file__).parent / "dists"

SLOWLY = {"rate_limit": '"1 kB"'}
"""A backup that is at its dump until it is ended."""


@pytest.fixture
def database(tmp_path):
    """Make a database of some size; returns its URL."""

    def database(name, kilobytes=1):
        path = tmp_path / f"{name}.db"
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE orders (what)")
            connection.executemany("INSERT INTO orders VALUES (?)", [(os.urandom(512).hex(),)] * kilobytes)
        return f"sqlite:///{path}"

    return database


@pytest.fixture
def configure(tmp_path):
    """Write a configuration of jobs, each by its name a list of sources and keys, with ``backups`` as repository."""

    def configure(parallel=4, **jobs):
        text = f'[run]\nparallel = {parallel}\n[defaults]\nrepository = "{tmp_path}/backups"\nretry_wait = "0s"\n'
        for name, (sources, keys) in jobs.items():
            text += f"[jobs.{name}]\nsource = {json.dumps(sources)}\n"
            text += "".join(f"{key} = {value}\n" for key, value in keys.items())
        (tmp_path / "dumpty.toml").write_text(text)
        (tmp_path / "dumpty.toml").chmod(0o600)

    return configure


@pytest.fixture
def held(tmp_path, database):
    """A source that is not told before ``held.release`` is called; at the end it is."""

    class Held:
        def __init__(self):
            url = database("held")
            program = tmp_path / "hold"
            program.write_text(f"#!/bin/sh\nwhile ! test -e {tmp_path}/go; do sleep 0.05; done\necho {url}\n")
            program.chmod(0o755)
            self.source = f"cmd:{program}"

        def release(self):
            (tmp_path / "go").touch()

    source = Held()
    yield source
    source.release()  # whoever was killed has left it waiting


@pytest.fixture
def on_terminal():
    with contextlib.ExitStack() as stack:

        def start(*argv, **options):
            program = ProgramOnTerminal(*argv, **options)
            stack.callback(program.close)
            return program

        yield start


def jobs_of(tmp_path):
    return sorted(backup.database_name for backup in BackupManager(tmp_path / "backups").list_backups())


# -- on a terminal -----------------------------------------------------------------------------------------------------


def test_each_job_at_work_has_a_line_and_those_that_wait_are_counted(on_terminal, configure, database, held, tmp_path):
    url, more = database("shop", 20_000), database("more")
    slowly = {"rate_limit": '"400 kB"'}
    configure(2, held=([held.source], {}), shop=([url, more], slowly), one=([more], {}), two=([more], {}))
    program = on_terminal("run", columns=200)
    shown = program.wait_for(
        "^shop: dumping, 0 of 2 databases, [0-9.]+ MB of [0-9.]+ MB, [0-9.]+ kB/s, [0-9]:[0-9]{2}: sqlite://.*/shop.db$"
    )
    # Where no run was before, nobody knows how long it takes.
    assert "left" not in shown
    program.wait_for("held: looking for databases, [0-9]:[0-9]{2}$")
    assert shown.splitlines()[-1] == "2 jobs wait"
    assert f"{url}" in shown
    program.process.send_signal(signal.SIGTERM)
    status, shown = program.end()
    assert status == 143
    assert shown.splitlines()[-1] == "dumpty: interrupted by SIGTERM: what was not complete is removed"
    assert not re.search("dumping|looking for|jobs wait", shown)


def test_failures_come_out_whole_above_the_live_lines(on_terminal, configure, database, held, tmp_path):
    gone = {f"gone{number}": ([f"sqlite:////nowhere/{'x' * 90}/{number}.db"], {}) for number in range(40)}
    configure(3, held=([held.source], {}), **gone, fine=([database("fine")], {}))
    program = on_terminal("run", columns=80)
    program.wait_for("^held: looking for databases, [0-9]:[0-9]{2}$\\Z")
    held.release()
    status, shown = program.end()
    assert status == 1
    said = shown.replace("\n", "")
    for number in range(40):
        path = f"/nowhere/{'x' * 90}/{number}.db"
        assert said.count(f"gone{number}: sqlite:///{path}: FAILED: there is no database file {path}") >= 1
    assert "looking for" not in shown
    assert jobs_of(tmp_path) == ["fine", "held"]


def test_of_more_jobs_than_fit_the_rest_is_counted(on_terminal, configure, held):
    configure(12, **{f"job{number}": ([held.source], {}) for number in range(20)})
    program = on_terminal("run", rows=6, columns=60)
    shown = program.wait_for("8 more jobs at work, 8 jobs wait$")
    assert len(shown.splitlines()) == 5
    program.type("\x03")
    status, shown = program.end()
    assert status == 130
    assert "jobs wait" not in shown


def test_the_time_that_is_left_is_that_of_the_last_run_that_succeeded(on_terminal, configure, database, program):
    url = database("shop", 3000)
    configure(shop=([url], {}))
    assert program("run").status == 0
    configure(shop=([url], SLOWLY))
    terminal = on_terminal("run")
    shown = terminal.wait_for("shop: dumping, .*(about [0-9]+:[0-9]{2} left|longer than last time): .*shop.db$")
    assert "0 of 1 database" in shown


def test_no_name_can_move_the_cursor_or_look_like_markup(on_terminal, configure, database, tmp_path):
    database("\x1b[2J\x1b]0;title\x07[bold]\u202eevil", 3000)
    configure(odd=([f"sqlite:///{tmp_path}/*.db"], SLOWLY))
    program = on_terminal("run")
    shown = program.wait_for("odd: dumping, .*evil.db$")  # the terminal takes no other control characters
    assert re.search(r"x1b%5B2J|x1b\[2J|%1B%5B2J", shown)
    assert "\u202e" not in shown


def test_no_secret_is_shown_while_it_waits_to_try_again(on_terminal, configure):
    url = "postgresql://backup:s3cr3t-pass@127.0.0.1:1/shop"
    configure(far=([url], {"retries": 1, "retry_wait": '"1h"'}))
    program = on_terminal("run", columns=200)
    program.wait_for(r"^far: waiting to try again, 0 of 1 database, .*: postgresql://backup:\*\*\*@127.0.0.1:1/shop$")
    program.process.send_signal(signal.SIGTERM)
    assert program.end()[0] == 143
    assert "s3cr3t-pass" not in program.transcript


def test_a_terminal_that_goes_away_fails_no_run(on_terminal, configure, held, database, tmp_path):
    configure(held=([held.source], {}), gone=(["sqlite:////nowhere/at/all.db"], {}), shop=([database("shop")], {}))
    program = on_terminal("run", "held", "shop", ignored=(signal.SIGHUP,))
    program.wait_for("held: looking for databases")
    program.hang_up()
    held.release()
    assert program.process.wait(60) == 0
    assert jobs_of(tmp_path) == ["held", "shop"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_the_cursor_is_seen(on_terminal, configure, held, number):
    configure(held=([held.source], {}))
    program = on_terminal("run")
    program.wait_for("held: looking for databases")
    program.process.send_signal(number)
    program.end()
    assert "\x1b[?25l" not in program.transcript


def test_a_second_signal_is_told_in_the_place_of_the_lines(on_terminal, configure):
    configure(stub=(["odd://stubborn/db"], {}))
    program = on_terminal("run", columns=250, env={"PYTHONPATH": str(DISTS)})
    program.wait_for("stub: dumping, 0 of 1 database")
    for number in (signal.SIGINT, signal.SIGTERM) * 60:  # the first ones may come as the echo of the first
        program.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(0.5)
            break
    status, shown = program.end()
    assert status == 130
    assert shown.splitlines()[-1].startswith("dumpty: interrupted by SIGINT, and by a second signal")
    assert "dumping" not in shown


def test_lines_are_wiped_whole_where_the_terminal_got_narrower(terminal):
    drawn = threading.Event()

    def content(width, height):
        drawn.set()
        return [f"{number} " * (width // 2) for number in range(3)] if width < 100 else ["x" * width, "y" * width]

    screen, size = Screen(24, 104), termios.TIOCSWINSZ
    fcntl.ioctl(terminal.writer, size, struct.pack("HHHH", 24, 104, 0, 0))
    with LiveLines(terminal.writer, content) as lines:
        assert drawn.wait(60)
        lines.write_above("first")  # waits until it is drawn
        screen.feed(terminal.read())
        assert screen.shown.splitlines() == ["first", "x" * 100, "y" * 100]
        screen.resize(24, 44)
        fcntl.ioctl(terminal.writer, size, struct.pack("HHHH", 24, 44, 0, 0))
        lines.write_above("second")
        assert lines.write_above("third")
    assert not lines.write_above("too late")
    screen.feed(terminal.read())
    assert screen.shown.split() == ["first", "second", "third"]


def test_json_is_the_last_line_below_what_was_shown(on_terminal, configure, held):
    configure(held=([held.source], {}))
    program = on_terminal("run", "--json", columns=4000)
    program.wait_for("held: looking for databases")
    held.release()
    status, shown = program.end()
    assert status == 0
    assert json.loads(shown)["jobs"][0]["outcome"] == "ok"


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"DUMPTY_DEBUG": "1"}])
def test_where_the_cursor_is_not_moved_each_event_is_a_line(on_terminal, configure, database, env):
    configure(shop=([database("shop")], {}))
    program = on_terminal("run", env=env)
    status, shown = program.end()
    assert status == 0
    assert "shop.db is backed up, 1 of 1: " in shown
    assert "\x1b[J" not in program.transcript


def test_quietly_a_terminal_shows_only_what_failed(on_terminal, configure, database):
    configure(shop=([database("shop")], {}), gone=(["sqlite:////nowhere/at/all.db"], {}))
    program = on_terminal("run", "--quiet")
    status, shown = program.end()
    assert status == 1
    assert [line.partition(":")[0] for line in shown.splitlines()] == ["gone", "dumpty"]


# -- elsewhere ---------------------------------------------------------------------------------------------------------


def test_without_a_terminal_each_event_is_a_line(program, configure, database, tmp_path):
    shop = database("shop", 3)
    keys = {"copies": f'["{tmp_path}/vault"]', "keep": "{ last = 1 }"}
    configure(1, shop=([shop, database("blog", 1)], keys))
    assert program("run", "--quiet").err == ""
    result = program("run")
    assert result.status == 0
    assert not re.search("[\r\x1b]", result.err)
    lines = [re.sub("[0-9a-f-]{36}", "ID", re.sub(r"[0-9.]+ s\b", "N s", line)) for line in result.err.splitlines()]
    lines = [re.sub(r"[0-9.]+ (bytes|kB)", "SIZE", line) for line in lines]
    blog = shop.replace("shop.db", "blog.db")
    assert lines == [
        "shop: begun, 2 databases",
        f"shop: {shop} is being backed up",
        f"shop: {shop} is backed up, 1 of 2: SIZE, 3 rows, N s",
        f"shop: {blog} is being backed up",
        f"shop: {blog} is backed up, 2 of 2: SIZE, 1 row, N s",
        *[f"shop: backup ID is copied to {tmp_path}/vault"] * 2,
        f"shop: 2 backups removed from {tmp_path}/backups",
        f"shop: 2 backups removed from {tmp_path}/vault",
        "shop: ok: 2 of 2 databases backed up, SIZE, N s, 2 of 2 copies made, 4 removed",
    ]
    configure(1, shop=([shop], {**keys, "drill": '"1s"'}))
    assert re.search(r"^shop: backup \S+ of shop is proved, [0-9.]+ s$", program("run").err, re.MULTILINE)


def test_what_failed_is_told_once_and_what_came_of_the_job_at_its_end(program, configure, database):
    configure(1, shop=([database("shop"), "sqlite:////nowhere/at/all.db"], {}), odd=(["env:NOT_SET"], {}))
    result = program("run")
    assert result.status == 1
    said = result.err.splitlines()
    assert [line for line in said if "all.db" in line][1:-1] == [
        "shop: sqlite:////nowhere/at/all.db: FAILED: there is no database file /nowhere/at/all.db"
    ]
    assert [
        line.partition(" databases")[0] for line in said if line.startswith(("shop: FAILED", "odd: FAILED: 0"))
    ] == [
        "shop: FAILED: 1 of 2",
        "odd: FAILED: 0 of 0",
    ]


@pytest.mark.parametrize("silent", ["--quiet", "--json"])
def test_scripts_that_ask_for_silence_get_it(program, configure, database, silent):
    configure(shop=([database("shop")], {}))
    assert (program("run", silent).status, program("run", silent).err) == (0, "")


def test_what_is_done_elsewhere_is_no_line(program, configure, database):
    configure(shop=([database("shop")], {"schedule": '"0 0 1 1 *"'}))
    assert program("run", "--due").status == 0
    again = program("run", "--due")
    assert (again.status, again.err) == (0, "")


def test_a_reader_that_leaves_fails_no_run(configure, database, tmp_path):
    configure(shop=([database("shop")], {}))
    reading, writing = os.pipe()
    os.close(reading)
    assert subprocess.run([sys.executable, "-m", "dumpty", "run"], stderr=writing, check=False).returncode == 0
    os.close(writing)
    assert jobs_of(tmp_path) == ["shop"]
