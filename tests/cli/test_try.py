"""``dumpty try``: a restored database to look at, and nothing of it afterwards."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.places import left_over
from support.ways import running

from dumpty.cli.second_signal import ECHO_SECONDS
from dumpty.url import parse_url

PATIENCE = 60
READS_TABLE = """
import os, sqlite3
print(*sqlite3.connect(os.environ["DUMPTY_URL"].removeprefix("sqlite:///")).execute("SELECT what FROM orders ORDER BY id"))
"""
# Python's own prompt would lose a Ctrl-C that comes right behind it, before Python waits for input.
HEARS_CTRL_C = """
import sys, time
for number in range(3):
    try:
        print(f"waiting {number}", flush=True)
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        print(f"interrupted {number}", flush=True)
sys.exit(int(input()))
"""


class OnTerminal:
    """A ``dumpty`` that was started on a terminal of its own."""

    def __init__(self, *argv: object) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-m", "dumpty", *map(str, argv)]
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "dumb", "PAGER": "cat"},
        )
        os.close(slave)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def said(self, pattern: str) -> re.Match:
        """Wait until it has shown something."""
        end = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < end, (pattern, self.shown)
            assert self._read(), (pattern, self.shown)
        return match

    def _read(self) -> bool:
        assert select.select([self._master], [], [], PATIENCE)[0], self.shown
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the terminal open any more
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)

    def end(self) -> int:
        """Wait for its end, and return its status."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def on_terminal():
    started = []

    def start(*argv):
        started.append(OnTerminal(*argv))
        return started[-1]

    yield start
    for program in started:
        program.close()


def proofs(dumpty) -> list:
    return [b["proof"] for b in dumpty("list", "--json").json["backups"]]


def url_told(program: OnTerminal) -> str:
    return program.said(r"(?m)^  (\w+://\S+)\nuntil this ends$")[1]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_shell_is_in_the_restored_database_and_takes_it_with_it(make, shop, on_terminal, tmp_path, dumpty):
    make(shop)
    shell = on_terminal("try", "latest")
    path = url_told(shell).removeprefix("sqlite:///")
    shell.said("sqlite> ")
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    shell.type("UPDATE orders SET what = upper(what);\n")
    shell.type("SELECT what || '!' FROM orders;\n")
    shell.said("EGG!\nWALL!\n")
    shell.type(".exit\n")
    assert shell.end() == 0
    assert not os.path.exists(path)
    assert left_over(tmp_path / "backups") == []
    assert [p["level"] for p in proofs(dumpty)] == ["restore"]


def test_ctrl_c_is_the_shells_however_often(make, shop, on_terminal):
    make(shop)
    shell = on_terminal("try", "latest", "--", sys.executable, "-c", HEARS_CTRL_C)
    for number in range(3):
        shell.said(f"waiting {number}")
        shell.type("\x03")
        shell.said(f"interrupted {number}")
        time.sleep(ECHO_SECONDS)  # what came sooner would be no second Ctrl-C
    shell.type("5\n")
    assert shell.end() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_shell_and_removes_the_database(make, shop, on_terminal, tmp_path, number):
    make(shop)
    shell = on_terminal("try", "latest", "--", "sh", "-c", "trap '' HUP; echo shell $$; exec sleep 1000")
    path = url_told(shell).removeprefix("sqlite:///")
    pid = int(shell.said(r"shell (\d+)\n")[1])
    shell.process.send_signal(number)
    assert shell.end() == 128 + number
    assert not is_running(pid)
    assert not os.path.exists(path)
    assert left_over(tmp_path / "backups") == []


def test_a_signal_ends_whatever_a_program_started_where_there_is_no_terminal(make, shop, tmp_path):
    make(shop)
    script = "sleep 1000 & echo $!; wait"
    process = subprocess.Popen(
        [sys.executable, "-m", "dumpty", "try", "latest", "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        pid = int(process.stdout.readline())
        process.terminate()
        assert process.wait(PATIENCE) == 143
    end = time.monotonic() + PATIENCE
    while is_running(pid):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert left_over(tmp_path / "backups") == []


def test_a_program_finds_the_url_and_its_status_and_output_are_ours(make, shop, program, tmp_path):
    make(shop)
    reading = program("try", "latest:shop", "--", sys.executable, "-c", READS_TABLE)
    assert (reading.status, reading.out) == (0, "('egg',) ('wall',)\n")
    failing = program("try", "latest", "-q", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (failing.status, failing.out) == (7, "out\n")
    assert failing.err == "err\ndumpty: sh exited with status 7\n"
    assert program("try", "latest", "--", "sh", "-c", "kill -9 $$").status == 137
    assert left_over(tmp_path / "backups") == []


def test_in_json_standard_output_is_one_object(make, shop, program):
    backup = make(shop)
    done = program("try", "latest", "--json", "--", "echo", "said", "--json")
    assert "said --json" in done.err
    assert (done.json["program"], done.json["exit_status"], done.json["status"]) == ("echo", 0, 0)
    assert [(b["id"], b["proof"]["level"]) for b in done.json["backups"]] == [(backup["id"], "restore")]
    assert done.json["proofs"][0]["ok"]
    failed = program("try", "latest", "--json", "--", "false").json
    assert (failed["success"], failed["status"], failed["exit_status"]) == (False, 1, 1)
    assert failed["error_type"] == "CommandError"


def test_without_a_terminal_or_a_program_that_exists_nothing_is_restored(make, shop, dumpty):
    make(shop)
    alone = dumpty("try", "latest")
    assert alone.status == 2
    assert "no terminal" in alone.err
    assert "-- PROGRAM" in alone.err
    assert "no-such-program" in dumpty("try", "latest", "--", "no-such-program").err
    assert dumpty("try", "latest", "--", "no-such-program").status == 2
    assert dumpty("try").status == 2
    assert proofs(dumpty) == [None]


def test_a_client_that_is_missing_is_told_before_anything_is_restored(make, shop, dumpty, terminal, monkeypatch):
    make(shop)
    monkeypatch.setenv("PATH", "/nowhere")
    result = dumpty("try", "latest", "--json", terminal=terminal)
    assert (result.status, result.json["error_type"]) == (1, "CommandError")
    assert "apt-get install sqlite3" in result.json["error"]
    assert proofs(dumpty) == [None]


def test_a_driver_that_says_of_no_shell_is_refused_one_and_runs_programs(make, shop, dumpty, terminal, monkeypatch):
    make(shop)
    monkeypatch.delattr("dumpty_plugins.sqlite.scratch._ScratchFile.shell")
    result = dumpty("try", "latest", "--json", terminal=terminal)
    assert (result.status, result.json["error_type"]) == (3, "NotProvable")
    assert "-- PROGRAM" in result.json["error"]
    assert proofs(dumpty) == [None]
    assert dumpty("try", "latest", "--", sys.executable, "-c", READS_TABLE).status == 0


@pytest.mark.parametrize(
    ("method", "returned", "named"),
    [
        ("shell", ["sqlite3"], "shell() is of the type list"),
        ("shell", (), "shell() is None, not a tuple of str"),
        ("shell", ("sqlite3", 1), "shell()[1] is 1"),
        ("environment", {"A": 1}, "environment()['A'] is 1"),
        ("environment", ("A",), "environment() is of the type tuple"),
    ],
)
def test_what_a_driver_says_of_its_shell_is_checked(make, shop, dumpty, terminal, monkeypatch, method, returned, named):
    make(shop)
    monkeypatch.setattr(f"dumpty_plugins.sqlite.scratch._ScratchFile.{method}", lambda self: returned, raising=False)
    result = dumpty("try", "latest", "--json", terminal=terminal)
    assert result.json["error_type"] == "PluginError"
    assert named in result.json["error"]
    assert proofs(dumpty) == [None]


def test_what_is_damaged_is_not_tried(make, shop, program, dumpty):
    [file] = make(shop)["files"]
    Path(file).chmod(0o600)
    data = bytearray(Path(file).read_bytes())
    data[-9] ^= 1
    Path(file).write_bytes(data)
    result = program("try", "latest", "--", "echo", "tried")
    assert (result.status, result.out) == (4, "")
    assert proofs(dumpty) == [{**proofs(dumpty)[0], "ok": False, "level": "restore"}]


def test_a_trigger_of_the_dump_reaches_no_function_of_the_shell(make, shop, on_terminal, tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript(
            f"CREATE TRIGGER hostile AFTER INSERT ON orders BEGIN SELECT writefile('{tmp_path}/reached', 'x'); END"
        )
    make(shop)
    shell = on_terminal("try", "latest")
    shell.said("sqlite> ")
    shell.type("INSERT INTO orders VALUES (3, 'x');\n")
    shell.said("(?i)unsafe use of writefile")
    shell.type(".exit\n")
    shell.end()
    assert not (tmp_path / "reached").exists()


@pytest.fixture
def drills_elsewhere(monkeypatch):
    """A directory of their own for the servers of this test's drills, short enough for a socket's path; empty after."""
    with tempfile.TemporaryDirectory(prefix="try-") as directory:
        os.chmod(directory, 0o1777)
        monkeypatch.setenv("TMPDIR", directory)
        yield
        assert os.listdir(directory) == []


def test_postgresql_has_psql_and_its_variables(make, program, postgres, on_terminal, monkeypatch, drills_elsewhere):
    monkeypatch.setenv("PATH", f"{postgres.bindir}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PGDATABASE", "postgres")
    name = postgres.create()
    try:
        postgres.script(name, "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)")
        make(postgres.url(name))
    finally:
        postgres.drop(name)
    counted = program("try", "latest", "-q", "--", "psql", "-XAtc", "SELECT count(*), current_database() FROM orders")
    assert re.fullmatch(r"2\|dumpty_drill_\w+\n", counted.out), counted
    shell = on_terminal("try", "latest")
    url = url_told(shell)
    secret = parse_url(url).password
    shell.said(r"=> ")
    found = subprocess.run(["psql", "-XAtc", "SELECT count(*) FROM orders", url], capture_output=True, check=True)
    assert found.stdout == b"2\n"
    assert secret
    assert not running(secret)
    shell.type("SELECT 'rows ' || count(*) FROM orders;\n")
    shell.said("rows 2")
    shell.type("\\q\n")
    assert shell.end() == 0


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_mysql_and_mariadb_have_their_client_and_variables(
    make, program, request, on_terminal, monkeypatch, kind, drills_elsewhere
):
    server = request.getfixturevalue(kind)
    if kind == "mysql":
        programs = Path(server.program("server")).parent
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    server.run(
        "CREATE DATABASE tried", "USE tried", "CREATE TABLE orders (id int)", "INSERT INTO orders VALUES (1), (2)"
    )
    try:
        make(server.url("tried"))
    finally:
        server.run("DROP DATABASE tried")
    client = shutil.which("mariadb") or shutil.which("mysql")
    script = f"{client} --no-defaults -u root -N -e 'SELECT count(*) FROM orders' dumpty_drill"
    counted = program("try", "latest", "-q", "--", "sh", "-c", script)
    assert (counted.status, counted.out) == (0, "2\n"), counted
    shell = on_terminal("try", "latest")
    assert parse_url(url_told(shell)).database == "dumpty_drill"
    shell.said(r"\[?dumpty_drill\]?> |mysql> ")
    shell.type("SELECT concat('rows ', count(*)) FROM orders;\n")
    shell.said("rows 2")
    shell.type("exit\n")
    assert shell.end() == 0


def test_a_server_that_is_named_keeps_its_secrets(make, program, postgres, monkeypatch):
    monkeypatch.setenv("PATH", f"{postgres.bindir}{os.pathsep}{os.environ['PATH']}")
    name = postgres.create()
    postgres.script(name, "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)")
    postgres.script("postgres", "CREATE ROLE trier LOGIN CREATEDB PASSWORD 'verysecret'")
    try:
        make(postgres.url(name))
        before = postgres.databases()
        on = postgres.url("postgres", "trier", "verysecret")
        query = "SELECT count(*) || current_user FROM orders"
        tried = program("try", "latest", "--on", on, "--", "psql", "-XAtc", query)
        assert (tried.status, tried.out) == (0, "2trier\n"), tried
        assert "verysecret" not in tried.err
        assert "trier:***@" in tried.err
        assert postgres.databases() == before
    finally:
        postgres.drop(name)
        postgres.execute("DROP ROLE trier")
