"""Every verb on a repository elsewhere, from another process than the one before; and each engine's backup in it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from support import keys
from support.pages import MANUAL, blocks

from dumpty import BackupManager


@pytest.fixture
def bucket_url(moto_server, s3_credentials):
    return moto_server.url(moto_server.new_bucket(), "shop")


@pytest.fixture
def ssh_url(ssh_server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return ssh_server.url(tmp_path / "shop")


@pytest.fixture
def container_url(azure_server, azure_credentials):
    return azure_server.url(azure_server.new_container(), "shop")


@pytest.fixture
def google_url(google_server, google_credentials):
    return google_server.url(google_server.new_bucket(), "shop")


@pytest.fixture(params=["bucket_url", "container_url", "google_url", "ssh_url"])
def place_url(request):
    """A new repository in each kind of place."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (a)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
        database.commit()
    return f"sqlite:///{path}"


def test_every_verb_works_there(dumpty, place_url, shop, tmp_path):
    def run(*arguments, status=0):
        result = dumpty(*arguments, "-d", place_url, "--json")
        assert result.status == status, result
        return json.loads(result.out)

    ids = [run("backup", shop)["backups"][0]["id"] for _ in range(3)]
    assert [b["id"] for b in run("list")["backups"]] == ids
    assert run("show", "latest")["backups"][0]["id"] == ids[-1]
    assert [p["ok"] for p in run("verify", "--all")["proofs"]] == [True] * 3
    assert run("drill", ids[0])["proofs"][0]["level"] == "restore"
    run("pin", ids[0])
    assert run("restore", ids[1], "--to", f"sqlite:///{tmp_path}/new.db")["success"]
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db")) as database:
        assert database.execute("SELECT count(*), sum(a) FROM t").fetchone() == (1000, 499500)
    assert run("prune", "--keep-last", "1", "--yes")["removed"] == [ids[1]]
    run("unpin", ids[0])
    assert run("remove", ids[0], "--yes")["removed"] == [ids[0]]
    for source, target in ((place_url, tmp_path / "near"), (tmp_path / "near", place_url)):
        result = dumpty("copy", "--from", source, "--to", target, "--json")
        assert result.status == 0, result
    assert [b["id"] for b in run("list")["backups"]] == ids[2:]
    assert BackupManager(str(tmp_path / "near")).verify(ids[2])


def test_every_verb_works_there_on_what_is_encrypted(dumpty, place_url, shop, tmp_path):
    recipient = keys.key_file(tmp_path / "key.txt")

    def run(*arguments, status=0):
        result = dumpty(*arguments, "-d", place_url, "--json")
        assert result.status == status, result
        return json.loads(result.out)

    ids = [run("backup", shop, "--encrypt-to", recipient)["backups"][0]["id"] for _ in range(2)]
    assert [b["id"] for b in run("list")["backups"]] == ids
    assert run("show", ids[0], "--identity", "key.txt")["backups"][0]["objects"][0]["rows"] == 1000
    assert [p["ok"] for p in run("verify", "--all")["proofs"]] == [True] * 2
    assert run("keys", "check", "--identity", "key.txt")["success"]
    assert run("drill", "--all", "--identity", "key.txt")["success"]
    run("drill", ids[0], status=3)
    run("pin", ids[0])
    assert run("restore", ids[0], "--to", f"sqlite:///{tmp_path}/new.db", "--identity", "key.txt")["success"]
    with contextlib.closing(sqlite3.connect(tmp_path / "new.db")) as database:
        assert database.execute("SELECT count(*), sum(a) FROM t").fetchone() == (1000, 499500)
    assert dumpty("copy", "--from", place_url, "--to", "near").status == 0
    assert dumpty("drill", ids[1], "--dir", "near", "--identity", "key.txt").status == 0
    run("unpin", ids[0])
    assert run("prune", "--keep-last", "1", "--yes")["removed"] == [ids[0]]


def test_the_machine_is_gone_and_the_page_brings_everything_back(dumpty, place_url, shop, tmp_path, monkeypatch):
    recipient = keys.key_file(tmp_path / "key.txt")
    for _ in range(2):
        assert dumpty("backup", shop, "--dir", place_url, "--encrypt-to", recipient).status == 0
    clean = tmp_path / "clean"
    (clean / "home").mkdir(parents=True)
    (tmp_path / "key.txt").rename(clean / "key.txt")
    (tmp_path / "shop.db").unlink()
    page = [b for b in blocks(MANUAL / "machine-gone.md") if "test_the_machine_is_gone" in b.note]
    assert len(page) == 2
    kept = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_"))}
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = {"HOME": str(clean / "home"), "PATH": path, "REPOSITORY": place_url, **kept}
    script = "\n".join(block.text for block in page)
    process = subprocess.run(["sh", "-euc", script], cwd=clean, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    with contextlib.closing(sqlite3.connect(clean / "shop.db")) as database:
        assert database.execute("SELECT count(*), sum(a) FROM t").fetchone() == (1000, 499500)


@pytest.mark.parametrize("engine", ["postgres", "mariadb", "mysql"])
def test_a_servers_backup_lies_there_encrypted_and_goes_back(request, place_url, engine, tmp_path):
    server = request.getfixturevalue(engine)
    if engine == "postgres":
        name, new = server.create(), server.create()
        server.script(name, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)")
    else:
        name, new = f"off_site_{engine}", f"off_site_{engine}_new"
        for database in (name, new):
            server.run(
                f"CREATE OR REPLACE DATABASE {database}" if engine == "mariadb" else f"CREATE DATABASE {database}"
            )
        server.run("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1), (2), (3)", database=name)
    manager = BackupManager(place_url)
    recipient = keys.key_file(tmp_path / "key.txt")
    backup = manager.create_backup(server.url(name), encrypt_to=[recipient]).backup
    assert manager.verify(backup.id)
    result = BackupManager(place_url).restore(backup.id, server.url(new), identities=[tmp_path / "key.txt"])
    assert result.success, result.error
    if engine == "postgres":
        assert server.execute("SELECT count(*) FROM t", database=new) == [(1000,)]
    else:
        assert server.run("SELECT count(*) FROM t", database=new)[0][0] == 3
    for database in (name, new):
        server.drop(database) if engine == "postgres" else server.run(f"DROP DATABASE {database}")


def test_what_a_verb_asks_of_a_bucket_is_counted(dumpty, moto_server, bucket_url, shop):
    def requests(*arguments):
        moto_server.proxy.requests.clear()
        assert dumpty(*arguments, "-d", bucket_url).status == 0
        return len(moto_server.proxy.requests)

    requests("backup", shop)
    assert requests("backup", shop) == 11
    for _ in range(5):
        requests("backup", shop)
    time.sleep(1.1)  # names tell the second: all that began in that of the latest one are looked at
    requests("backup", shop)
    assert requests("list") == 9  # each manifest once
    assert requests("list") == 1
    assert requests("show", "latest") <= 4
    assert requests("prune", "--keep-last", "1", "--yes") <= 22
