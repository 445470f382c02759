"""``dumpty list`` of several repositories: each backup once, and where it lies whole."""

from __future__ import annotations

from pathlib import Path

import pytest

SEVERAL = ("list", "--dir", "backups", "--dir", "vault")


@pytest.fixture
def two(dumpty, make, shop) -> list[str]:
    """Two backups; of the older one there is a copy in the vault."""
    ids = [make(shop)["id"] for _ in range(2)]
    assert dumpty("copy", ids[0], "--to", "vault").status == 0
    return ids


def test_each_backup_is_told_once_with_where_it_lies(dumpty, two):
    result = dumpty(*SEVERAL)
    assert (result.status, result.err) == (0, "")
    head, older, newer = result.out.splitlines()
    assert head.split()[-3:] == ["COPIES", "WHOLE", "IN"]
    assert older.split()[0] == two[0][:8]
    assert older.endswith(" 2  backups, vault")
    assert newer.endswith(" 1  backups")
    backups = dumpty(*SEVERAL, "--json").json["backups"]
    assert [(b["id"], b["copies"]) for b in backups] == [(two[0], ["vault"]), (two[1], [])]
    assert dumpty(*SEVERAL, "--tables", "--json").json["backups"][0]["copies"] == ["vault"]
    assert len(dumpty("list", "--dir", "vault", "--dir", "vault", "--json").json["backups"]) == 1


def test_another_name_of_one_repository_is_no_copy(dumpty, two, moto_server, s3_credentials):
    Path("linked").symlink_to("backups")
    backups = dumpty("list", "-d", "backups", "-d", "./backups", "-d", "linked", "--json").json["backups"]
    assert [b["copies"] for b in backups] == [[], []]
    result = dumpty("list", "-d", "backups", "-d", "linked", "-d", "vault").out
    assert result.splitlines()[1].endswith(" 2  backups, vault")
    bucket = moto_server.new_bucket()
    urls = [f"s3://{bucket}?endpoint=http://{host}:{moto_server.port}" for host in ("127.0.0.1", "localhost")]
    assert dumpty("copy", "--to", urls[0]).status == 0
    assert dumpty("list", "-d", urls[0], "-d", urls[1], "--json").json["backups"][0]["copies"] == []
    refused = dumpty("copy", "--from", urls[0], "--to", urls[1])
    assert refused.status == 1
    assert "are one file, so backup" in refused.out + refused.err


def test_what_is_not_whole_is_no_copy(dumpty, two):
    for backup in dumpty("list", "--dir", "backups", "--json").json["backups"]:
        Path(backup["files"][0]).unlink()
    result = dumpty(*SEVERAL)
    older, newer = result.out.splitlines()[1:]
    assert older.endswith(" 1  vault")
    assert newer.endswith(" 0  none: lost")
    first, second = dumpty(*SEVERAL, "--json").json["backups"]
    assert (first["id"], first["state"], first["files"][0].split("/")[-3]) == (two[0], "ok", "vault")
    assert (second["id"], second["state"], second["copies"]) == (two[1], "lost", [])


def test_a_repository_that_cannot_be_listed_fails_it_and_the_others_are_told(dumpty, two):
    result = dumpty(*SEVERAL, "--dir", "nowhere", "--dir", "s3://key@bucket")
    assert result.status == 10
    assert two[1][:8] in result.out
    assert "nowhere does not exist" in result.err
    assert "s3://key@bucket is not listed: an s3:// URL holds no credentials" in result.err
    reply = dumpty(*SEVERAL, "--dir", "nowhere", "--json").json
    assert (reply["success"], len(reply["backups"])) == (False, 2)


def test_the_directory_of_the_environment_is_one_whatever_its_name(dumpty, two, monkeypatch):
    Path("backups").rename("my backups")
    monkeypatch.setenv("DUMPTY_DIR", "my backups")
    assert len(dumpty("list", "--json").json["backups"]) == 2
