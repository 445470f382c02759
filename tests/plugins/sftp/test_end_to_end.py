"""A database to an SSH server and back, by the facade: backed up, listed, verified, restored, pruned."""

from __future__ import annotations

import os
import sqlite3

import pytest

from dumpty import BackupManager
from dumpty.cli import main


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE item (name TEXT, data BLOB)")
        connection.executemany("INSERT INTO item VALUES (?, ?)", [(f"egg {n}", os.urandom(999)) for n in range(2000)])
    connection.close()
    return path


def rows(path):
    with sqlite3.connect(path) as connection:
        content = connection.execute("SELECT * FROM item ORDER BY name").fetchall()
    connection.close()
    return content


def test_a_database_goes_there_and_comes_back(ssh_server, database, top, tmp_path):
    url = ssh_server.url(top)
    results = [BackupManager(url).create_backup(f"sqlite:///{database}") for _ in range(3)]
    assert [result.error for result in results] == [None] * 3
    manager = BackupManager(url)
    backups = manager.list_backups()
    assert [backup.id for backup in backups] == [result.backup.id for result in results]
    for backup in backups:
        assert backup.file_path.startswith(f"sftp://{ssh_server.user}@127.0.0.1:{ssh_server.port}{top}/shop-")
        assert "identity" not in backup.file_path
        manager.verify(backup.id)
    restored = manager.restore(backups[0].id, f"sqlite:///{tmp_path}/copy.db")
    assert restored.success, restored.error
    assert rows(tmp_path / "copy.db") == rows(database)
    manager.prune(keep_last=1)
    assert [backup.id for backup in BackupManager(url).list_backups()] == [backups[-1].id]
    manager.remove(backups[-1].id)
    assert {path.name for path in top.rglob("*") if path.is_file()} == set()


def test_the_command_line_says_in_one_line_what_is_wrong(ssh_server, ssh_keys, database, top, capsys):
    url = ssh_server.url(top, identity=ssh_keys.stranger)
    assert main(["backup", f"sqlite:///{database}", "-d", url]) == 1
    output = capsys.readouterr()
    assert "the server takes no key of this user" in output.err
    assert main(["list", "-d", "sftp://u:hush@h/b"]) == 2
    assert "hush" not in capsys.readouterr().err
