"""Signed backups of every engine, in every kind of place: a restore and a drill that require the signature."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from support.keys import key_file, signing_key

from dumpty import BackupManager, SignatureError
from dumpty.repository.sealed import seal, unseal

TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, what VARCHAR(20)); INSERT INTO t VALUES (1, 'egg'), (2, 'wall')"


@pytest.fixture(autouse=True)
def _keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signing_key(tmp_path / "mine")
    signing_key(tmp_path / "theirs")


def require_accepted_alone(manager: BackupManager, url: str, to: str, **options) -> None:
    backup = manager.create_backup(url, sign_with="mine", **options).raise_for_error()
    assert manager.drill(backup.id, require_signature=["mine.pub"]).ok
    result = manager.restore(backup.id, to, require_signature=["theirs.pub"])
    assert "is signed, as it says, by" in result.error
    result = manager.restore(backup.id, to, create=True, require_signature=["mine.pub"])
    assert result.success, result.error


def test_postgres(postgres):
    """Its archive is loaded from a file, which is the copy where the stored one is not compressed."""
    shop = postgres.create()
    postgres.script(shop, TABLE)
    manager = BackupManager("backups", compressor=None)
    require_accepted_alone(manager, postgres.url(shop), postgres.url(f"{shop}_new"), format="native")
    assert postgres.execute("SELECT count(*) FROM t", database=f"{shop}_new") == [(2,)]
    postgres.drop(f"{shop}_new")
    postgres.drop(shop)


def test_mariadb(mariadb):
    mariadb.run("CREATE DATABASE signed", "USE signed", *TABLE.split(";"))
    require_accepted_alone(BackupManager("backups"), mariadb.url("signed"), mariadb.url("signed_new"))
    assert mariadb.run("SELECT count(*) FROM signed_new.t") == [(2,)]
    mariadb.run("DROP DATABASE signed", "DROP DATABASE signed_new")


def test_a_bucket_and_what_this_machine_remembers_of_it(moto_server, s3_credentials, tmp_path, monkeypatch):
    """A forger at what this machine has read there before, and then another one at the bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bucket = moto_server.new_bucket()
    url = moto_server.url(bucket, "shop")
    with contextlib.closing(sqlite3.connect("shop.db")) as database:
        database.executescript(TABLE)
    options = {"sign_with": "mine", "encrypt_to": [key_file(Path("key.txt"))]}
    backup = BackupManager(url).create_backup("sqlite:///shop.db", **options).raise_for_error()
    keys = {"identities": ["key.txt"], "require_signature": ["mine.pub"]}
    assert BackupManager(url).find("latest", require_signature=["mine.pub"]).tags == ()
    [memory] = Path("cache").rglob("*.sqlite")
    with contextlib.closing(sqlite3.connect(memory)) as database:
        [(name, content)] = database.execute("SELECT name, content FROM objects").fetchall()
        forged = unseal(content, "it")
        del forged["dumpty_manifest"]
        forged["clear"]["tags"] = ["forged"]
        database.execute("UPDATE objects SET content = ?", [seal(forged)])
        database.commit()
    assert BackupManager(url).find("latest").tags == ("forged",)
    assert BackupManager(url).drill(backup.id, **keys).ok
    assert BackupManager(url).restore(backup.id, "sqlite:///new.db", **keys).success
    [key] = [
        entry["Key"] for entry in moto_server.client.list_objects_v2(Bucket=bucket)["Contents"] if name in entry["Key"]
    ]
    moto_server.client.put_object(Bucket=bucket, Key=key, Body=seal(forged))
    result = BackupManager(url).restore(backup.id, "sqlite:///other.db", **keys)
    assert isinstance(result.exception, SignatureError), result.error
    assert not Path("other.db").exists()
