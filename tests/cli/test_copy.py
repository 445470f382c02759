"""``dumpty copy`` and ``backup --copy-to``: what is elsewhere, too, and what is not, each with its exit status."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.keys import key_file


@pytest.fixture
def two(make, shop) -> list[str]:
    """Two backups, oldest first."""
    return [make(shop)["id"] for _ in range(2)]


def listed_ids(dumpty, place) -> list[str]:
    return [b["id"] for b in dumpty("list", "--dir", place, "--json").json["backups"]]


def test_what_is_missing_is_copied_and_what_is_there_is_counted(dumpty, two):
    result = dumpty("copy", "latest", "--to", "vault")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "1 backup copied from backups to vault"
    result = dumpty("copy", "--from", "backups", "--to", "vault", "--missing")
    assert result.out.splitlines()[-1] == "1 backup copied from backups to vault, 1 there already"
    assert listed_ids(dumpty, "vault") == two
    result = dumpty("copy", "--to", "vault")
    assert result.out == "0 backups copied from backups to vault, 2 there already\n"


def test_a_copy_restores_where_the_original_is_gone(dumpty, two, orders, tmp_path):
    assert dumpty("copy", "--to", "vault").status == 0
    shutil.rmtree("backups")
    assert dumpty("restore", two[0], "--dir", "vault", "--to", "sqlite:///new.db").status == 0
    assert orders("new.db") == [(1, "egg"), (2, "wall")]


def test_the_object_says_of_each_where_it_lies_and_what_came_of_it(dumpty, two):
    Path(dumpty("show", two[0], "--json").json["backups"][0]["files"][0]).unlink()
    result = dumpty("copy", "--to", "vault", "--json")
    assert result.status == 1
    [backup] = result.json["backups"]
    assert (backup["id"], backup["copies"]) == (two[1], ["backups"])
    assert backup["files"][0].startswith(os.path.abspath("vault"))
    whole, gone = result.json["copies"]
    assert (whole["id"], whole["database"], whole["repository"]) == (two[1], "shop", "vault")
    assert (whole["ok"], whole["copied"], whole["error"], whole["error_type"]) == (True, True, None, None)
    assert (gone["id"], gone["ok"], gone["copied"], gone["error_type"]) == (two[0], False, False, "MissingFile")
    assert "1 of 2 backups are not copied" in result.json["error"]


def test_damage_has_the_status_of_damage(dumpty, two):
    path = Path(dumpty("show", two[1], "--json").json["backups"][0]["files"][0])
    path.write_bytes(path.read_bytes()[::-1])
    result = dumpty("copy", "--to", "vault")
    assert result.status == 4
    assert "NOT COPIED: " in result.out
    assert listed_ids(dumpty, "vault") == two[:1]
    assert dumpty("copy", "latest", "--to", "vault").status == 4


def test_a_manifest_that_cannot_be_read_is_told(dumpty, two):
    path = Path(dumpty("show", two[0], "--json").json["backups"][0]["files"][0].replace(".db.gz", ".manifest.json"))
    path.write_text("{}")
    result = dumpty("copy", "--to", "vault", "--json")
    assert result.status == 4
    assert [(c["id"], c["ok"]) for c in result.json["copies"]] == [(two[1], True), (None, False)]
    assert dumpty("copy", two[1], "--to", "vault").status == 0


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        ((), 2, "--to REPO"),
        (("latest", "--missing", "--to", "vault"), 2, "--missing"),
        (("--to", "nothing://vault"), 2, "nothing"),
        (("--from", "nowhere", "--to", "vault"), 10, "does not exist"),
        (("ffffffff", "--to", "vault"), 1, "no backup"),
        (("--to", "backups"), 1, "name another place"),
        (("--to", "shop.db"), 1, "shop.db"),
    ],
)
def test_what_cannot_be_copied_is_said_in_a_line(dumpty, two, argv, status, text):
    result = dumpty("copy", *argv)
    assert (result.status, result.err.count("\n"), result.out) == (status, 1, "")
    assert text in result.err


def test_no_backup_of_the_database_is_no_failure_and_says_which_there_are(dumpty, two):
    result = dumpty("copy", "--database", "shp", "--to", "vault")
    assert result.status == 0
    assert "nothing was copied" in result.out
    assert "shop" in result.out


def test_a_backup_is_copied_into_every_repository_that_is_named(dumpty, shop):
    result = dumpty("backup", shop, "--copy-to", "vault", "--copy-to", "other", "--json")
    assert result.status == 0
    [backup] = result.json["backups"]
    assert backup["copies"] == ["vault", "other"]
    assert [listed_ids(dumpty, place) for place in ("backups", "vault", "other")] == [[backup["id"]]] * 3
    assert "copied to vault" in dumpty("backup", shop, "--copy-to", "vault").out


def test_a_backup_without_its_copy_is_a_backup_and_somebody_should_look(dumpty, shop):
    Path("full").write_text("no directory")
    result = dumpty("backup", shop, "--copy-to", "full", "--copy-to", "vault", "--json")
    assert (result.status, result.json["error_type"]) == (12, "CopyMissing")
    [backup] = result.json["backups"]
    assert backup["copies"] == ["vault"]
    assert backup["id"] in result.json["error"]
    assert listed_ids(dumpty, "backups") == listed_ids(dumpty, "vault") == [backup["id"]]


@pytest.mark.parametrize("places", [("backups",), ("vault", "vault"), ("nothing://vault",)])
def test_copies_that_make_no_sense_are_refused_before_anything_is_made(dumpty, shop, places):
    argv = [word for place in places for word in ("--copy-to", place)]
    assert dumpty("backup", shop, *argv).status == 2
    assert not Path("backups").exists()
    assert not Path("vault").exists()


def test_a_copy_for_somebody_else_is_opened_with_his_key_alone(dumpty, make, shop, orders, tmp_path):
    ours, theirs = key_file(tmp_path / "ours.txt", "ours"), key_file(tmp_path / "theirs.txt", "theirs")
    backup = make(shop, "--encrypt-to", ours)
    result = dumpty("copy", "--to", "vault", "--encrypt-to", theirs, "--identity", "ours.txt")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "1 backup copied from backups to vault"
    restore = ("restore", backup["id"], "--dir", "vault", "--to", f"sqlite:///{tmp_path}/new.db", "--identity")
    assert dumpty(*restore, "ours.txt").status == 2
    assert dumpty(*restore, "theirs.txt").status == 0
    assert orders(tmp_path / "new.db") == orders(tmp_path / "shop.db")
    assert dumpty("list", "-d", "backups", "-d", "vault", "--json").json["backups"][0]["copies"] == ["vault"]


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (("--encrypt-to", "KEY"), 2, "give the identity of one of them, --identity FILE"),
        (("--encrypt-to", "age1nonsense"), 2, "it is cut off, mistyped"),
        (("--identity", "ours.txt"), 2, "say whom to, with --encrypt-to"),
        (("--encrypt-to", "KEY", "--identity", "missing.txt"), 2, "missing.txt cannot be read"),
    ],
)
def test_keys_that_do_not_do_are_told_and_nothing_is_copied(dumpty, make, shop, tmp_path, argv, status, text):
    recipient = key_file(tmp_path / "ours.txt", "ours")
    make(shop, "--encrypt-to", recipient)
    result = dumpty("copy", "--to", "vault", *(recipient if a == "KEY" else a for a in argv))
    assert result.status == status
    assert text in result.out + result.err
    assert list(Path("vault").rglob("*.age")) == []
