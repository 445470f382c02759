"""Generated columns come back as they were stored, whatever wrote them; where nobody can know how, the backup says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugins.mysql.content import cells
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import IntegrityError
from dumpty_plugins.mysql.inspection import evidence_of
from dumpty_plugins.mysql.schema.fingerprint import fingerprint
from dumpty_plugins.mysql.server.connection import connect

FORMATTING = ("server", "client")
BY_ZONE = [
    """CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NULL, d DATE AS (ts) STORED, h INT AS (HOUR(ts)) VIRTUAL,
        text_ VARCHAR(30) AS (CONCAT(ts, 'é')) STORED, ts2 TIMESTAMP AS (CAST(ts AS DATE)) STORED, KEY (d), KEY (text_))""",
    "CREATE TABLE after_ (id INT PRIMARY KEY, ts TIMESTAMP NULL)",
]


def zoned(zone: str) -> list[str]:
    return [
        *BY_ZONE,
        f"SET time_zone='{zone}'",
        "INSERT INTO t (id, ts) SELECT seq, '2024-01-01 02:00:00' + INTERVAL seq HOUR FROM seq_1_to_60",
        "INSERT INTO t (id) VALUES (100)",
        "INSERT INTO after_ VALUES (1, '2024-01-01 02:00:00')",
    ]


@pytest.mark.parametrize("formatting", FORMATTING)
@pytest.mark.parametrize("zone", ["+05:30", "-07:00", "+00:00"])
def test_what_the_writers_time_zone_decided_comes_back(
    server: MariaDBServer, database, tmp_path: Path, small: None, formatting: str, zone: str
) -> None:
    name = database(*zoned(zone))
    backup = dump(driver, server.source(name), tmp_path / "d", "sql", fingerprint=True, formatting=formatting)
    assert backup.evidence.notes == ()
    target, by_client = database(create=False), database()
    load(driver, server.source(target), backup)
    server.client(by_client, backup.file.read_bytes(), "--comments")
    for restored in (target, by_client):
        assert cells(server, restored) == cells(server, name)
        assert evidence_of(server.source(restored), restored, fingerprinted=True).objects == backup.evidence.objects


def test_rows_of_several_time_zones_are_noted_and_their_fingerprint_shows_it(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    name = database(
        *zoned("+05:30"), "SET time_zone='-07:00'", "INSERT INTO t (id, ts) VALUES (99, '2024-01-01 02:00:00')"
    )
    backup = dump(driver, server.source(name), tmp_path / "d", "sql", fingerprint=True)
    (note,) = backup.evidence.notes
    assert "table t: what its generated columns (d, text_, ts2) store could not be shown" in note
    target = database(create=False)
    load(driver, server.source(target), backup)
    restored, saved = (
        {o.path: o.fingerprint for o in objects}
        for objects in (evidence_of(server.source(target), target, fingerprinted=True).objects, backup.evidence.objects)
    )
    assert restored["t"] != saved["t"]
    assert restored["after_"] == saved["after_"]


STORED = [
    "SET sql_mode=''",
    """CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9), i TINYINT AS (a * 100) STORED, u INT UNSIGNED AS (-a) STORED,
        r INT AS (a / 3) STORED, n DECIMAL(4,2) AS (a / 7) STORED, f FLOAT AS (a * 1.1) STORED,
        g DOUBLE AS (a * 1.1) STORED, c CHAR(3) AS (REPEAT(a, 2)) STORED, v VARCHAR(2) CHARACTER SET latin1 AS (a) STORED,
        b BINARY(12) AS (a) STORED, vb VARBINARY(2) AS (a) STORED, x INT AS (1 / a) STORED, d DATE AS (a) STORED,
        e ENUM('1', '2') AS (a) STORED, w TINYINT AS (a * 100) VIRTUAL, KEY (w), dt DATETIME(2) AS ('2024-01-01 1:2:3.456'))""",
    "INSERT INTO t (id, a) VALUES (1, '1'), (2, '50'), (3, 'é '), (4, '0'), (5, NULL), (6, '2.5'), (7, '-1')",
]


@pytest.mark.parametrize("formatting", FORMATTING)
def test_values_that_strict_modes_refuse_are_computed_again(
    mariadb: MariaDBServer, database, tmp_path: Path, formatting: str
) -> None:
    name = database(*STORED)
    backup = dump(driver, mariadb.source(name), tmp_path / "d", "sql", fingerprint=True, formatting=formatting)
    assert backup.evidence.notes == ()
    target = database(create=False)
    load(driver, mariadb.source(target), backup)
    assert cells(mariadb, target) == cells(mariadb, name)


def test_a_row_beside_them_that_does_not_go_in_as_it_is_still_fails(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a TINYINT, b TINYINT AS (a) STORED)",
        "INSERT INTO t (id, a) VALUES (1, 77)",
    )
    backup = dump(driver, server.source(name), tmp_path / "d", "sql")
    backup.file.write_bytes(backup.file.read_bytes().replace(b"(1,77)", b"(1,777)"))
    with pytest.raises(IntegrityError, match=r"a row of t did not go in as it stands in the dump: .*'a'"):
        load(driver, server.source(database(create=False)), backup)


def test_warnings_without_number_are_all_read(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "SET sql_mode=''",
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b TINYINT AS (a) STORED, c TINYINT AS (a) STORED)",
        "INSERT INTO t (id, a) SELECT seq, 1000 FROM seq_1_to_70000",
    )
    backup = dump(driver, server.source(name), tmp_path / "d", "sql")
    target = database(create=False)
    load(driver, server.source(target), backup)
    assert server.run("SELECT COUNT(*), SUM(b), SUM(c) FROM t", database=target) == [(70000, 70000 * 127, 70000 * 127)]


def test_a_fingerprint_is_of_stored_columns_too(server: MariaDBServer, database) -> None:
    from dumpty_plugins.mysql.schema.catalog import listing
    from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader

    marks = []
    for zone in ("+00:00", "+12:00"):
        name = database(
            "CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP NULL, d DATE AS (ts) STORED)",
            f"SET time_zone='{zone}'",
            "INSERT INTO t (id, ts) VALUES (1, FROM_UNIXTIME(1700000000))",
        )
        session = connect(server.source(name), name)
        try:
            (table,) = CatalogReader(session, name, listing(session, name), ()).tables()
            marks.append(fingerprint(session, table))
        finally:
            session.close()
    assert marks[0] != marks[1]


@pytest.mark.parametrize(
    ("setting", "value", "usual"), [("lc_time_names", "'de_DE'", "'en_US'"), ("div_precision_increment", "8", "4")]
)
def test_what_a_setting_of_the_server_decided_is_noted(
    mysql: MariaDBServer, database, tmp_path: Path, setting: str, value: str, usual: str
) -> None:
    name = database(
        """CREATE TABLE t (id INT PRIMARY KEY, d DATE, n VARCHAR(30) AS (DAYNAME(d)) STORED,
            q VARCHAR(50) AS (id / 7) STORED)"""
    )
    mysql.run(f"SET GLOBAL {setting}={value}")
    try:
        mysql.run("INSERT INTO t (id, d) VALUES (1, '2021-01-03')", database=name)
        backup = dump(driver, mysql.source(name), tmp_path / "d", "sql", fingerprint=True)
        again = database(create=False)
        load(driver, mysql.source(again), backup)
        assert evidence_of(mysql.source(again), again, fingerprinted=True).objects == backup.evidence.objects
    finally:
        mysql.run(f"SET GLOBAL {setting}={usual}")
    assert len(backup.evidence.notes) == 1
    target = database(create=False)
    load(driver, mysql.source(target), backup)
    assert evidence_of(mysql.source(target), target, fingerprinted=True).objects != backup.evidence.objects
