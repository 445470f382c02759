"""Partitions by the hash of an enum: its labels have other numbers in each database, so rows change their partition."""

from __future__ import annotations

import pytest
from msgspec import structs
from support.drive import dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, IntegrityError, OptionError, ShrinkRules, SourceError

LABELS = ", ".join(f"'label {number}'" for number in range(24))
TABLES = f"""
CREATE TYPE mood AS ENUM ({LABELS});
CREATE TABLE t (gone int, m mood, n int, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (n);
ALTER TABLE t DROP COLUMN gone;
CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (50) PARTITION BY HASH (m);
CREATE TABLE low_0 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE low_1 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY LIST (n);
CREATE TABLE low_1_all PARTITION OF low_1 DEFAULT;
CREATE TABLE high PARTITION OF t FOR VALUES FROM (50) TO (MAXVALUE);
CREATE TABLE plain AS SELECT 1 AS x;
INSERT INTO t SELECT m, n FROM unnest(enum_range(NULL::mood)) WITH ORDINALITY AS e(m, i), generate_series(1, 60) n
    WHERE n > i;
"""
ALL = "SELECT m::text, n, twice FROM t ORDER BY 1, 2"
WHERE = "SELECT DISTINCT m::text, tableoid::regclass::text FROM low ORDER BY 1"
"""The partition of each label; two databases agree on that of all 24 once in 16 million times."""
LOW, HIGH = sum(49 - i for i in range(1, 25)), 24 * 11


@pytest.fixture
def name(dbs):
    return dbs.new(TABLES)


@pytest.fixture
def manager(tmp_path):
    return BackupManager(tmp_path / "backups")


@pytest.mark.parametrize("form", ["sql", "native", "tar", "parallel"])
def test_the_rows_come_back_and_are_counted_as_those_of_the_outermost_table(dbs, manager, name, form):
    backup = manager.create_backup(dbs.server.url(name), format=form, fingerprint=True).raise_for_error()
    held = {o.path: (o.rows, o.part_of) for o in backup.evidence.objects}
    assert held == {
        "public.t": (LOW, None),
        "public.low": (None, "public.t"),
        "public.low_0": (None, "public.t"),
        "public.low_1": (None, "public.t"),
        "public.low_1_all": (None, "public.t"),
        "public.high": (HIGH, "public.t"),
        "public.plain": (1, None),
    }
    manager.verify(backup.id, level="structure")
    proof = manager.drill(backup.id)
    assert proof.not_proved == ()
    assert any(step.what.startswith("every value") for step in proof.proved)
    copy = dbs.name()
    manager.restore(backup.id, dbs.server.url(copy)).raise_for_error()
    assert dbs.server.execute(ALL, database=copy) == dbs.server.execute(ALL, database=name)
    assert dbs.server.execute(WHERE, database=copy) != dbs.server.execute(WHERE, database=name)


@pytest.mark.parametrize("form", ["sql", "native"])
def test_rows_that_are_missing_are_missed(dbs, name, tmp_path, form):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    entries = tuple(structs.replace(o, rows=o.rows + 1) if o.path == "public.t" else o for o in made.evidence.objects)
    made.evidence = structs.replace(made.evidence, objects=entries)
    copy = dbs.name()
    with pytest.raises(IntegrityError, match=rf"public\.t has {LOW:,} rows, and had {LOW + 1:,} rows"):
        load(driver, dbs.source(copy), made)
    assert copy not in dbs.made_databases()


def test_a_difference_is_found_whatever_partition_the_rows_are_in(dbs, manager, name):
    url = dbs.server.url(name)
    first = manager.create_backup(url, fingerprint=True).raise_for_error()
    copy = dbs.name()
    manager.restore(first.id, dbs.server.url(copy)).raise_for_error()
    found = manager.diff(first.id, dbs.server.url(copy))
    assert (found.same, found.not_compared) == (True, ())
    [(label,)] = dbs.server.execute("SELECT max(m) FROM low WHERE n = 49", database=copy)
    dbs.server.execute(f"UPDATE t SET m = 'label 0' WHERE n = 49 AND m = '{label}'", database=copy)
    found = manager.diff(first.id, dbs.server.url(copy))
    assert [(d.path, d.kind) for d in found.differences] == [("public.t", "content")]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_the_outermost_table_comes_back_alone_and_none_of_its_partitions_does(dbs, manager, name, form):
    backup = manager.create_backup(dbs.server.url(name), format=form, fingerprint=True).raise_for_error()
    target = dbs.new(f"CREATE TYPE mood AS ENUM ({LABELS})")
    for tables in (["low_0"], ["low", "low_0", "low_1", "low_1_all"]):
        refused = manager.restore(backup.id, dbs.server.url(target), tables=tables)
        assert isinstance(refused.exception, OptionError)
        assert "are in the backup among those of public.t" in refused.error
    tables_there = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND oid > 16384"
    assert dbs.server.execute(tables_there, database=target) == []
    manager.restore(backup.id, dbs.server.url(target), tables=["high"]).raise_for_error()
    assert dbs.server.execute("SELECT count(*) FROM high", database=target) == [(HIGH,)]
    manager.restore(backup.id, dbs.server.url(target), tables={"t": "u"}).raise_for_error()
    again = ALL.replace("FROM t", "FROM u")
    assert dbs.server.execute(again, database=target) == dbs.server.execute(ALL, database=name)


def test_rows_of_other_partitions_are_not_taken_for_the_same_because_those_by_enum_are(dbs, manager, name):
    url = dbs.server.url(name)
    first = manager.create_backup(url, fingerprint=True).raise_for_error()
    dbs.server.execute("DELETE FROM t WHERE n >= 50", database=name)
    second = manager.create_backup(url, fingerprint=True).raise_for_error()
    found = manager.diff_rows(first.id, second.id, "t")
    assert (found.removed, found.added, found.changed) == (HIGH, 0, 0)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@pytest.mark.parametrize("lost", ["low_1_all, low_0", "low_1, low_0", "low"])
def test_a_table_that_has_lost_its_partitions_has_no_rows_and_that_is_suspicious(dbs, manager, name, form, lost):
    url = dbs.server.url(name)
    dbs.server.script(name, "DROP TABLE high")
    manager.create_backup(url, format=form).raise_for_error()
    dbs.server.script(name, f"DROP TABLE {lost}")
    backup = manager.create_backup(url, format=form, shrink_guard=ShrinkRules(least_rows=1)).raise_for_error()
    assert {o.path: o.rows for o in backup.evidence.objects}["public.t"] == 0
    assert any(f"table public.t: 0 rows, had {LOW:,}" in finding for finding in backup.suspicions)
    manager.verify(backup.id, level="structure")
    copy = dbs.name()
    manager.restore(backup.id, dbs.server.url(copy)).raise_for_error()
    assert dbs.server.execute("SELECT count(*) FROM t", database=copy) == [(0,)]


def test_rows_of_a_partition_are_compared_within_the_table_that_none_leaves(dbs, manager, name):
    backup = manager.create_backup(dbs.server.url(name)).raise_for_error()
    copy = dbs.name()
    manager.restore(backup.id, dbs.server.url(copy)).raise_for_error()
    with pytest.raises(SourceError, match=r"holds other rows of public\.low in each database: compare public\.low"):
        manager.diff_rows(backup.id, dbs.server.url(copy), "low_0")
    dbs.server.execute("UPDATE t SET n = n + 1000 WHERE n = 60 AND m = 'label 3'", database=copy)
    found = manager.diff_rows(backup.id, dbs.server.url(copy), "t")
    assert (found.removed, found.added, found.changed) == (1, 1, 0)
