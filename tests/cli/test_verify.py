"""``dumpty verify``."""

from __future__ import annotations

import os

import pytest


def test_a_good_backup_is_verified(dumpty, make, shop):
    backup = make(shop)
    result = dumpty("verify", "latest")
    assert result.status == 0
    assert f"{backup['id'][:8]}  shop, native+gzip: ok" in result.out
    assert "1 backup verified" in result.out


def test_all_backups_are_verified_and_each_gets_its_verdict(dumpty, make, shop):
    intact, damaged = make(shop), make(shop)
    with open(damaged["files"][0], "r+b") as stream:
        stream.truncate(50)
    result = dumpty("verify", "--all", "--json")
    assert result.status == result.json["status"] == 4
    assert [(v["id"], v["ok"]) for v in result.json["proofs"]] == [(intact["id"], True), (damaged["id"], False)]
    assert result.json["error_type"] == result.json["proofs"][1]["error_type"] == "IntegrityError"
    assert "1 of 2 backups failed" in result.json["error"]
    result = dumpty("verify", "--all")
    assert "1 backup verified, 1 FAILED" in result.out
    assert "1 of 2 backups failed" in result.err


@pytest.mark.parametrize("argv", [("latest",), ("--all",)])
def test_a_backup_whose_file_is_gone_has_failed(dumpty, make, shop, argv):
    os.unlink(make(shop)["files"][0])
    result = dumpty("verify", *argv)
    assert result.status == 4
    assert "is gone" in result.err


def test_a_damaged_manifest_fails_the_verification_of_all(dumpty, make, shop, tmp_path):
    make(shop)
    manifest = next(p for p in (tmp_path / "backups").rglob("*") if p.name.endswith(".manifest.json"))
    manifest.write_text("{}")
    result = dumpty("verify", "--all")
    assert result.status == 4
    assert manifest.name in result.err
    assert "0 backups verified, 1 FAILED" in result.out


def test_a_missing_decompressor_is_not_damage(dumpty, make, shop, monkeypatch):
    make(shop)
    monkeypatch.setenv("DUMPTY_DISABLE_PLUGINS", "zstd")
    make(shop)
    monkeypatch.setenv("DUMPTY_DISABLE_PLUGINS", "")
    make(shop, "--compressor", "zstd")
    monkeypatch.setenv("DUMPTY_DISABLE_PLUGINS", "zstd")
    result = dumpty("verify", "--all")
    assert result.status == 2
    assert "2 backups verified, 1 FAILED" in result.out
    assert "blocked" in result.err


def test_nothing_to_verify_says_so(dumpty, tmp_path):
    (tmp_path / "backups").mkdir()
    result = dumpty("verify", "--all")
    assert result.status == 0
    assert "nothing was verified" in result.out


def test_a_backup_removed_meanwhile_is_no_failure_of_all_but_one_of_its_own(dumpty, make, shop, monkeypatch):
    from dumpty import BackupManager, UnknownBackup

    removed, remaining = make(shop), make(shop)
    prove_unpatched = BackupManager.prove

    def prove(self, backup_id, **options):
        if backup_id == removed["id"]:
            raise UnknownBackup("no backup has this id")
        return prove_unpatched(self, backup_id, **options)

    monkeypatch.setattr(BackupManager, "prove", prove)
    result = dumpty("verify", "--all", "--json")
    assert result.status == 0
    assert [v["id"] for v in result.json["proofs"]] == [remaining["id"]]
    assert dumpty("verify", removed["id"]).status == 1


def test_older_than_takes_those_that_nothing_has_proved_since(dumpty, make, shop):
    make(shop)
    result = dumpty("verify", "--older-than", "1h")
    assert (result.status, "older than 1h" in result.out, "nothing was verified" in result.out) == (0, True, True)
    assert "1 backup verified" in dumpty("verify", "--older-than", "0h").out


def test_options_of_a_restore_are_taken_where_it_restores(dumpty, make, shop):
    make(shop)
    assert dumpty("verify", "latest", "--level", "restore", "-o", "busy_timeout=1").status == 0
    result = dumpty("verify", "latest", "-o", "busy_timeout=1")
    assert (result.status, "takes no server, assertions or options" in result.err) == (2, True)


@pytest.mark.parametrize("argv", [(), ("latest", "--all"), ("latest", "--older-than", "1h")])
def test_one_backup_or_all_of_them(dumpty, make, shop, argv):
    make(shop)
    result = dumpty("verify", *argv)
    assert result.status == 2
    assert "--all" in result.err
