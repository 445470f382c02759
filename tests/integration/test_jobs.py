"""One file of jobs over three engines, as a newcomer writes it: all is backed up, and what goes wrong is told."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest
from support.keys import x25519

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
