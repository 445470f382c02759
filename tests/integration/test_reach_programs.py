"""Client programs that run where a way leads: pg_dump and pg_restore by a real sshd, and in a container."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.reacher import ROWS, SECRET, done, tcp
from support.sftp_server import SSHServer
from support.ways import At, command_lines, eventually, gone, running, signal_all, ssh_url

from dumpty import BackupManager, Cancellation, OptionError, TransportError

pytestmark = pytest.mark.usefixtures("reacher")


class There:
    """A machine behind ssh, on whose PATH are clients of PostgreSQL that write down how they were called."""

    def __init__(self, keys, bindir):
        self.bin = Path(tempfile.mkdtemp(prefix="dthr", dir="/tmp"))
        self._log = self.bin / "log"
        for program in ("pg_dump", "pg_restore"):
            self.write(program, f'echo {program} "$*" >>{self._log}; exec {bindir / program} "$@"')
        self.server = SSHServer(keys, "internal-sftp", f"SetEnv PATH={self.bin}:/usr/bin:/bin PGHOST=/nowhere PGPORT=1")
        self.via = ssh_url(self.server)
        self.name = f"ssh://{self.server.user}@127.0.0.1:{self.server.port}"

    def write(self, program, script):
        path = self.bin / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def calls(self, program):
        """Return the command lines of a program that ran, without those that asked for its version."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if line.startswith(program) and "--version" not in line]

    def stop(self):
        self.server.stop()
        subprocess.run(["rm", "-rf", self.bin], check=True)


@pytest.fixture
def there(ssh_keys, postgres):
    made = There(ssh_keys, postgres.bindir)
    yield made
    made.stop()


@pytest.fixture
def manager(tmp_path):
    return BackupManager(tmp_path / "backups")


@pytest.mark.parametrize("format", ["sql", "native", "tar"])
def test_a_dump_by_the_programs_there_goes_there_and_back(manager, postgres, shop, there, target, format):
    source = tcp(postgres, shop)
    made = done(manager.create_backup(source, via=there.via, format=format, programs="there"))
    assert made.rows == ROWS + 1
    [call] = there.calls("pg_dump")
    assert "host='localhost'" in call
    assert SECRET not in call
    done(manager.restore(made.id, tcp(postgres, target), via=there.via, programs="there"))
    assert len(there.calls("pg_restore")) == (format != "sql")
    assert postgres.dump(target) == postgres.dump(shop)
    again = manager.restore(made.id, tcp(postgres, target), via=there.via, programs="there", overwrite=True)
    assert done(again).id == made.id
    assert postgres.execute("SELECT count(*) FROM item", database=target) == [(ROWS,)]


def test_a_socket_there_is_connected_to_there(manager, postgres, shop, there, target):
    made = done(manager.create_backup(postgres.url(shop), via=there.via, format="native", programs="there"))
    [call] = there.calls("pg_dump")
    assert f"host='{postgres.sockets}'" in call
    assert f"port='{postgres.port}'" in call
    done(manager.restore(made.id, postgres.url(target), via=there.via, programs="there"))
    assert postgres.dump(target) == postgres.dump(shop)


def test_without_the_right_to_create_databases_what_pg_restore_there_writes_is_loaded_in_one_transaction(
    manager, postgres, shop, there
):
    made = done(manager.create_backup(tcp(postgres, shop), via=there.via, format="native", programs="there"))
    name = postgres.create()
    postgres.execute("CREATE ROLE filler LOGIN PASSWORD 'filler'")
    postgres.execute(f"ALTER DATABASE {name} OWNER TO filler")
    postgres.execute("ALTER SCHEMA public OWNER TO filler", database=name)
    try:
        to = f"postgresql://filler:filler@localhost:{postgres.port}/{name}"
        done(manager.restore(made.id, to, via=there.via, programs="there", owner=False, privileges=False))
        assert postgres.execute("SELECT count(*) FROM item", database=name) == [(ROWS,)]
        [call] = there.calls("pg_restore")
        assert "--file=-" in call
        assert "dbname" not in call
    finally:
        postgres.drop(name)
        postgres.execute("DROP ROLE filler")


def test_a_container_runs_its_own_programs(manager, postgres, shop, containers, target, monkeypatch):
    containers.start("db", p5432=f"{postgres.sockets}/.s.PGSQL.{postgres.port}")
    programs = containers.bin / "programs"
    programs.mkdir()
    for program in ("pg_dump", "pg_restore"):
        (programs / program).write_text(
            f'#!/bin/sh\necho x >>{containers.bin}/log\nexec {postgres.bindir}/{program} "$@"\n'
        )
        (programs / program).chmod(0o755)
    source = f"postgresql://reacher@localhost/{shop}"
    monkeypatch.setenv("PGPASSWORD", SECRET)
    options = {"programs": "there", "bindir": str(programs), "via": "docker://db"}
    made = done(manager.create_backup(source, format="native", **options))
    done(manager.restore(made.id, f"postgresql://reacher@localhost/{target}", **options))
    assert (containers.bin / "log").read_text().count("x") >= 4
    assert postgres.dump(target) == postgres.dump(shop)
    failed = manager.create_backup(source, **{**options, "bindir": "/nowhere"})
    assert (
        "pg_dump, to be run by docker://db, was not found in /nowhere there; correct the option bindir" in failed.error
    )


def test_this_machine_needs_no_client_program(manager, postgres, shop, there, target, monkeypatch, tmp_path):
    for program in ("ssh", "sh"):
        (tmp_path / program).symlink_to(
            next(p for p in (f"/usr/bin/{program}", f"/bin/{program}") if os.path.exists(p))
        )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DUMPTY_PG_BINDIR", raising=False)
    assert "pg_dump was not found" in manager.create_backup(tcp(postgres, shop), via=there.via).error
    made = done(manager.create_backup(tcp(postgres, shop), via=there.via, programs="there", format="native"))
    done(manager.restore(made.id, tcp(postgres, target), via=there.via, programs="there"))


# -- what is refused, and what fails ------------------------------------------------------------------------------------


def test_what_cannot_run_there_is_refused(manager, postgres, shop, there):
    def refusal(source, **options):
        result = manager.create_backup(source, programs="there", **options)
        assert isinstance(result.exception, OptionError), result.error
        return result.error

    assert "it needs --via" in refusal(tcp(postgres, shop))
    assert "sslrootcert of" in refusal(tcp(postgres, shop, sslrootcert="/etc/hosts"), via=there.via)
    assert "sslpassword of" in refusal(tcp(postgres, shop, sslpassword="x"), via=there.via)
    made = done(manager.create_backup(tcp(postgres, shop), format="native"))
    result = manager.restore(made.id, tcp(postgres, f"{shop}_x"), programs="there")
    assert "it needs --via" in result.error
    assert there.calls("pg_dump") == []


def test_demands_of_this_environment_hold_there(manager, postgres, shop, there, monkeypatch):
    """A TLS that is required here is required there, too."""
    there.write(
        "pg_dump",
        f'[ "$1" = --version ] || echo "$PGSSLMODE,$PGHOST,$PGPORT" >>{there.bin}/seen; exec {postgres.bindir}/pg_dump "$@"',
    )
    monkeypatch.setenv("PGSSLMODE", "allow")
    done(manager.create_backup(tcp(postgres, shop), via=there.via, programs="there"))
    assert (there.bin / "seen").read_text() == "allow,,\n"


def test_a_demand_that_an_older_program_there_does_not_know_is_an_error_and_not_ignored(
    manager, postgres, shop, there, monkeypatch
):
    monkeypatch.setenv("PGREQUIREAUTH", "none,scram-sha-256")
    result = manager.create_backup(tcp(postgres, shop), via=there.via, programs="there")
    assert "require_auth='none,scram-sha-256'" in there.calls("pg_dump")[0]
    assert result.success or 'invalid connection option "require_auth"' in result.error


def test_certificates_of_the_system_are_asked_for_there_too(manager, postgres, shop, there, tls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tls))
    result = manager.create_backup(tcp(postgres, shop, sslrootcert="system"), via=there.via, programs="there")
    assert "sslrootcert='system'" in there.calls("pg_dump")[0]
    assert not result.success  # for there it is not known
    assert "pg_dump" in result.error


def test_a_user_whose_file_of_authorities_is_compared_with_here_has_them_compared_there(
    manager, postgres, shop, there, tls, monkeypatch, tmp_path
):
    (tmp_path / ".postgresql").mkdir()
    shutil.copy(tls, tmp_path / ".postgresql" / "root.crt")
    monkeypatch.setenv("HOME", str(tmp_path))
    manager.create_backup(tcp(postgres, shop, sslmode="require"), via=there.via, programs="there")
    assert "sslmode='verify-ca'" in there.calls("pg_dump")[0]


def test_a_program_that_is_not_there_is_said(manager, postgres, shop, there):
    for program in ("pg_dump", "pg_restore"):
        (there.bin / program).unlink()
        there.write(program, "exit 1")
        (there.bin / program).chmod(0o600)
    failed = manager.create_backup(tcp(postgres, shop), via=there.via, programs="there", bindir=str(there.bin))
    assert f"pg_dump, to be run by {there.name}" in failed.error
    assert "was not found" in failed.error


def test_an_old_program_there_is_said(manager, postgres, shop, there):
    there.write("pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.1'")
    failed = manager.create_backup(tcp(postgres, shop), via=there.via, programs="there", bindir=str(there.bin))
    assert f"pg_dump 9.6.1, by {there.name}, is too old" in failed.error


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("echo 'pg_dump: error: it went wrong' >&2; exit 5", ", failed (status 5): it went wrong"),
        ("kill -9 $$", "was ended by signal 9"),
        ("exit 0", "cut off"),
        ("kill -9 $(ps -o ppid= -p $PPID)", "ended well, but not the way there"),
    ],
)
def test_a_program_that_fails_there_midway_fails_the_backup(manager, postgres, shop, there, end, said):
    there.write(
        "pg_dump",
        f'if [ "$1" = --version ]; then exec {postgres.bindir}/pg_dump "$@"; fi\n'
        f'{postgres.bindir}/pg_dump "$@" | head -c 1000000; {end}',
    )
    failed = manager.create_backup(tcp(postgres, shop), via=there.via, programs="there")
    assert not failed.success
    assert said in failed.error
    assert SECRET not in failed.error
    assert manager.list_backups() == []


def test_a_pg_restore_that_fails_there_leaves_what_was(manager, postgres, shop, there, target):
    made = done(manager.create_backup(tcp(postgres, shop), via=there.via, programs="there", format="native"))
    postgres.execute(f"CREATE DATABASE {target}")
    postgres.execute("CREATE TABLE older AS SELECT 1 AS x", database=target)
    there.write(
        "pg_restore",
        f'if [ "$1" = --version ]; then exec {postgres.bindir}/pg_restore "$@"; fi\n'
        f'head -c 1000000 | {postgres.bindir}/pg_restore "$@"',
    )
    failed = manager.restore(made.id, tcp(postgres, target), via=there.via, programs="there", overwrite=True)
    assert not failed.success
    assert "pg_restore" in failed.error
    there.write(
        "pg_restore",
        f'if [ "$1" = --version ]; then exec {postgres.bindir}/pg_restore "$@"; fi\ncat >/dev/null; exit 0',
    )
    failed = manager.restore(made.id, tcp(postgres, target), via=there.via, programs="there", overwrite=True)
    assert not failed.success
    assert "restored database" in failed.error
    assert postgres.execute("SELECT x FROM older", database=target) == [(1,)]


def test_a_connection_that_breaks_fails_the_backup_as_the_way_that_it_is(manager, postgres, shop, there):
    progress = At(1 << 20, lambda: signal_all(there.server, signal.SIGKILL))
    result = manager.create_backup(
        tcp(postgres, shop), via=there.via, programs="there", progress=progress, rate_limit=4 << 20
    )
    assert isinstance(result.exception, TransportError), result.error
    assert there.name in result.error
    assert manager.list_backups() == []
    assert gone("pg_dump", f"dbname='{shop}'")


# -- what is left behind ------------------------------------------------------------------------------------------------


def test_a_cancelled_backup_ends_the_program_there(manager, postgres, shop, there):
    cancellation = Cancellation()
    result = manager.create_backup(
        tcp(postgres, shop),
        via=there.via,
        programs="there",
        progress=At(1 << 20, cancellation.cancel),
        cancel=cancellation,
        rate_limit=4 << 20,
    )
    assert type(result.exception).__name__ == "Cancelled"
    assert gone("pg_dump", f"dbname='{shop}'")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_program_there_outlives_dumpty_and_no_secret_is_seen(tmp_path, postgres, shop, there, number):
    argv = [
        "backup",
        "env:SHOP",
        "--via",
        there.via,
        "-o",
        "programs=there",
        "-d",
        tmp_path / "b",
        "--rate-limit",
        "2MB",
    ]
    environment = {**os.environ, "SHOP": tcp(postgres, shop)}
    process = subprocess.Popen(
        [sys.executable, "-m", "dumpty", *argv],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert eventually(lambda: running(f"{postgres.bindir}/pg_dump", f"dbname='{shop}'"))
        assert eventually(lambda: postgres.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%%item%%'"))
        assert not [line for line in command_lines().values() if "s3cr3t-Marker" in line]
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in {-number, 128 + number}
    assert gone("pg_dump", f"dbname='{shop}'")
    assert BackupManager(tmp_path / "b").list_backups() == []


def test_no_pg_restore_there_outlives_dumpty(tmp_path, postgres, shop, there, target):
    made = done(BackupManager(tmp_path / "b").create_backup(tcp(postgres, shop), format="native"))
    there.write(
        "pg_restore",
        f'if [ "$1" = --version ]; then exec {postgres.bindir}/pg_restore "$@"; fi\ncat >/dev/null; sleep 86406; :',
    )
    argv = ["restore", made.id, "--to", "env:TARGET", "--via", there.via, "-o", "programs=there", "-d", tmp_path / "b"]
    environment = {**os.environ, "TARGET": tcp(postgres, target)}
    with subprocess.Popen([sys.executable, "-m", "dumpty", *argv], env=environment, stderr=subprocess.PIPE) as process:
        try:
            assert eventually(lambda: running("sleep 86406"))
        finally:
            process.kill()
    assert gone("86406")
    unfinished = postgres.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", f"{target}\\_%")
    assert len(unfinished) == 1
    postgres.drop(unfinished[0][0])


def test_the_command_line_and_jobs_take_the_option(dumpty, postgres, shop, there, target, monkeypatch, tmp_path):
    monkeypatch.setenv("SHOP", tcp(postgres, shop))
    monkeypatch.setenv("TARGET", tcp(postgres, target))
    Path("dumpty.toml").write_text(
        f'[defaults]\nrepository = "{tmp_path}/r"\nencrypt_to = []\n'
        f'[jobs.shop]\nsource = "env:SHOP"\nvia = "{there.via}"\noptions = {{ programs = "there" }}\n'
    )
    assert dumpty("run", "-q").status == 0
    assert len(there.calls("pg_dump")) == 1
    [made] = BackupManager(tmp_path / "r").list_backups()
    assert made.format == "native"
    assert "not in the format parallel" in made.evidence.notes[0]
    assert "needs its programs on this machine" in made.evidence.notes[0]
    argv = ("backup", "env:SHOP", "-d", tmp_path / "r", "--via", there.via, "-o", "programs=there", "--json")
    refused = dumpty(*argv, "--format", "parallel")
    reply = json.loads(refused.out)
    assert (refused.status, reply["error_type"]) == (2, "FormatNotSupported")
    assert "leave programs=there out, or use the format native" in reply["error"]
    words = shlex.split(f"restore latest:{shop} -d {tmp_path}/r --to env:TARGET -o programs=there -q")
    assert dumpty(*words, "--via", there.via).status == 0
    assert len(there.calls("pg_restore")) == 1
    refused = dumpty("backup", "env:SHOP", "-d", tmp_path / "r", "-o", "programs=there", "--json")
    assert refused.status == 2
    assert "needs --via" in json.loads(refused.out)["error"]
