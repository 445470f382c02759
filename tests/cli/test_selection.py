"""Which backup a command means, in a directory with backups of several databases; and where it may go."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from pathlib import Path

import pytest

from dumpty import BackupManager, OtherDatabase


def database(path: Path, contents: str) -> str:
    """Make a database at a path that says what it is, and return its URL."""
    path.parent.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"CREATE TABLE IF NOT EXISTS t (what TEXT); DELETE FROM t; INSERT INTO t VALUES ('{contents}')"
        )
    return f"sqlite:///{path}"


def contents(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT what FROM t").fetchone()[0]


@pytest.fixture
def three(make, tmp_path) -> dict[str, dict]:
    """Backups of ``crm`` and of two databases called ``db``; the newest is of ``b/db.sqlite3``."""
    paths = {"crm": tmp_path / "crm.db", "a": tmp_path / "a" / "db.sqlite3", "b": tmp_path / "b" / "db.sqlite3"}
    return {name: make(database(path, name)) for name, path in paths.items()}


SELECTIONS = [
    (("latest",), "b"),
    (("latest:crm",), "crm"),
    (("latest:crm.db",), "crm"),
    (("latest", "--database", "crm"), "crm"),
    (("latest", "--source", "crm.db"), "crm"),
    (("latest:db", "--source", "a/db.sqlite3"), "a"),
    (("latest", "--source", "{top}/a/db.sqlite3"), "a"),
    (("latest", "--source", "./a/db.sqlite3"), "a"),
    (("latest", "--source", "sqlite:{top}/a/db.sqlite3"), "a"),
    (("latest", "--source", "sqlite:///{top}/a/db.sqlite3"), "a"),
    (("latest", "--database", "db"), "b"),
    (("{crm}",), "crm"),
    (("{crm}", "--database", "crm"), "crm"),
]


@pytest.mark.parametrize(
    ("selection", "expected"), SELECTIONS, ids=[" ".join(selection) for selection, _ in SELECTIONS]
)
def test_a_selection_means_the_same_in_every_verb(dumpty, three, tmp_path, selection, expected):
    arguments = [argument.format(top=tmp_path, crm=three["crm"]["id"][:7]) for argument in selection]
    expected_id = three[expected]["id"]
    assert dumpty("show", *arguments, "--json").json["backups"][0]["id"] == expected_id
    assert [v["id"] for v in dumpty("verify", *arguments, "--json").json["proofs"]] == [expected_id]
    assert [v["id"] for v in dumpty("drill", *arguments, "--json").json["proofs"]] == [expected_id]
    assert dumpty("pin", *arguments, "--json").json["backups"][0]["id"] == expected_id
    assert dumpty("unpin", *arguments, "--json").json["backups"][0]["id"] == expected_id
    result = dumpty("restore", *arguments, "--to", "sqlite:///new.db", "--json")
    if (arguments[0] == "latest" and len(arguments) == 1) or arguments[-1] == "db":
        assert (result.status, result.json["error_type"]) == (1, "UnknownBackup")
    else:
        assert result.json["backups"][0]["id"] == expected_id
        assert contents(tmp_path / "new.db") == expected


def test_latest_alone_of_several_databases_is_refused_and_names_them(dumpty, three, tmp_path):
    result = dumpty("restore", "latest", "--to", "sqlite:///new.db")
    assert result.status == 1
    for backup in three.values():
        assert f"{backup['database']} ({backup['source']})" in result.err
    assert "3 databases" in result.err
    assert "--source" in result.err
    result = dumpty("restore", "latest:db", "--to", "sqlite:///new.db")
    assert "2 databases" in result.err
    assert "crm" not in result.err
    dumpty("verify", "latest:crm")
    assert dumpty("restore", "latest-verified", "--to", "sqlite:///new.db").status == 1
    assert not (tmp_path / "new.db").exists()
    assert dumpty("restore", "latest-verified:crm", "--to", "sqlite:///new.db").status == 0
    assert contents(tmp_path / "new.db") == "crm"


def test_a_message_names_no_more_databases_than_can_be_read(dumpty, make, tmp_path):
    for number in range(13):
        make(database(tmp_path / f"{number:02}" / "shop.db", "x"), "--compressor", "none")
    result = dumpty("restore", "latest:shop", "--to", "sqlite:///new.db")
    assert "13 databases" in result.err
    assert "and 3 more" in result.err


def test_what_a_damaged_manifest_hides_is_told_where_it_could_be_the_latest(dumpty, make, shop, tmp_path):
    first, second = make(shop), make(shop)
    [manifest] = [p for p in (tmp_path / "backups").rglob("*.manifest.json") if second["id"][:8] in p.name]
    manifest.write_text("{}")
    result = dumpty("restore", "latest", "--to", "sqlite:///new.db", "--json")
    assert (result.status, result.json["backups"][0]["id"]) == (0, first["id"])
    assert any(manifest.name in warning for warning in result.json["warnings"])
    assert dumpty("restore", first["id"], "--to", "sqlite:///other.db").err == ""


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (("show", "latst:crm"), "latest"),
        (("show", "latest-verfied"), "latest-verified"),
        (("show", "latest:crms"), "crm"),
        (("restore", "latest", "--database", "crms", "--to", "sqlite:///new.db"), "crm"),
        (("list", "--database", "crms"), "crm"),
        (("verify", "--all", "--database", "crms"), "crm"),
    ],
)
def test_what_is_much_like_a_database_or_a_word_is_suggested(dumpty, three, argv, meant):
    result = dumpty(*argv)
    assert result.status == (0 if argv[0] in {"list", "verify"} else 1)
    assert (result.out + result.err).rstrip().endswith(f". Did you mean {meant!r}?")
    assert "Did you mean" not in dumpty("show", "latest:crm", "--database", "db").err


@pytest.mark.parametrize("unknown", ["latest:", "latest:nothing", "latest-verified:crm", "{b}"])
def test_nothing_is_meant_where_nothing_fits(dumpty, three, unknown):
    result = dumpty("show", unknown.format(b=three["b"]["id"]), "--database", "crm")
    assert result.status == 1
    assert "of the database 'crm'" in result.err


def test_a_url_with_a_password_filters_and_is_not_shown(dumpty, three):
    result = dumpty("show", "latest", "--source", "mysql://u:s3cret-word@host/db")
    assert result.status == 1
    assert "mysql://u:***@host/db" in result.err
    assert "s3cret" not in result.err


def test_a_list_shows_sources_and_filters(dumpty, three, tmp_path):
    lines = dumpty("list").out.splitlines()[1:]
    assert [line.split()[4] for line in lines] == [three[name]["source"] for name in ("crm", "a", "b")]
    assert [b["id"] for b in dumpty("list", "--database", "db", "--json").json["backups"]] == [
        three["a"]["id"],
        three["b"]["id"],
    ]
    listed = dumpty("list", "--source", "b/db.sqlite3", "--json").json["backups"]
    assert [b["id"] for b in listed] == [three["b"]["id"]]
    assert dumpty("list", "--database", "x").out == f"no backups of the database 'x' in {tmp_path}/backups\n"


def test_all_backups_of_a_database_are_verified_and_drilled(dumpty, three):
    verified = dumpty("verify", "--all", "--database", "db", "--json").json["proofs"]
    assert {v["id"] for v in verified} == {three["a"]["id"], three["b"]["id"]}
    verified = dumpty("drill", "--all", "--source", "b/db.sqlite3", "--json").json["proofs"]
    assert {v["id"] for v in verified} == {three["b"]["id"]}
    assert "of the database 'x'" in dumpty("verify", "--all", "--database", "x").out


def test_what_another_database_holds_is_not_replaced_unless_insisted(dumpty, three, tmp_path):
    target = f"sqlite:///{tmp_path}/crm.db"
    restore_arguments = ("restore", "latest:db", "--source", "a/db.sqlite3", "--to", target, "--overwrite")
    result = dumpty(*restore_arguments, "--json")
    assert (result.status, result.json["error_type"]) == (1, "OtherDatabase")
    assert "--other" in result.json["error"]
    assert three["crm"]["source"] in result.json["error"]
    assert three["a"]["source"] in result.json["error"]
    assert contents(tmp_path / "crm.db") == "crm"
    assert dumpty(*restore_arguments, "--other").status == 0
    assert contents(tmp_path / "crm.db") == "a"


def test_to_replace_what_another_database_holds_overwrite_is_needed_too(dumpty, three, tmp_path):
    result = dumpty("restore", "latest:crm", "--to", f"sqlite:///{tmp_path}/a/db.sqlite3", "--other")
    assert (result.status, contents(tmp_path / "a" / "db.sqlite3")) == (1, "a")
    assert "--overwrite" in result.err


def test_its_own_database_a_new_one_and_an_empty_one_need_nothing(dumpty, three, tmp_path):
    database(tmp_path / "crm.db", "changed")
    assert dumpty("restore", "latest:crm", "--to", f"sqlite:///{tmp_path}/crm.db", "--overwrite").status == 0
    (tmp_path / "empty.db").touch()
    for name in ("empty", "new"):
        assert dumpty("restore", "latest:crm", "--to", f"sqlite:///{tmp_path}/{name}.db", "--overwrite").status == 0
    assert {contents(tmp_path / f"{name}.db") for name in ("crm", "empty", "new")} == {"crm"}


@pytest.mark.parametrize(("answer", "status", "remaining"), [("y", 0, "crm"), ("n", 1, "a"), ("", 1, "a")])
def test_on_a_terminal_it_asks(dumpty, three, tmp_path, terminal, answer, status, remaining):
    target = tmp_path / "a" / "db.sqlite3"
    terminal.type(answer + "\n")
    result = dumpty("restore", "latest:crm", "--to", f"sqlite:///{target}", "--overwrite", terminal=terminal)
    shown = terminal.read()
    assert result.status == status
    assert f"Replace what sqlite:///{target} holds by the backup of crm? [y/N]" in shown
    assert three["a"]["source"] in shown
    assert contents(target) == remaining


def test_in_python_overwrite_is_enough_and_other_may_be_refused(three, tmp_path):
    manager = BackupManager(str(tmp_path / "backups"))
    target = f"sqlite:///{tmp_path}/a/db.sqlite3"
    refused = manager.restore(three["crm"]["id"], target, overwrite=True, other=False)
    assert isinstance(refused.exception, OtherDatabase)
    assert contents(tmp_path / "a" / "db.sqlite3") == "a"
    assert manager.restore(three["crm"]["id"], target, overwrite=True).success
    assert contents(tmp_path / "a" / "db.sqlite3") == "crm"


def test_a_shell_completes_the_names_of_databases(three, tmp_path):
    import typer

    from dumpty.cli.arguments import _ids

    class Context(typer.Context):
        def __init__(self) -> None:
            self.params = {"directory": str(tmp_path / "backups")}

    assert _ids(Context(), "latest:") == ["latest:crm", "latest:db"]


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_on_a_server_another_database_is_not_replaced_unless_insisted(request, dumpty, kind):
    server = request.getfixturevalue(kind)
    do = (lambda sql, name: server.execute(sql, database=name)) if kind == "postgres" else None
    do = do or (lambda sql, name: server.run(sql, database=name))
    names = [f"s_{uuid.uuid4().hex[:8]}_{name}" for name in ("shop", "crm")]
    shop, crm = map(server.url, names)
    system = "postgres" if kind == "postgres" else None
    try:
        for name in names:
            do(f"CREATE DATABASE {name}", system)
            do("CREATE TABLE t (what VARCHAR(40))", name)
            do(f"INSERT INTO t VALUES ('{name}')", name)
            assert dumpty("backup", server.url(name)).status == 0
        arguments = ("restore", f"latest:{names[0]}", "--overwrite", "--to")
        result = dumpty(*arguments, crm, "--json")
        assert (result.status, result.json["error_type"]) == (1, "OtherDatabase")
        assert dumpty("restore", "latest", "--overwrite", "--to", crm, "--other").status == 1
        assert list(do("SELECT what FROM t", names[1])) == [(names[1],)]
        do("DELETE FROM t", names[0])
        assert dumpty(*arguments, shop).status == 0
        assert dumpty(*arguments, crm, "--other").status == 0
        assert [list(do("SELECT what FROM t", name)) for name in names] == [[(names[0],)]] * 2
    finally:
        for name in names:
            do(f"DROP DATABASE IF EXISTS {name}", system)
