"""The command line in this process, in a directory of its own, beside one good older backup."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certificates import make_certificate
from support.replies import asks_for_json, check_reply
from support.ways import eventually

from dumpty import Backup, BackupManager
from dumpty.cli import main


@dataclass(frozen=True)
class CommandResult:
    """What a command line did."""

    status: int
    out: str
    err: str


@pytest.fixture
def dumpty(tmp_path, monkeypatch, capsys):
    """Run a command line and return what it did."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUMPTY_DIR", raising=False)

    def run(*argv: object) -> CommandResult:
        capsys.readouterr()
        words = [str(a) for a in argv]
        result = CommandResult(main(words), *capsys.readouterr())
        if asks_for_json(words):
            assert check_reply(words, result.out)["status"] == result.status
        return result

    return run


@pytest.fixture
def refused(dumpty, older):
    """Run a command line that must fail cleanly, as text and as JSON, and return its message."""

    def run(*argv: object, status: int) -> str:
        result = dumpty(*argv)
        assert result.status == status, result
        assert result.out == ""
        [line] = result.err.splitlines()
        assert line.startswith("dumpty: ")
        assert "Traceback" not in line
        json_result = dumpty(*argv, "--json")
        assert json_result.status == status
        report = json.loads(json_result.out)
        assert (report["success"], report["status"]) == (False, status)
        assert report["error"]
        assert [b.id for b in BackupManager("backups").list_backups()] == [older.id]
        assert BackupManager("backups").verify(older.id) == older
        assert not list(Path("backups").rglob("*.part"))
        return line

    return run


@pytest.fixture
def older(dumpty, tmp_path) -> Backup:
    """A good backup that was there before: nothing that fails later may harm it."""
    path = tmp_path / "older.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (x); INSERT INTO t VALUES ('older')")
    result = BackupManager(str(tmp_path / "backups")).create_backup(f"sqlite:///{path}")
    assert result.backup is not None
    return result.backup


@pytest.fixture
def tls(postgres):
    """A certificate of localhost, which PostgreSQL shows to whoever asks for TLS."""
    directory = Path(tempfile.mkdtemp(prefix="dtls", dir="/tmp"))
    key, certificate = make_certificate(directory, "localhost")
    owner = os.stat(postgres.data)
    directory.chmod(0o755)
    key.chmod(0o600)
    os.chown(key, owner.st_uid, owner.st_gid)
    for setting in (f"ssl_cert_file = '{certificate}'", f"ssl_key_file = '{key}'", "ssl = on"):
        postgres.execute(f"ALTER SYSTEM SET {setting}")
    postgres.execute("SELECT pg_reload_conf()")
    assert eventually(lambda: postgres.execute("SHOW ssl") == [("on",)])
    yield certificate
    for setting in ("ssl_cert_file", "ssl_key_file", "ssl"):
        postgres.execute(f"ALTER SYSTEM RESET {setting}")
    postgres.execute("SELECT pg_reload_conf()")
    assert eventually(lambda: postgres.execute("SHOW ssl") == [("off",)])
    subprocess.run(["rm", "-rf", directory], check=True)
