"""Which databases a MySQL or MariaDB server has, and that each is backed up under its own name, whatever that is."""

from __future__ import annotations

import logging
import uuid
from urllib.parse import quote

import pytest
from support.drive import defaults
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import BackupManager, SourceError
from dumpty.cli import main

HOSTILE = ("%41", "*", "/a?b", "'\"`$", "ü日", "[x]", "#@:&=+", "\\n", "A.b-c")


def listed(source):
    return mysql.databases(source=source, options=defaults(mysql, "databases"))


@pytest.fixture
def hostile(server: MariaDBServer):
    """Databases with names that URLs, patterns and SQL take for something else, and the beginning of their names."""
    prefix = f"h{uuid.uuid4().hex[:8]}"
    names = [f"{prefix}{end}" for end in HOSTILE]
    quoted = [f"`{name.replace('`', '``')}`" for name in names]
    for name in quoted:
        server.run(f"CREATE DATABASE {name}", f"CREATE TABLE {name}.t (id INT PRIMARY KEY)")
    yield prefix, names
    for name in quoted:
        server.run(f"DROP DATABASE {name}")


def test_databases_are_listed_in_order_and_none_of_the_servers_own(server: MariaDBServer, database, caplog) -> None:
    name = database()
    source = server.source(None)
    found = listed(source)
    names = [entry.database for entry in found]
    assert names == sorted(names)
    assert name in names
    assert not {"information_schema", "performance_schema", "sys", "mysql"} & {n.lower() for n in names}
    assert all(entry == source.replace(database=entry.database) for entry in found)
    assert caplog.text == ""


def test_hostile_names_are_backed_up_under_their_own_urls(server: MariaDBServer, hostile, tmp_path) -> None:
    prefix, names = hostile
    manager = BackupManager(tmp_path / "backups")
    found = manager.databases(f"mysql://root@/{prefix}*?unix_socket={server.socket}")
    assert [each.source.database for each in found] == sorted(names)
    for each in found:
        result = manager.create_backup(each.url)
        assert result.success, (each, result.error)
        assert result.backup.database_name == each.source.database
        assert [entry.path for entry in result.backup.evidence.objects] == ["t"]


def test_what_an_account_does_not_see_is_warned_of(
    server: MariaDBServer, database, account, caplog, capsys, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, hidden = database(), database()
    user = account(f"SELECT ON `{name}`.*")
    with caplog.at_level(logging.WARNING):
        names = [entry.database for entry in listed(server.source(None, user=user))]
    assert name in names
    assert hidden not in names
    (record,) = caplog.records
    assert record.event == "databases-hidden"
    assert f"GRANT SHOW DATABASES ON *.* TO '{user}'@'localhost'" in record.getMessage()
    assert main(["backup", f"mysql://{user}@/*?unix_socket={server.socket}", "-q", "--include", name]) == 1
    assert f"warning: on {server.socket} the account '{user}'@'localhost' sees only" in capsys.readouterr().err
    caplog.clear()
    server.run(f"GRANT SHOW DATABASES ON *.* TO {user}@localhost")
    names = [entry.database for entry in listed(server.source(None, user=user))]
    assert {name, hidden} <= set(names)
    assert caplog.text == ""


def test_a_server_that_is_not_there_is_an_error_without_the_password(server: MariaDBServer) -> None:
    source = server.tcp_source("x", password="s3cret-marker").replace(database=None, port=1)
    with pytest.raises(SourceError, match="cannot connect") as caught:
        listed(source)
    assert "s3cret" not in str(caught.value)


def test_a_password_goes_along_to_every_database(server: MariaDBServer, database, tmp_path) -> None:
    name = database("CREATE TABLE t (id INT)")
    source = server.tcp_source(name)
    manager = BackupManager(tmp_path / "backups")
    url = f"mysql://tcp:{quote(source.password, safe='')}@127.0.0.1:{server.port}/{name[:-1]}*"
    (found,) = [each for each in manager.databases(url) if each.source.database == name]
    assert manager.create_backup(found.url).success
    assert source.password not in repr(found)
