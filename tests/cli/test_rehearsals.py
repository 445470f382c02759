"""``dumpty drill --server-version`` and ``--bindir``: a backup is restored on another version of its database's server."""

from __future__ import annotations

import os

import pytest

TABLE = "CREATE TABLE orders AS SELECT g AS id, 'item ' || g AS what FROM generate_series(1, 100) g; CREATE INDEX ON orders (id);"
LOUD = (
    "CREATE FUNCTION fine(i int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN IF current_setting("
    "'server_version_num')::int >= {version} THEN RAISE {how} 'not as it was: %', 'really'; END IF; RETURN true; END$$;"
    "CREATE TABLE checked (i int CHECK (public.fine(i))); INSERT INTO checked VALUES (1);"
)


@pytest.fixture
def database(postgres):
    """Make databases on Debian's PostgreSQL, and drop them."""
    names = []

    def make(sql: str) -> str:
        names.append(postgres.create())
        postgres.script(names[-1], sql)
        return postgres.url(names[-1])

    yield make
    for name in names:
        postgres.drop(name)


@pytest.fixture(autouse=True)
def _programs(monkeypatch, request) -> None:
    monkeypatch.delenv("DUMPTY_PG_BINDIR", raising=False)
    if "postgres" in request.fixturenames:
        bindir = request.getfixturevalue("postgres").bindir
        monkeypatch.setenv("PATH", f"{bindir}{os.pathsep}{os.environ['PATH']}")


def stored(dumpty) -> dict:
    [backup] = dumpty("list", "--json").json["backups"]
    return backup


@pytest.mark.parametrize("form", ["native", "sql"])
def test_a_backup_is_rehearsed_on_the_version_of_a_directory_and_that_is_a_proof(
    dumpty, make, database, postgres, postgres_newer, form
):
    make(database(TABLE + "CREATE EXTENSION pg_stat_statements"), "--format", form, "-o", "fingerprint=on")
    argv = ("--bindir", postgres_newer.bindir, "--assert", "SELECT count(*) = 100 FROM orders")
    reply = dumpty("drill", "latest", *argv, "--json").json
    [proof] = reply["proofs"]
    assert (proof["ok"], proof["recorded"], proof["level"]) == (True, True, "restore")
    assert proof["versions"]["server"].startswith(str(postgres_newer.major))
    server, *others = proof["differs"]
    assert f"the backup is of PostgreSQL {postgres.major}." in server
    assert f"was restored on {postgres_newer.major}." in server
    assert any(text.startswith("the extension pg_stat_statements: version 1.") for text in others)
    assert any("every value: 1 object and 100 rows" in step["what"] for step in proof["proved"])
    assert any("applications" in text for text in proof["not_proved"])
    backup = stored(dumpty)
    assert (backup["state"], backup["proof"]["level"], backup["proof"]["ok"]) == ("ok", "restore", True)
    shown = dumpty("show", "latest", "--json").json["backups"][0]["details"]["proof"]
    assert (shown["differs"], shown["versions"]) == (proof["differs"], proof["versions"])
    assert f"differs              {server}" in dumpty("show", "latest").out


def test_a_version_is_found_among_those_that_are_installed(dumpty, make, database, postgres_newer, monkeypatch):
    make(database(TABLE))
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(postgres_newer.bindir))
    result = dumpty("drill", "--server-version", postgres_newer.major)
    assert result.status == 0, result
    assert "  differs              the server: the backup is of PostgreSQL" in result.out
    assert f"server {postgres_newer.major}." in result.out
    assert "differs" not in dumpty("drill").out  # which is of the backup's own version


def test_a_version_that_is_not_installed_is_not_provable_here_and_says_what_is(
    dumpty, make, database, postgres, postgres_newer
):
    make(database(TABLE))
    result = dumpty("drill", "--server-version", "99")
    assert result.status == 3
    assert f"only {postgres.major}." in result.err
    assert f"in {postgres.bindir}" in result.err
    assert "apt-get install postgresql-99" in result.err
    assert "--bindir DIR" in result.err
    result = dumpty("drill", "--server-version", "99", "--bindir", postgres_newer.bindir)
    assert (result.status, f"{postgres_newer.bindir} has only" in result.err) == (3, True)
    result = dumpty("drill", "--bindir", "/nowhere")
    assert (result.status, "/nowhere has none" in result.err) == (3, True)
    result = dumpty("drill", "--server-version", postgres.major - 1)
    assert (result.status, "no older server" in result.err) == (3, True)
    assert stored(dumpty)["proof"] is None


def test_a_rehearsal_that_fails_is_told_and_leaves_no_mark_on_the_backup(dumpty, make, database, postgres_newer):
    backup = make(database(TABLE))
    older = f"SELECT current_setting('server_version_num')::int < {postgres_newer.major}0000"
    result = dumpty("drill", "latest", "--bindir", postgres_newer.bindir, "--assert", older, "--json")
    assert (result.status, result.json["error_type"]) == (4, "IntegrityError")
    [proof] = result.json["proofs"]
    assert (proof["ok"], proof["recorded"], len(proof["differs"])) == (False, False, 1)
    [warning] = [text for text in result.json["warnings"] if backup["id"] in text]
    assert f"a rehearsal on PostgreSQL {postgres_newer.major}." in warning
    assert (stored(dumpty)["state"], stored(dumpty)["proof"]) == ("ok", None)
    assert dumpty("drill", "latest", "--assert", older).status == 0
    assert dumpty("drill", "latest", "--assert", "SELECT false").status == 4
    assert stored(dumpty)["state"] == "damaged"  # on its own version the same failure is the backup's


def test_damage_that_a_rehearsal_finds_in_what_is_stored_is_the_backups(dumpty, make, database, postgres_newer):
    backup = make(database(TABLE))
    with open(backup["files"][0], "r+b") as stream:
        stream.write(b"no longer")
    result = dumpty("drill", "latest", "--bindir", postgres_newer.bindir, "--json")
    assert (result.status, result.json["proofs"][0]["recorded"]) == (4, True)
    assert stored(dumpty)["state"] == "damaged"


@pytest.mark.parametrize("form", ["native", "sql"])
def test_what_the_newer_server_warns_of_while_it_loads_is_listed(dumpty, make, database, postgres_newer, form):
    make(database(LOUD.format(version=postgres_newer.major * 10000, how="WARNING")), "--format", form)
    [proof] = dumpty("drill", "latest", "--bindir", postgres_newer.bindir, "--json").json["proofs"]
    assert proof["ok"]
    assert "a warning: not as it was: really" in proof["differs"]


def test_a_dump_that_the_newer_server_does_not_load_fails_and_says_why(dumpty, make, database, postgres_newer):
    make(database(LOUD.format(version=postgres_newer.major * 10000, how="EXCEPTION")))
    result = dumpty("drill", "latest", "--bindir", postgres_newer.bindir)
    assert result.status == 4
    assert "not as it was: really" in result.err
    assert stored(dumpty)["proof"] is None


def test_with_a_superusers_rights_it_says_that_warnings_were_not_heard(dumpty, make, database, postgres_newer):
    make(database(TABLE))
    argv = ("--bindir", postgres_newer.bindir, "-o", "superuser=on", "--json")
    [proof] = dumpty("drill", "latest", *argv).json["proofs"]
    assert any("warned of nothing" in text for text in proof["not_proved"])


def test_accounts_are_rehearsed_too(dumpty, postgres, postgres_newer):
    assert dumpty("backup", postgres.url(""), "--format", "accounts", "-o", "hashes=off").status == 0
    result = dumpty("drill", "latest", "--bindir", postgres_newer.bindir, "--json")
    [proof] = result.json["proofs"]
    assert proof["ok"], proof
    assert f"were restored on {postgres_newer.major}." in proof["differs"][0]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--server-version", "sixteen"), "no major version of PostgreSQL"),
        (("--server-version", "18", "-o", "server_version=18"), "are the same"),
        (("--bindir", "/x", "-o", "bindir=/x"), "are the same"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(dumpty, make, database, argv, text):
    make(database(TABLE))
    result = dumpty("drill", *argv)
    assert (result.status, text in result.err) == (2, True), result


def test_a_server_that_is_named_has_the_version_it_has(dumpty, make, database, postgres):
    make(database(TABLE))
    result = dumpty("drill", "--on", postgres.url(), "--server-version", postgres.major)
    assert (result.status, "has the version it has" in result.err) == (2, True)


@pytest.mark.parametrize("argv", [("--server-version", "3"), ("--bindir", "/usr/bin")])
def test_sqlite_has_no_server(dumpty, make, shop, argv):
    make(shop)
    result = dumpty("drill", *argv)
    assert result.status == 2
    assert f"sqlite has no server whose version a drill could choose: drill without {argv[0]}" in result.err
    assert stored(dumpty)["proof"] is None
