"""What a drill stands on: fingerprints, evidence of a live database, reading a dump to its end, scratch servers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.drive import FileDump, defaults, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import DumptyError, Evidence, IntegrityError, NotProvable, OptionError

sys.path.insert(0, str(Path(__file__).parent))
import zoo


def evidence(source, kind: str = "fingerprint"):
    return driver.inspect(source=source, options={"evidence": kind}).evidence.objects


def scratch(made, on=None, **options):
    if on is not None and on.username == "postgres":
        options["superuser"] = True
    return driver.scratch(dump=made, on=on, options=defaults(driver, "scratch", **options))


def examine(made, **options):
    return driver.examine(dump=made, options=defaults(driver, "examine", **options))


@pytest.fixture(scope="module")
def zoo_name(postgres):
    postgres.script("postgres", zoo.ROLES)
    name = postgres.create()
    postgres.script(name, zoo.COMMON + zoo.EXTENSIONS)
    yield name
    postgres.drop(name)


@pytest.fixture(scope="module")
def made_zoo(postgres, zoo_name, tmp_path_factory):
    """Dumps of the zoo with fingerprints, by format, each made when first asked for."""
    from conftest import Databases

    made = {}

    def make(form: str) -> FileDump:
        if form not in made:
            path = tmp_path_factory.mktemp("zoo") / form
            made[form] = dump(driver, Databases(postgres).source(zoo_name), path, form, fingerprint=True)
        return made[form]

    return make


def test_a_restored_database_has_the_fingerprints_of_the_original(dbs, made_zoo, zoo_name):
    made = made_zoo("native")
    fingerprints = {o.path: o.fingerprint for o in made.evidence.objects if o.rows is not None}
    assert all(f and f.startswith("rows-md5-1:") for f in fingerprints.values())
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    assert evidence(dbs.source(copy)) == made.evidence.objects == evidence(dbs.source(zoo_name))
    assert [(o.path, o.rows) for o in evidence(dbs.source(copy), "counts")] == [
        (o.path, o.rows) for o in made.evidence.objects
    ]
    assert driver.inspect(source=dbs.source(copy), options={"evidence": "off"}).evidence is None


def test_fingerprints_are_the_same_on_the_newer_server(dbs, newer_dbs, tmp_path):
    newer_dbs.server.script("postgres", zoo.ROLES)
    dbs.server.script("postgres", zoo.ROLES)
    made = dump(driver, dbs.source(dbs.new(zoo.COMMON)), tmp_path / "d", "sql", fingerprint=True)
    copy = newer_dbs.name()
    load(driver, newer_dbs.source(copy), made)
    assert evidence(newer_dbs.source(copy)) == made.evidence.objects


VALUES = [
    "(NULL, 'a')", "('', 'a')", "('NULL', 'a')", "('a', NULL)", "('a,b', 'c')", "('a', 'b,c')", "('a', '')",
    "('\"', 'a')", "('\\', 'a')", "('(a', 'b)')", "(' ', 'a')", "('a', 'a')", "('\u00e1', 'a')", "('a\u0301', 'a')",
]  # fmt: skip


def test_any_other_value_is_another_fingerprint(dbs):
    name = dbs.new("CREATE TABLE t (v text, w text)")
    fingerprints = set()
    for value in VALUES:
        dbs.server.execute(f"TRUNCATE t; INSERT INTO t VALUES {value}", database=name)
        fingerprints.add(evidence(dbs.source(name))[0].fingerprint)
    assert len(fingerprints) == len(VALUES)


@pytest.mark.parametrize(
    ("kind", "value", "other_value"),
    [
        ("float8", "0.1", "0.10000000000000002"),
        ("float8", "0.0", "-0.0"),
        ("float4", "16777216", "16777218"),
        ("float8[]", "{0.3}", "{0.30000000000000004}"),
        ("bytea", r"\x00", r"\x0000"),
        ("timestamptz", "2020-01-01 00:00:00.000001+00", "2020-01-01 00:00:00.000002+00"),
        ("interval", "1 mon", "30 days"),
        ("numeric", "1.0", "1.00"),
        ("jsonb", '{"a": 1}', '{"a": "1"}'),
        ("text[]", "{NULL}", '{"NULL"}'),
        ("money", "1.00", "1.01"),
        ("bit varying", "01", "010"),
        ("int4[]", "[0:0]={1}", "{1}"),
    ],
)
def test_values_that_differ_least_have_other_fingerprints(dbs, zoo_name, kind, value, other_value):
    source = dbs.source(dbs.new(f"CREATE TABLE a (v {kind}); CREATE TABLE b (v {kind})"))
    dbs.server.execute(
        "INSERT INTO a VALUES (%s); INSERT INTO b VALUES (%s)", value, other_value, database=source.database
    )
    a, b = evidence(source)
    assert a.fingerprint != b.fingerprint


def test_order_place_and_settings_change_no_fingerprint_and_doubled_rows_do(dbs):
    columns = "v text, f float8, t timestamptz, i interval, b bytea, m money, r regclass, d date"
    rows = "'x' || g % 7, g / 3.0, now(), '1 mon 3.5 s'::interval, '\\x00ff', '2.5'::money, 'pg_class'::regclass, now()"
    name = dbs.new(
        f"CREATE TABLE a ({columns}); CREATE TABLE b ({columns}); BEGIN;"
        f"INSERT INTO a SELECT {rows} FROM generate_series(1, 50) g;"
        f"INSERT INTO b SELECT {rows} FROM generate_series(50, 1, -1) g; COMMIT"
    )
    a, b = evidence(dbs.source(name))
    assert a.fingerprint == b.fingerprint
    for setting in (
        "DateStyle = 'German'", "IntervalStyle = 'iso_8601'", "TimeZone = 'Asia/Tokyo'", "bytea_output = 'escape'",
        "extra_float_digits = -15", "search_path = 'pg_catalog'", "quote_all_identifiers = on", "statement_timeout = 3000",
    ):  # fmt: skip
        dbs.server.execute(f"ALTER DATABASE {name} SET {setting}")
    assert evidence(dbs.source(name)) == (a, b)
    with contextlib.closing(dbs.server.connect(name)) as session, session.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET search_path = public; INSERT INTO b SELECT * FROM b")
    doubled = evidence(dbs.source(name))
    assert doubled[1].rows == 100
    assert doubled[1].fingerprint != b.fingerprint


def test_an_inherited_column_that_moves_changes_no_fingerprint(dbs, tmp_path):
    name = dbs.new(
        "CREATE TABLE p (a integer); CREATE TABLE c (b text) INHERITS (p); ALTER TABLE p ADD COLUMN z text;"
        "INSERT INTO c (a, b, z) VALUES (1, 'b', 'z'); CREATE TABLE g (x integer, gen integer GENERATED ALWAYS AS (1)"
        " STORED); INSERT INTO g VALUES (1); ALTER TABLE g DROP COLUMN x; CREATE TABLE none (); INSERT INTO none DEFAULT VALUES"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "native", fingerprint=True)
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    assert evidence(dbs.source(copy)) == made.evidence.objects


def test_text_of_another_encoding_has_the_fingerprint_of_its_characters(dbs, tmp_path):
    sql = "CREATE TABLE t AS SELECT 'é'::text AS v"
    latin = dbs.new(options="TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    utf8 = dbs.new()
    for name in (latin, utf8):
        dbs.server.execute(sql, database=name)
    assert evidence(dbs.source(latin)) == evidence(dbs.source(utf8))


def test_fingerprints_without_counts_are_a_clear_error(dbs, tmp_path):
    with pytest.raises(OptionError, match="leave counts=off out"):
        dump(driver, dbs.source(dbs.new()), tmp_path / "d", "sql", fingerprint=True, counts="off")


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "custom", "tar", "directory"])
def test_examining_counts_every_row_without_a_database(made_zoo, form, monkeypatch):
    monkeypatch.setenv("PGHOST", "/nowhere")
    made = made_zoo(form)
    found = {o.path: o.rows for o in examine(made).objects}
    expected = {o.path: o.rows for o in made.evidence.objects if o.rows is not None}
    assert {path: found[path] for path in expected} == expected
    assert expected["pg_catalog.pg_largeobject"] == 3


@pytest.mark.parametrize("form", ["sql", "native", "custom", "tar"])
def test_examining_finds_a_dump_that_is_cut_anywhere(made_zoo, tmp_path, form):
    made = made_zoo(form)
    whole = made.file.read_bytes()
    for percent in (0, 1, 30, 60, 90, 99):
        (tmp_path / "cut").write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(IntegrityError):
            examine(FileDump(tmp_path / "cut", form, made.evidence))


def test_examining_finds_a_row_or_a_large_object_that_is_gone(made_zoo, tmp_path):
    made = made_zoo("sql")
    whole = made.file.read_bytes()
    for removed, message in (
        (b"7\tparent 7\n", r"app\.parent has 29 rows, and had 30"),
        (b"SELECT pg_catalog.lo_create('424243');", r"pg_largeobject has 2 rows, and had 3"),
    ):
        assert removed in whole
        (tmp_path / "d").write_bytes(whole.replace(removed, b""))
        with pytest.raises(IntegrityError, match=message):
            examine(FileDump(tmp_path / "d", "sql", made.evidence))


def test_examining_finds_damage_inside_a_compressed_archive(made_zoo, tmp_path):
    made = made_zoo("custom")
    whole = bytearray(made.file.read_bytes())
    at = len(whole) - 3000
    whole[at : at + 40] = bytes(40)
    (tmp_path / "d").write_bytes(whole)
    with pytest.raises(IntegrityError):
        examine(FileDump(tmp_path / "d", "custom", made.evidence))


def drill(made, on=None, **options) -> tuple[tuple[str, ...], tuple]:
    """Restore into a scratch database, compare, check; return the checks and what ``ask`` gave."""
    with scratch(made, on, **options) as scratch_database:
        load(driver, scratch_database.target, made)
        assert evidence(scratch_database.target) == made.evidence.objects
        assert scratch_database.versions["server"]
        return scratch_database.check(), scratch_database.ask("SELECT count(*) > 10, max(id) FROM app.child")


def drill_directories(base: Path) -> list[Path]:
    return list(base.glob("dumpty-drill-pg-*"))


@pytest.fixture
def base(monkeypatch):
    """A directory that the server's user may enter, too."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_drill_on_a_private_server_proves_the_zoo_and_leaves_nothing(made_zoo, base):
    checks, asked = drill(made_zoo("native"), scratch_dir=str(base))
    assert asked == [(True, 100)]
    assert any(c.startswith("amcheck bt_index_check with heapallindexed of ") for c in checks)
    assert any(c.startswith("amcheck verify_heapam of ") for c in checks)
    assert drill_directories(base) == []


@pytest.mark.parametrize("form", ["native", "parallel"])
def test_a_drill_proves_rows_that_are_older_than_a_check_of_the_parents_they_inherit(dbs, base, tmp_path, form):
    name = dbs.new("""CREATE TABLE p (a int);
        SELECT format('CREATE TABLE p%s () INHERITS (p)', i) FROM generate_series(1, 12) i \\gexec
        SELECT format('INSERT INTO p%s SELECT generate_series(1, 100)', i) FROM generate_series(1, 12) i \\gexec
        ALTER TABLE p ADD CONSTRAINT late CHECK (a > 2000) NOT VALID""")
    made = dump(driver, dbs.source(name), tmp_path / "d", form, fingerprint=True)
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, made, jobs=3)
        assert evidence(scratch_database.target) == made.evidence.objects


def test_a_private_server_needs_no_roles_or_tablespaces_to_be_told(dbs, base, made_zoo, tmp_path):
    space = Path(dbs.server.root / "space")
    space.mkdir()
    os.chown(space, dbs.server.data.stat().st_uid, -1)
    dbs.server.execute(f"CREATE TABLESPACE fast LOCATION '{space}'")
    try:
        name = dbs.new("CREATE TABLE t (a integer) TABLESPACE fast; ALTER TABLE t OWNER TO zoo_owner")
        dbs.server.execute(f"COMMENT ON DATABASE {name} IS 'mine'")
        dbs.server.execute(f'ALTER DATABASE {name} OWNER TO "Zoo ""Reader"""')
        for form in ("sql", "native"):
            made = dump(driver, dbs.source(name), tmp_path / form, form)
            blind = FileDump(made.file, form, Evidence(objects=made.evidence.objects))
            for copy in (made, blind) if form == "sql" else (blind,):
                with scratch(copy, scratch_dir=str(base)) as scratch_database:
                    evidence_loaded = load(driver, scratch_database.target, copy)
                    assert evidence_loaded.notes == ()
                    if copy is made:
                        sql = """SELECT shobj_description(oid, 'pg_database'), pg_get_userbyid(datdba) FROM pg_database
                                 WHERE datname = current_database()"""
                        assert scratch_database.ask(sql) == [("mine", 'Zoo "Reader"')]
    finally:
        for database in dbs.made_databases():
            dbs.server.drop(database)
        dbs.server.execute("DROP TABLESPACE fast")


def test_a_cell_that_was_edited_in_the_dump_is_caught_by_its_fingerprint(dbs, made_zoo, tmp_path):
    made = made_zoo("sql")
    whole = made.file.read_bytes()
    (tmp_path / "d").write_bytes(whole.replace(b"7\tparent 7\n", b"7\tparent X\n"))
    edited = FileDump(tmp_path / "d", "sql", made.evidence)
    copy = dbs.name()
    load(driver, dbs.source(copy), edited)  # the counts agree
    before = {o.path: o for o in made.evidence.objects}
    after = evidence(dbs.source(copy))
    assert [o.path for o in after if o != before[o.path]] == ["app.parent"]


def test_a_damaged_index_fails_the_check(made_zoo, base):
    made = made_zoo("native")
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, made)
        from dumpty_plugins.postgres.server.connection import Address, rows

        with contextlib.closing(Address(scratch_database.target).connect()) as connection:
            # An index that says something else than its table: as after a change of the C library's collations.
            rows(connection, "CREATE FUNCTION public.f(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT $1'")
            rows(connection, "CREATE TABLE public.x AS SELECT g AS a FROM generate_series(1, 1000) g")
            rows(connection, "CREATE INDEX x_f ON public.x (public.f(a))")
            rows(
                connection,
                "CREATE OR REPLACE FUNCTION public.f(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT -$1'",
            )
        with pytest.raises(IntegrityError, match=r"amcheck: the index public\.x_f is damaged"):
            scratch_database.check()


def test_the_server_ends_and_its_directory_goes_when_dumpty_is_killed(dbs, base, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    script = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from pathlib import Path
from support.drive import FileDump, defaults
from dumpty import Evidence
import dumpty_plugins.postgres.plugin as driver
made = FileDump(Path({str(made.file)!r}), "sql", Evidence(versions={{"server": {made.evidence.versions["server"]!r}}}))
with driver.scratch(dump=made, on=None, options=defaults(driver, "scratch", scratch_dir={str(base)!r})) as place:
    print("up", flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        (directory,) = drill_directories(base)
        server = int((directory / "data" / "postmaster.pid").read_text().split()[0])
        child.kill()
    deadline = time.monotonic() + 20
    while drill_directories(base) or Path(f"/proc/{server}").exists():
        assert time.monotonic() < deadline, "the server outlived its drill"
        time.sleep(0.05)


def test_the_server_ends_when_its_keeper_is_killed_and_the_next_drill_clears_up(dbs, base, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    with scratch(made, scratch_dir=str(base)):
        (directory,) = drill_directories(base)
        server = int((directory / "data" / "postmaster.pid").read_text().split()[0])
        supervisor = int(Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()[1])
        with scratch(made, scratch_dir=str(base)) as other_drill:  # a drill beside it clears nothing that lives
            assert directory.exists()
            load(driver, other_drill.target, made)
        os.kill(supervisor, 9)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{server}").exists():
            assert time.monotonic() < deadline, "the server outlived its supervisor"
            time.sleep(0.05)
        assert directory.exists()
        with scratch(made, scratch_dir=str(base)):
            assert not directory.exists()


def _interrupted_drill(made, on, base, error) -> None:
    with scratch(made, on, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, made)
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_a_drill_leaves_nothing(dbs, base, tmp_path, error):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    before = dbs.made_databases()
    for on in (None, dbs.source("postgres")):
        with pytest.raises(error):
            _interrupted_drill(made, on, base, error)
    assert drill_directories(base) == []
    assert dbs.made_databases() == before


def test_what_this_machine_lacks_is_said_and_not_taken_for_a_failure(dbs, made_zoo, base, tmp_path, monkeypatch):
    made = dump(driver, dbs.source(dbs.new()), tmp_path / "d", "sql")
    recorded = made.evidence.properties
    for versions, properties, message in (
        ({"server": "99.1"}, recorded, r"dump is of PostgreSQL 99, and .* has only .*apt-get install postgresql-99"),
        (made.versions, {**recorded, "extensions": ["nonsuch"]}, r"lacks the extensions nonsuch"),
        (made.versions, {**recorded, "collate": "xx_YY.utf8", "ctype": "xx_YY.utf8"}, r"lacks the locale xx_YY\.utf8"),
    ):
        altered = FileDump(made.file, "sql", Evidence(versions=versions, properties=properties))
        with pytest.raises(NotProvable, match=message), scratch(altered, scratch_dir=str(base)):
            pass
    with pytest.raises(NotProvable, match="scratch_dir"), scratch(made, scratch_dir="/nowhere"):
        pass
    long_path = base / ("x" * 90)
    long_path.mkdir()
    with pytest.raises(NotProvable, match="too long for a socket"), scratch(made, scratch_dir=str(long_path)):
        pass
    assert not drill_directories(base)


def test_pghostaddr_cannot_lead_a_drill_to_a_real_server(dbs, base, tmp_path, monkeypatch):
    made = dump(driver, dbs.source(dbs.new()), tmp_path / "d", "sql")
    with monkeypatch.context() as patch:
        patch.setenv("PGHOSTADDR", "127.0.0.1")
        with pytest.raises(DumptyError, match="PGHOSTADDR"), scratch(made, scratch_dir=str(base)):
            pytest.fail("it began")
    assert not drill_directories(base)


def test_a_drill_on_a_named_server_uses_a_database_of_its_own_and_drops_it(dbs, made_zoo, zoo_name):
    before = dbs.made_databases()
    checks, asked = drill(made_zoo("native"), dbs.source("postgres"))
    assert asked == [(True, 100)]
    assert len(checks) == 3
    assert dbs.made_databases() == before


def test_a_drill_on_a_newer_server(newer_dbs, dbs, base, tmp_path, monkeypatch):
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(newer_dbs.server.bindir))
    name = newer_dbs.new("CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 10) g; CREATE INDEX ON t (a)")
    made = dump(driver, newer_dbs.source(name), tmp_path / "d", "native", fingerprint=True)
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, made)
        assert scratch_database.versions["server"].startswith(str(newer_dbs.server.major))
        assert evidence(scratch_database.target) == made.evidence.objects
        # This build of PostgreSQL comes without amcheck: it is not said to have run.
        assert not any("amcheck" in c for c in scratch_database.check())
    with pytest.raises(NotProvable, match=r"name a newer server"), scratch(made, dbs.source("postgres")):
        pass


def test_the_database_of_a_killed_drill_is_dropped_by_the_next_on_that_server(dbs, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    abandoned = dbs.server.create("dumpty_drill_00c0ffee")
    abandoned_replacement = dbs.server.create("dumpty_drill_00c0ffee__dumpty_00000000")
    unrelated = dbs.server.create("dumpty_drill_of_my_own")
    with scratch(made, dbs.source("postgres")) as scratch_database:
        load(driver, scratch_database.target, made)
        with scratch(made, dbs.source("postgres")):
            pass
        assert scratch_database.target.database in dbs.made_databases()  # of a drill that goes on
        assert not {abandoned, abandoned_replacement} & dbs.made_databases()
        assert unrelated in dbs.made_databases()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", "server, postgres_fdw"),
        ("CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)", "subscription"),
        ("CREATE EXTENSION dblink", "dblink"),
    ],
)
@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_dump_that_reaches_out_is_not_restored_beside_other_databases(dbs, tmp_path, form, sql, message):
    name = dbs.new(sql)
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    with contextlib.closing(dbs.server.connect(name)) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        for (subscription,) in cursor.fetchall():
            cursor.execute(
                f"ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE); DROP SUBSCRIPTION {subscription}"
            )
    with pytest.raises(NotProvable, match=message), scratch(made, dbs.source("postgres")):
        pass


def test_asking_changes_nothing_and_finds_tables_as_the_database_does(dbs, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t AS SELECT 1 AS a")), tmp_path / "d", "sql")
    with scratch(made, dbs.source("postgres")) as scratch_database:
        load(driver, scratch_database.target, made)
        assert scratch_database.ask("SELECT a FROM t") == [(1,)]
        with pytest.raises(Exception, match="read-only transaction"):
            scratch_database.ask("DELETE FROM t")
        with pytest.raises(Exception, match='"nonsuch" does not exist'):
            scratch_database.ask("SELECT * FROM nonsuch")
