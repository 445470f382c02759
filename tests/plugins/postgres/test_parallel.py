"""Dumps in parts: every row is in exactly one, of one moment, and whatever is wrong with a part is an error."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from msgspec import structs
from support.drive import FileSink, defaults, dump, load
from support.toys import threads_ended

import dumpty_plugins.postgres.plugin as driver
from dumpty import (
    BackupManager,
    DumptyError,
    FormatNotSupported,
    IntegrityError,
    SourceError,
)
from dumpty_plugins.postgres.dumping import plan

REAL_SIZES = {"LARGE_BYTES": plan.LARGE_BYTES, "RANGE_BYTES": plan.RANGE_BYTES}
TABLES = """
CREATE TABLE big AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 4000) g;
ALTER TABLE big ADD PRIMARY KEY (id);
CREATE TABLE small AS SELECT g AS id FROM generate_series(1, 5) g;
CREATE TABLE empty (id integer);
CREATE VIEW bigger AS SELECT * FROM big WHERE id > 100;
"""


@pytest.fixture
def name(dbs):
    return dbs.new(TABLES)


def back_up(source, sink, **options):
    with contextlib.closing(sink):
        return driver.backup(source=source, sink=sink, format="parallel", options=defaults(driver, "backup", **options))


class Once:
    """Does something once, however many threads come at the same time; the others wait until it is done."""

    def __init__(self, work) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._done = False

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._done = True
                self._work()


def archive(made):
    """Parts are begun side by side, so they stand in any order."""
    [part] = [part for part in made.parts if part.section == "whole"]
    return part


def of_rows(made, table=""):
    return [p for p in made.parts if p.section == "data" and (not table or p.tables[0].path == table)]


def assert_same(dbs, one: str, other: str) -> None:
    """Parts are loaded in any order, so rows may lie in another one."""
    assert sorted(dbs.server.dump(one).splitlines()) == sorted(dbs.server.dump(other).splitlines())


def altered(made, change):
    """Return a dump of which the first part of a table in several has other content."""
    [part] = [p for p in of_rows(made, "public.big") if p.tables[0].range.startswith("pages 0 ")]
    before = part.file.read_bytes()
    part.file.write_bytes(change(before))
    assert part.file.read_bytes() != before
    return made


# -- what is written ---------------------------------------------------------------------------------------------


def test_each_part_says_which_rows_of_which_table_it_holds(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel", jobs=2)
    first, others = archive(made), of_rows(made)
    assert (first.suffix, first.tables) == ("", ())
    assert len(made.parts) == len(others) + 1
    assert {part.suffix for part in others} == {".rows.sql"}
    held = Counter()
    for part in others:
        [table] = part.tables
        held[table.path] += table.rows
        assert part.file.read_bytes().count(b"\n", part.file.read_bytes().index(b"FROM stdin;\n")) == table.rows + 4
    assert held == {"public.big": 4000, "public.small": 5}
    labels = [part.tables[0].range for part in others if part.tables[0].path == "public.big"]
    assert len(labels) > 4
    assert "pages 0 to 3" in {re.sub(r"to \d+", "to 3", label) for label in labels}
    assert len([label for label in labels if re.fullmatch(r"pages from \d+", label)]) == 1, "the last one has no end"
    assert {o.path: o.rows for o in made.evidence.objects} == {"public.big": 4000, "public.small": 5, "public.empty": 0}


def test_the_rows_that_come_in_parts_are_not_in_the_archive(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    argv = [str(dbs.server.bindir / "pg_restore"), "-f", "-", str(archive(made).file)]
    script = subprocess.run(argv, capture_output=True, check=True).stdout
    assert re.findall(rb"COPY public\.(\w+)", script) == [b"empty"]
    assert b"CREATE VIEW public.bigger" in script


def test_of_a_small_database_too_eight_jobs_have_several_parts_each(dbs, tmp_path, monkeypatch):
    for name, size in REAL_SIZES.items():
        monkeypatch.setattr(plan, name, size)
    name = dbs.new("CREATE UNLOGGED TABLE t AS SELECT repeat('x', 1500) AS v FROM generate_series(1, 24000) g")
    rows = {
        jobs: sorted(part.tables[0].rows for part in of_rows(made))
        for jobs in (1, 8)
        for made in [dump(driver, dbs.source(name), tmp_path / str(jobs), "parallel", jobs=jobs)]
    }
    assert len(rows[1]) < 8
    assert len(rows[8]) > 16
    assert rows[8][-1] < 24000 / 16, "whoever begins a part last keeps the others waiting for a sixteenth at most"


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_any_number_of_jobs_writes_and_loads_the_same(dbs, name, tmp_path, jobs):
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel", jobs=jobs)
    copy = dbs.name()
    evidence = load(driver, dbs.source(copy), made, jobs=jobs)
    assert evidence.objects == made.evidence.objects
    assert_same(dbs, copy, name)


def test_its_own_tools_load_it_without_dumpty(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    copy = dbs.new()
    bindir, url = dbs.server.bindir, dbs.server.url(copy)
    rest = str(archive(made).file)
    pg_restore = [str(bindir / "pg_restore"), "-e", "-d", url]
    subprocess.run([*pg_restore, "--section=pre-data", rest], check=True)
    for part in of_rows(made):
        psql = [str(bindir / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", str(part.file), url]
        subprocess.run(psql, check=True)
    subprocess.run([*pg_restore, "--section=data", "--section=post-data", rest], check=True)
    assert_same(dbs, copy, name)


def test_a_user_with_room_for_few_sessions_is_served_by_fewer(dbs, name, role, tmp_path):
    dbs.server.script(name, f"GRANT pg_read_all_data TO {role[0]}; ALTER ROLE {role[0]} CONNECTION LIMIT 3")
    made = dump(driver, dbs.source(name, *role), tmp_path / "d", "parallel", jobs=8)
    assert len(made.parts) > 4
    load(driver, dbs.source(dbs.name()), made)


def test_rows_written_and_moved_meanwhile_are_in_the_dump_as_they_were(dbs, name, tmp_path):
    # Once the snapshot is taken, and nothing is read yet.
    change = Once(
        lambda: dbs.server.script(
            name,
            "UPDATE big SET v = 'new'; INSERT INTO big SELECT g, 'new' FROM generate_series(5001, 9000) g;"
            "DELETE FROM big WHERE id < 2000; VACUUM big",
        )
    )

    class Sink(FileSink):
        @contextlib.contextmanager
        def part(self, **how):
            change()
            with super().part(**how) as part:
                yield part

    before = dbs.server.execute("SELECT md5(string_agg(big::text, ',' ORDER BY id)) FROM big", database=name)
    sink = Sink(tmp_path / "d")
    evidence = back_up(dbs.source(name), sink)
    from support.drive import FileDump

    copy = dbs.name()
    load(driver, dbs.source(copy), FileDump(sink.file, "parallel", evidence, sink.parts))
    after = dbs.server.execute("SELECT md5(string_agg(big::text, ',' ORDER BY id)) FROM big", database=copy)
    assert after == before


def test_what_rewrites_a_table_waits_until_the_parts_are_written(dbs, name, tmp_path):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    threads = []

    def wait_for_locks() -> None:
        for statement in ("CLUSTER big USING big_pkey", "TRUNCATE small", "ALTER TABLE empty ADD COLUMN x text"):
            threads.append(threading.Thread(target=dbs.server.execute, args=(statement,), kwargs={"database": name}))
            threads[-1].start()
        deadline = time.monotonic() + 20
        while dbs.server.execute(waiting, name)[0][0] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    begin = Once(wait_for_locks)

    class Sink(FileSink):
        @contextlib.contextmanager
        def part(self, **how):
            begin()
            with super().part(**how) as part:
                yield part

    sink = Sink(tmp_path / "d")
    evidence = back_up(dbs.source(name), sink)
    for thread in threads:
        thread.join()
    assert {o.path: o.rows for o in evidence.objects}["public.big"] == 4000
    assert sum(part.tables[0].rows for part in sink.parts if part.tables) == 4005


def test_names_and_columns_of_every_sort_come_in_parts(dbs, tmp_path):
    name = dbs.new(
        r'''
        CREATE SCHEMA "s. ""x""";
        CREATE TABLE "s. ""x"""."a*b?$1[]" ("c""d" text, "select" integer GENERATED ALWAYS AS (1) STORED, gone text, "é" xml);
        ALTER TABLE "s. ""x"""."a*b?$1[]" DROP COLUMN gone;
        INSERT INTO "s. ""x"""."a*b?$1[]" ("c""d", "é") VALUES (E'\\.\n\t\\N', '<a>1</a><b/>'), (NULL, NULL), ('', ''), ('-- End of the rows', 'x');
        CREATE TABLE "a*b" AS SELECT 1 AS x;
        CREATE TABLE ab AS SELECT 1 AS x;
        CREATE TABLE "axb" AS SELECT 1 AS x;
        '''
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    assert len(of_rows(made)) == 4
    copy = dbs.name()
    load(driver, dbs.source(copy), made)
    assert_same(dbs, copy, name)


def test_partitions_by_the_hash_of_an_enum_stay_in_the_archive_which_loads_them_through_the_root(dbs, tmp_path):
    name = dbs.new(
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd'); CREATE TABLE t (m mood, n int) PARTITION BY HASH (m);"
        "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY LIST (n);"
        "CREATE TABLE t00 PARTITION OF t0 DEFAULT;"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "CREATE TABLE other AS SELECT 1 AS x;"
        "INSERT INTO t SELECT m, n FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 100) n"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    assert [part.tables[0].path for part in of_rows(made)] == ["public.other"]


def test_a_table_whose_name_has_the_password_in_it_comes_back(dbs, tmp_path):
    name = dbs.new("CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 3000) g")
    manager = BackupManager(tmp_path / "r")
    url = dbs.server.url(name).replace("postgres@", "postgres:orders@")
    backup = manager.create_backup(url, format="parallel").raise_for_error()
    assert backup.evidence.objects[0].path == "public.***"
    manager.verify(backup.id, level="structure")
    copy = dbs.name()
    manager.restore(backup.id, dbs.server.url(copy)).raise_for_error()
    assert dbs.server.execute("SELECT count(*) FROM orders", database=copy) == [(3000,)]


@pytest.mark.parametrize("created", [True, False])
def test_an_owner_who_may_not_write_into_his_table_restores_it(dbs, role, tmp_path, created):
    name = dbs.new()
    dbs.server.script(
        name,
        f"ALTER DATABASE {name} OWNER TO {role[0]}; GRANT ALL ON SCHEMA public TO {role[0]}; SET ROLE {role[0]};"
        f"CREATE TABLE ro AS SELECT 1 AS x; REVOKE INSERT ON ro FROM {role[0]};"
        f"CREATE TABLE none (x int); REVOKE INSERT ON none FROM {role[0]}",
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    target = dbs.name() if created else dbs.new()
    change = f"ALTER ROLE {role[0]} CREATEDB" if created else f"ALTER DATABASE {target} OWNER TO {role[0]}"
    dbs.server.execute(change)
    load(driver, dbs.source(target, *role), made)
    assert dbs.server.execute("SELECT x FROM ro", database=target) == [(1,)]


@pytest.mark.parametrize("rows", [1, 3000])
@pytest.mark.parametrize("checked", ["{} CHECK (ok(code))", "{} CHECK (code === 1)", "checked_{}"])
def test_where_checks_look_into_tables_all_rows_are_where_pg_dump_orders_them(dbs, tmp_path, rows, checked):
    # Its order is that of their names.
    name = dbs.new(
        f"CREATE TABLE a_lookup AS SELECT 1 AS code FROM generate_series(1, {rows});"
        "CREATE FUNCTION ok(int) RETURNS boolean LANGUAGE sql AS"
        " 'SELECT EXISTS (SELECT FROM public.a_lookup WHERE code = $1)';"
        "CREATE FUNCTION ok(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT public.ok($1)';"
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = ok);"
        "CREATE DOMAIN checked_int AS int CHECK (ok(VALUE));"
        f"CREATE TABLE b_orders (code {checked.format('int')}); INSERT INTO b_orders VALUES (1)"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    assert len(made.parts) == 1
    load(driver, dbs.source(dbs.name()), made, jobs=1)


def test_a_check_that_is_said_to_look_nowhere_finds_rows_of_small_tables(dbs, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "LARGE_BYTES", 20_000)
    name = dbs.new(
        "CREATE TABLE lookup AS SELECT 1 AS code; CREATE FUNCTION ok(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS"
        " 'SELECT EXISTS (SELECT FROM public.lookup WHERE code = $1)';"
        "CREATE TABLE orders (code int CHECK (ok(code))); INSERT INTO orders SELECT 1 FROM generate_series(1, 3000)"
    )
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    assert {part.tables[0].path for part in of_rows(made)} == {"public.orders"}
    load(driver, dbs.source(dbs.name()), made)
    copy = dbs.new()
    dbs.server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database=copy)
    load(driver, dbs.source(copy), made)


def test_names_that_are_no_arguments_here_stay_in_the_archive(dbs, tmp_path):
    name = dbs.new('CREATE TABLE "été" AS SELECT 1 AS x; CREATE TABLE plain AS SELECT 2 AS x')
    script = f"""
from dumpty import BackupManager
from dumpty_plugins.postgres.dumping import plan
plan.LARGE_BYTES = 1
made = BackupManager({str(tmp_path / "r")!r}).create_backup({dbs.server.url(name)!r}, format="parallel")
print(made.error, len(made.backup.files))
"""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["None", "2"], run.stderr


# -- what is wrong while it is written -----------------------------------------------------------------------------

_LOSES_A_ROW = r"""exec python3 -c '
import os, subprocess, sys
psql = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
for line in psql.stdout:
    if not line.startswith(b"7\t"):
        os.write(1, line)
sys.exit(psql.wait())
' $REAL "$@"
"""


def test_a_row_that_is_lost_on_the_way_fails_the_backup(dbs, name, tmp_path, fake_client):
    bindir = fake_client(_LOSES_A_ROW, "psql")
    fake_client('exec $REAL "$@"\n')
    with pytest.raises(IntegrityError, match=r"of public\.big came \d+ rows, and the server says that it sent \d+"):
        dump(driver, dbs.source(name), tmp_path / "d", "parallel", bindir=bindir)


def test_a_pg_dump_that_writes_the_same_rows_fails_the_backup(dbs, name, tmp_path, fake_client):
    bindir = fake_client(
        'for a; do case $a in --exclude-table-data=*big*) ;; *) set -- "$@" "$a" ;; esac; shift; done; exec $REAL "$@"\n'
    )
    with pytest.raises(IntegrityError, match=r"the rows of public\.big are in the dump twice"):
        dump(driver, dbs.source(name), tmp_path / "d", "parallel", bindir=bindir)


def test_a_pg_dump_that_leaves_out_more_fails_the_backup(dbs, name, tmp_path, fake_client):
    bindir = fake_client('exec $REAL "$@" --exclude-table-data=empty\n')
    with pytest.raises(IntegrityError, match=r"the rows of public\.empty are nowhere in the dump"):
        dump(driver, dbs.source(name), tmp_path / "d", "parallel", bindir=bindir)


@pytest.mark.parametrize("program", ["psql", "dumpty"])
def test_a_session_that_is_lost_fails_the_backup(dbs, name, tmp_path, program):
    dbs.server.script(name, "INSERT INTO big SELECT g, repeat(md5(g::text), 40) FROM generate_series(5001, 9000) g")
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = %s"

    written = []
    terminate = Once(lambda: dbs.server.execute(sql, name, program))

    class Sink(FileSink):
        @contextlib.contextmanager
        def part(self, **how):
            with super().part(**how) as part:
                write = part.write

                def count(data):
                    written.append(len(data))
                    if sum(written) > 20_000:
                        terminate()
                    return write(data)

                part.write = count
                yield part

    with pytest.raises(DumptyError, match=r"connection|terminat|psql ended"):
        back_up(dbs.source(name), Sink(tmp_path / "d"), jobs=2)


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
def test_a_schema_that_takes_the_name_of_another_one_midway_fails_the_backup(dbs, tmp_path, form):
    rows = "SELECT g AS id, repeat('x', 100) AS v FROM generate_series(1, 60000) g"
    name = dbs.new(f"CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t AS {rows}; CREATE TABLE b.t AS {rows}")
    swap = "ALTER SCHEMA a RENAME TO c; ALTER SCHEMA b RENAME TO a; ALTER SCHEMA c RENAME TO b"
    once = Once(lambda: dbs.server.script(name, swap))

    class Sink(FileSink):
        def write(self, data):
            once()
            return super().write(data)

        @contextlib.contextmanager
        def part(self, **how):
            with super().part(**how) as part:
                write = part.write
                part.write = lambda data: (how.get("suffix") and once(), write(data))[1]
                yield part

    with (
        pytest.raises(SourceError, match="a schema was renamed while it was read"),
        contextlib.closing(Sink(tmp_path / "d")) as sink,
    ):
        driver.backup(source=dbs.source(name), sink=sink, format=form, options=defaults(driver, "backup"))


def test_an_index_that_is_made_anew_is_waited_for(dbs, name, tmp_path):
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    made = []
    with contextlib.closing(dbs.server.connect(name)) as session, session.cursor() as cursor:
        cursor.execute("BEGIN; REINDEX INDEX big_pkey")
        options = {"lock_timeout": 1}
        backup = threading.Thread(
            target=lambda: made.append(dump(driver, dbs.source(name), tmp_path / "d", "parallel", **options))
        )
        backup.start()
        deadline = time.monotonic() + 30
        waited = 0
        while waited < 25:  # longer than the timeout
            assert time.monotonic() < deadline
            waited += dbs.server.execute(sql, name)[0][0] > 0
            time.sleep(0.1)
        cursor.execute("COMMIT")
        backup.join()
    assert sum(part.tables[0].rows for part in of_rows(made[0])) == 4005


def test_a_copy_that_the_server_ends_says_why(dbs, name, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "RANGE_BYTES", (1 << 30, 1 << 30))
    dbs.server.script(name, "INSERT INTO big SELECT g, repeat(md5(g::text), 300) FROM generate_series(5001, 9000) g")
    sql = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query ~ '^COPY' AND pid <> pg_backend_pid()"
    ended = []

    class Sink(FileSink):
        @contextlib.contextmanager
        def part(self, **how):
            with super().part(**how) as part:
                write = part.write

                def cancel(data):
                    if not ended and how.get("suffix") and len(data) > 1000:
                        ended.append(dbs.server.execute(sql, name))
                    return write(data)

                part.write = cancel
                yield part

    with pytest.raises(SourceError, match=r"copying public\.big of .* canceling statement due to user request$"):
        back_up(dbs.source(name), Sink(tmp_path / "d"), jobs=1)


def test_a_machine_without_psql_is_told_what_to_install(dbs, name, tmp_path, fake_client):
    bindir = fake_client('exec $REAL "$@"\n')
    os.unlink(os.path.join(bindir, "psql"))
    with pytest.raises(FormatNotSupported, match="psql was not found in"):
        dump(driver, dbs.source(name), tmp_path / "d", "parallel", bindir=bindir)


def test_a_pooler_is_refused_with_what_to_do(dbs, name, pooler, tmp_path):
    source = structs.replace(dbs.source(name), query={"host": "127.0.0.1", "port": str(pooler)})
    with pytest.raises(
        FormatNotSupported, match="is a pooler, and a parallel dump needs sessions of the server itself"
    ):
        dump(driver, source, tmp_path / "d", "parallel")


def test_a_psql_that_cannot_write_where_it_is_told_fails_the_backup(dbs, name, tmp_path, fake_client):
    fake_client('exec $REAL "$@"\n')
    bindir = fake_client("exec $REAL \"$@\" < <(sed -u 's|/dev/stdout|/nowhere/at/all|')\n", "psql")
    with pytest.raises((IntegrityError, SourceError), match=r"psql did not run it|came 0 rows"):
        dump(driver, dbs.source(name), tmp_path / "d", "parallel", bindir=bindir)


def test_ctrl_c_ends_every_session_at_once(dbs, name, tmp_path):
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    interrupt = Once(lambda: os.kill(os.getpid(), signal.SIGINT))

    class Sink(FileSink):
        @contextlib.contextmanager
        def part(self, **how):
            with super().part(**how) as part:
                if how.get("suffix"):
                    interrupt()
                    time.sleep(0.2)
                yield part

    with pytest.raises(KeyboardInterrupt):
        back_up(dbs.source(name), Sink(tmp_path / "d"), jobs=3)
    deadline = time.monotonic() + 20
    while dbs.server.execute(sql, name) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert threads_ended("dumpty-parts")


# -- what is wrong with what is loaded -----------------------------------------------------------------------------

FORGERIES = {
    "another statement": lambda text: text.replace(b"COPY", b"DROP VIEW public.bigger; COPY", 1),
    "another table": lambda text: text.replace(b'"public"."big"', b'"public"."small"', 1),
    "a condition": lambda text: text.replace(b"FROM stdin;", b"FROM stdin WHERE pg_sleep(0) IS NULL;", 1),
    "a program": lambda text: text.replace(b"FROM stdin;", b"FROM PROGRAM 'id';", 1),
    "an order to psql": lambda text: text.replace(b"COPY", b"\\! touch forged\nCOPY", 1),
    "a second copy": lambda text: text + text,
    "a statement behind": lambda text: text + b"SELECT 1;\n",
    "no end": lambda text: text[: text.rindex(b"-- End")],
    "half": lambda text: text[: len(text) // 2],
    "nothing": lambda _text: b"",
    "a row less": lambda text: (
        text[: text.index(b"stdin;\n") + 7] + text[text.index(b"stdin;\n") + 7 :].partition(b"\n")[2]
    ),
    "a row more": lambda text: text.replace(b"stdin;\n", b"stdin;\n77777\tx\n", 1),
    "a setting": lambda text: text.replace(
        b"SET row_security", b"SET session_replication_role = replica;\nSET row_security", 1
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_part_that_holds_anything_but_its_rows_is_refused(dbs, name, role, tmp_path, forgery):
    made = altered(dump(driver, dbs.source(name), tmp_path / "d", "parallel"), FORGERIES[forgery])
    before = dbs.made_databases()
    for options in ({}, {"jobs": 1}):
        with pytest.raises(IntegrityError):
            load(driver, dbs.source(dbs.name()), made, **options)
        assert dbs.made_databases() == before
    with pytest.raises(IntegrityError):
        driver.examine(dump=made, options=defaults(driver, "examine"))
    target = dbs.new()
    dbs.server.script(target, f"GRANT ALL ON DATABASE {target} TO {role[0]}; GRANT ALL ON SCHEMA public TO {role[0]}")
    with pytest.raises(IntegrityError):
        load(driver, dbs.source(target, *role), made, owner=False, privileges=False)
    assert driver.inspect(source=dbs.source(target), options={}).empty


@pytest.mark.parametrize("change", ["no archive", "two archives", "a section", "several tables", "no table"])
def test_parts_that_no_backup_makes_are_refused(dbs, name, tmp_path, change):
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    part = of_rows(made)[0]
    if change == "no archive":
        made.parts = tuple(of_rows(made))
    elif change == "two archives":
        made.parts = (archive(made), *made.parts)
    elif change == "a section":
        part.section = "post-data"
    else:
        part.tables = part.tables * 2 if change == "several tables" else ()
    before = dbs.made_databases()
    with pytest.raises(IntegrityError, match="forged"):
        load(driver, dbs.source(dbs.name()), made)
    assert dbs.made_databases() == before


def test_rows_that_the_server_refuses_leave_nothing(dbs, name, tmp_path):
    made = altered(
        dump(driver, dbs.source(name), tmp_path / "d", "parallel"), lambda text: text.replace(b"\n5\t", b"\nfive\t", 1)
    )
    before = dbs.made_databases()
    with pytest.raises(SourceError, match=r'loading rows of "public"\."big" into .* invalid input syntax'):
        load(driver, dbs.source(dbs.name()), made)
    assert dbs.made_databases() == before


def test_ctrl_c_while_rows_are_loaded_leaves_nothing(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "parallel")
    before = dbs.made_databases()
    part, opened = of_rows(made)[0], threading.Event()

    def interrupting():
        if not opened.is_set():
            opened.set()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return part.file.open("rb")

    part.open = interrupting
    with pytest.raises(KeyboardInterrupt):
        load(driver, dbs.source(dbs.name()), made, jobs=2)
    assert dbs.made_databases() == before


# -- as a backup ---------------------------------------------------------------------------------------------------


def test_a_drill_names_the_table_of_a_cell_that_was_changed_with_its_digests(dbs, name, tmp_path):
    from dumpty.repository import manifest

    manager = BackupManager(str(tmp_path / "r"))
    backup = manager.create_backup(dbs.server.url(name), format="parallel", fingerprint=True).backup
    assert manager.drill(backup.id).ok
    import gzip
    import hashlib
    from pathlib import Path

    [path] = Path(tmp_path / "r").glob("*/*.manifest.json")
    record = manifest.decode(path.read_bytes(), "it")
    number, stored = next((n, o) for n, o in enumerate(record.objects) if o.tables and o.tables[0].path == "public.big")
    file = tmp_path / "r" / stored.name
    text = gzip.decompress(file.read_bytes())
    digit = text.index(b"FROM stdin;\n") + 30
    plain = text[:digit] + (b"0" if text[digit : digit + 1] != b"0" else b"1") + text[digit + 1 :]
    data = gzip.compress(plain)
    file.write_bytes(data)
    forged = structs.replace(
        stored, size=len(data), sha256=hashlib.sha256(data).hexdigest(), plain_sha256=hashlib.sha256(plain).hexdigest()
    )
    objects = tuple(forged if n == number else o for n, o in enumerate(record.objects))
    path.write_bytes(manifest.encode(structs.replace(record, objects=objects)))
    fresh = BackupManager(str(tmp_path / "r"))
    fresh.verify(backup.id)
    with pytest.raises(IntegrityError, match=r"public\.big"):
        fresh.drill(backup.id)


def test_a_damaged_part_is_named_with_its_table(dbs, name, tmp_path):
    manager = BackupManager(str(tmp_path / "r"))
    backup = manager.create_backup(dbs.server.url(name), format="parallel").backup
    damaged = next(path for path in backup.files if "rows.sql" in path)
    with open(damaged, "r+b") as file:
        file.seek(os.path.getsize(damaged) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(IntegrityError, match=rf"{re.escape(os.path.basename(damaged))} \(public\.(big, pages|small)"):
        manager.verify(backup.id)
    before = dbs.made_databases()
    result = manager.restore(backup.id, dbs.server.url(dbs.name()))
    assert not result.success
    assert os.path.basename(damaged) in result.error
    assert dbs.made_databases() == before


def test_a_drill_beside_other_databases_takes_parts_too(dbs, name, tmp_path):
    manager = BackupManager(str(tmp_path / "r"))
    backup = manager.create_backup(dbs.server.url(name), format="parallel", fingerprint=True).backup
    assert manager.drill(backup.id, on=dbs.server.url(), superuser=True).ok
