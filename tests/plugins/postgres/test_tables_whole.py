"""Single tables back: nothing that was not asked for is lost, altered, or seen by more people than before."""

from __future__ import annotations

import contextlib
import threading

import pytest
from support.ways import eventually

from dumpty import BackupManager, OptionError, SourceError, TargetNotEmpty


@pytest.fixture
def shop(dbs, tmp_path, small_parts):
    """Return what makes a database and a backup of it, and gives back its name and what restores tables of it."""
    manager = BackupManager(tmp_path / "backups", compressor=None)

    def make(sql: str, form: str = "native"):
        name = dbs.new(sql)
        backup = manager.create_backup(dbs.server.url(name), format=form).raise_for_error()

        def restore(*tables: str, to: str = name, **how):
            return manager.restore(backup.id, dbs.server.url(to), tables=tables, **how)

        return name, restore

    return make


def ask(dbs, name: str, sql: str):
    return dbs.server.execute(sql, database=name)


PARTITIONED = """
CREATE TABLE m (i int) PARTITION BY LIST (i); CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1);
INSERT INTO m VALUES (1);
"""


def test_a_table_that_only_shares_a_partitions_name_is_not_replaced(dbs, shop):
    name, restore = shop(PARTITIONED)
    ask(dbs, name, "CREATE TABLE k1 (precious int)")
    refused = restore("m=k", overwrite=True)
    assert isinstance(refused.exception, TargetNotEmpty)
    assert "public.k1 already, which is no partition" in refused.error
    assert ask(dbs, name, "SELECT count(*) FROM k1") == [(0,)]


def test_a_partition_that_the_backup_lacks_is_not_lost(dbs, shop):
    name, restore = shop(PARTITIONED)
    ask(dbs, name, "CREATE TABLE m2 PARTITION OF m FOR VALUES IN (2)")
    refused = restore("m", overwrite=True)
    assert isinstance(refused.exception, SourceError)
    assert "would be lost: public.m2" in refused.error
    ask(dbs, name, "DROP TABLE m2")
    restore("m", overwrite=True).raise_for_error()
    assert ask(dbs, name, "SELECT count(*) FROM m") == [(1,)]


def test_a_partition_alone_is_a_table_of_its_own_and_says_so(dbs, shop, caplog):
    name, restore = shop(PARTITIONED)
    refused = restore("m1", overwrite=True)
    assert "m1 of" in refused.error and "is part of public.m" in refused.error  # noqa: PT018 - one message
    restore("m1=alone").raise_for_error()
    assert "public.m1 was a partition of public.m, and is a table of its own now" in caplog.text
    assert ask(dbs, name, "SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM alone)") == [(1, 1)]


INHERITED = """
CREATE TABLE base (i int); CREATE TABLE derived (j int) INHERITS (base);
INSERT INTO base VALUES (1); INSERT INTO derived VALUES (2, 2), (3, 3);
"""


def test_what_inherited_from_a_table_inherits_no_more_under_another_name(dbs, shop, caplog):
    name, restore = shop(INHERITED)
    restore("derived=derived_before").raise_for_error()
    assert ask(dbs, name, "SELECT (SELECT count(*) FROM base), (SELECT count(*) FROM derived_before)") == [(3, 2)]
    assert "inherited from public.base, and is a table of its own now" in caplog.text
    ask(dbs, name, "INSERT INTO derived VALUES (4, 4)")
    assert "public.derived" in restore("base", overwrite=True).error
    assert ask(dbs, name, "SELECT count(*) FROM base") == [(4,)]


def test_nobody_may_read_more_than_the_backup_says(dbs, shop, role):
    sql = f"""
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role[0]}; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
        CREATE TABLE secret (i serial); REVOKE ALL ON secret FROM {role[0]}; REVOKE ALL ON SEQUENCE secret_i_seq FROM PUBLIC;
        CREATE TABLE shared (i int);
    """
    name, restore = shop(sql)
    ask(dbs, name, "DROP TABLE secret, shared")
    restore("secret", "shared").raise_for_error()
    may = "SELECT has_table_privilege(%s, 'secret', 'SELECT'), has_table_privilege(%s, 'shared', 'SELECT')"
    assert dbs.server.execute(may, role[0], role[0], database=name) == [(False, True)]
    assert dbs.server.execute("SELECT has_sequence_privilege(%s, 'secret_i_seq', 'USAGE')", role[0], database=name) == [
        (False,)
    ]


def test_a_publication_that_loses_its_table_is_named(dbs, shop, caplog):
    name, restore = shop("CREATE TABLE a (i int PRIMARY KEY); CREATE PUBLICATION pu FOR TABLE a (i) WHERE (i > 0)")
    restore("a", overwrite=True).raise_for_error()
    assert 'ALTER PUBLICATION "pu" ADD TABLE public.a (i) WHERE ((i > 0))' in caplog.text
    statement = next(line.partition("again: ")[2] for line in caplog.text.splitlines() if "publication pu" in line)
    ask(dbs, name, statement)
    assert ask(dbs, name, "SELECT count(*) FROM pg_publication_rel") == [(1,)]


def test_foreign_keys_of_others_that_do_not_return_are_named(dbs, shop, caplog):
    name, restore = shop("CREATE TABLE a (i int PRIMARY KEY); CREATE TABLE b (i int CONSTRAINT bfk REFERENCES a)")
    ask(dbs, name, "COMMENT ON CONSTRAINT bfk ON b IS 'why'; DROP TABLE a CASCADE")
    restore("a").raise_for_error()
    assert "the foreign key bfk of public.b, which referred to public.a, is not made again" in caplog.text


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_only_what_is_the_tables_is_called_after_it(dbs, shop, form):
    """Functions, types and policies keep what they say, whatever else has a table's name."""
    name, restore = shop(
        """
        CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.said := 'audit'; RETURN NEW; END $$;
        CREATE TYPE status AS ENUM ('on'); CREATE SCHEMA s;
        CREATE TABLE s.status (i int, state public.status, team int);
        CREATE TABLE audit (i serial PRIMARY KEY, said text, state status, team int, CHECK (audit IS NOT NULL));
        CREATE STATISTICS audit_st ON (replace(said, '"', ' FROM public.other;')), i FROM audit;
        CREATE TABLE other (team int, CONSTRAINT fk FOREIGN KEY (team) REFERENCES audit);
        COMMENT ON CONSTRAINT fk ON other IS 'left out';
        CREATE TRIGGER says BEFORE INSERT ON audit FOR EACH ROW WHEN (NEW.i > 0) EXECUTE FUNCTION audit();
        ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
        CREATE POLICY mine ON audit USING (EXISTS (SELECT FROM other m WHERE m.team = audit.team));
        CREATE RULE quiet AS ON DELETE TO audit DO INSTEAD UPDATE audit SET said = 'gone' WHERE audit.i = OLD.i;
        INSERT INTO audit (state, team) VALUES ('on', 1);
        """,
        form,
    )
    restore("audit=audit_before", "status=s.kept", "other=others_before").raise_for_error()
    ask(dbs, name, "INSERT INTO audit_before (state, team) VALUES ('on', 2)")
    assert ask(dbs, name, "SELECT i, said FROM audit_before ORDER BY 1") == [(1, "audit"), (2, "audit")]
    ask(dbs, name, "DELETE FROM audit_before")
    assert ask(dbs, name, "SELECT DISTINCT said FROM audit_before") == [("gone",)]
    assert ask(dbs, name, "SELECT said FROM audit") == [("audit",)]
    [(policy,)] = ask(dbs, name, "SELECT qual FROM pg_policies WHERE tablename = 'audit_before'")
    assert "m.team = audit_before.team" in policy
    assert ask(dbs, name, "SELECT stxname FROM pg_statistic_ext WHERE stxrelid = 'audit_before'::regclass") == [
        ("audit_before_st",)
    ]


def test_two_tables_may_exchange_their_names_in_a_schema_full_of_others(dbs, shop):
    name, restore = shop(
        "CREATE TABLE a AS SELECT 1 AS i; CREATE TABLE b AS SELECT 2 AS i; CREATE INDEX c ON a (i); CREATE VIEW d AS TABLE b"
    )
    ask(dbs, name, "DROP TABLE a, b CASCADE")
    restore("a=b", "b=a").raise_for_error()
    assert ask(dbs, name, "SELECT (SELECT i FROM a), (SELECT i FROM b)") == [(2, 1)]
    restore("a=d", "b=c1").raise_for_error()  # names that views and indexes have in the backup
    assert ask(dbs, name, "SELECT (SELECT i FROM d), (SELECT i FROM c1)") == [(1, 2)]


def test_many_quotes_in_a_name_cost_no_time(dbs, shop):
    _, restore = shop(
        "DO $$ DECLARE s text := quote_ident('x' || repeat('\"', 28)); BEGIN EXECUTE 'CREATE SCHEMA ' || s; "
        "EXECUTE 'GRANT USAGE ON SCHEMA ' || s || ' TO PUBLIC'; END $$; CREATE TABLE t (i int)"
    )
    restore("t=again").raise_for_error()


def test_a_table_that_others_lock_does_not_hold_up_another_one(dbs, shop):
    name, restore = shop("CREATE TABLE t (i int); CREATE TABLE o (i int); ALTER TABLE o FORCE ROW LEVEL SECURITY")
    with dbs.server.connect(name) as other, other.cursor() as cursor:
        other.autocommit = False
        cursor.execute("BEGIN; LOCK TABLE o IN ACCESS EXCLUSIVE MODE")
        restore("t=again").raise_for_error()
        other.rollback()


def test_names_that_are_no_names_are_refused(dbs, shop):
    _, restore = shop("CREATE VIEW v AS SELECT 1")
    assert isinstance(restore("t").exception, OptionError)


def test_a_partition_that_comes_while_the_table_is_waited_for_is_not_lost(dbs, shop):
    name, restore = shop(PARTITIONED)
    results = []
    with contextlib.closing(dbs.server.connect(name)) as other, other.cursor() as cursor:
        other.autocommit = False
        cursor.execute("CREATE TABLE m2 PARTITION OF m FOR VALUES IN (2)")
        thread = threading.Thread(target=lambda: results.append(restore("m", overwrite=True)))
        thread.start()
        eventually(lambda: ask(dbs, name, "SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)])
        other.commit()
        thread.join()
    assert "would be lost: public.m2" in results[0].error
    assert ask(dbs, name, "SELECT count(*) FROM pg_class WHERE relname = 'm2'") == [(1,)]


@pytest.mark.parametrize(
    ("before", "now", "value"),
    [
        ("CREATE DOMAIN kind AS numeric(9,2)", "CREATE DOMAIN kind AS numeric(9,0)", "1.25"),
        ("CREATE TYPE kind AS (a numeric(9,2))", "CREATE TYPE kind AS (a numeric(9,0))", "ROW(1.25)"),
        ("CREATE TYPE kind AS ENUM ('a', 'b')", "CREATE TYPE kind AS ENUM ('b', 'a')", "'a'"),
    ],
)
def test_a_type_that_is_another_one_of_the_same_name_changes_no_value(dbs, shop, before, now, value):
    _, restore = shop(f"{before}; CREATE TABLE t (k kind[]); INSERT INTO t VALUES (ARRAY[{value}::kind])")
    refused = restore("t", to=dbs.new(now))
    assert "kind of" in refused.error
    assert "is not what it is in the backup, so values could change" in refused.error
    restore("t", to=dbs.new(before)).raise_for_error()


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_settings_of_the_target_change_no_value(dbs, shop, form):
    name, restore = shop(
        "CREATE TABLE t AS SELECT '{a,NULL}'::text[] AS a, '2020-02-03'::date AS d, 0.1::float8 AS f", form
    )
    for setting in ("array_nulls = off", "DateStyle = 'SQL, DMY'", "extra_float_digits = -15"):
        ask(dbs, name, f'ALTER DATABASE "{name}" SET {setting}')
    restore("t=again").raise_for_error()
    assert ask(dbs, name, "SELECT count(*) FROM (TABLE t EXCEPT TABLE again) AS lost") == [(0,)]


def test_a_sequence_that_only_the_target_has_is_not_lost(dbs, shop):
    name, restore = shop("CREATE TABLE a (i serial)")
    ask(dbs, name, "CREATE SEQUENCE number OWNED BY a.i")
    assert "ALTER SEQUENCE public.number OWNED BY NONE" in restore("a", overwrite=True).error
    ask(dbs, name, "ALTER SEQUENCE number OWNED BY NONE")
    restore("a", overwrite=True).raise_for_error()
    assert ask(dbs, name, "SELECT count(*) FROM pg_class WHERE relkind = 'S'") == [(2,)]


def test_a_schema_of_the_servers_own_takes_no_table(dbs, shop):
    _, restore = shop("CREATE TABLE a (i int)")
    assert isinstance(restore("a=information_schema.x").exception, OptionError)
