"""One file of jobs over three engines, as a newcomer writes it: all is backed up, and what goes wrong is told."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import threading

import pytest
from support.keys import x25519
from support.pages import PAGES, blocks
from support.waiting_service import Service

from dumpty import BackupManager
from dumpty.cli import main

IDENTITY = x25519()[1].text
RECIPIENT = x25519()[0].text


@pytest.fixture
def three(postgres, mariadb, tmp_path, monkeypatch):
    """Databases on three engines, and the file of jobs for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    names = [postgres.create() for _ in range(2)]
    for name in names:
        postgres.script(name, "CREATE TABLE orders (id integer); INSERT INTO orders SELECT generate_series(1, 500)")
    other = f"jobs_{names[0]}"
    mariadb.run(
        f"CREATE DATABASE {other}",
        f"CREATE TABLE {other}.parts (id integer)",
        f"INSERT INTO {other}.parts VALUES (1), (2), (3)",
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "phone.db")) as database:
        database.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY)")
    monkeypatch.setenv("PG_URL", postgres.url("*").replace("%2A", "*"))
    monkeypatch.setenv("MARIA_URL", mariadb.url(other))
    (tmp_path / "key.txt").write_text(IDENTITY)
    (tmp_path / "dumpty.toml").write_text(f"""[defaults]
repository = "{tmp_path}/backups"
copies = ["{tmp_path}/vault"]
encrypt_to = ["{RECIPIENT}"]
keep = {{ daily = 7 }}
drill = {{ every = "weekly", identities = ["file:{tmp_path}/key.txt"] }}
retries = 0
[jobs.postgres]
source = "env:PG_URL"
include = {json.dumps(names)}
accounts = true
[jobs.mariadb]
source = "env:MARIA_URL"
accounts = true
[jobs.phones]
source = "sqlite:///{tmp_path}/*.db"
""")
    yield names
    for name in names:
        postgres.drop(name)
    mariadb.run(f"DROP DATABASE {other}")


def run(capsys, *argv):
    capsys.readouterr()
    status = main(["run", "--json", *argv])
    reply = json.loads(capsys.readouterr().out)
    assert reply["status"] == status
    return status, {job["job"]: job for job in reply["jobs"]}


def test_three_engines_are_backed_up_with_their_accounts_and_what_is_lost_is_told(
    three, postgres, tmp_path, monkeypatch, capsys
):
    status, jobs = run(capsys)
    assert status == 0, jobs
    databases = {job: [d["database"].partition("@")[0] for d in run["databases"]] for job, run in jobs.items()}
    assert sorted(databases["postgres"]) == sorted(["accounts", *three])
    assert [len(databases["mariadb"]), databases["phones"]] == [2, ["phone"]]
    assert "accounts" in databases["mariadb"]
    assert all(drill["ok"] for job in jobs.values() for drill in job["drills"])
    assert len([drill for job in jobs.values() for drill in job["drills"]]) == 6
    assert len(BackupManager(tmp_path / "backups").list_backups()) == 6
    assert len(BackupManager(tmp_path / "vault").list_backups()) == 6

    postgres.script(three[0], "DELETE FROM orders")
    monkeypatch.setenv("MARIA_URL", "mysql://nobody@127.0.0.1:1/gone")
    status, jobs = run(capsys)
    assert status == 1
    assert {name: job["outcome"] for name, job in jobs.items()} == {
        "postgres": "attention",
        "mariadb": "failed",
        "phones": "ok",
    }
    assert [d["database"] for d in jobs["postgres"]["databases"] if d["suspicions"]] == [three[0]]


def test_the_twelve_lines_of_the_manual_do_what_they_are_said_to(
    three, postgres, mariadb, tmp_path, monkeypatch, capsys
):
    text = next(block.text for block in blocks(PAGES["configuration"]) if block.note == "dumpty.toml")
    assert len(text.splitlines()) == 12
    service = Service()
    threading.Thread(target=service.server.serve_forever, daemon=True).start()
    (tmp_path / "phone.db").rename(tmp_path / "phone.sqlite3")
    here = {
        "/var/backups/dumpty": f"{tmp_path}/ours",
        "mysql://backup@db.example.org/*": mariadb.url(f"jobs_{three[0]}*").replace("%2A", "*"),
        "/srv/apps": str(tmp_path),
        re.search(r"age1\w+", text)[0]: RECIPIENT,
    }
    for words, ours in here.items():
        assert words in text
        text = text.replace(words, ours)
    (tmp_path / "dumpty.toml").write_text(text)
    monkeypatch.setenv("ALARM_URL", f"{service.url}/alarm")
    monkeypatch.setenv("HEARTBEAT_URL", f"{service.url}/beat")
    for name, database in zip(("SHOP_URL", "BLOG_URL", "STOCK_URL"), (*three, "postgres"), strict=True):
        monkeypatch.setenv(name, postgres.url(database))
    try:
        status, jobs = run(capsys)
    finally:
        service.server.shutdown()
        service.server.server_close()
    assert status == 0, jobs
    backups = BackupManager(tmp_path / "ours").list_backups()
    assert sorted(backup.database_name.partition("@")[0] for backup in backups) == sorted(
        [*three, "postgres", f"jobs_{three[0]}", "phone", "accounts", "accounts"]
    )
    assert all(backup.recipient_kinds == ("X25519",) for backup in backups)
    heard = {path.rpartition("/")[2] for path in service.paths}
    assert heard >= {"start", "beat"}
    assert "alarm" not in heard
