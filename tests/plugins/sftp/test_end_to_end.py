"""A database to an SSH server and back, by the facade: backed up, listed, verified, restored, pruned."""

from __future__ import annotations

import os
import shlex
import sqlite3
from pathlib import Path

import pytest
from support.pages import MANUAL, blocks

from dumpty import BackupManager, Rules
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
    manager.prune(Rules(keep=1))
    assert [backup.id for backup in BackupManager(url).list_backups()] == [backups[-1].id]
    manager.remove(backups[-1].id)
    assert [path for path in top.rglob("*") if path.is_file() and ".prune" not in path.parts] == []


def test_the_command_line_says_in_one_line_what_is_wrong(ssh_server, ssh_keys, database, top, capsys):
    url = ssh_server.url(top, identity=ssh_keys.stranger)
    assert main(["backup", f"sqlite:///{database}", "-d", url]) == 1
    output = capsys.readouterr()
    assert "the server takes no key of this user" in output.err
    assert main(["list", "-d", "sftp://u:hush@h/b"]) == 2
    assert "hush" not in capsys.readouterr().err


def test_what_the_page_of_sftp_says_is_done(start_server, database, tmp_path, monkeypatch):
    """Its commands, in their order, with a host of that name in the user's own ssh configuration."""
    home, there = Path(os.environ["HOME"]), tmp_path / "there"
    there.mkdir()
    (home / ".ssh").mkdir(mode=0o700)
    server = start_server(f"internal-sftp -d {there}")
    (home / ".ssh" / "known_hosts").write_text(server.known_hosts.read_text())
    (home / ".ssh" / "config").write_text(
        f"Host vault.example.org\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.identity}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["backup", "sqlite:///shop.db"]) == 0
    commands = [
        command for block in blocks(MANUAL / "sftp.md") for command in block.commands if block.language == "console"
    ]
    assert len(commands) > 3
    for command in commands:
        command = command.replace("backup@", f"{server.user}@").replace("/srv/backups", f"{there}/backups")
        program, *words = shlex.split(command)
        assert program == "dumpty"
        assert main(words) == 0, command
    assert rows(tmp_path / "copy.db") == rows(database)
    assert (there / "second").is_dir()


def test_accounts_that_may_do_less_serve_as_the_page_says(start_server, ssh_server, database, top, tmp_path):
    adding = start_server("internal-sftp -P remove,rmdir,posix-rename,setstat,fsetstat")
    reading = start_server("internal-sftp -R")
    for server in (adding, ssh_server, adding):
        result = BackupManager(server.url(top)).create_backup(f"sqlite:///{database}")
        assert result.success, result.error
    assert not [path for path in top.rglob("*") if ".part" in path.name]
    reader = BackupManager(reading.url(top))
    backups = reader.list_backups()
    assert len(backups) == 3
    assert reader.restore(backups[0].id, f"sqlite:///{tmp_path}/copy.db").success
    assert rows(tmp_path / "copy.db") == rows(database)
    refused = reader.create_backup(f"sqlite:///{database}")
    assert not refused.success
    assert "not permit" in refused.error
    BackupManager(ssh_server.url(top)).prune(Rules(keep=1))
    assert len(reader.list_backups()) == 1
