"""Ordinary users restore what others own: parts of a dump that they may not create can be left out, in every format."""

from __future__ import annotations

import contextlib

import pytest
from support.drive import dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, SourceError
from dumpty_plugins.postgres.loading.optional_parts import advice

FORMATS = ("sql", "native", "tar", "directory")
OFF = dict.fromkeys(("owner", "privileges", "tablespaces", "publications", "comments"), False)


@pytest.fixture
def owning_roles(dbs, role):
    """Roles that own and use what is backed up, of which ``role`` is no member."""
    owner, reader = (f"zz_{kind}_{role[0][2:]}" for kind in ("owner", "reader"))
    dbs.server.script("postgres", f"CREATE ROLE {owner}; CREATE ROLE {reader}")
    yield owner, reader
    for database in dbs.made_databases():
        dbs.server.drop(database)
    dbs.server.script("postgres", f"DROP ROLE IF EXISTS {owner}; DROP ROLE IF EXISTS {reader}")


@pytest.fixture
def name(dbs, owning_roles):
    owner, reader = owning_roles
    return dbs.new(
        f"""CREATE EXTENSION citext; CREATE TABLE t AS SELECT generate_series(1, 10) AS a;
        CREATE SCHEMA s; CREATE VIEW s.v AS SELECT ' OWNER TO x' AS "OWNER TO y"; CREATE SEQUENCE s.q;
        CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT $$GRANT ALL; COMMENT ON$$::text';
        SELECT lo_from_bytea(7, 'x'); ALTER LARGE OBJECT 7 OWNER TO {owner};
        ALTER TABLE t OWNER TO {owner}; ALTER SCHEMA s OWNER TO {owner}; ALTER FUNCTION f() OWNER TO {owner};
        GRANT SELECT ON t TO {reader}; REVOKE ALL ON FUNCTION f() FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {reader};
        COMMENT ON TABLE t IS 'mine'; COMMENT ON EXTENSION plpgsql IS 'not mine';
        CREATE PUBLICATION p FOR ALL TABLES; COMMENT ON PUBLICATION p IS 'all'"""
    )


def state(dbs, database: str) -> dict[str, object]:
    sql = """SELECT (SELECT count(*) FROM t), pg_get_userbyid(relowner), relacl IS NOT NULL,
             obj_description(pg_class.oid), (SELECT count(*) FROM pg_publication),
             (SELECT count(*) FROM pg_default_acl), (SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata)
             FROM pg_class WHERE oid = 't'::regclass"""
    names = ("rows", "owner", "privileges", "comments", "publications", "defaults", "large")
    return dict(zip(names, dbs.server.execute(sql, database=database)[0], strict=True))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("created", [True, False])
def test_a_user_with_no_rights_but_his_own_restores_everybodys_data(dbs, role, name, tmp_path, form, created):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    target = dbs.name() if created else dbs.new()
    if created:
        dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    else:
        dbs.server.execute(f"ALTER DATABASE {target} OWNER TO {role[0]}")
    evidence = load(driver, dbs.source(target, *role), made, **OFF)
    assert state(dbs, target) == {
        "rows": 10, "owner": role[0], "privileges": False, "comments": None, "publications": 0, "defaults": 0,
        "large": role[0],
    }  # fmt: skip
    assert evidence.notes == ("left out, as asked: comments, owner, privileges, publications, tablespaces",)
    assert dbs.server.execute('SELECT "OWNER TO y", f() FROM s.v', database=target) == [
        (" OWNER TO x", "GRANT ALL; COMMENT ON")
    ]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@pytest.mark.parametrize("off", ["owner", "privileges", "publications", "comments"])
def test_each_option_leaves_out_its_own_part_alone(dbs, owning_roles, name, tmp_path, form, off):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    copy = dbs.name()
    load(driver, dbs.source(copy), made, **{off: False})
    state_of_everything = {
        "rows": 10, "owner": owning_roles[0], "privileges": True, "comments": "mine", "publications": 1, "defaults": 1,
        "large": owning_roles[0],
    }  # fmt: skip
    without = {
        "owner": {"owner": "postgres", "large": "postgres"},
        "privileges": {"privileges": False, "defaults": 0},
        "publications": {"publications": 0},
        "comments": {"comments": None},
    }[off]
    assert state(dbs, copy) == state_of_everything | without


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_tablespaces_can_be_left_out(dbs, tmp_path, form):
    tablespace = dbs.name()
    with contextlib.closing(dbs.server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET allow_in_place_tablespaces = on")
        cursor.execute(f"CREATE TABLESPACE {tablespace} LOCATION ''")
    try:
        name = dbs.new(
            f"CREATE TABLE t (a integer PRIMARY KEY USING INDEX TABLESPACE {tablespace}) TABLESPACE {tablespace}"
        )
        made = dump(driver, dbs.source(name), tmp_path / "d", form)
        dbs.server.drop(name)
        dbs.server.execute(f"DROP TABLESPACE {tablespace}")
        with pytest.raises(SourceError, match=rf"lacks the tablespaces {tablespace}, .*-o tablespaces=off"):
            load(driver, dbs.source(dbs.name()), made)
        copy = dbs.name()
        load(driver, dbs.source(copy), made, tablespaces=False)
        assert dbs.server.execute("SELECT count(*) FROM t", database=copy) == [(0,)]
        dbs.server.drop(copy)
    finally:
        dbs.server.execute(f"DROP TABLESPACE IF EXISTS {tablespace}")


@pytest.mark.parametrize("form", ["sql", "native"])
@pytest.mark.parametrize(
    ("off", "helps"),
    [
        ((), "owner"),
        (("owner",), "privileges"),
        (("owner", "privileges"), "comments"),
        (("owner", "privileges", "comments"), "publications"),
    ],
)
def test_an_error_says_which_option_helps(dbs, role, name, tmp_path, form, off, helps):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    target = dbs.new()
    dbs.server.execute(f"ALTER DATABASE {target} OWNER TO {role[0]}")
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    databases = dbs.made_databases()
    # In the order of the dump another part may come first: whichever it is, its option is named.
    with pytest.raises((SourceError, RuntimeError), match=r"-o \w+=off") as caught:
        load(driver, dbs.source(target, *role), made, **dict.fromkeys(off, False))
    option = str(caught.value).rpartition("-o ")[2].removesuffix("=off")
    assert option not in off
    if len(off) == 3:
        assert option == helps
    assert dbs.made_databases() == databases
    assert driver.inspect(source=dbs.source(target), options={}).empty


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_roles_that_are_missing_are_not_needed_where_nothing_speaks_of_them(dbs, owning_roles, name, tmp_path, form):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    dbs.server.drop(name)
    dbs.server.script("postgres", f"DROP ROLE {owning_roles[0]}; DROP ROLE {owning_roles[1]}")
    with pytest.raises(SourceError, match=r"lacks the roles .*CREATE ROLE, or leave them out: -o owner=off -o priv"):
        load(driver, dbs.source(dbs.name()), made)
    with pytest.raises(SourceError, match="lacks the roles zz_"):
        load(driver, dbs.source(dbs.name()), made, owner=False)
    copy = dbs.name()
    load(driver, dbs.source(copy), made, owner=False, privileges=False)
    assert state(dbs, copy)["owner"] == "postgres"


def test_a_policy_needs_its_role_whatever_is_left_out(dbs, owning_roles, name, tmp_path):
    dbs.server.script(
        name, f"CREATE ROLE {owning_roles[1]}_p; CREATE POLICY few ON t TO {owning_roles[1]}_p USING (a > 1)"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    dbs.server.drop(name)
    dbs.server.script("postgres", f"DROP ROLE {owning_roles[1]}_p")
    with pytest.raises(SourceError, match=f"lacks the roles {owning_roles[1]}_p,"):
        load(driver, dbs.source(dbs.name()), made, **OFF)


def test_what_the_database_itself_had_is_told_statement_by_statement(dbs, role, owning_roles, name, tmp_path):
    dbs.server.script(
        name,
        f"""ALTER DATABASE {name} SET log_statement = 'all'; ALTER DATABASE {name} SET work_mem = '7MB';
        ALTER DATABASE {name} OWNER TO {owning_roles[0]}; GRANT CREATE ON DATABASE {name} TO {owning_roles[1]};
        COMMENT ON DATABASE {name} IS 'shop'""",
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    copy = dbs.name()
    evidence = load(driver, dbs.source(copy, *role), made, **(OFF | {"comments": False}))
    [note] = [n for n in evidence.notes if "not all there" in n]
    assert note.endswith(f"""ALTER DATABASE "{copy}" SET "log_statement" TO 'all'""")
    sql = """SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'), datacl IS NULL,
             (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = pg_database.oid)
             FROM pg_database WHERE datname = %s"""
    assert dbs.server.execute(sql, copy) == [(role[0], None, True, ["work_mem=7MB"])]


FORCED = """CREATE TABLE f AS SELECT generate_series(1, 10) AS a; ALTER TABLE f ENABLE ROW LEVEL SECURITY;
ALTER TABLE f FORCE ROW LEVEL SECURITY; CREATE POLICY few ON f USING (a > 8)"""


@pytest.mark.parametrize("form", FORMATS)
def test_policies_that_are_forced_on_owners_keep_no_owner_from_restoring(dbs, role, tmp_path, form):
    made = dump(driver, dbs.source(dbs.new(FORCED)), tmp_path / "d", form)
    sql = "SELECT count(*), bool_and(relrowsecurity AND relforcerowsecurity) FROM f, pg_class WHERE relname = 'f'"
    empty = dbs.new(options=f"OWNER {role[0]}")
    load(driver, dbs.source(empty, *role), made, **OFF)
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    copy = dbs.name()
    load(driver, dbs.source(copy, *role), made, **OFF)
    for database in (empty, copy):
        assert dbs.server.execute(sql, database=database) == [(10, True)]


def test_the_facade_passes_the_options_on(dbs, role, name, tmp_path):
    manager = BackupManager(str(tmp_path))
    made = manager.create_backup(dbs.server.url(name))
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    target = f"postgresql://{role[0]}:{'%s'}@127.0.0.1:{dbs.server.port}/{dbs.name()}"
    from urllib.parse import quote

    url = target % quote(role[1], safe="")
    refusal = manager.restore(made.backup.id, url)
    assert not refusal.success
    assert "-o owner=off" in refusal.error
    result = manager.restore(made.backup.id, url, **dict.fromkeys(OFF, "off"))
    assert result.success, result.error


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        (b'ALTER TABLE ONLY "a "" OWNER TO".t OWNER TO "z ""z";', "owner"),
        (b'ALTER TABLE t RENAME TO " OWNER TO y";', ""),
        (b"ALTER TABLE t ALTER a SET DEFAULT ' OWNER TO y';", ""),
        (b"GRANT SELECT ON t TO x;", "privileges"),
        (b"ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;", "privileges"),
        (b"SET default_tablespace = fast;", "tablespaces"),
        (b"SET default_tablespace = '';", ""),
        (b"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p;", "publications"),
        (b"COMMENT ON TABLE t IS 'x';", "comments"),
        (b"CREATE TABLE grants (a integer);", ""),
    ],
)
def test_statements_belong_to_parts(statement, part):
    assert advice(statement) == (f"; or leave such out: -o {part}=off" if part else "")
