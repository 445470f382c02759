"""``dumpty demo``."""

from __future__ import annotations

import os
import tempfile

import pytest


def test_the_demo_restores_every_row_and_leaves_nothing(dumpty, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = dumpty("demo")
    assert result.status == 0
    assert [line[:2] for line in result.out.splitlines()[:5]] == ["1.", "2.", "3.", "4.", "5."]
    assert "SQLite now says: ok" not in result.out
    assert "every value and every type is the same; integrity check: ok" in result.out
    assert os.listdir(tmp_path) == []


def test_the_demo_can_be_kept_to_look_at(dumpty, tmp_path):
    reply = dumpty("demo", "--keep", "shop-demo", "--json").json
    assert reply["identical"] is True
    assert reply["directory"] == str(tmp_path / "shop-demo")
    assert sorted(os.listdir("shop-demo")) == ["backups", "shop.db"]
    assert dumpty("verify", "latest", "--dir", "shop-demo/backups").status == 0
    assert reply["rows"] > 5000
    assert reply["damage"] != "ok"


@pytest.mark.parametrize("directory", ["full", "file"])
def test_the_demo_touches_no_directory_that_holds_something(dumpty, tmp_path, directory):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("precious")
    (tmp_path / "file").write_text("precious")
    result = dumpty("demo", "--keep", directory)
    assert result.status == 2
    assert directory in result.err
    assert os.listdir("full") == ["mine"]
    assert (tmp_path / "file").read_text() == "precious"


def test_the_demo_fails_where_the_restored_shop_is_another(dumpty, monkeypatch, tmp_path):
    from dumpty import BackupManager

    restore_unpatched = BackupManager.restore

    def restore(self, *args, **options):
        result = restore_unpatched(self, *args, **options)
        import sqlite3

        with sqlite3.connect(args[1].removeprefix("sqlite:///")) as database:
            database.execute("UPDATE products SET price = price + 0.01 WHERE id = 7")
        database.close()
        return result

    monkeypatch.setattr(BackupManager, "restore", restore)
    result = dumpty("demo")
    assert result.status == 4
    assert "not the one that was backed up" in result.err


def test_a_file_that_is_no_database_is_not_called_sound(tmp_path):
    from dumpty.cli import demo_shop

    (tmp_path / "letter.db").write_text("Dear Sir or Madam" * 99)
    assert demo_shop.check(str(tmp_path / "letter.db")) == "file is not a database"
