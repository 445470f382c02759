"""Databases on servers: copied with all that the server knows of them, whatever a test left open there."""

from __future__ import annotations

import contextlib
import os

import pytest

from dumpty import BackupManager, DatabaseBackup

POSTGRES_TESTS = """
import contextlib

import psycopg2
import pytest

LEFT_OPEN = []
SURROUNDINGS = '''
    SELECT datname, pg_get_userbyid(datdba), datacl::text, datconnlimit, shobj_description(oid, 'pg_database')
    FROM pg_database WHERE datname = current_database()'''

def ask(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()

@pytest.mark.parametrize("number", range(3))
def test_has_its_own(dumpty_database, number):
    connection = psycopg2.connect(dumpty_database.url)
    LEFT_OPEN.append(connection)
    assert ask(connection, "SELECT count(*) FROM orders") == [(2,)]
    ask(connection, "DELETE FROM orders RETURNING 1")
    connection.commit()
    ask(connection, "LOCK TABLE orders; SELECT 1")

def test_is_as_it_was(dumpty_database, dumpty_shared_database):
    assert dumpty_database.path == ""
    assert dumpty_database.environment["PGPASSWORD"] in dumpty_database.url
    assert dumpty_database.environment["PGPASSWORD"] not in dumpty_database.shown_url + repr(dumpty_database)
    with contextlib.closing(psycopg2.connect(dumpty_database.url)) as connection:
        [(name, owner, privileges, limit, comment)] = ask(connection, SURROUNDINGS)
        assert name == dumpty_database.environment["PGDATABASE"]
        assert (owner, comment) == ("shopkeeper", "all that was sold")
        assert "clerk=Tc/shopkeeper" in privileges
        assert "=Tc" not in privileges.strip("{}").split(",")  # PUBLIC may not connect
        assert ask(connection, "SHOW search_path") == [('shop, "$user"',)]
        assert ask(connection, "SHOW work_mem") == [("7MB",)]
        roles = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = current_user::regrole"
        database = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        assert ask(connection, f"{roles} AND setdatabase = {database}") == [(["role=none"],)]
    with contextlib.closing(psycopg2.connect(dumpty_shared_database.url)) as connection:
        assert ask(connection, "SELECT count(*) FROM orders") == [(2,)]
"""
POSTGRES_SHOP = """
CREATE SCHEMA shop AUTHORIZATION shopkeeper;
SET ROLE shopkeeper;
CREATE TABLE shop.orders (id int PRIMARY KEY);
INSERT INTO shop.orders VALUES (1), (2);
"""
MARIADB_TESTS = """
import contextlib

import pymysql
import pytest

from dumpty.url import parse_url

LEFT_OPEN = []

def connect(database):
    source = parse_url(database.url)
    return pymysql.connect(
        unix_socket=source.query["unix_socket"], user=source.username, password=source.password or "",
        database=source.database,
    )

def ask(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()

@pytest.mark.parametrize("number", range(3))
def test_has_its_own(dumpty_database, number):
    connection = connect(dumpty_database)
    LEFT_OPEN.append(connection)
    assert ask(connection, "SELECT count(*) FROM orders") == ((2,),)
    ask(connection, "DELETE FROM orders")
    connection.commit()
    ask(connection, "INSERT INTO orders VALUES (7, 'open')")
    assert {name for (name,) in ask(connection, "SHOW DATABASES")} >= {parse_url(dumpty_database.url).database}
    assert len([name for (name,) in ask(connection, "SHOW DATABASES") if name.startswith("dumpty_drill")]) == 2
"""
MARIADB_STORED_OBJECTS = """

def test_stored_objects_are_of_their_own_database(dumpty_database):
    with contextlib.closing(connect(dumpty_database)) as connection:
        assert ask(connection, "SELECT name, total() FROM named") == (("egg", 2), ("wall", 2))
        ask(connection, "DELETE FROM orders")
        assert ask(connection, "SELECT total()") == ((0,),)
        assert ask(connection, "SELECT name FROM named") == ()
"""


@pytest.fixture
def shop(postgres, monkeypatch):
    """The URL of a database whose server knows much of it."""
    monkeypatch.setenv("PATH", f"{postgres.bindir}{os.pathsep}{os.environ['PATH']}")
    name = postgres.create()
    postgres.script("postgres", "CREATE ROLE shopkeeper; CREATE ROLE clerk")
    try:
        postgres.script(name, POSTGRES_SHOP)
        postgres.script(
            name,
            f"""
            ALTER DATABASE {name} OWNER TO shopkeeper;
            ALTER DATABASE {name} SET search_path = shop, "$user";
            ALTER DATABASE {name} SET work_mem = '7MB';
            REVOKE ALL ON DATABASE {name} FROM PUBLIC;
            GRANT CONNECT, TEMPORARY ON DATABASE {name} TO clerk;
            COMMENT ON DATABASE {name} IS 'all that was sold';
            """,
        )
        yield postgres.url(name)
    finally:
        postgres.drop(name)
        postgres.execute("DROP ROLE shopkeeper")
        postgres.execute("DROP ROLE clerk")


def test_postgresql_copies_what_its_server_knows_and_drops_what_is_in_use(project, shop):
    BackupManager(project.path / "backups").create_backup(shop, format="native").raise_for_error()
    name = shop.partition("?")[0].rpartition("/")[2]
    project.write(POSTGRES_TESTS)
    given = (f"--dumpty-backup=latest:{name}", "--dumpty-dir=backups")
    project.run(*given).assert_outcomes(passed=4)


def test_postgresql_is_restored_from_a_copy_of_databasebackups_and_shared_by_processes(project, shop):
    DatabaseBackup(project.path / "copies").backup(shop, "sold")
    project.write(POSTGRES_TESTS)
    project.run_apart("-n2", "--dumpty-dump=copies/sold").assert_outcomes(passed=4)


def test_postgresql_on_a_server_that_is_named_leaves_none_of_its_databases(project, postgres, monkeypatch):
    name = postgres.create()
    postgres.script("postgres", "CREATE ROLE tester LOGIN CREATEDB PASSWORD 'verysecret'")
    monkeypatch.setenv("PATH", f"{postgres.bindir}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SERVER", postgres.url("postgres", "tester", "verysecret"))
    project.write(POSTGRES_TESTS.partition("def test_is_as_it_was")[0])
    try:
        postgres.script(name, "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)")
        before = postgres.databases()
        given = (f"--dumpty-url={postgres.url(name)}", "--dumpty-on=env:SERVER", "-v")
        result = project.run(*given)
        result.assert_outcomes(passed=3)
        assert "verysecret" not in result.text
        assert postgres.databases() == before
    finally:
        postgres.drop(name)
        postgres.execute("DROP ROLE tester")


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_mariadb_and_mysql_load_the_dump_again_whoever_holds_its_locks(project, request, monkeypatch, kind):
    server = request.getfixturevalue(kind)
    if kind == "mysql":
        programs = os.path.dirname(server.program("server"))
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    server.run(
        "CREATE DATABASE sold",
        "USE sold",
        "CREATE TABLE orders (id INT PRIMARY KEY, what VARCHAR(9))",
        "INSERT INTO orders VALUES (1, 'egg'), (2, 'wall')",
        "CREATE FUNCTION total() RETURNS INT READS SQL DATA RETURN (SELECT count(*) FROM sold.orders)",
        "CREATE VIEW named AS SELECT sold.orders.what AS name FROM sold.orders",
    )
    project.write(MARIADB_TESTS + MARIADB_STORED_OBJECTS)
    try:
        project.run(f"--dumpty-url={server.url('sold')}").assert_outcomes(passed=4)
    finally:
        with contextlib.suppress(Exception):
            server.run("DROP DATABASE sold")


def test_mariadb_on_a_server_that_is_named_leaves_none_of_its_databases(project, mariadb, monkeypatch):
    mariadb.run(
        "CREATE USER tester@localhost IDENTIFIED BY 'verysecret'",
        r"GRANT ALL ON `dumpty\_drill%`.* TO tester@localhost",
        "CREATE DATABASE sold",
        "USE sold",
        "CREATE TABLE orders (id INT PRIMARY KEY, what VARCHAR(9))",
        "INSERT INTO orders VALUES (1, 'egg'), (2, 'wall')",
    )
    monkeypatch.setenv("SERVER", f"mysql://tester:verysecret@/?unix_socket={mariadb.socket}")
    project.write(MARIADB_TESTS)
    try:
        before = mariadb.run("SHOW DATABASES")
        result = project.run(f"--dumpty-url={mariadb.url('sold')}", "--dumpty-on=env:SERVER", "-v")
        result.assert_outcomes(passed=3)
        assert "verysecret" not in result.text
        assert mariadb.run("SHOW DATABASES") == before
    finally:
        mariadb.run("DROP DATABASE sold", "DROP USER tester@localhost")
