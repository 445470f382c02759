"""What could be missing without anybody being told: each case is told, carried over, or refused."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import pytest
from support.drive import FileDump, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import DumptyError, Evidence, SourceError
from dumpty_plugins.postgres.dumping import plan


def test_a_database_that_refuses_us_is_not_taken_for_a_missing_one(dbs, role, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    target = dbs.new("CREATE TABLE precious ()")
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    dbs.server.execute(f"REVOKE CONNECT ON DATABASE {target} FROM PUBLIC")
    before = dbs.made_databases()
    for call in (
        lambda: driver.inspect(source=dbs.source(target, *role), options={}),
        lambda: load(driver, dbs.source(target, *role), made, overwrite=True),
    ):
        with pytest.raises(SourceError, match="permission denied for database"):
            call()
    assert dbs.made_databases() == before


def test_what_pg_dump_leaves_out_with_a_warning_is_in_the_notes(dbs, role, tmp_path):
    name = dbs.new("CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)")
    try:
        dbs.server.execute(f"ALTER DATABASE {name} OWNER TO {role[0]}")
        made = dump(driver, dbs.source(name, *role), tmp_path / "d", "native")
        assert made.evidence.notes == (
            "pg_dump: warning: subscriptions not dumped because current user is not a superuser",
        )
    finally:
        for sql in ("ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s"):
            dbs.server.execute(sql, database=name)


def test_owner_rights_comment_and_settings_of_the_database_come_back_with_a_missing_one(dbs, role, tmp_path):
    name = dbs.new("CREATE TABLE t ()")
    dbs.server.script(
        name,
        f"""ALTER DATABASE {name} OWNER TO {role[0]}; COMMENT ON DATABASE {name} IS 'it''s';
        REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO pg_monitor WITH GRANT OPTION;
        ALTER ROLE {role[0]} IN DATABASE {name} SET work_mem = '7MB'; ALTER DATABASE {name} CONNECTION LIMIT 17""",
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    copy = dbs.name()
    assert load(driver, dbs.source(copy), made).notes == ()
    sql = """SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),
             (SELECT array_agg(x::text ORDER BY 1) FROM unnest(datacl) x),
             (SELECT array_agg(setconfig) FROM pg_db_role_setting WHERE setdatabase = pg_database.oid)
             FROM pg_database WHERE datname = %s"""
    (before,), (after,) = dbs.server.execute(sql, name), dbs.server.execute(sql, copy)
    assert after[:3] == before[:3] == (role[0], 17, "it's")
    assert sorted(after[3]) == sorted(before[3])
    assert after[4] == before[4]


def test_an_owner_the_server_lacks_does_not_hinder_the_restore_and_is_told(dbs, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    properties = dict(made.evidence.properties)
    properties["surroundings"] = {**properties["surroundings"], "owner": "zz_nobody"}
    copy = dbs.name()
    evidence = load(driver, dbs.source(copy), FileDump(made.file, "sql", Evidence(properties=properties)))
    assert 'role "zz_nobody" does not exist' in evidence.notes[0]
    assert f'ALTER DATABASE "{copy}" OWNER TO "zz_nobody"' in evidence.notes[0]


def test_a_tablespace_the_server_lacks_is_listed_before_anything_is_loaded(dbs, tmp_path):
    made = dump(driver, dbs.source(dbs.new()), tmp_path / "d", "sql")
    properties = {**made.evidence.properties, "tablespaces": ["fast"]}
    with pytest.raises(SourceError, match=r"lacks the tablespaces fast.*CREATE TABLESPACE"):
        load(driver, dbs.source(dbs.name()), FileDump(made.file, "sql", Evidence(properties=properties)))


def test_a_large_object_that_is_gone_fails_backup_and_restore(dbs, tmp_path, fake_client):
    name = dbs.new("SELECT lo_from_bytea(4242, 'large')")
    bindir = fake_client('"$REAL" "$@" | grep -v "lo_create"\n')
    with pytest.raises(DumptyError, match=r"pg_catalog\.pg_largeobject is missing"):
        dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=bindir)
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    without_large_object = dump(driver, dbs.source(dbs.new()), tmp_path / "e", "sql")
    with pytest.raises(DumptyError, match=r"pg_catalog\.pg_largeobject is missing"):
        load(driver, dbs.source(dbs.name()), FileDump(without_large_object.file, "sql", made.evidence))


def test_a_password_inside_the_dump_is_not_in_the_error(dbs, tmp_path):
    (tmp_path / "d").write_bytes(
        b"CREATE USER MAPPING FOR postgres SERVER s OPTIONS (\n    password 'S3cret-in-dump'\n);\n"
        b"-- PostgreSQL database dump complete\n"
    )
    with pytest.raises(DumptyError, match=r"loading \(CREATE USER MAPPING FOR postgres") as caught:
        load(driver, dbs.source(dbs.name()), FileDump(tmp_path / "d", "sql", Evidence()))
    assert "S3cret" not in str(caught.value)


def test_timeouts_of_the_user_end_no_restore(dbs, role, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t AS SELECT 1 AS a")), tmp_path / "d", "sql")
    made.file.write_bytes(made.file.read_bytes().replace(b"\n\n\n--\n", b"\nSELECT pg_sleep(3.5);\n\n--\n", 1))
    dbs.server.execute(f"ALTER ROLE {role[0]} SUPERUSER")
    # Long enough for a busy machine to come from the connection to what frees it of them.
    for setting in ("statement_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout"):
        dbs.server.execute(f"ALTER ROLE {role[0]} SET {setting} = '3s'")
    assert load(driver, dbs.source(dbs.name(), *role), made).objects[0].rows == 1


RESTORE = """
import os, sys
sys.path[:0] = {path!r}
from pathlib import Path
from support.drive import FileDump, load
from dumpty import Evidence, Source
import dumpty_plugins.postgres.plugin as driver
from dumpty_plugins.postgres.loading import swap
from dumpty_plugins.postgres.server import errors
real = swap.rows
def rows(connection, sql, *args):
    found = None if {after!r} else sql.startswith({at!r})
    if found:
        os.kill(os.getpid(), 9)
    result = real(connection, sql, *args)
    if {after!r} and sql.startswith({at!r}):
        os.kill(os.getpid(), 9)
    return result
swap.rows = errors.rows = rows
source = Source(scheme="postgresql", url="postgresql://x", username="postgres", database={target!r}, query={query!r})
load(driver, source, FileDump(Path({file!r}), "sql", Evidence()), overwrite=True)
"""


@pytest.mark.parametrize(
    ("at", "after", "holds"),
    [
        ("CREATE DATABASE", True, "old"),
        ("BEGIN", False, "old"),
        ('ALTER DATABASE "{target}" RENAME', True, "old"),
        ("COMMIT", False, "old"),
        ("COMMIT", True, "new"),
        ("DROP DATABASE", False, "new"),
    ],
)
def test_a_restore_killed_at_any_step_leaves_the_old_or_the_new_and_what_is_left_is_named(
    dbs, tmp_path, at, after, holds
):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE new ()")), tmp_path / "d", "sql")
    target = dbs.new("CREATE TABLE old ()")
    source = dbs.source(target)
    script = RESTORE.format(
        path=sys.path,
        at=at.format(target=target),
        after=after,
        target=target,
        query=dict(source.query),
        file=str(made.file),
    )
    process = subprocess.run([sys.executable, "-c", script], check=False, stderr=subprocess.DEVNULL)
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while dbs.server.execute("SELECT 1 FROM pg_stat_activity WHERE datname LIKE %s", target + "%"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert dbs.server.execute(f"SELECT to_regclass('{holds}')::text", database=target) == [(holds,)]
    notes = driver.inspect(source=source, options={}).notes
    assert len(notes) == 1
    assert ("was left by a restore that was killed" in notes[0]) == (holds == "old")
    assert ("holds what" in notes[0]) == (holds == "new")
    # The next restore names it, too, and what it says to do is right.
    assert load(driver, source, made, overwrite=True).notes == notes
    dbs.server.execute(notes[0][notes[0].index("DROP DATABASE") :])
    assert driver.inspect(source=source, options={}).notes == ()


def test_a_database_with_a_like_name_is_no_leftover(dbs):
    target = dbs.new()
    for like_named in (f"{target}__dumpty_mine", f"{target}__dumpty_0000000g", f"x{target}__dumpty_00000000"):
        dbs.server.create(like_named)
    with contextlib.closing(dbs.server.connect(target)):
        assert driver.inspect(source=dbs.source(target), options={}).notes == ()


PARTITIONS = """CREATE TABLE p (a int, changed text) PARTITION BY RANGE (a);
    SELECT format('CREATE TABLE p%s PARTITION OF p FOR VALUES FROM (%s00) TO (%s00)', i, i, i + 1)
        FROM generate_series(1, 12) i \\gexec
    INSERT INTO p SELECT i, 'original' FROM generate_series(100, 1299) i;"""

ROWS_BEFORE_RULES = {
    "trigger": f"""{PARTITIONS}
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN new.changed := 'by a restore'; RETURN new; END $$;
        CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON p FOR EACH ROW EXECUTE FUNCTION touch();
        COMMENT ON TRIGGER touch ON p IS 'said of what comes late'""",
    "check of partitions": f"{PARTITIONS} ALTER TABLE p ADD CONSTRAINT late CHECK (a > 2000) NOT VALID",
    "check of children": """CREATE TABLE p (a int);
        SELECT format('CREATE TABLE p%s () INHERITS (p)', i) FROM generate_series(1, 12) i \\gexec
        SELECT format('INSERT INTO p%s SELECT generate_series(1, 100)', i) FROM generate_series(1, 12) i \\gexec
        ALTER TABLE p ADD CONSTRAINT late CHECK (a > 2000) NOT VALID""",
    "check of a domain": """CREATE DOMAIN d AS int; CREATE TABLE t (a d, b int);
        INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
        ALTER DOMAIN d ADD CONSTRAINT late CHECK (VALUE > 2000) NOT VALID""",
    "key to a table in parts": f"""{PARTITIONS} ALTER TABLE p ADD PRIMARY KEY (a);
        CREATE TABLE q (a int REFERENCES p) PARTITION BY RANGE (a);
        CREATE TABLE q1 PARTITION OF q DEFAULT; INSERT INTO q SELECT a FROM p WHERE a % 10 = 0""",
}


@pytest.mark.parametrize(
    ("form", "large"), [("native", 1), ("custom", 1), ("directory", 1), ("parallel", 1), ("parallel", 1 << 30)]
)
@pytest.mark.parametrize("what", ROWS_BEFORE_RULES)
def test_rows_of_partitions_and_children_come_back_before_the_rules_of_their_parents(
    dbs, tmp_path, monkeypatch, what, form, large
):
    monkeypatch.setattr(plan, "LARGE_BYTES", large)
    name, copy = dbs.new(ROWS_BEFORE_RULES[what]), dbs.name()
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    load(driver, dbs.source(copy), made, jobs=3)
    assert dbs.server.dump(copy) == dbs.server.dump(name)
