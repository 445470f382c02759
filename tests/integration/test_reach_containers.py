"""Backups and restores into containers, by stand-ins of the programs: a server whose port no other network has."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support.mariadb_server import PASSWORD
from support.pages import TOP, blocks
from support.sftp_server import SSHServer
from support.ways import gone, ssh_url

from dumpty import BackupManager, TransportError

SECRET = "s3cr3t-Marker"


@pytest.fixture
def shop(postgres):
    name = postgres.create()
    postgres.script(name, "CREATE TABLE item AS SELECT g AS id FROM generate_series(1, 5000) g")
    postgres.execute(f"DROP ROLE IF EXISTS in_container; CREATE ROLE in_container LOGIN SUPERUSER PASSWORD '{SECRET}'")
    yield name
    for database in (name, f"{name}_to"):
        postgres.drop(database)
    postgres.execute("DROP ROLE in_container")


@pytest.fixture
def inside(containers, postgres, mariadb):
    """A container in which PostgreSQL and MariaDB have their usual ports."""
    sockets = {"p5432": f"{postgres.sockets}/.s.PGSQL.{postgres.port}", "p3306": mariadb.socket}
    containers.start("shop-db", "prod/shop-db-0", **sockets)
    containers.add("stopped", None)
    return containers


@pytest.fixture
def manager(tmp_path):
    return BackupManager(tmp_path / "backups")


def url(database):
    return f"postgresql://in_container:{SECRET}@localhost/{database}"


def done(result):
    assert result.success, result.error
    return result.backup


WAYS = (
    "docker://shop-db",
    "podman://shop-db",
    "docker://shop-db?user=postgres",
    "kubectl://prod/shop-db-0?context=berlin&container=db",
)


@pytest.mark.parametrize("via", WAYS)
def test_what_only_a_container_reaches_goes_there_and_back(manager, postgres, inside, shop, via):
    assert not manager.create_backup(url(shop)).success
    made = done(manager.create_backup(url(shop), via=via))
    assert made.rows == 5000
    place = {"kubectl": "kubectl://berlin@prod/shop-db-0:db"}.get(via.partition(":")[0], via.partition("?")[0])
    assert made.source == f"{place}/postgresql://localhost:5432/{shop}"
    done(manager.restore(made.id, url(f"{shop}_to"), via=via))
    assert postgres.dump(f"{shop}_to") == postgres.dump(shop)
    assert gone("nsenter")


def test_mariadb_in_a_container_goes_there_and_back(manager, mariadb, inside):
    mariadb.run("DROP DATABASE IF EXISTS boxed", "CREATE DATABASE boxed", "CREATE TABLE boxed.t AS SELECT 7 AS x")
    source = mariadb.url("boxed").replace(f"?unix_socket={mariadb.socket}", "").replace("root@", "root@localhost")
    made = done(manager.create_backup(source, via="docker://shop-db"))
    done(manager.restore(made.id, f"{source}_to", via="docker://shop-db"))
    assert mariadb.run("SELECT x FROM t", database="boxed_to") == [(7,)]
    mariadb.run("DROP DATABASE boxed", "DROP DATABASE boxed_to")
    assert PASSWORD


@pytest.mark.parametrize("programs", [("perl",), ("socat",), ("bash",)])
def test_a_container_needs_no_more_than_one_of_several_programs(manager, inside, shop, programs):
    inside.have(*programs)
    assert done(manager.create_backup(url(shop), via="docker://shop-db")).rows == 5000


def test_a_chain_leads_into_a_container_of_another_machine(manager, inside, shop, ssh_keys):
    server = SSHServer(ssh_keys, "internal-sftp", f"SetEnv PATH={inside.bin}:/usr/bin:/bin")
    try:
        via = [ssh_url(server), "docker://shop-db"]
        made = done(manager.create_backup(url(shop), via=via))
        assert made.source.startswith(f"ssh://127.0.0.1:{server.port}/docker://shop-db/postgresql://localhost:5432/")
        done(manager.restore(made.id, url(f"{shop}_to"), via=via))
        failed = manager.create_backup(url(shop), via=[via[0], "docker://shop-db2"])
        assert "No such container: shop-db2; see which there are: docker ps --all" in failed.error
        failed = manager.create_backup(url(shop), via=[via[0], ssh_url(server, known_hosts="/dev/null"), via[1]])
        assert "Host key verification failed" in failed.error
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("via", "text"),
    [
        ("docker://shop-db2", "No such container: shop-db2; see which there are: docker ps --all"),
        ("podman://shop-db2", "no such container; see which there are: podman ps --all"),
        ("docker://stopped", "container stopped is not running; start it: docker start stopped"),
        (
            "kubectl://prod/shop-db-1?context=berlin",
            'pods "shop-db-1" not found; see which there are: kubectl get pods --namespace=prod',
        ),
        ("kubectl://prod/shop-db-0?context=berlin&container=web", "container web is not valid for pod shop-db-0"),
    ],
)
def test_the_error_is_the_programs_own(manager, inside, via, text):
    failed = manager.create_backup(url("shop"), via=via)
    assert isinstance(failed.exception, TransportError)
    assert text in failed.error
    assert f"cannot reach postgresql://in_container:***@localhost/shop by {via.partition('?')[0]}: " in failed.error


def test_a_server_that_does_not_listen_in_there_is_said(manager, inside):
    failed = manager.create_backup(f"postgresql://in_container:{SECRET}@localhost:5433/shop", via="docker://shop-db")
    assert isinstance(failed.exception, TransportError)
    assert "Connection refused" in failed.error
    inside.have()
    failed = manager.create_backup(url("shop"), via="docker://shop-db")
    assert "install python3, perl, socat or netcat-openbsd there" in failed.error


def test_the_same_name_in_two_contexts_is_two_databases(manager, inside, shop):
    first = done(manager.create_backup(url(shop), via="docker://shop-db"))
    second = done(manager.create_backup(url(shop), via="docker://shop-db?context=default"))
    assert first.source != second.source


def test_what_the_page_says_is_done(dumpty, inside, postgres, ssh_keys, monkeypatch, tmp_path):
    """The commands of the manual's page, with the tests' sshd for its machine, and in it the containers."""
    server = SSHServer(ssh_keys, "internal-sftp", f"SetEnv PATH={inside.bin}:/usr/bin:/bin")
    forwarded = f"127.0.0.1:{postgres.port}"
    for database in ("shop", "shop_copy"):
        postgres.drop(database)
    postgres.create("shop")
    postgres.execute(f"DROP ROLE IF EXISTS backup; CREATE ROLE backup LOGIN SUPERUSER PASSWORD '{SECRET}'")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    page = TOP / "core" / "dumpty" / "manual" / "reach.md"
    [block] = [b for b in blocks(page) if b.language == "console"]
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host db1.example.org\n HostName 127.0.0.1\n Port {server.port}\n User {server.user}\n IdentityFile {server.identity}\n"
        f" UserKnownHostsFile {server.known_hosts}\n HostKeyAlias [127.0.0.1]:{server.port}\n"
    )
    try:
        assert len(block.commands) == 7
        for command in block.commands:
            behind_ssh_alone = "--via ssh" in command and command.count("--via") == 1
            if behind_ssh_alone:  # its PostgreSQL has another port, and its sockets are elsewhere
                command = command.replace("@localhost/", f"@{forwarded}/")
            if "postgres@/" in command:
                command = command.replace("postgres@/", "backup@localhost/")
            command = command.replace("ssh://ops@db1.example.org", f"ssh://db1.example.org?config={config}")
            words = shlex.split(command)
            result = dumpty(*words[1:])
            assert result.status == 0, (command, result)
    finally:
        server.stop()
        for database in ("shop", "shop_copy"):
            postgres.drop(database)
        postgres.execute("DROP ROLE backup")


def test_every_setting_of_the_page_exists():
    text = (TOP / "core" / "dumpty" / "manual" / "reach.md").read_text()
    table = text.partition("| Way |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)=", table))
    source = "".join(
        (TOP / "plugins" / "dumpty_plugins" / f"{name}.py").read_text() for name in ("ssh", "docker", "kubectl")
    )
    assert named == {"identity", "known_hosts", "config", "user", "context", "container"}
    assert all(json.dumps(name) in source for name in named)
    assert Path(TOP).is_dir()
