"""Names beyond ASCII, in databases of every kind of encoding, through every way that a backup goes."""

from __future__ import annotations

import contextlib
import re

import pytest
from support.drive import dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager

NAMES = {"LATIN1": "tél", "EUC_JP": "商品", "EUC_KR": "상품", "KOI8R": "товар", "LATIN9": "€uro", "UTF8": "té 商品"}


def new(dbs, encoding: str) -> str:
    return dbs.new(options=f"TEMPLATE template0 ENCODING {encoding} LC_COLLATE 'C' LC_CTYPE 'C'")


def execute(dbs, name: str, sql: str) -> None:
    """Run a statement that may hold bytes which are no text, as surrogates."""
    encoding = "UTF8" if sql.isprintable() else "SQL_ASCII"
    with contextlib.closing(dbs.server.connect(name, client_encoding=encoding)) as connection:
        connection.cursor().execute(sql.encode("utf-8", "surrogateescape"))


@pytest.fixture
def library(request, without_psycopg2):
    if request.param == "psql":
        without_psycopg2()
        return lambda: without_psycopg2()
    return lambda: None


@pytest.mark.parametrize("library", ["psycopg2", "psql"], indirect=True)
@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@pytest.mark.parametrize("encoding", NAMES)
def test_a_name_in_the_databases_encoding(dbs, tmp_path, library, form, encoding):
    name, word = new(dbs, encoding), NAMES[encoding]
    dbs.server.execute(f'CREATE SCHEMA "{word}"; CREATE TABLE "{word}"."{word}" AS SELECT 1 AS "{word}"', database=name)
    made = dump(driver, dbs.source(name), tmp_path / "d", form, counts="auto", fingerprint=True)
    library()
    assert [(o.path, o.rows) for o in made.evidence.objects] == [(f'"{word}"."{word}"', 1)]
    assert driver.examine(dump=made, options={"bindir": ""}).objects[0].path == f'"{word}"."{word}"'
    evidence = load(driver, dbs.source(dbs.name()), made)
    assert [(o.path, o.rows) for o in evidence.objects] == [(f'"{word}"."{word}"', 1)]


@pytest.mark.parametrize("library", ["psycopg2", "psql"], indirect=True)
@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_names_that_are_bytes_in_a_database_that_knows_no_encoding(dbs, tmp_path, library, form):
    name = new(dbs, "SQL_ASCII")
    latin, utf8 = "t\udce9l", "été"  # the first is the byte 0xe9 alone
    for word in (latin, utf8):
        execute(dbs, name, f'CREATE TABLE "{word}" AS SELECT 1 AS "{word}"')
    made = dump(driver, dbs.source(name), tmp_path / "d", form, counts="auto", fingerprint=True)
    library()
    expected = {'public."t\\xe9l"': 1, 'public."été"': 1}
    assert {o.path: o.rows for o in made.evidence.objects} == expected
    assert {o.path: o.rows for o in driver.examine(dump=made, options={"bindir": ""}).objects if o.rows} == expected
    copy = dbs.name()
    evidence = load(driver, dbs.source(copy), made)
    assert {o.path: o.rows for o in evidence.objects} == expected
    sql = "SELECT encode(relname::text::bytea, 'hex') FROM pg_class WHERE relkind = 'r' AND oid >= 16384 ORDER BY 1"
    assert dbs.server.execute(sql, database=copy) == [("74e96c",), ("c3a974c3a9",)]


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
def test_such_a_backup_is_proved_by_every_level(dbs, tmp_path, encoding):
    name = new(dbs, encoding)
    word = NAMES.get(encoding, "t\udce9l")
    sql = f'CREATE TABLE "{word}" AS SELECT 1 AS a; CREATE INDEX "i{word}" ON "{word}" (a)'
    execute(dbs, name, sql)
    manager = BackupManager(str(tmp_path))
    for form in ("sql", "native", "parallel"):
        made = manager.create_backup(dbs.server.url(name), format=form, fingerprint=True)
        assert made.success, made.error
        manager.verify(made.backup.id, level="structure")
        manager.drill(made.backup.id, on=dbs.server.url(), superuser=True)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_client_encoding_set_for_the_database_changes_no_dump(dbs, tmp_path, form):
    name = dbs.new("CREATE TABLE \"tél 商品\" AS SELECT 'é 商品'::text AS v")
    dbs.server.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    assert all(re.search(rb"client_encoding = 'UTF8'", part.file.read_bytes()) for part in made.parts)
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    assert dbs.server.execute('SELECT v FROM "tél 商品"', database=copy) == [("é 商品",)]
