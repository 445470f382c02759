"""``dumpty restore``."""

from __future__ import annotations

import os
import sqlite3

import pytest

ROWS = [(1, "egg"), (2, "wall")]


@pytest.fixture
def made(make, shop) -> dict:
    return make(shop)


@pytest.mark.parametrize("form", ["sql", "native"])
def test_a_missing_target_is_created(dumpty, make, shop, orders, tmp_path, form):
    make(shop, "--format", form)
    result = dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db")
    assert result.status == 0
    assert "is restored" in result.out
    assert orders(tmp_path / "new.db") == ROWS


def test_a_short_id_is_enough(dumpty, made, orders, tmp_path):
    result = dumpty("restore", made["id"][:6], "--to", f"sqlite:///{tmp_path}/new.db", "--json")
    assert result.json["backups"][0]["id"] == made["id"]
    assert result.json["target_url"] == f"sqlite:///{tmp_path}/new.db"
    assert orders(tmp_path / "new.db") == ROWS


def test_a_target_that_holds_something_is_refused_until_insisted(dumpty, made, shop, orders, tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("UPDATE orders SET what = 'broken'")
    database.close()
    result = dumpty("restore", "latest", "--to", shop)
    assert result.status == 1
    assert "--overwrite" in result.err
    assert orders(tmp_path / "shop.db") == [(1, "broken"), (2, "broken")]
    assert dumpty("restore", "latest", "--to", shop, "--overwrite").status == 0
    assert orders(tmp_path / "shop.db") == ROWS


def test_create_refuses_a_target_that_exists_though_empty(dumpty, made, tmp_path):
    (tmp_path / "empty.db").touch()
    result = dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/empty.db", "--create")
    assert result.status == 1
    assert "exists already" in result.err
    assert dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/empty.db").status == 0


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_damaged_backup_is_not_restored(dumpty, made, tmp_path, damage):
    path = made["files"][0]
    with open(path, "rb") as stream:
        data = bytearray(stream.read())
    data[len(data) // 2] ^= 1
    with open(path, "wb") as stream:
        stream.write({"flipped": data, "truncated": data[:-9], "emptied": b""}[damage])
    result = dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db")
    assert result.status == 4
    assert os.path.basename(path) in result.err
    assert not (tmp_path / "new.db").exists()


def test_a_backup_whose_file_is_gone_is_not_restored(dumpty, made, tmp_path):
    os.unlink(made["files"][0])
    result = dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db")
    assert result.status == 1
    assert made["files"][0] in result.err
    assert not (tmp_path / "new.db").exists()


def test_a_target_of_another_kind_is_refused(dumpty, made, odd):
    result = dumpty("restore", "latest", "--to", "odd://empty/db")
    assert result.status == 1
    assert "a database of its own kind" in result.err


def test_a_driver_without_restore_says_so(dumpty, make, odd):
    make("odd://fine/db")
    result = dumpty("restore", "latest", "--to", "odd://empty/db")
    assert result.status == 1
    assert "implements no restore" in result.err


def test_the_target_is_required(dumpty, made):
    result = dumpty("restore", "latest")
    assert result.status == 2
    assert "--to" in result.err


def test_restoring_keeps_quiet_when_asked(dumpty, made, tmp_path):
    result = dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db", "-q")
    assert (result.status, result.out, result.err) == (0, "", "")
