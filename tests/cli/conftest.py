"""The command line, run in this process (``dumpty``) and as a program of its own (``program``)."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from support.replies import asks_for_json, check_reply

from dumpty.cli import main

PATIENCE = 60
DISTS = Path(__file__).parent / "dists"


@dataclass(frozen=True)
class CommandResult:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The one JSON object on standard output."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


def checked(argv: list[str], result: CommandResult) -> CommandResult:
    """Return a result after its JSON object, if one was asked for, was seen to be what the schema says."""
    if asks_for_json(argv) and result.out:
        assert check_reply(argv, result.out)["status"] == result.status
    return result


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DUMPTY_DIR", "DUMPTY_DEBUG", "DUMPTY_DISABLE_PLUGINS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def dumpty(capsys):
    """Run a command line in this process; on ``terminal``, standard input and error are that."""

    def run(*argv: object, terminal: Terminal | None = None) -> CommandResult:
        capsys.readouterr()
        with terminal or contextlib.nullcontext():
            status = main([str(a) for a in argv])
        out, err = capsys.readouterr()
        return checked([str(a) for a in argv], CommandResult(status, out, err))

    return run


@pytest.fixture
def program():
    """Run a command line as a program of its own."""

    def run(*argv: object, **options) -> CommandResult:
        process = subprocess.run(
            [sys.executable, "-m", "dumpty", *map(str, argv)], capture_output=True, text=True, check=False, **options
        )
        return checked([str(a) for a in argv], CommandResult(process.returncode, process.stdout, process.stderr))

    return run


@pytest.fixture
def odd(monkeypatch):
    """Install the distribution dumpty-odd for this test."""
    monkeypatch.syspath_prepend(str(DISTS))


@pytest.fixture
def broken(monkeypatch):
    """Install a distribution whose plugin cannot be imported."""
    monkeypatch.syspath_prepend(str(DISTS / "broken"))


@pytest.fixture
def shop(tmp_path) -> str:
    """The URL of a small SQLite database."""
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO orders VALUES (1, 'egg'), (2, 'wall')"
        )
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def orders():
    """Return the rows of the table in ``shop``, wherever it was restored."""

    def read(path: object) -> list:
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT * FROM orders ORDER BY id").fetchall()

    return read


@pytest.fixture
def make(dumpty):
    """Back a database up and return the JSON description of the backup."""

    def run(url: str, *argv: object) -> dict:
        result = dumpty("backup", url, *argv, "--json")
        assert result.status == 0, result
        [backup] = result.json["backups"]
        return backup

    return run


class Terminal:
    """A terminal: what is written to it, and what is typed."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        self.writer = os.fdopen(os.dup(self._slave), "w")
        self.reader = os.fdopen(os.dup(self._slave))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read(self) -> str:
        """Return what was written so far."""
        self.writer.flush()
        os.set_blocking(self._master, False)
        shown = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                shown += os.read(self._master, 65536)
        return shown.decode()

    def __enter__(self) -> Self:
        self._streams_before = sys.stdin, sys.stderr
        sys.stdin, sys.stderr = self.reader, self.writer
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdin, sys.stderr = self._streams_before

    def close(self) -> None:
        self.writer.close()
        self.reader.close()
        os.close(self._slave)
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    opened = Terminal()
    yield opened
    opened.close()


@pytest.fixture
def configure(tmp_path):
    """Write a configuration of jobs for two SQLite databases, ``shop`` and ``blog``, and return its path."""
    for name in ("shop", "blog"):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
            connection.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(200)])

    def configure(defaults='max_age = "26h"\n', jobs=("shop",), more=""):
        text = f'[defaults]\nrepository = "{tmp_path}/backups"\nretries = 0\n{defaults}'
        for name in jobs:
            text += f'[jobs.{name}]\nsource = "sqlite:///{tmp_path}/{name}.db"\n'
        path = tmp_path / "dumpty.toml"
        path.write_text(text + more)
        path.chmod(0o600)
        return path

    configure()
    return configure


class Served:
    """A ``dumpty serve`` as a program of its own."""

    def __init__(self, tmp_path, *argv, **options):
        self.error = tmp_path / f"err-{len(list(tmp_path.glob('err-*')))}"
        with open(self.error, "wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dumpty", "serve", *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                **options,
            )

    def said(self, text, times=1):
        """Wait until it has said a text so many times."""
        end = time.monotonic() + PATIENCE
        while (said := self.error.read_text()).count(text) < times:
            assert time.monotonic() < end, (text, said)
            assert self.process.poll() is None or said.count(text) >= times, said
            time.sleep(0.02)
        return said

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, self.error.read_text()


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as stack:

        def serve(*argv, **options):
            served = Served(tmp_path, *argv, **options)
            stack.enter_context(served.process)
            stack.callback(served.process.kill)
            return served

        yield serve
