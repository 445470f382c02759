"""Differences between backups of PostgreSQL: what nobody counted is never said to be the same."""

from __future__ import annotations

import pytest

from dumpty import BackupManager, OptionError

TABLES = """
CREATE TABLE m (i int) PARTITION BY LIST (i); CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1) PARTITION BY LIST (i);
CREATE TABLE m11 PARTITION OF m1 FOR VALUES IN (1); INSERT INTO m VALUES (1);
CREATE TABLE t AS SELECT 1 AS i; CREATE TABLE nothing (i int); CREATE MATERIALIZED VIEW mv AS TABLE t;
"""


@pytest.fixture
def database(postgres):
    name = postgres.create()
    postgres.script(name, TABLES)
    yield name
    postgres.drop(name)


def test_what_nobody_counts_is_not_said_to_be_the_same(postgres, database, tmp_path):
    manager, url = BackupManager(tmp_path), postgres.url(database)
    printed = manager.create_backup(url, fingerprint=True).raise_for_error()
    found = manager.diff(printed.id, url)
    assert found.same
    assert (found.not_compared, found.reason, found.restored) == (("public.mv",), "nobody counts what is in it", ())
    uncounted = manager.create_backup(url, counts="off").raise_for_error()
    postgres.execute("UPDATE t SET i = 2", database=database)
    postgres.execute("INSERT INTO nothing VALUES (1)", database=database)
    with pytest.raises(OptionError, match="leave --counts out"):
        manager.diff(uncounted.id, printed.id, counts=True)
    found = manager.diff(uncounted.id, url)
    assert {d.path: d.kind for d in found.differences} == {"public.t": "content", "public.nothing": "rows"}
    assert found.restored == (uncounted.id,)


def test_what_nobody_counts_is_the_reason_where_fingerprints_had_to_be_taken_first(postgres, database, tmp_path):
    manager, url = BackupManager(tmp_path), postgres.url(database)
    plain = manager.create_backup(url).raise_for_error()
    found = manager.diff(plain.id, url)
    assert (found.same, found.restored) == (True, (plain.id,))
    assert (found.not_compared, found.reason) == (("public.mv",), "nobody counts what is in it")


def test_a_drill_that_counted_every_partition_has_proved_the_table_they_are_of(postgres, database, tmp_path):
    manager = BackupManager(tmp_path)
    made = manager.create_backup(postgres.url(database), fingerprint=True).raise_for_error()
    assert manager.drill(made.id).not_proved == ("the rows of what nobody counted: public.mv",)
