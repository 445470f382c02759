"""A dump is code of whoever owned the database: a drill runs it with rights to nothing, and under nobody's account."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.drive import FileDump, defaults, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupManager, CommandError, IntegrityError, NotProvable, OptionError, SourceError

sys.path.insert(0, str(Path(__file__).parent))
import zoo

CODE = """
CREATE FUNCTION public.f(place text, v anyelement) RETURNS integer LANGUAGE plpgsql AS $f$
DECLARE
  had text := current_setting('is_superuser');
  act text := 'COPY (SELECT 1) TO PROGRAM ' || quote_literal('cat > MARKS/' || place);
BEGIN
  BEGIN
    UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = current_user;
    had := 'on';
  EXCEPTION WHEN OTHERS THEN NULL; END;
  IF had = 'on' THEN EXECUTE act; END IF;
  BEGIN EXECUTE act; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN SET ROLE postgres; EXECUTE act; EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN 1;
END $f$;
CREATE FUNCTION public.g(place text, v anyelement) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
  BEGIN RETURN public.f(place, v); END $$;
CREATE TABLE "check" (a integer CHECK (f('check', a) IS NOT NULL));
CREATE TABLE "index" (a integer); CREATE INDEX ON "index" (g('index', a));
CREATE TABLE partial (a integer); CREATE INDEX ON partial (a) WHERE g('partial', a) = 1;
CREATE TABLE generated (a integer, b integer GENERATED ALWAYS AS (g('generated', a)) STORED);
CREATE DOMAIN d AS integer CHECK (f('domain', VALUE) IS NOT NULL); CREATE TABLE domain (a d);
CREATE FUNCTION x() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.f('trigger', 1); RETURN NEW; END $$;
CREATE TABLE trigger (a integer); CREATE TRIGGER x BEFORE INSERT ON trigger FOR EACH ROW EXECUTE FUNCTION x();
ALTER TABLE trigger ENABLE ALWAYS TRIGGER x;
CREATE MATERIALIZED VIEW matview AS SELECT f('matview', a) FROM "check";
CREATE TYPE y AS (a integer);
CREATE FUNCTION x(y) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.f('cast', 1); RETURN 'x'; END $$;
CREATE CAST (y AS text) WITH FUNCTION x(y) AS IMPLICIT; CREATE TABLE "cast" (a y);
CREATE FUNCTION md5(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.f('md5', 1); RETURN ''; END $$;
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
  EXECUTE format('ALTER DATABASE %I SET row_security = off', current_database());
END $$;
INSERT INTO "check" VALUES (1), (2); INSERT INTO "index" VALUES (1), (2); INSERT INTO partial VALUES (1), (2);
INSERT INTO generated VALUES (1), (2); INSERT INTO domain VALUES (1), (2); INSERT INTO trigger VALUES (1), (2);
INSERT INTO "cast" VALUES (ROW(1)), (ROW(2)); REFRESH MATERIALIZED VIEW matview;
"""
"""What would be seen: a file, made by whoever may run programs, by whichever way, named after where the code stands."""


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A directory that every account may enter."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def marks() -> Iterator[Path]:
    """A directory in which every account can make files, and nobody may have."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def hostile(dbs, role, marks):
    """A database of an owner who is no superuser, with code that waits for one."""
    name, password = role
    database = dbs.new(options=f"OWNER {name}")
    dbs.server.execute(f"GRANT ALL ON SCHEMA public TO {name}", database=database)
    with contextlib.closing(dbs.server.connect(database, user=name, password=password)) as session:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(CODE.replace("MARKS", str(marks)))
    assert os.listdir(marks) == []
    return dbs.source(database, name, password)


@pytest.fixture
def drill_role(postgres):
    """A user of the tests' server who may do nothing but create databases, as (name, password)."""
    name, password = f"r_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    postgres.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD %s", password)
    yield name, password
    postgres.execute(f"DROP ROLE {name}")


def scratch(made, on=None, **options):
    return driver.scratch(dump=made, on=on, options=defaults(driver, "scratch", **options))


def fingerprinted(source):
    return driver.inspect(source=source, options={"evidence": "fingerprint"}).evidence.objects


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_drill_runs_a_strangers_code_without_rights(dbs, hostile, drill_role, marks, base, tmp_path, form):
    made = dump(driver, hostile, tmp_path / form, form, fingerprint=True)
    for on in (None, dbs.source("postgres", *drill_role)):
        with scratch(made, on, scratch_dir=str(base)) as scratch_database:
            load(driver, scratch_database.target, made)
            assert fingerprinted(scratch_database.target) == made.evidence.objects
            assert scratch_database.check()
            assert scratch_database.ask("SELECT f('asked', 1)") == [(1,)]
            assert scratch_database.ask("SELECT session_user = current_user, current_setting('is_superuser')") == [
                (True, "off")
            ]
        assert os.listdir(marks) == []


def test_a_superuser_would_run_that_code_and_has_to_be_insisted_on(dbs, hostile, marks, base, tmp_path):
    made = dump(driver, hostile, tmp_path / "d", "sql")
    with pytest.raises(OptionError, match=r"is a superuser.*-o superuser=on"), scratch(made, dbs.source("postgres")):
        pytest.fail("a scratch database was made")
    for on in (None, dbs.source("postgres")):
        with (
            scratch(made, on, superuser=True, scratch_dir=str(base)) as scratch_database,
            pytest.raises(SourceError, match="COPY to or from an external program"),  # an index is made as its owner
        ):
            load(driver, scratch_database.target, made)
        assert {"check", "generated", "domain"} <= set(os.listdir(marks))  # so the test above would see it
        for mark in marks.iterdir():
            mark.unlink()


@pytest.mark.parametrize(
    "right",
    [
        "pg_execute_server_program",
        "pg_read_server_files",
        "pg_signal_backend",
        "CREATEROLE",
        "REPLICATION",
        "a superuser",
    ],
)
def test_who_is_as_good_as_a_superuser_is_one(dbs, drill_role, tmp_path, right):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    name, password = drill_role
    if right in ("CREATEROLE", "REPLICATION"):
        dbs.server.execute(f"ALTER ROLE {name} {right}")
    else:
        dbs.server.execute(f"GRANT {'postgres' if right == 'a superuser' else right} TO {name}")
    if right == "CREATEROLE" and dbs.server.major >= 16:  # since then it reaches the roles alone that it made itself
        with scratch(made, dbs.source("postgres", name, password)) as scratch_database:
            assert scratch_database.target.username == name
        return
    with pytest.raises(OptionError, match=right), scratch(made, dbs.source("postgres", name, password)):
        pytest.fail("a scratch database was made")


def test_whoever_owns_other_databases_is_no_user_for_a_drill(dbs, drill_role, tmp_path):
    name, password = drill_role
    owned_database = dbs.new(options=f"OWNER {name}")
    code = f"""CREATE FUNCTION f(v integer) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
                 EXECUTE 'ALTER DATABASE {owned_database} CONNECTION LIMIT 7'; RETURN true;
               EXCEPTION WHEN OTHERS THEN RETURN true; END $f$;
               CREATE TABLE t (a integer); INSERT INTO t VALUES (1);
               ALTER TABLE t ADD CHECK (f(a)) NOT VALID"""
    made = dump(driver, dbs.source(dbs.new(code)), tmp_path / "d", "sql")
    made.file.write_bytes(made.file.read_bytes().replace(b" NOT VALID;", b";"))
    on = dbs.source("postgres", name, password)
    limit = f"SELECT datconnlimit FROM pg_database WHERE datname = '{owned_database}'"
    try:
        with (
            pytest.raises(OptionError, match=f"the owner of the database {owned_database}"),
            scratch(made, on) as scratch_database,
        ):
            load(driver, scratch_database.target, made)
        assert dbs.server.execute(limit) == [(-1,)]
    finally:
        dbs.server.execute(f"DROP DATABASE {owned_database}")
    with scratch(made, on) as scratch_database:
        load(driver, scratch_database.target, made)


@pytest.mark.parametrize("between", [b"  ", b"\n", b"/* /* */ */", b" -- x\n"])
def test_no_spelling_lets_a_dump_make_databases_on_a_named_server(dbs, drill_role, tmp_path, between):
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t (a integer)")), tmp_path / "d", "sql")
    text = made.file.read_bytes()
    forged = b"CREATE%bDATABASE %b TEMPLATE template0;\n" % (between, dbs.name().encode())
    made.file.write_bytes(text.replace(b"CREATE TABLE", forged + b"CREATE TABLE", 1))
    databases_before = dbs.made_databases()
    refusal = pytest.raises(NotProvable, match=r"reaches out of its database \(database\)")
    with refusal, scratch(made, dbs.source("postgres", *drill_role)) as scratch_database:
        load(driver, scratch_database.target, made)
    assert dbs.made_databases() == databases_before


def test_no_data_of_an_archive_are_statements(dbs, drill_role, tmp_path):
    columns = ", ".join(f"{c * 20} integer" for c in "abcd")
    made = dump(driver, dbs.source(dbs.new(f"CREATE TABLE t ({columns})")), tmp_path / "d", "native")
    data = made.file.read_bytes()
    start = data.index(b"COPY public.t")
    end = data.index(b"FROM stdin;", start) + len(b"FROM stdin")
    forged = b"CREATE DATABASE %b TEMPLATE template0" % dbs.name().encode()
    made.file.write_bytes(data[:start] + forged.ljust(end - start) + data[end:])
    databases_before = dbs.made_databases()
    refusal = pytest.raises(NotProvable, match="reaches out of its database")
    with refusal, scratch(made, dbs.source("postgres", *drill_role)) as scratch_database:
        load(driver, scratch_database.target, made)
    assert dbs.made_databases() == databases_before


def test_no_kind_that_an_archive_gives_a_statement_hides_it(dbs, drill_role, tmp_path):
    code = "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;"
    name = dbs.new(code + "CREATE EVENT TRIGGER eeeeeeeeeeeeeeee ON ddl_command_start EXECUTE FUNCTION e()")
    made = dump(driver, dbs.source(name), tmp_path / "d", "native")
    dbs.server.execute("DROP EVENT TRIGGER eeeeeeeeeeeeeeee", database=name)
    data = made.file.read_bytes()
    start = data.index(b"CREATE EVENT TRIGGER")
    end = data.index(b";", start)
    forged = b"CREATE DATABASE %b TEMPLATE template0" % dbs.name().encode()
    data = data[:start] + forged.ljust(end - start) + data[end:]
    made.file.write_bytes(data.replace(b"\r\0\0\0EVENT TRIGGER", b"\r\0\0\0DATABASE EVIL"))
    assert b"DATABASE EVIL" in made.file.read_bytes()
    databases_before = dbs.made_databases()
    refusal = pytest.raises(NotProvable, match=r"reaches out of its database \(database\)")
    with refusal, scratch(made, dbs.source("postgres", *drill_role)) as scratch_database:
        load(driver, scratch_database.target, made)
    assert dbs.made_databases() == databases_before


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_policies_that_are_forced_on_owners_hide_no_rows_from_a_drill(dbs, drill_role, base, tmp_path, form):
    name = dbs.new(
        "CREATE TABLE t AS SELECT generate_series(1, 10) AS a; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY few ON t USING (a > 8)"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", form, fingerprint=True)
    for on in (None, dbs.source("postgres", *drill_role)):
        with scratch(made, on, scratch_dir=str(base)) as scratch_database:
            load(driver, scratch_database.target, made)
            assert fingerprinted(scratch_database.target) == made.evidence.objects
            assert scratch_database.ask("SELECT count(*) FROM t") == [(10,)]
            assert scratch_database.check()
            assert any("forced row security (1 left out" in omission for omission in scratch_database.not_proved) == (
                on is not None
            )


def server_of(scratch_database) -> int:
    data = Path(scratch_database.target.query["host"]).parent / "data"
    return int((data / "postmaster.pid").read_text().split()[0])


def test_the_server_runs_as_nobody_and_takes_what_it_started_with_it(dbs, base, marks, tmp_path):
    mark = marks / "mark"
    root = os.geteuid() == 0
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    with scratch(made, scratch_dir=str(base), superuser=True) as scratch_database:
        load(driver, scratch_database.target, made)
        status = Path(f"/proc/{server_of(scratch_database)}/status").read_text()
        (uid,) = {line.split()[1] for line in status.splitlines() if line.startswith("Uid:")}
        assert "NoNewPrivs:\t1" in status
        assert any(uid in note for note in scratch_database.notes)
        if root:
            assert "Groups:\t \n" in status
            with pytest.raises(KeyError):
                pwd.getpwuid(int(uid))
            program = (
                f"cat > /dev/null; setsid sh -c 'echo $$ > {mark}; exec sleep 1000' > /dev/null 2>&1 < /dev/null &"
            )
            with contextlib.closing(_session(scratch_database)) as session, session.cursor() as cursor:
                cursor.execute("COPY (SELECT 1) TO PROGRAM %s", (program,))
            _wait_for(lambda: mark.exists() and mark.read_text().strip())
    if root:
        stray = Path("/proc") / mark.read_text().strip() / "status"
        _wait_for(lambda: not stray.exists() or "zombie" in stray.read_text())
    else:
        assert int(uid) == os.geteuid()


def _session(scratch_database):
    import psycopg2

    target = scratch_database.target
    session = psycopg2.connect(
        host=target.query["host"],
        port=target.query["port"],
        user=target.username,
        password=target.password,
        dbname=target.database,
    )
    session.autocommit = True
    return session


def _wait_for(condition) -> None:
    import time

    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_throw_away_server_does_not_inherit_the_environment(dbs, base, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret-of-the-caller")
    monkeypatch.setenv("PGPASSFILE", "/nowhere/s3cret-of-the-caller")
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        server = server_of(scratch_database)
        supervisor_pid = int(Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()[1])
        for process in (server, supervisor_pid):
            environment = Path(f"/proc/{process}/environ").read_bytes()
            names = {entry.split(b"=")[0].decode() for entry in environment.split(b"\0") if b"=" in entry}
            assert b"s3cret" not in environment
            assert names <= {"PATH", "HOME", "LC_ALL", "TZ", "TZDIR", "LD_LIBRARY_PATH"} | {
                name for name in names if name.startswith(("PG_", "PGDATA", "PGSYSCONFDIR", "PGLOCALEDIR"))
            }
        assert b"s3cret" not in Path(f"/proc/{server}/cmdline").read_bytes()


EXTENDED = """
CREATE SCHEMA x; CREATE EXTENSION pgcrypto; CREATE EXTENSION citext SCHEMA x; CREATE EXTENSION "uuid-ossp" SCHEMA x;
CREATE EXTENSION pg_stat_statements; CREATE EXTENSION bloom; CREATE EXTENSION amcheck SCHEMA x;
CREATE TABLE t (a x.citext PRIMARY KEY, b uuid DEFAULT x.uuid_generate_v4());
INSERT INTO t (a) VALUES ('One'), ('two');
CREATE INDEX ON t USING bloom (a text_ops);
CREATE VIEW v AS SELECT blkno FROM x.verify_heapam('t'::regclass);
ALTER TABLE t OWNER TO zoo_owner;
GRANT SELECT ON t TO "Zoo ""Reader"" ";
""".replace('"" "', '"""')


@pytest.fixture(scope="module")
def roles(postgres):
    postgres.script("postgres", zoo.ROLES)


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "directory"])
@pytest.mark.usefixtures("roles")
def test_extensions_owners_and_rights_are_proved_without_a_superuser(dbs, base, tmp_path, form):
    name = dbs.new(EXTENDED)
    made = dump(driver, dbs.source(name), tmp_path / form, form, fingerprint=True)
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, made)
        assert fingerprinted(scratch_database.target) == made.evidence.objects
        assert any("bt_index_check" in check for check in scratch_database.check())
        sql = "SELECT pg_get_userbyid(relowner), relacl::text FROM pg_class WHERE relname = 't'"
        assert scratch_database.ask(sql) == dbs.server.execute(sql, database=name)
        assert scratch_database.not_proved == ()


@pytest.mark.parametrize("form", ["sql", "native"])
def test_an_extension_in_a_schema_whose_name_is_not_ascii_is_proved(dbs, base, tmp_path, form):
    sql = 'CREATE SCHEMA "é"; CREATE EXTENSION citext SCHEMA "é"; CREATE TABLE t (a "é".citext)'
    name = dbs.new(f"SET client_encoding = 'UTF8'; {sql}", options="ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, made)
        assert scratch_database.ask("SELECT nspname FROM pg_namespace WHERE oid >= 16384") == [("é",)]


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_what_only_a_superuser_makes_is_left_out_and_told_where_no_data_hang_on_it(dbs, base, tmp_path, form):
    name = dbs.new(
        "CREATE TABLE t (a integer); INSERT INTO t VALUES (1); CREATE PUBLICATION every FOR ALL TABLES;"
        "CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;"
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION e(); COMMENT ON EVENT TRIGGER e IS 'x';"
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO PUBLIC"
    )
    made = dump(driver, dbs.source(name), tmp_path / form, form)
    with scratch(made, scratch_dir=str(base)) as scratch_database:
        evidence = load(driver, scratch_database.target, made)
        assert [(o.path, o.rows) for o in evidence.objects] == [("public.t", 1)]
        omissions = " ".join(scratch_database.not_proved)
        assert all(kind in omissions for kind in ("event triggers", "publications", "rights"))


@pytest.mark.parametrize(
    ("form", "sql", "reason"),
    [
        ("sql", "CREATE FUNCTION c(cstring) RETURNS integer LANGUAGE internal AS 'int4in'", "language internal"),
        ("native", "CREATE FUNCTION c(cstring) RETURNS integer LANGUAGE internal AS 'int4in'", "language internal"),
        ("native", "CREATE EXTENSION dblink", "dblink"),
    ],
)
def test_what_data_may_hang_on_is_not_provable_without_a_superuser(dbs, base, tmp_path, form, sql, reason):
    made = dump(driver, dbs.source(dbs.new(f"CREATE TABLE t (a integer); {sql}")), tmp_path / form, form)

    def drill(**options) -> None:
        with scratch(made, scratch_dir=str(base), **options) as scratch_database:
            load(driver, scratch_database.target, made)

    with pytest.raises(NotProvable, match=f"{reason}.*-o superuser=on"):
        drill()
    drill(superuser=True)


def test_a_forged_archive_gets_no_extension_behind_code_of_its_own(dbs, base, tmp_path):
    made = dump(driver, dbs.source(dbs.new("CREATE EXTENSION citext")), tmp_path / "d", "sql")
    text = made.file.read_bytes()
    code = b"CREATE FUNCTION public.x() RETURNS integer LANGUAGE sql AS 'SELECT 1';\n"
    made.file.write_bytes(text.replace(b"CREATE EXTENSION", code + b"CREATE EXTENSION", 1))
    with (
        scratch(made, scratch_dir=str(base)) as scratch_database,
        pytest.raises(NotProvable, match="citext, which comes behind x"),
    ):
        load(driver, scratch_database.target, made)


def test_a_limit_of_connections_keeps_no_drill_out(dbs, base, tmp_path):
    name = dbs.new("CREATE TABLE t (a integer)")
    made = dump(driver, dbs.source(name), tmp_path / "d", "native")
    surroundings = {**made.evidence.properties["surroundings"], "limit": 0, "grants": []}
    from msgspec import structs

    properties = {**made.evidence.properties, "surroundings": surroundings}
    altered = FileDump(made.file, "native", structs.replace(made.evidence, properties=properties))
    with scratch(altered, scratch_dir=str(base)) as scratch_database:
        load(driver, scratch_database.target, altered)
        assert scratch_database.ask("SELECT 1") == [(1,)]


@pytest.mark.parametrize("where", ["settings", "privilege", "grantee", "provider", "role settings"])
def test_no_code_in_what_a_manifest_says_of_a_database_is_run(dbs, tmp_path, where):
    """Restored by a superuser, as the database of a name that is free."""
    from msgspec import structs

    evil = f"evil_{uuid.uuid4().hex[:8]}"
    code = f"; CREATE ROLE {evil} SUPERUSER"
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t (a integer)")), tmp_path / "d", "native")
    properties = dict(made.evidence.properties)
    around = dict(properties["surroundings"])
    if where == "settings":
        properties["settings"] = [f"search_path=public{code}", f'search_path="public"{code}; --"']
    elif where == "provider":
        properties["locale_provider"] = f"libc{code}"
    elif where == "role settings":
        around["role_settings"] = [[f'postgres" RESET ALL{code}; --', f"search_path=public{code}"]]
    else:
        around["grants"] = [[f"CONNECT ON DATABASE postgres TO PUBLIC{code}; --", "PUBLIC", False]]
        if where == "grantee":
            around["grants"] = [["CONNECT", f"PUBLIC{code}", False]]
    properties["surroundings"] = around
    altered = FileDump(made.file, "native", structs.replace(made.evidence, properties=properties))
    target = f"t_{uuid.uuid4().hex[:8]}"
    try:
        with contextlib.suppress(IntegrityError):
            load(driver, dbs.source(target), altered)
        assert dbs.server.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", evil) == [(0,)]
        assert (target in dbs.server.databases()) == (where in {"settings", "role settings"})
    finally:
        dbs.server.drop(target)
        dbs.server.execute(f"DROP ROLE IF EXISTS {evil}")


def test_a_role_that_a_database_gives_its_sessions_keeps_no_drill_out(dbs, base, tmp_path):
    reader = f"r_{uuid.uuid4().hex[:8]}"
    dbs.server.execute(f"CREATE ROLE {reader}")
    name = dbs.new(f"CREATE TABLE t (a integer); INSERT INTO t VALUES (1); GRANT SELECT ON t TO {reader}")
    dbs.server.execute(f"ALTER DATABASE {name} SET role = {reader}")
    manager = BackupManager(tmp_path / "backups")
    try:
        made = manager.create_backup(dbs.server.url(name), fingerprint=True)
        assert made.success, made.error
        assert manager.prove(made.backup.id, level="restore", scratch_dir=str(base)).ok
    finally:
        dbs.drop()
        dbs.server.execute(f"DROP ROLE {reader}")


def test_what_a_drill_left_that_was_killed_while_it_cleared_up_is_removed(dbs, base, tmp_path):
    abandoned = base / "dumpty-drill-pg-killed"
    (abandoned / "data").mkdir(parents=True)
    (abandoned / "lock").touch()
    made = dump(driver, dbs.source(dbs.new("CREATE TABLE t ()")), tmp_path / "d", "sql")
    with scratch(made, scratch_dir=str(base)):
        assert not abandoned.exists()


AS_ANOTHER = """
import os, sys
sys.path[:0] = {path!r}
import dumpty, dumpty.process, psycopg2, psycopg2.extensions, fcntl, getpass, secrets, encodings.idna
for name in dumpty.__all__:
    getattr(dumpty, name)
for name in dumpty.process.__all__:
    getattr(dumpty.process, name)
import dumpty_plugins.postgres.plugin as driver
from dumpty_plugins.postgres import backup, examine, restore, scratch
from dumpty_plugins.postgres.server import private_server, supervisor
from support.drive import FileDump, defaults
supervisor.__file__ = {supervisor!r}
dumpty.process.account.BECOME = {become!r}
sys.executable = {python!r}
made = FileDump({file!r}, "sql", dumpty.Evidence(versions={{"server": {version!r}}}))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({uid}); os.setuid({uid})
with driver.scratch(dump=made, on=None, options=defaults(driver, "scratch", scratch_dir={base!r})) as lent:
    driver.restore(target=lent.target, dump=made, overwrite=False, options=defaults(driver, "restore"))
    print(lent.notes, lent.ask("SELECT f('asked', 1), current_setting('is_superuser')"))
"""


def test_a_drill_of_somebody_who_is_not_root_says_under_whose_account_it_ran(hostile, marks, base):
    directory = base / "another"
    directory.mkdir()
    made = dump(driver, hostile, directory / "d", "sql")
    from dumpty.process import become
    from dumpty_plugins.postgres.server import supervisor

    programs = {}
    for module in (supervisor, become):  # the tests themselves may lie where nobody else may read
        programs[module.__name__.rpartition(".")[2]] = shutil.copy(str(module.__file__), directory)
    uid = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    if os.geteuid() == 0:
        for path in (directory, *directory.iterdir()):
            os.chown(path, uid, uid)
    python = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or sys.executable
    server_version = made.evidence.versions["server"]
    script = AS_ANOTHER.format(
        path=sys.path, **programs, python=python, file=made.file, version=server_version, uid=uid, base=str(directory)
    ).replace("PosixPath(", "__import__('pathlib').Path(")
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")
    assert process.returncode == 0, process.stderr
    assert f"as this user ({uid})" in process.stdout
    assert "[(1, 'off')]" in process.stdout
    assert os.listdir(marks) == []


def test_a_proof_says_under_whose_rights_it_was_made(dbs, base, tmp_path):
    name = dbs.new("CREATE TABLE t (a integer); CREATE PUBLICATION every FOR ALL TABLES")
    manager = BackupManager(tmp_path / "backups")
    made = manager.create_backup(dbs.server.url(name))
    assert made.success, made.error
    proof = manager.prove(made.backup.id, level="restore", scratch_dir=str(base))
    assert proof.ok
    proved = " ".join(line.what for line in proof.proved)
    assert "loaded as a role that is no superuser" in proved
    assert ("owns nothing" in proved) == (os.geteuid() == 0)
    assert any("publications (1 left out" in line for line in proof.not_proved)


def test_a_failure_of_pg_restore_that_is_no_matter_of_rights_stays_a_failure(dbs, base, tmp_path):
    name = dbs.new("CREATE TABLE t (a integer); INSERT INTO t VALUES (1), (2)")
    made = dump(driver, dbs.source(name), tmp_path / "d", "native")
    data = made.file.read_bytes()
    assert data.count(b"1\n2\n") == 1 or b"\n" in data
    made.file.write_bytes(data.replace(b"1\n", b"x\n"))
    with (
        scratch(made, scratch_dir=str(base)) as scratch_database,
        pytest.raises(CommandError, match="invalid input syntax"),
    ):
        load(driver, scratch_database.target, made)
