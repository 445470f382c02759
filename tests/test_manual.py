"""What README and manual tell people to do is done: every block of each page, in order, on real databases.

A page is followed in a directory of its own, in which ``shop.db`` lies. ``db.example.org`` is the suite's PostgreSQL
or MariaDB server, with a database ``shop``; what stands there for root's directories is in the page's directory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from support.pages import PAGES, TOP, Block, blocks, manual

from dumpty.cli import main
from dumpty.jobs.settings import load

TABLE = "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO orders VALUES (1, 'egg');"
ROLES = ("backup", "restorer", "drill")
DATABASES = ("shop", "shop_copy")

UNTESTED = {
    "fetches or installs": r"git clone |python3 -m venv |\S*pip install |\S*pre-commit install",
    "runs this suite": r"sh tests/run\.sh|\.ci/run",
    "changes the system's services": r"systemctl |journalctl |dumpty schedule \w+ .*--install",
    "tells people": r"dumpty notify test",
    "measures for an hour": r"sh tests/bench/run\.sh ",
    "measures for half an hour": r"\.venv-test/bin/python tests/bench/fleet\.py |sh tests/bench/run\.sh ",
    "measures for five minutes": r"sh tests/bench/run\.sh ",
}
"""The reasons for which a block is not run, and how each of its commands begins then."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which a page is followed."""
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(TABLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("DUMPTY_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", "change-me")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], dict]]:
    """Lend the servers that a page's text speaks of, each with a database ``shop``."""
    lent = {}

    def lend(text: str) -> dict:
        if "postgresql://" in text or "```sql postgresql" in text:
            lent["postgresql"] = server = request.getfixturevalue("postgres")
            monkeypatch.setenv("PATH", f"{server.bindir}{os.pathsep}{os.environ['PATH']}")
            server.create("shop")
            server.script("shop", TABLE)
            if "CREATE ROLE backup" not in text:
                role = "CREATE ROLE backup LOGIN PASSWORD 'change-me'; GRANT pg_read_all_data TO backup"
                server.script("postgres", role)
        for name in ("mariadb", "mysql"):
            if f"```sql {name}" in text:
                lent[name] = server = request.getfixturevalue(name)
                server.run(f"CREATE DATABASE shop /*{name}*/", "USE shop", *TABLE.split(";")[:2])
        if "s3://" in text:
            request.getfixturevalue("s3_credentials")
            lent["s3"] = server = request.getfixturevalue("moto_server")
            server.client.create_bucket(Bucket="backups")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)
        if "gs://" in text:
            request.getfixturevalue("google_credentials")
            lent["google"] = server = request.getfixturevalue("google_server")
            server.control(buckets=["backups"])
        if "az://" in text:
            request.getfixturevalue("azure_credentials")
            lent["azure"] = server = request.getfixturevalue("azure_server")
            server.client.create_container("backups")
        return lent

    yield lend
    lent.pop("google", None)  # what is asked for anew is empty
    if "azure" in lent:
        lent.pop("azure").client.delete_container("backups")
    if "s3" in lent:
        lent.pop("s3").remove_bucket("backups")
    for name, server in lent.items():
        if name == "postgresql":
            for database in DATABASES:
                server.drop(database)
            server.execute(f"DROP ROLE IF EXISTS {', '.join(ROLES)}")
        else:
            for database in DATABASES:
                server.run(f"DROP DATABASE IF EXISTS {database}")
            server.run(f"DROP USER IF EXISTS {', '.join(f'{role}@`%`' for role in ROLES)}")


class Reader:
    """Follows one page."""

    def __init__(self, directory: Path, servers: dict) -> None:
        self.directory = directory
        self.servers = servers

    def here(self, text: str) -> str:
        """Return ``text`` with the places of this test in it."""
        for scheme, name in (("postgresql", "postgresql"), ("mysql", "mariadb")):
            if name in self.servers:
                address = f"127.0.0.1:{self.servers[name].port}"
                text = re.sub(rf"({scheme}://[^\s'\"@]*@)db\.example\.org", rf"\g<1>{address}", text)
        assert "db.example.org" not in text, text
        if "azure" in self.servers:
            text = text.replace("account=shops", f"endpoint={self.servers['azure'].endpoint}")
        if "google" in self.servers:
            text = re.sub(r"gs://[\w/]+", rf"\g<0>?endpoint={self.servers['google'].endpoint}", text)
        if "s3" in self.servers:
            text = text.replace("https://s3.example.org", self.servers["s3"].endpoint)
        text = text.replace("/opt/dumpty/bin", os.path.dirname(sys.executable))
        return re.sub(r"(?<![\w/])/(etc|var)/", rf"{self.directory}/\1/", text)

    def follow(self, block: Block) -> None:
        getattr(self, f"_{block.language}")(block)

    def _console(self, block: Block) -> None:
        assert block.commands, block.place
        for command in block.commands:
            words = shlex.split(self.here(command))
            settings = dict(w.split("=", 1) for w in itertools.takewhile(re.compile(r"[A-Z_]+=").match, words))
            del words[: len(settings)]
            if words[0] == "cd":
                os.chdir(words[1])
            elif words[0] == "dumpty":  # in this process, which takes a tenth of the time
                source = words[words.index("<") + 1] if "<" in words else os.devnull
                words = words[: words.index("<")] if "<" in words else words
                with mock.patch.dict(os.environ, settings), open(source) as stdin, mock.patch("sys.stdin", stdin):
                    assert main(words[1:]) == 0, f"{block.place}: {command}"
            else:
                self._run(command, block.place)

    def _sh(self, block: Block) -> None:
        for path in ("etc", "var/backups"):
            (self.directory / path).mkdir(parents=True, exist_ok=True)
        self._run(block.text, block.place)

    def _run(self, script: str, place: str, **environment: str) -> None:
        process = subprocess.run(
            ["sh", "-euc", self.here(script)], env={**os.environ, **environment}, capture_output=True, text=True
        )
        assert process.returncode == 0, f"{place}: {process.stdout}{process.stderr}"

    def _python(self, block: Block) -> None:
        if block.text.startswith(f"# {block.file_name}\n"):
            (self.directory / block.file_name).write_text(block.text)
        exec(compile(self.here(block.text), block.place, "exec"), {"__name__": "page"})

    def _sql(self, block: Block) -> None:
        if block.note == "postgresql":
            self.servers["postgresql"].script("shop", block.text)
        else:
            self.servers[block.note].client(None, block.text.encode())

    def _ini(self, block: Block) -> None:
        (self.directory / block.note).write_text(block.text)

    def _toml(self, block: Block) -> None:
        """Keep a configuration, in the place of an earlier one, and see that it is right, but for servers and secrets."""
        path = self.directory / block.note
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(re.sub(r"@db\.example\.org", "@127.0.0.1", block.text)))
        assert load(str(path)).jobs, block.place


def is_run(block: Block) -> bool:
    if block.language == "toml":
        return block.note.endswith("dumpty.toml")
    return block.language not in {"text", "json"} and not block.note.startswith(
        ("untested: ", "tested apart: ", "signature")
    )


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_is_done_in_order(page, directory, servers):
    path = PAGES[page]
    to_run = [block for block in blocks(path) if is_run(block)]
    reader = Reader(directory, servers("".join(f"```{b.language} {b.note}\n{b.text}" for b in to_run)))
    for block in to_run:
        reader.follow(block)


def test_no_command_is_too_long_to_be_drawn_on_one_line():
    for path in manual():
        for block in blocks(path):
            for line in block.text.splitlines():
                assert len(line) <= 108 or block.language in {"python", "text"}, f"{block.place}: {line}"


def test_what_is_untested_has_a_reason_that_holds_for_each_of_its_commands():
    for path in PAGES.values():
        for block in blocks(path):
            kind, colon, reason = block.note.partition(": ")
            if kind == "untested":
                for part in (p for c in block.commands for p in c.split(" && ") if not p.startswith("cd ")):
                    assert re.match(UNTESTED[reason], part), f"{block.place}: {part!r} could be run"
            elif kind == "tested apart":
                assert any(
                    re.search(rf"^\s*def {reason}\(", test.read_text(), re.MULTILINE)
                    for test in (TOP / "tests").rglob("test_*.py")
                ), f"{block.place}: there is no test {reason}"
            elif kind == "signature":
                assert block.language == "python"
                assert re.match(r"(def|class|[A-Z]\w+ =) ?", block.text), block.place
            else:
                assert not colon, block.place
