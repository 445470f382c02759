"""Small projects of somebody's, whose tests use the fixtures."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from support.modules import modules_of

from dumpty import BackupManager

PATIENCE = 60
PYTEST = (sys.executable, "-m", "pytest", "--basetemp=basetemp")
READS = """
import contextlib, sqlite3

def rows(database):
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        return connection.execute("SELECT count(*) FROM orders").fetchone()[0]

def clear(database):
    with contextlib.closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("DELETE FROM orders")
"""
THREE = """
import pytest

from reads import clear, rows

@pytest.mark.parametrize("number", range(3))
def test_has_its_own(dumpty_database, number):
    assert rows(dumpty_database) == 2
    clear(dumpty_database)
    assert rows(dumpty_database) == 0
"""


def wait_until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def temporary(monkeypatch):
    """The place for temporary files, short enough for sockets, and open to every user; empty afterwards."""
    with tempfile.TemporaryDirectory(prefix="pp-", ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o1777)
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)
        assert os.listdir(directory) == []


class Result:
    """What a pytest said."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text

    def assert_outcomes(self, **expected: int) -> None:
        """Require these numbers of passed, failed and errors, and no others."""
        found = re.findall(r"(\d+) (passed|failed|error)", self.text.rstrip().rpartition("\n")[2])
        assert {noun: int(number) for number, noun in found} == expected, self.text

    def assert_lines(self, pattern: str, times: int = 1) -> None:
        """Require that so many lines match a pattern of file names."""
        lines = [line for line in self.text.splitlines() if fnmatch.fnmatchcase(line, pattern)]
        assert len(lines) == times, (pattern, self.text)


class Project:
    """A directory of tests."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ini(self, *lines: str) -> None:
        """Write an ini-file."""
        fixed = "[pytest]\nfilterwarnings = error\naddopts = --import-mode=importlib\npythonpath = .\n"
        (self.path / "pytest.ini").write_text(fixed + "".join(f"{line}\n" for line in lines))

    def write(self, text: str, *names: str) -> None:
        """Write one and the same module, under each of ``names``."""
        for name in names or ("test_it",):
            (self.path / f"{name}.py").write_text(textwrap.dedent(text))

    def run(self, *arguments: str) -> Result:
        """Run the tests in this process."""
        output = io.StringIO()
        with modules_of(self.path), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = pytest.main(["-p", "no:cacheprovider", "--capture=sys", *arguments])
        return Result(status, output.getvalue())

    def run_apart(self, *arguments: str) -> Result:
        """Run the tests in a process of their own."""
        process = subprocess.run([*PYTEST, *arguments], capture_output=True, text=True, check=False)
        return Result(process.returncode, process.stdout + process.stderr)


@pytest.fixture
def project(tmp_path, temporary, monkeypatch):
    """A project with a SQLite database, shop.db, and a backup of it in the directory backups."""
    for name in ("DUMPTY_DIR", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect("shop.db")) as database:
        database.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO orders VALUES (1, 'egg'), (2, 'wall')"
        )
    BackupManager("backups").create_backup("sqlite:///shop.db").raise_for_error()
    project = Project(tmp_path)
    project.write(READS, "reads")
    project.ini("dumpty_backup = latest:shop", "dumpty_dir = backups")
    return project


@pytest.fixture
def proofs(project):
    """Return the proofs of the project's backup: one for each time that it was restored."""
    return lambda: [proof for b in BackupManager(project.path / "backups").list_backups() for proof in b.proofs]
