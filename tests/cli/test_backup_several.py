"""``dumpty backup`` of every database that a URL with wildcards means."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest
from support.replies import check_reply

from dumpty.cli.status import FAILED


@pytest.fixture
def apps(tmp_path):
    """Makes files in a folder ``apps``: databases, and what is none; returns the URL of all of them."""

    def make(*names, wrong=()):
        (tmp_path / "apps").mkdir(exist_ok=True)
        for name in names:
            with contextlib.closing(sqlite3.connect(tmp_path / "apps" / name)) as database:
                database.executescript("CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1)")
        for name in wrong:
            (tmp_path / "apps" / name).write_text("no database\n" * 1000)
        return f"sqlite:///{tmp_path}/apps/*.db"

    return make


def test_each_is_backed_up_and_told_in_a_line_of_its_own(dumpty, apps, tmp_path):
    result = dumpty("backup", apps("blog.db", "shop.db"))
    assert (result.status, result.err) == (0, "")
    first, second, summary = result.out.splitlines()
    assert first.startswith(f"{tmp_path}/apps/blog.db: backup ")
    assert " is done: " in first
    assert second.startswith(f"{tmp_path}/apps/shop.db: backup ")
    assert summary.startswith("2 databases backed up, in ")
    assert [b["database"] for b in dumpty("list", "--json").json["backups"]] == ["blog", "shop"]


def test_the_failure_of_one_stops_no_other_and_is_told(dumpty, apps, tmp_path):
    result = dumpty("backup", apps("a.db", "z.db", wrong=["m.db"]))
    assert result.status == FAILED
    assert f"{tmp_path}/apps/m.db: NOT BACKED UP: {tmp_path}/apps/m.db is not a SQLite database" in result.out
    assert result.out.splitlines()[-1].startswith("2 databases backed up, 1 NOT, in ")
    assert result.err.startswith(f"dumpty: 1 of 3 databases are not backed up, the first: {tmp_path}/apps/m.db: ")
    assert [b["database"] for b in dumpty("list", "--json").json["backups"]] == ["a", "z"]


def test_json_has_what_is_backed_up_and_what_is_not(dumpty, apps, tmp_path):
    reply = dumpty("backup", apps("a.db", wrong=["m.db"]), "--json").json
    assert (reply["success"], reply["status"], reply["error_type"]) == (False, 1, "DumptyError")
    assert [backup["database"] for backup in reply["backups"]] == ["a"]
    (failure,) = reply["failures"]
    assert failure == {
        "database": "m.db",
        "url": f"sqlite:///{tmp_path}/apps/m.db",
        "error": failure["error"],
        "error_type": "SourceError",
    }
    assert "is not a SQLite database" in failure["error"]
    reply = dumpty("backup", apps("a.db"), "--exclude", "m.*", "--json").json
    assert (reply["success"], len(reply["backups"]), reply["failures"]) == (True, 1, [])


def test_quiet_says_each_failure_and_nothing_else(dumpty, apps):
    url = apps("a.db", wrong=["m.db", "n.db"])
    result = dumpty("backup", url, "-q")
    assert (result.status, result.out) == (FAILED, "")
    warnings = [line for line in result.err.splitlines() if line.startswith("dumpty: warning: ")]
    assert ["NOT BACKED UP" in line for line in warnings] == [True, True]
    assert dumpty("backup", url, "-q", "--include", "a.db").err == ""
    result = dumpty("backup", url, "-q", "--include", "m.db")
    assert result.err.count("\n") == 1  # one that was meant, and failed


def test_where_all_fail_alike_the_status_is_theirs(dumpty, apps, odd):
    url = apps("a.db", "b.db")
    result = dumpty("backup", url, "-o", "chek=no", "--json")
    assert (result.status, result.json["error_type"]) == (2, "OptionError")
    assert "2 of 2 databases are not backed up" in result.json["error"]
    with contextlib.ExitStack() as stack:
        for name in ("a.db", "b.db"):
            database = stack.enter_context(contextlib.closing(sqlite3.connect(f"apps/{name}", isolation_level=None)))
            database.execute("BEGIN EXCLUSIVE")
        assert dumpty("backup", url, "-o", "busy_timeout=0").status == 11
        apps(wrong=["c.db"])
        assert dumpty("backup", url, "-o", "busy_timeout=0").status == FAILED


def test_a_missing_copy_is_told_and_comes_behind_a_failure(dumpty, apps, tmp_path):
    (tmp_path / "file").touch()
    url = apps("a.db", "b.db")
    result = dumpty("backup", url, "--copy-to", "vault", "--json")
    assert [backup["copies"] for backup in result.json["backups"]] == [["vault"], ["vault"]]
    result = dumpty("backup", url, "--copy-to", "file", "--json")
    assert (result.status, result.json["error_type"], len(result.json["backups"])) == (12, "CopyMissing", 2)
    assert result.json["error"].startswith("2 of 2 backups lack a copy, the first: ")
    assert len(result.json["warnings"]) == 2
    apps(wrong=["c.db"])
    result = dumpty("backup", url, "--copy-to", "file")
    assert result.status == FAILED
    assert result.err.count("has no copy in file") == 2


def test_include_and_exclude_choose(dumpty, apps):
    url = apps("blog.db", "shop_1.db", "shop_2.db", "shop_test.db")
    reply = dumpty("backup", url, "--include", "shop_*", "--include", "none", "--exclude", "*_test.db", "--json").json
    assert [backup["database"] for backup in reply["backups"]] == ["shop_1", "shop_2"]
    result = dumpty("backup", url, "--include", "shop_*", "--include", "bolg.db", "-q")
    assert (result.status, result.out) == (0, "")
    assert result.err == f"dumpty: warning: none of the databases that {url} means is called bolg.db\n"
    result = dumpty("backup", url, "--include", "Shop*")
    assert result.status == FAILED
    assert "leave none" in result.err
    assert "shop_test.db" in result.err


@pytest.mark.parametrize("option", ["--include", "--exclude"])
def test_of_one_database_nothing_is_chosen(dumpty, shop, option):
    result = dumpty("backup", shop, option, "x")
    assert result.status == 2
    assert "names one database" in result.err
    assert not os.path.exists("backups")


def test_what_matches_nothing_fails_and_makes_no_repository(dumpty, apps, odd):
    apps("a.db")
    result = dumpty("backup", "sqlite:///apps/*.sqlite")
    assert result.status == FAILED
    assert "no file matches sqlite:///apps/*.sqlite" in result.err
    result = dumpty("backup", "odd://fine/*")
    assert result.status == 2
    assert "cannot tell which databases there are" in result.err
    assert not os.path.exists("backups")


def test_the_pattern_may_come_from_where_ps_does_not_look(dumpty, apps, monkeypatch):
    monkeypatch.setenv("APPS", apps("a.db"))
    assert dumpty("backup", "env:APPS").out.splitlines()[-1].startswith("1 database backed up")


def test_a_name_cannot_move_the_cursor(dumpty, apps, tmp_path):
    url = apps("evil\x1b[2J\n.db")
    result = dumpty("backup", url)
    assert result.status == 0
    assert result.out.count("\n") == 2
    assert "\x1b" not in result.out


def test_an_interrupt_ends_it_and_what_is_done_is_told(dumpty, apps, monkeypatch):
    from dumpty import BackupManager

    create = BackupManager.create_backup

    def interrupted(self, url, **how):
        if url.endswith("b.db"):
            raise KeyboardInterrupt
        return create(self, url, **how)

    url = apps("a.db", "b.db", "c.db")
    monkeypatch.setattr(BackupManager, "create_backup", interrupted)
    result = dumpty("backup", url, "--json")
    assert result.status == 130
    assert "a.db: backup " in result.err
    assert "1 of 3 databases were finished before the interruption" in result.err
    assert check_reply(["backup", "--json"], result.out)["status"] == 130


def test_a_servers_databases_are_backed_up_and_the_password_shows_nowhere(dumpty, postgres, tmp_path):
    names = [postgres.create() for _ in range(2)]
    refused = postgres.create()
    try:
        url = postgres.url("t_*", password="s3cret-marker")
        postgres.execute(f"ALTER DATABASE {refused} CONNECTION LIMIT 0")
        postgres.execute("CREATE ROLE several LOGIN PASSWORD 's3cret-marker' IN ROLE pg_read_all_data")
        url = url.replace("postgres:s3", "several:s3")
        chosen = [text for name in (*names, refused) for text in ("--include", name)]
        result = dumpty("backup", url, *chosen, "--json")
        assert result.status == FAILED
        assert sorted(b["database"] for b in result.json["backups"]) == sorted(names)
        (failure,) = result.json["failures"]
        assert failure["database"] == refused
        assert f"several:***@/{refused}?" in failure["url"]
        assert "s3cret" not in result.out + result.err
    finally:
        postgres.execute("DROP ROLE IF EXISTS several")
        for name in (*names, refused):
            postgres.drop(name)


def test_each_pattern_of_the_manual_is_backed_up(dumpty, postgres, mariadb, tmp_path):
    """As the page ``databases`` has them, but that not all of a server is taken that other tests use."""
    prefix = f"m{os.getpid()}"
    names = [f"{prefix}_{name}" for name in ("blog", "shop", "shop_test")]
    (tmp_path / "srv/apps/one/two").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "srv/apps/one/two/app.sqlite3")) as database:
        database.execute("CREATE TABLE t (x)")
    try:
        for name in names:
            postgres.create(name)
            mariadb.run(f"CREATE DATABASE {name}", f"CREATE TABLE {name}.t (x INT)")
        for argv, databases in (
            ((postgres.url("*"), "--include", f"{prefix}*", "--exclude", "*_test"), names[:2]),
            ((mariadb.url(f"{prefix}_shop").replace(f"{prefix}_shop", f"{prefix}_shop*"),), names[1:]),
            ((f"sqlite:///{tmp_path}/srv/apps/**/*.sqlite3",), ["app"]),
        ):
            result = dumpty("backup", *argv, "--json")
            assert result.status == 0, result
            assert [backup["database"] for backup in result.json["backups"]] == databases
    finally:
        for name in names:
            postgres.drop(name)
            mariadb.run(f"DROP DATABASE IF EXISTS {name}")


def test_what_lies_in_a_repository_is_not_backed_up_again(dumpty, apps, tmp_path):
    apps("a.db")
    (tmp_path / "vault").mkdir()
    (tmp_path / "link").symlink_to("vault")
    for _ in range(2):
        result = dumpty(
            "backup",
            "sqlite:///**/*.db",
            "--compressor",
            "none",
            "--dir",
            f"file://{tmp_path}/backups",
            "--copy-to",
            "link",
        )
        assert result.status == 0, result
        assert result.out.splitlines()[-1].startswith("1 database backed up, ")


def test_a_name_that_is_the_password_too_is_still_a_name(dumpty, postgres):
    name = postgres.create()
    try:
        result = dumpty("backup", postgres.url("t_*", password=name), "--include", name)
        assert result.status == 0, result
        assert result.out.startswith(f"{name}: backup ")
        result = dumpty(
            "backup", postgres.url("t_*", password=name), "--include", name, "--format", "sql", "-o", "x=y", "--json"
        )
        assert [(f["database"], f["url"].count("***")) for f in result.json["failures"]] == [(name, 1)]
    finally:
        postgres.drop(name)
