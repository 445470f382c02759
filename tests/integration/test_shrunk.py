"""The shrink guard on real servers: rows that are lost are told by table, and partitions that come and go are not."""

from __future__ import annotations

import pytest
from support.keys import x25519

from dumpty import BackupManager, ShrinkRules

RECIPIENT = x25519()[0].text

MEASURED = """
CREATE TABLE place (id integer PRIMARY KEY, name varchar(20));
INSERT INTO place SELECT n, 'somewhere' FROM generate_series(1, 300) AS n;
CREATE SCHEMA old;
CREATE TABLE measured (day date NOT NULL, v integer) PARTITION BY RANGE (day);
CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE old.measured_2 PARTITION OF measured FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY HASH (v);
CREATE TABLE measured_2a PARTITION OF old.measured_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE measured_2b PARTITION OF old.measured_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO measured SELECT date '2026-01-01' + n % 59, n FROM generate_series(1, 2000) AS n;
"""
NEXT_MONTH = """
DROP TABLE measured_1;
CREATE TABLE measured_3 PARTITION OF measured FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
INSERT INTO measured SELECT date '2026-03-01' + n % 31, n FROM generate_series(1, 900) AS n;
"""


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUMPTY_MACHINE_KEY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "here"))


def suspicions(url, **options):
    """Back a database up, and return what makes that suspicious."""
    made = BackupManager("backups").create_backup(url, shrink_guard=ShrinkRules(), **options).raise_for_error()
    assert made.suspicious == bool(made.suspicions)
    return [text.partition(" in backup ")[0] for text in made.suspicions]


@pytest.mark.parametrize(
    "options", [{"format": "native"}, {"format": "sql", "encrypt_to": [RECIPIENT]}], ids=["native", "sql, encrypted"]
)
def test_postgres_with_partitions(postgres, options):
    name = postgres.create()
    postgres.script(name, MEASURED)
    url = postgres.url(name)
    assert suspicions(url, **options) == []
    postgres.script(name, NEXT_MONTH)
    assert suspicions(url, **options) == []
    postgres.script(name, "TRUNCATE old.measured_2")
    assert suspicions(url, **options)[-1:] == ["table public.measured: 900 rows, had 1,847"]
    postgres.script(name, "DROP TABLE old.measured_2, measured_3; DELETE FROM place WHERE id > 7")
    lost = suspicions(url, **options)
    assert lost[-2:] == ["table public.measured: 0 rows, had 1,847", "table public.place: 7 rows, had 300"]
    assert lost[0] == "all tables together: 7 rows, had 2,147"
    postgres.script(name, "DROP TABLE place, measured")
    assert suspicions(url, **options)[-1] == "tables: 0, had 6"
    postgres.drop(name)


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
def test_mariadb_and_mysql(request, engine):
    server = request.getfixturevalue(engine)
    rows = ", ".join(f"({n}, {n})" for n in range(400))
    server.run(
        "CREATE DATABASE shrunk",
        "USE shrunk",
        "CREATE TABLE place (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE measured (id INT PRIMARY KEY, v INT) PARTITION BY HASH (id) PARTITIONS 4",
        *(f"INSERT INTO {table} VALUES {rows}" for table in ("place", "measured")),
    )
    url = server.url("shrunk")
    assert suspicions(url) == []
    assert suspicions(url) == []
    server.run("USE shrunk", "ALTER TABLE measured TRUNCATE PARTITION p0, p1, p2")
    assert suspicions(url) == ["table measured: 100 rows, had 400"]
    server.run("USE shrunk", "DROP TABLE place", "DELETE FROM measured")
    assert suspicions(url) == [
        "all tables together: 0 rows, had 800",
        "table measured: 0 rows, had 400",
        "table place: gone, had 400 rows",
    ]
    server.run("DROP DATABASE shrunk")
