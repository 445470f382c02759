"""The README's code is run: its Python as it stands, its commands in order."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE item (id INTEGER PRIMARY KEY, name); INSERT INTO item VALUES (1, 'egg')")
    return tmp_path


def rows(path: Path) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM item").fetchall()


def test_the_python_examples_run_as_they_stand(shop):
    examples = blocks("python")
    assert len(examples) == 2
    for example in examples:
        done = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=shop, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert rows(shop / "restored.db") == rows(shop / "shop-copy.db") == [(1, "egg")]


def test_the_commands_run_in_order(shop):
    [console] = blocks("console")
    commands = re.findall(r"^\$ dumpty (.*)$", console, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "dumpty", *shlex.split(command)], cwd=shop, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert rows(shop / "copy.db") == [(1, "egg")]


def test_backups_restore_without_dumpty_as_the_readme_says(shop):
    from dumpty import BackupManager

    for form, suffix in (("sql", "sql.gz"), ("native", "db.gz")):
        result = BackupManager(str(shop)).create_backup(f"sqlite:///{shop}/shop.db", format=form)
        assert result.success, result.error
        [command] = re.findall(rf"^zcat shop-\*\.{suffix}.*# SQLite, {form}$", README, re.MULTILINE)
        subprocess.run(["sh", "-ec", command], cwd=shop, check=True)
        assert rows(shop / "restored.db") == [(1, "egg")]
        (shop / "restored.db").unlink()


def test_the_table_of_plugins_is_complete():
    from dumpty.host import Host

    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", README, re.MULTILINE)
    assert set(table) == {(p.name, p.kind) for p in Host().plugins() if p.distribution == "dumpty"}


def test_both_commands_of_a_fresh_machine_stand_in_it():
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/dumpty demo" in README
    assert "sh tests/run.sh" in README


def test_every_test_that_a_promise_names_exists():
    [section] = re.findall(r"^## What dumpty promises\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| ([A-Z`].*?) \| (`.*`) \|$", section, re.MULTILINE)
    assert len(rows) >= 10
    for promise, cell in rows:
        for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", cell):
            text = (Path(__file__).parent / path).read_text()
            assert re.search(rf"^\s*def {name}\(", text, re.MULTILINE), (promise, name)
        assert "::" in cell, promise
