"""What an account may not see is named, never left out in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins.mysql.content import cells
from support.drive import dump, load
from support.mariadb_server import MariaDBServer
from support.replies import check_reply

import dumpty_plugins.mysql.plugin as mysql
from dumpty import SourceError
from dumpty.cli import main
from dumpty_plugins.mysql.server.privileges import parse_grants

CONTENT = [
    "CREATE TABLE t (id INT PRIMARY KEY)",
    "INSERT INTO t SELECT seq FROM seq_1_to_10000",
    "CREATE VIEW v AS SELECT * FROM t",
    "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.id = NEW.id",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SELECT 1",
]
ALL = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES")


def grants(server: MariaDBServer, name: str, *missing: str, routines: bool = True) -> list[str]:
    privileges = ", ".join(r for r in ALL if r not in missing)
    return [f"{privileges} ON `{name}`.*"] + ([server.sees_routines] if routines else [])


def test_without_the_right_to_lock_tables_one_connection_does_it_and_says_so(
    server: MariaDBServer, database, account, tmp_path: Path
) -> None:
    name = database(*CONTENT)
    user = account(*grants(server, name, "LOCK TABLES"))
    backup = dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")
    # MySQL cannot be asked for a lock that is not awaited, so there one connection reads anyhow.
    expected = ("one connection instead of 2: the account lacks the right LOCK TABLES",)
    assert backup.evidence.notes == (expected if server.kind == "mariadb" else ())
    assert backup.evidence.properties["snapshot"] == "one connection"
    full = dump(mysql, server.source(name), tmp_path / "full", "sql")
    assert full.evidence.notes == ()
    assert backup.file.read_bytes() == full.file.read_bytes()


@pytest.mark.parametrize("missing", ["SELECT", "TRIGGER", "EVENT", "SHOW VIEW"])
def test_a_missing_right_is_named(server: MariaDBServer, database, account, tmp_path: Path, missing: str) -> None:
    name = database(*CONTENT)
    user = account(*grants(server, name, missing))
    with pytest.raises(SourceError, match=missing):
        dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")


def test_select_on_some_tables_is_not_select_on_all(server: MariaDBServer, database, account, tmp_path: Path) -> None:
    name = database(*CONTENT, "CREATE TABLE hidden (id INT)")
    user = account(*grants(server, name, "SELECT"), f"SELECT ON `{name}`.t")
    with pytest.raises(SourceError, match=r"lacks SELECT on .*GRANT SELECT ON"):
        dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")


def test_hidden_routines_are_named(server: MariaDBServer, database, account, tmp_path: Path) -> None:
    name = database(*CONTENT)
    user = account(*grants(server, name, routines=False))
    with pytest.raises(
        SourceError, match=r"right to see routines.*GRANT (SELECT ON mysql.proc|SHOW_ROUTINE ON ).*routines=off"
    ):
        dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")


def test_hidden_bodies_of_routines_are_named(server: MariaDBServer, database, account, tmp_path: Path) -> None:
    name = database(*CONTENT)
    user = account(*grants(server, name, routines=False), f"EXECUTE ON `{name}`.*")
    with pytest.raises(SourceError, match=r"the body of function .*\.f is hidden from the account"):
        dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")


def test_what_is_left_out_on_request_is_noted(server: MariaDBServer, database, account, tmp_path: Path) -> None:
    name = database(*CONTENT)
    user = account(f"SELECT, SHOW VIEW ON `{name}`.*")
    backup = dump(
        mysql,
        server.source(name, user=user),
        tmp_path / "d",
        "sql",
        jobs=1,
        triggers=False,
        routines=False,
        events=False,
    )
    assert backup.evidence.notes == tuple(f"{k}s were left out on request" for k in ("event", "routine", "trigger"))
    text = backup.file.read_text()
    assert "DEFINER" in text  # the view
    assert "TRIGGER" not in text
    assert "EVENT" not in text
    assert "FUNCTION" not in text


def test_rights_from_a_role_count(server: MariaDBServer, database, account, tmp_path: Path) -> None:
    name = database(*CONTENT)
    user = account("USAGE ON *.*")
    server.run(
        "CREATE ROLE keeper_role",
        *(f"GRANT {g} TO keeper_role" for g in grants(server, name)),
        f"GRANT keeper_role TO {user}@localhost",
        f"SET DEFAULT ROLE keeper_role {'FOR' if server.kind == 'mariadb' else 'TO'} {user}@localhost",
    )
    try:
        backup = dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")
    finally:
        server.run("DROP ROLE keeper_role")
    assert backup.evidence.objects[0].rows == 10000


def test_tables_without_transactions_need_the_right_to_lock_them(
    server: MariaDBServer, database, account, tmp_path: Path
) -> None:
    name = database(*CONTENT, "CREATE TABLE m (id INT) ENGINE=MyISAM")
    user = account(*grants(server, name, "LOCK TABLES"))
    with pytest.raises(SourceError, match=r"\(m\).*GRANT LOCK TABLES ON"):
        dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")


def test_an_account_with_one_database_restores_into_it(
    server: MariaDBServer, database, account, tmp_path: Path
) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    target = database()
    user = account(f"ALL ON `{target}`.*")
    load(mysql, server.source(target, user=user), backup)
    assert cells(server, target) == cells(server, name)
    with pytest.raises(SourceError, match=r"cannot be created.*grant CREATE"):
        load(mysql, server.source(f"{target}_no", user=user), backup)


def test_overwriting_needs_to_see_what_it_replaces(server: MariaDBServer, database, account, tmp_path: Path) -> None:
    name = database(*CONTENT)
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    user = account(f"SELECT, CREATE, DROP, ALTER, INSERT ON `{name}`.*")
    before = server.dump(name)
    with pytest.raises(SourceError, match="needs the rights TRIGGER and EVENT"):
        load(mysql, server.source(name, user=user), backup, overwrite=True)
    assert server.dump(name) == before


def test_grants_are_understood_as_the_server_means_them() -> None:
    privileges = parse_grants(
        [
            "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*GRANT ALL PRIVILEGES ON *.*'",
            "GRANT SELECT, TRIGGER ON `shop\\_%`.* TO `u`@`%`",
            "GRANT SELECT (`a`, `b`), EVENT ON `shop_1`.`t` TO `u`@`%`",
            "GRANT SHOW VIEW ON `shopX1`.* TO `u`@`%`",
        ],
        "shop_1",
    )
    assert privileges.has("SELECT")
    assert privileges.has("TRIGGER")
    assert not privileges.has("EVENT")
    assert not privileges.has("SHOW VIEW")
    assert not parse_grants(["GRANT SELECT ON `shop\\_%`.* TO u"], "shopX1").has("SELECT")
    assert parse_grants(["GRANT SELECT ON `shop_%`.* TO u"], "shopX1").has("SELECT")


def test_a_partial_revoke_is_an_exception_from_global_rights() -> None:
    privileges = parse_grants(
        ["GRANT SELECT, TRIGGER ON *.* TO `u`@`%`", "REVOKE SELECT ON `shop`.* FROM `u`@`%`"], "shop"
    )
    assert not privileges.has("SELECT")
    assert privileges.has("TRIGGER")
    assert privileges.has_global("SELECT")


def test_what_doctor_says_to_grant_is_what_a_backup_needs(
    server: MariaDBServer, database, account, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "CREATE TABLE m (id INT) ENGINE=MyISAM",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE PROCEDURE p() SELECT 1",
    )
    user = account(f"SELECT ON `{name}`.*")
    url = server.url(name).replace("root@", f"{user}@")

    def doctor() -> tuple[int, dict]:
        capsys.readouterr()
        status = main(["doctor", url, "--json"])
        return status, check_reply(["doctor"], capsys.readouterr().out)

    status, report = doctor()
    assert status == 1, report
    assert report["database"]["reached"], report
    lacks = report["database"]["lacks"]
    assert [lack.split(":")[0] for lack in lacks] == [
        "TRIGGER", "EVENT", "the right to see routines", "SHOW VIEW", "LOCK TABLES",
    ]  # fmt: skip
    with pytest.raises(SourceError, match="lacks TRIGGER, EVENT, the right to see routines on"):
        dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")
    for lack in lacks:
        server.run(lack.partition(": ")[2].partition(" (or leave")[0])
    status, report = doctor()
    assert (status, report["database"]["lacks"]) == (0, [])
    dump(mysql, server.source(name, user=user), tmp_path / "d", "sql")
