"""How the server is reached, which errors come back, and what never shows."""

from __future__ import annotations

import contextlib
import tempfile
import traceback
from pathlib import Path

import pytest
from support.drive import dump, load
from support.ports import free_port

import dumpty_plugins.postgres.plugin as driver
from dumpty import BackupFormat, DatabaseBackup, DumptyError, MalformedURL, Source, SourceError
from dumpty.cli import main
from dumpty_plugins.postgres.server.clients import choose_client, find_clients
from dumpty_plugins.postgres.server.connection import Address


@pytest.fixture
def name(dbs, role):
    name = dbs.new("CREATE TABLE t AS SELECT 1 AS a")
    dbs.server.execute(f"ALTER TABLE t OWNER TO {role[0]}", database=name)
    return name


def one_line(error: BaseException, *secrets: str) -> str:
    traceback_text = "".join(traceback.format_exception(error))
    for secret in secrets:
        assert secret not in traceback_text
    assert "\n" not in str(error)
    return str(error)


def test_a_password_over_tcp(dbs, name, role, tmp_path):
    source = Source(
        scheme="postgresql", url="postgresql://x", host="127.0.0.1", port=dbs.server.port,
        username=role[0], password=role[1], database=name, secrets=(role[1],),
    )  # fmt: skip
    for form in ("sql", "native", "directory"):
        assert dump(driver, source, tmp_path / form, form).evidence.objects[0].rows == 1


def test_the_pg_variables_fill_what_the_url_leaves_open(dbs, name, role, tmp_path, monkeypatch):
    source = Source(scheme="postgresql", url="postgresql://")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:{role[0]}:" + role[1].replace("\\", "\\\\") + "\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    for variable, value in {
        "PGHOST": str(dbs.server.sockets), "PGPORT": str(dbs.server.port), "PGUSER": role[0], "PGDATABASE": name,
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    assert dump(driver, source, tmp_path / "a", "native").evidence.objects[0].rows == 1
    assert driver.inspect(source=source, options={}).name == name
    for variable in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"):
        monkeypatch.delenv(variable)
    (tmp_path / "service").write_text(
        f"[shop]\nhost={dbs.server.sockets}\nport={dbs.server.port}\nuser={role[0]}\ndbname={name}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "service"))
    monkeypatch.setenv("PGSERVICE", "shop")
    assert dump(driver, source, tmp_path / "b", "sql").evidence.objects[0].rows == 1


def test_of_several_hosts_pg_dump_uses_the_one_that_was_reached(dbs, name, tmp_path):
    source = Source(
        scheme="postgresql", url="postgresql://x", username="postgres", database=name,
        query={"host": f"/nowhere,{dbs.server.sockets}", "port": f"1,{dbs.server.port}"},
    )  # fmt: skip
    assert dump(driver, source, tmp_path / "a", "sql").evidence.objects[0].rows == 1


def test_an_ipv6_host(dbs, name, tmp_path):
    source = Source(scheme="postgresql", url="postgresql://x", host="::1", port=1, username="postgres", database=name)
    with pytest.raises(SourceError, match=r'"?::1"?.*refused|assign requested address'):
        dump(driver, source, tmp_path / "a", "sql")


def test_one_database_has_one_identity_however_it_is_reached(dbs, name, role):
    over_tcp = Source(
        scheme="postgres", url="x", host="127.0.0.1", port=dbs.server.port, username=role[0], password=role[1],
        database=name, secrets=(role[1],),
    )  # fmt: skip
    a = driver.inspect(source=dbs.source(name), options={})
    b = driver.inspect(source=over_tcp, options={})
    assert a.identity == b.identity
    assert name in a.identity
    other_database = driver.inspect(source=dbs.source("postgres"), options={})
    assert other_database.identity != a.identity
    missing = driver.inspect(source=dbs.source("not_there"), options={})
    assert (missing.exists, missing.empty, missing.name) == (False, True, "not_there")


@pytest.mark.parametrize("counts", ["on", "auto", "off"])
def test_what_cannot_be_reached_is_one_clear_line(dbs, name, role, tmp_path, counts):
    closed = str(free_port())
    secret = "Gr3at-s3cret%/x"
    server = {"host": str(dbs.server.sockets), "port": str(dbs.server.port)}
    for query, user, database, message in (
        ({"host": "127.0.0.1", "port": closed}, role[0], name, "is the server running, and is the port right"),
        ({"host": "no-such-host.invalid", "port": "1"}, role[0], name, "host name"),
        ({"host": "/nowhere", "port": "1"}, role[0], name, "socket"),
        (server, role[0], name, "password authentication failed"),
        (server | {"sslpassword": "An0ther-secret"}, "postgres", "not_there", 'database "not_there" does not exist'),
        (server | {"nonsense": "1"}, "postgres", name, "nonsense"),
    ):
        source = Source(
            scheme="postgresql", url=f"postgresql://{user}:***@/{database}", username=user, password=secret,
            database=database, query=query, secrets=(secret, "An0ther-secret"),
        )  # fmt: skip
        with pytest.raises(SourceError if counts == "on" else RuntimeError) as caught:
            dump(driver, source, tmp_path / "d", "custom", counts=counts)
        assert message in one_line(caught.value, secret, "An0ther-secret")
        if database == name:
            with pytest.raises(SourceError) as caught:
                driver.inspect(source=source, options={})
            assert message in one_line(caught.value, secret, "An0ther-secret")


def test_a_table_without_permission_is_named(dbs, name, role, tmp_path):
    dbs.server.execute("CREATE TABLE private AS SELECT 1 AS a", database=name)
    with pytest.raises(SourceError, match="permission denied for table private; use the owner"):
        dump(driver, dbs.source(name, *role), tmp_path / "d", "sql")
    with pytest.raises(RuntimeError, match="permission denied for table private"):
        dump(driver, dbs.source(name, *role), tmp_path / "d", "sql", counts="off")


def test_no_secret_is_seen_in_any_process_list(dbs, name, role, tmp_path, fake_client):
    source = dbs.source(name, *role, sslpassword="An0ther-secret", sslmode="prefer")
    dbs.server.execute(f"ALTER ROLE {role[0]} CREATEDB")
    dbs.server.execute(f"ALTER DATABASE {name} OWNER TO {role[0]}")
    note = f"tr '\\0' ' ' < /proc/$$/cmdline >> {tmp_path}/seen\n" + 'exec $REAL "$@"\n'
    fake_client(note)
    bindir = fake_client(note, "pg_restore")
    for form in ("sql", "native", "directory"):
        made = dump(driver, source, tmp_path / form, form, bindir=bindir)
        load(driver, source, made, overwrite=True, bindir=bindir)
    process_list = (tmp_path / "seen").read_text()
    assert process_list.count("bin/pg_dump ") == 3
    assert process_list.count("bin/pg_restore ") == 4  # two stages each
    assert name in process_list
    assert role[1] not in process_list
    assert "An0ther-secret" not in process_list
    assert not list(Path(tempfile.gettempdir()).glob("dumpty-*/service.conf"))


def test_a_missing_pg_dump_says_where_to_get_it(dbs, name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for counts in ("on", "auto", "off"):
        with pytest.raises(
            RuntimeError, match=r"pg_dump was not found on the PATH \(one was seen in /usr/lib.*apt-get install"
        ):
            dump(driver, dbs.source(name), tmp_path / "d", "sql", counts=counts)
    with pytest.raises(RuntimeError, match="correct the option bindir"):
        dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=str(tmp_path))
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(dbs.server.bindir))
    assert dump(driver, dbs.source(name), tmp_path / "d", "sql").evidence.objects[0].rows == 1


def test_of_the_installed_clients_the_servers_own_then_a_newer_one(postgres, postgres_newer, monkeypatch):
    monkeypatch.setenv("DUMPTY_PG_BINDIR", str(postgres_newer.bindir))
    clients = find_clients("pg_dump")
    majors = {c.major for c in clients}
    assert {postgres.major, postgres_newer.major} <= majors
    assert choose_client(clients, postgres.major, subject="x").major == postgres.major
    assert choose_client(clients, postgres_newer.major, subject="x").major == postgres_newer.major
    assert choose_client(clients, postgres.major + 1, subject="x").major > postgres.major
    with pytest.raises(DumptyError, match="apt-get install postgresql-client-99"):
        choose_client(clients, 99, subject="x")
    assert not any("pg_wrapper" in c.path or c.path == "/usr/bin/pg_dump" for c in clients)


def test_describing_the_driver_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, dumpty_plugins.postgres.plugin as p; p.describe(); print([m for m in sys.modules if 'psycopg2' in m or 'concurrent' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("url", ["postgresql://localhost", "postgres://u@localhost:1/", "postgresql:///?host=/nowhere"])
def test_a_url_that_names_no_database_is_refused_as_wrong_usage(dbs, name, tmp_path, capsys, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    assert main(["backup", dbs.server.url(name)]) == 0
    for argv in (["backup", url], ["doctor", url], ["restore", "latest", "--to", url]):
        capsys.readouterr()
        assert main(argv) == 2
        output = capsys.readouterr()
        assert "names no database" in output.out + output.err
    with pytest.raises(MalformedURL, match="names no database"):
        DatabaseBackup(str(tmp_path / "copies")).backup_postgres(url, "b", BackupFormat.SQL)
    with pytest.raises(MalformedURL, match="add /NAME after the server, or set PGDATABASE"):
        DatabaseBackup(str(tmp_path / "copies")).backup_postgres("host=/nowhere user=u", "b", BackupFormat.SQL)
    monkeypatch.setenv("PGDATABASE", "shop")
    with pytest.raises(SourceError, match="cannot connect"):
        DatabaseBackup(str(tmp_path / "copies")).backup_postgres("host=/nowhere user=u", "b", BackupFormat.SQL)


def test_connections_are_kept_alive_and_given_up_where_the_network_is_dead(dbs, name, tmp_path, fake_client):
    arguments = tmp_path / "told"
    bindir = fake_client(f'echo "$@" > {arguments}; exec $REAL "$@"')
    dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=bindir)
    assert "tcp_user_timeout='120000'" in arguments.read_text()
    assert "keepalives_idle='60'" in arguments.read_text()
    for parameters, expected in (({}, "120000"), ({"tcp_user_timeout": "5000"}, "5000")):
        with contextlib.closing(Address(dbs.source(name, **parameters)).connect()) as connection:
            assert connection.info.dsn_parameters["tcp_user_timeout"] == expected
