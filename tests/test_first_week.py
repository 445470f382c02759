"""The manual's first week: what it says is done, by the programs themselves, on servers that really go down."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys

import pytest
from support.mariadb_server import running_server
from support.pages import PAGES, blocks
from support.postgres_server import PostgresServer
from support.prometheus_server import lint

from dumpty import BackupManager

TESTED = "tested apart: test_the_first_week_goes_as_the_manual_says"
ROWS = 500


@pytest.fixture
def servers(postgres):
    """A PostgreSQL and a MariaDB of their own, each with a database and a user who may read it."""
    with contextlib.ExitStack() as stack:
        shop = PostgresServer(postgres.bindir)
        stack.callback(shop.stop)
        shop.create("shop")
        shop.script("shop", f"CREATE TABLE orders AS SELECT n, 'egg' AS what FROM generate_series(1, {ROWS}) AS n")
        shop.script("shop", "CREATE ROLE backup LOGIN PASSWORD 'change-me'; GRANT pg_read_all_data TO backup")
        blogs = stack.enter_context(running_server())
        blogs.run(
            *("CREATE DATABASE blog", "CREATE DATABASE stock"),
            *("CREATE TABLE blog.posts (n INT PRIMARY KEY)", "CREATE TABLE stock.items (n INT PRIMARY KEY)"),
            "USE blog",
            f"INSERT INTO blog.posts SELECT seq FROM seq_1_to_{ROWS}",
            f"INSERT INTO stock.items SELECT seq FROM seq_1_to_{ROWS}",
            "CREATE USER backup@'127.0.0.1' IDENTIFIED BY 'change-me'",
            "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, PROCESS, RELOAD ON *.* TO backup@'127.0.0.1'",
            "CREATE USER restorer@'127.0.0.1' IDENTIFIED BY 'change-me'",
            "GRANT ALL ON *.* TO restorer@'127.0.0.1'",
        )
        yield shop, blogs


class Week:
    """A machine's directories, under one of the test's, and the page's commands in them."""

    def __init__(self, root, shop, blogs):
        self.root, self.shop, self.blogs = root, shop, blogs
        self.blocks = iter([block for block in blocks(PAGES["first-week"]) if block.note == TESTED])
        for folder in ("etc", "var/backups", "srv/apps", "usr/local/bin"):
            (root / folder).mkdir(parents=True)
        for name in ("phones", "tablets"):
            with contextlib.closing(sqlite3.connect(root / f"srv/apps/{name}.db")) as database, database:
                database.execute("CREATE TABLE calls (n)")
                database.executemany("INSERT INTO calls VALUES (?)", [(n,) for n in range(ROWS)])
        page = root / "usr/local/bin/page"
        page.write_text(f"#!/bin/sh\ncat >> {root}/told; echo >> {root}/told\n")
        page.chmod(0o755)
        self.directory = root
        self.chosen = ""

    def here(self, text):
        text = re.sub(r"(postgresql://\S+?@)db\.example\.org", rf"\g<1>127.0.0.1:{self.shop.port}", text)
        text = re.sub(r"(mysql://\S+?@)db\.example\.org", rf"\g<1>127.0.0.1:{self.blogs.port}", text)
        text = re.sub(r"\bID\b", self.chosen, text)
        return re.sub(r"(?<![\w.])/(etc|var|srv|usr)/", rf"{self.root}/\1/", text)

    def follow(self):
        """Do what the next block says, and return what it printed."""
        block = next(self.blocks)
        if block.language == "toml":
            hurried = 'retry_wait = "1s"\n\n[jobs.'
            (self.directory / "dumpty.toml").write_text(self.here(block.text).replace("\n[jobs.", hurried, 1))
            return ""
        printed = ""
        for command in block.commands:
            status = int(found[1]) if (found := re.search(r"# ends with (\d+)$", command)) else 0
            script = f"cd {self.directory} && {self.here(command)} && {{ pwd >&9; }} 9>{self.root}/pwd"
            environment = {
                "PATH": f"{os.path.dirname(sys.executable)}:{self.shop.bindir}:{os.environ['PATH']}",
                **{name: value for name, value in os.environ.items() if name.startswith("XDG_")},
                "HOME": str(self.root),
            }
            done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == status, f"{block.place}: {command}\n{done.stdout}{done.stderr}"
            if status == 0:
                self.directory = type(self.root)((self.root / "pwd").read_text().strip())
            printed += done.stdout + done.stderr
        return printed

    def told(self):
        """Return the titles of what ``page`` was told since it was asked last."""
        path = self.root / "told"
        text = path.read_text() if path.exists() else ""
        path.write_text("")
        return [json.loads(line)["title"] for line in text.splitlines()]

    def metric(self, name, job):
        """Return the values of a metric of a job, in the file that was written."""
        text = (self.root / "var/backups/dumpty.prom").read_text()
        assert lint(text) == ""
        return re.findall(rf'^dumpty_{name}{{backup_job="{job}".*}} (\S+)$', text, re.MULTILINE)


@pytest.fixture
def week(tmp_path, servers):
    return Week(tmp_path, *servers)


def test_the_first_week_goes_as_the_manual_says(week):
    printed = week.follow()
    assert len(re.findall(r" ok +\d of \d ", printed)) >= 3
    manager = BackupManager(week.root / "var/backups/dumpty")
    backups = manager.list_backups()
    assert sorted(backup.database_name for backup in backups) == ["blog", "phones", "shop", "stock", "tablets"]
    assert {backup.rows for backup in backups} == {ROWS}
    assert [[proof.level for proof in backup.proofs if proof.ok] for backup in backups] == [["restore"]] * 5

    week.follow()  # the file of Tuesday
    week.follow()
    assert week.told() == ["dumpty: test"]

    week.follow()
    assert week.metric("database_backup_rows", "blogs") == ["500.0", "500.0"]
    assert week.metric("database_overdue", "apps") == ["0.0", "0.0"]

    with week.shop.down():
        printed = week.follow()
        assert "shop: FAILED" in printed
        assert week.told() == ["dumpty: shop: the backup failed"]
        assert week.metric("job_last_run_failed", "shop") == week.metric("database_failed", "shop") == ["1.0"]
        assert week.metric("database_backups", "shop") in (["1.0"], ["2.0"])  # one of each day
    week.follow()
    assert week.told() == ["dumpty: shop: over: the backup failed"]

    week.blogs.run("DELETE FROM blog.posts")
    printed = week.follow()
    assert "SUSPICIOUS" in printed
    assert week.told() == ["dumpty: blogs: a backup is suspicious"]
    assert sorted(week.metric("database_suspicious_backups", "blogs")) == ["0.0", "1.0"]
    (week.root / "etc/dumpty/rescue.url").write_text(
        f"mysql://restorer:change-me@127.0.0.1:{week.blogs.port}/blog_rescued"
    )
    week.chosen = [b.id for b in manager.list_backups() if b.database_name == "blog" and b.state == "ok"][-1]
    week.follow()
    assert week.blogs.run("SELECT count(*) FROM blog_rescued.posts")[-1] == (ROWS,)
    assert next(week.blocks, None) is None
