"""Which databases a PostgreSQL server has, and that each is backed up under its own name, whatever that is."""

from __future__ import annotations

import uuid
from contextlib import closing
from urllib.parse import quote

import pytest
from support.drive import defaults

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, MalformedURL, SourceError


def listed(source):
    return driver.databases(source=source, options=defaults(driver, "databases"))


@pytest.fixture
def hostile(postgres, dbs):
    """Databases with names that URLs, patterns and SQL take for something else, and the beginning of their names."""
    prefix = f"h{uuid.uuid4().hex[:8]}"
    names = [f"{prefix}{end}" for end in ("%41", "*", "/a?b", "'\"$", "ü日 ", "[x]", "#@:&=+", "\\n")]
    for name in names:
        quoted = name.replace('"', '""')
        postgres.execute(f'CREATE DATABASE "{quoted}"')
    return prefix, names


def test_all_that_may_be_connected_to_are_listed_in_order_and_no_templates(postgres, dbs):
    first, template, closed = dbs.new(), dbs.new(options="IS_TEMPLATE true"), dbs.new(options="ALLOW_CONNECTIONS false")
    try:
        source = dbs.source("postgres", password="s3cret").replace(database=None)
        found = listed(source)
        names = [entry.database for entry in found]
        assert names == sorted(names)
        assert {first, "postgres"} <= set(names)
        assert not {template, closed, "template0", "template1"} & set(names)
        assert all(entry == source.replace(database=entry.database) for entry in found)
    finally:
        postgres.execute(f"ALTER DATABASE {template} IS_TEMPLATE false")


def test_hostile_names_are_backed_up_under_their_own_urls(postgres, dbs, hostile, tmp_path):
    prefix, names = hostile
    for name in names:
        postgres.execute("CREATE TABLE called (name text)", database=name)
        postgres.execute("INSERT INTO called VALUES (current_database())", database=name)
    manager = BackupManager(tmp_path / "backups")
    found = manager.databases(postgres.url(f"{prefix}*"))
    assert [database.source.database for database in found] == sorted(names)
    for database in found:
        result = manager.create_backup(database.url)
        assert result.success, result.error
        assert result.backup.database_name == database.source.database
        target = dbs.name()
        assert manager.restore(result.backup.id, postgres.url(target)).success
        assert postgres.execute("SELECT name FROM called", database=target) == [(database.source.database,)]


def test_a_name_that_is_a_pattern_can_be_named_alone(postgres, hostile, tmp_path):
    prefix, _ = hostile
    manager = BackupManager(tmp_path / "backups")
    found = manager.databases(postgres.url(f"{prefix}%2A"))
    assert [database.source.database for database in found] == [f"{prefix}*"]
    assert [d.source.database for d in manager.databases(postgres.url(f"{prefix}[[]*"))] == [f"{prefix}[x]"]


def test_one_that_this_role_may_not_read_is_listed_and_its_backup_fails_alone(postgres, dbs, role, tmp_path):
    name, password = role
    readable, closed = dbs.new(), dbs.new()
    postgres.execute(f"REVOKE CONNECT ON DATABASE {closed} FROM public")
    source = dbs.source("x", user=name, password=password).replace(database=None)
    assert {readable, closed} <= {entry.database for entry in listed(source)}
    manager = BackupManager(tmp_path / "backups")
    found = manager.databases(postgres.url("t_*", name, quote(password, safe="")), include=[readable, closed])
    results = {d.source.database: manager.create_backup(d.url) for d in found}
    assert {name: result.success for name, result in results.items()} == {readable: True, closed: False}


def test_another_database_is_asked_where_the_first_lets_nobody_in(postgres, dbs, role):
    name, password = role
    source = dbs.source("x", user=name, password=password).replace(database=None)
    database = dbs.new()
    postgres.execute("REVOKE CONNECT ON DATABASE postgres FROM public")
    try:
        assert database in {entry.database for entry in listed(source)}
    finally:
        postgres.execute("GRANT CONNECT ON DATABASE postgres TO public")


def test_a_database_that_the_parameters_name_would_be_taken_for_every_one(dbs):
    source = dbs.source("x", dbname="shop").replace(database=None)
    with pytest.raises(MalformedURL, match="names a database by dbname="):
        listed(source)


def test_a_server_that_is_not_there_is_an_error_without_the_password(dbs):
    source = dbs.source("x", password="s3cret-marker", port="1").replace(database=None)
    with pytest.raises(SourceError, match="cannot connect") as caught:
        listed(source)
    assert "s3cret" not in str(caught.value)


def test_a_name_that_is_no_text_hides_no_other_and_its_backup_says_what_to_do(postgres, dbs, tmp_path):
    good = dbs.new()
    bytes_only = dbs.new(options="TEMPLATE template0 ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'")
    odd = f"{good}\udce9"
    with closing(postgres.connect(bytes_only, client_encoding="SQL_ASCII")) as connection:
        connection.cursor().execute(f'CREATE DATABASE "{odd}"'.encode("utf-8", "surrogateescape"))
        try:
            manager = BackupManager(tmp_path / "backups")
            found = manager.databases(postgres.url(f"{good}*"))
            assert [database.source.database for database in found] == [good, odd]
            assert manager.create_backup(found[0].url).success
            result = manager.create_backup(found[1].url)
            assert isinstance(result.exception, SourceError)
            assert f"{good}\\xe9" in result.error
        finally:
            connection.cursor().execute(f'DROP DATABASE "{odd}"'.encode("utf-8", "surrogateescape"))
