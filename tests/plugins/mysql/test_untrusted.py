"""A dump is code of whoever owned the database: a drill gives it a database, and nothing of the server or the machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.drive import FileDump, defaults, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import IntegrityError, NotProvable, OptionError, Source
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.session import StatementError


def scratch(backup: FileDump, on: Source | None = None, **options):
    return driver.scratch(dump=backup, on=on, options=defaults(driver, "scratch", **options))


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every account may write to."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


REACHING = (
    "SELECT 'x' INTO OUTFILE '{directory}/out'",
    "SELECT 'x' INTO DUMPFILE '{directory}/dump'",
    "SET GLOBAL general_log_file='{directory}/log'",
    "CREATE FUNCTION reached RETURNS INTEGER SONAME 'udf.so'",
    "INSTALL PLUGIN reached SONAME 'ha_reached.so'",
    "CREATE USER reached@localhost",
    "SET GLOBAL event_scheduler=ON",
)


@pytest.fixture
def hostile(mariadb: MariaDBServer, database, tmp_path: Path, open_directory: Path) -> FileDump:
    """A database whose code does what it may, under the names of accounts that may everything on many servers."""
    reach = "".join(
        f"BEGIN DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; EXECUTE IMMEDIATE {text.format(directory=open_directory)!r}; END;\n"
        for text in REACHING
    )
    name = database(
        "CREATE TABLE t (a INT)",
        "INSERT INTO t VALUES (1), (2)",
        f"CREATE DEFINER=root@localhost PROCEDURE p() SQL SECURITY DEFINER BEGIN {reach} END",
        f"CREATE PROCEDURE q() SQL SECURITY INVOKER BEGIN {reach} END",
        "CREATE DEFINER=root@localhost FUNCTION f() RETURNS TEXT SQL SECURITY DEFINER RETURN LOAD_FILE('/etc/passwd')",
        "CREATE DEFINER=root@localhost VIEW v AS SELECT f() AS f",
        "CREATE EVENT e ON SCHEDULE EVERY 1 SECOND DO CALL p()",
    )
    return dump(driver, mariadb.source(name), tmp_path / "d", "sql", fingerprint=True)


def test_code_of_a_dump_reaches_nothing_of_a_private_server(hostile: FileDump, open_directory: Path) -> None:
    with scratch(hostile) as drill:
        load(driver, drill.target, hostile)
        assert driver.inspect(source=drill.target, options={"evidence": "fingerprint"}).evidence.objects == (
            hostile.evidence.objects
        )
        assert drill.check()
        session = connect(drill.target, drill.target.database)
        try:
            for procedure in ("p", "q"):
                session.execute(f"CALL {procedure}()")
        finally:
            session.close()
        with contextlib.suppress(StatementError):
            assert drill.ask("SELECT f FROM v") == [(None,)]
        assert drill.ask("SELECT @@general_log, @@event_scheduler") == [(0, "OFF")]
        assert drill.ask("SELECT COUNT(*) FROM mysql.func") == [(0,)]
        assert drill.ask("SELECT COUNT(*) FROM mysql.user WHERE User NOT IN ('root', 'mariadb.sys')") == [(0,)]
        for text in REACHING:
            session = connect(drill.target, drill.target.database)
            try:
                with pytest.raises(StatementError, match="denied"):
                    session.execute(text.format(directory=open_directory))
            finally:
                session.close()
    assert list(open_directory.iterdir()) == []


def test_a_private_server_runs_as_nobody_and_inherits_no_environment(
    hostile: FileDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret-of-the-caller")
    monkeypatch.setenv("MYSQL_PWD", "s3cret-of-the-caller")
    with scratch(hostile) as drill:
        directory = Path(drill.target.query["unix_socket"]).parent
        process = Path("/proc") / (directory / "pid").read_text().strip()
        status = (process / "status").read_text()
        (uid,) = {line.split()[1] for line in status.splitlines() if line.startswith("Uid:")}
        shell = Path("/proc") / next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
        assert "NoNewPrivs:\t1" in status
        assert any(uid in note for note in drill.notes)
        if os.geteuid() == 0:
            with pytest.raises(KeyError):
                pwd.getpwuid(int(uid))
            assert directory.stat().st_mode & 0o777 == 0o700
        else:
            assert int(uid) == os.geteuid()
        for process_directory in (process, shell):
            environment = (process_directory / "environ").read_bytes()
            assert b"s3cret" not in environment
            assert b"PATH=" in environment
    assert not process.exists()


def test_what_tables_say_of_directories_is_left_out_in_a_drill(
    mariadb: MariaDBServer, database, tmp_path: Path, account
) -> None:
    outside = Path(tempfile.mkdtemp(dir=mariadb.directory))
    os.chown(outside, (mariadb.directory / "data").stat().st_uid, -1)
    name = database(
        f"CREATE TABLE i (a INT) ENGINE=InnoDB DATA DIRECTORY='{outside}'",
        f"CREATE TABLE m (a INT) ENGINE=MyISAM DATA DIRECTORY='{outside}' INDEX DIRECTORY='{outside}'",
        f"CREATE TABLE p (a INT) PARTITION BY HASH (a) (PARTITION p0 DATA DIRECTORY='{outside}', PARTITION p1)",
        *(f"INSERT INTO {table} VALUES (1), (2)" for table in "imp"),
    )
    before = sorted(outside.rglob("*"))
    assert before
    backup = dump(driver, mariadb.source(name), tmp_path / "d", "sql", fingerprint=True)
    assert b"DATA DIRECTORY" in backup.file.read_bytes()
    user = account(r"ALL ON `dumpty\_drill%`.*")
    for on in (None, mariadb.source("x", user=user)):
        with scratch(backup, on) as drill:
            load(driver, drill.target, backup)
            objects = driver.inspect(source=drill.target, options={"evidence": "fingerprint"}).evidence.objects
            assert objects == backup.evidence.objects
            assert not any("DIRECTORY" in str(drill.ask(f"SHOW CREATE TABLE {table}")) for table in "imp")
            assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize("engine", ["CONNECT TABLE_TYPE=CSV FILE_NAME='/etc/passwd'", "SPIDER", "S3", "`federated`"])
def test_a_table_that_is_elsewhere_is_not_drilled(hostile: FileDump, engine: str) -> None:
    text = hostile.file.read_bytes()
    assert b"ENGINE=InnoDB" in text
    hostile.file.write_bytes(text.replace(b"ENGINE=InnoDB", f"/*!50100 ENGINE = {engine} */".encode(), 1))
    with scratch(hostile) as drill, pytest.raises(NotProvable, match="table t is in the engine"):
        load(driver, drill.target, hostile)


@pytest.mark.parametrize(
    "statement",
    [
        b"CREATE FUNCTION sys_exec RETURNS INTEGER SONAME 'udf.so'",
        b"CREATE OR REPLACE AGGREGATE FUNCTION IF NOT EXISTS `sys_exec` RETURNS STRING /*!SONAME*/ 'udf.so'",
    ],
)
def test_no_dump_makes_a_function_of_a_library(
    mariadb: MariaDBServer, hostile: FileDump, database, statement: bytes
) -> None:
    text = hostile.file.read_bytes()
    hostile.file.write_bytes(text.replace(b"CREATE TABLE", statement + b";\nCREATE TABLE", 1))
    with pytest.raises(IntegrityError, match="no dump by this driver says"):
        load(driver, mariadb.source(database(create=False)), hostile)


@pytest.mark.parametrize("right", ["SUPER", "FILE", "ALL PRIVILEGES", "CREATE USER", "INSERT"])
def test_an_account_with_rights_to_the_whole_server_is_refused_unless_insisted(
    mariadb: MariaDBServer, hostile: FileDump, account, right: str
) -> None:
    on = mariadb.source("x", user=account(r"ALL ON `dumpty\_drill%`.*", f"{right} ON *.*"))
    with pytest.raises(OptionError, match=f"has {right} on the whole server.*-o superuser=on"), scratch(hostile, on):
        pytest.fail("a scratch database was made")


def test_a_superuser_is_taken_where_somebody_insists(mariadb: MariaDBServer, hostile: FileDump) -> None:
    for on in (None, mariadb.source("x")):
        with scratch(hostile, on, superuser=True) as drill:
            load(driver, drill.target, hostile)
            assert drill.ask("SELECT COUNT(*) FROM t") == [(2,)]


@pytest.fixture
def programs(mysql: MariaDBServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a drill find MySQL's own program."""
    monkeypatch.setenv("PATH", f"{Path(mysql.program('client')).parent}{os.pathsep}{os.environ['PATH']}")


def listening(process: Path) -> set[str]:
    """Return the paths of the sockets that a process listens on, and the addresses of its network ports."""
    inodes = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.readlink(descriptor).partition("socket:[")[2].rstrip("]"))
    addresses = set()
    for line in (process / "net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and fields[3] == "00010000" and fields[7:]:
            addresses.add(fields[7])
    for family in ("tcp", "tcp6"):
        for line in (process / "net" / family).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                addresses.add(fields[1])
    return addresses


@pytest.mark.usefixtures("programs")
def test_a_private_mysql_server_opens_one_socket_and_gives_nothing_more(
    mysql: MariaDBServer, database, tmp_path: Path, open_directory: Path
) -> None:
    name = database(
        "CREATE TABLE t (a INT)",
        "INSERT INTO t VALUES (1), (2)",
        "CREATE DEFINER=root@localhost PROCEDURE p() SET GLOBAL general_log=1",
        "CREATE DEFINER=somebody@elsewhere VIEW v AS SELECT a FROM t",
    )
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    with scratch(backup) as drill:
        load(driver, drill.target, backup)
        directory = Path(drill.target.query["unix_socket"]).parent
        assert "MariaDB" not in drill.versions["server"]
        assert directory.stat().st_mode & 0o777 == 0o700
        process = Path("/proc") / (directory / "pid").read_text().strip()
        assert "NoNewPrivs:\t1" in (process / "status").read_text()
        assert listening(process) == {str(directory / "s")}
        for text in ("CALL p()", *REACHING):
            session = connect(drill.target, drill.target.database)
            try:
                with pytest.raises(StatementError, match="denied"):
                    session.execute(text.format(directory=open_directory))
            finally:
                session.close()
        assert drill.ask("SELECT COUNT(*) FROM t") == [(2,)]
    assert list(open_directory.iterdir()) == []


@pytest.mark.usefixtures("programs")
def test_a_mysql_table_in_a_directory_or_tablespace_of_its_own_is_not_drilled(
    mysql: MariaDBServer, database, tmp_path: Path
) -> None:
    backup = dump(driver, mysql.source(database("CREATE TABLE t (a INT)")), tmp_path / "d", "sql")
    text = backup.file.read_bytes()
    assert b"ENGINE=InnoDB" in text
    for table_option, location in (
        (b"DATA DIRECTORY='/tmp'", "a directory of its own"),
        (b"/*!50100 TABLESPACE `shared` */", "the tablespace shared"),
        (b"/*!50100 PARTITION BY HASH (a) (PARTITION p0 INDEX DIRECTORY = '/tmp') */", "a directory of its own"),
    ):
        backup.file.write_bytes(text.replace(b"ENGINE=InnoDB", b"ENGINE=InnoDB " + table_option, 1))
        with scratch(backup) as drill, pytest.raises(NotProvable, match=f"table t is in {location}"):
            load(driver, drill.target, backup)


@pytest.mark.usefixtures("programs")
def test_what_an_account_of_the_servers_own_defines_is_not_provable_without_a_superuser(
    mysql: MariaDBServer, database, tmp_path: Path
) -> None:
    name = database("CREATE DEFINER=`mysql.sys`@localhost PROCEDURE p() SELECT 1")
    backup = dump(driver, mysql.source(name), tmp_path / "d", "sql")
    with scratch(backup) as drill, pytest.raises(NotProvable, match=r"SYSTEM_USER.*-o superuser=on"):
        load(driver, drill.target, backup)
    with scratch(backup, superuser=True) as drill:
        load(driver, drill.target, backup)


AS_ANOTHER = """
import os, sys
sys.path[:0] = {path!r}
import dumpty, dumpty.process, pymysql, pymysql.cursors, fcntl, encodings.idna, importlib, pathlib, pkgutil
for name in dumpty.__all__:
    getattr(dumpty, name)
for name in dumpty.process.__all__:
    getattr(dumpty.process, name)
import dumpty_plugins.mysql.plugin as driver
import dumpty_plugins.mysql
for module in pkgutil.walk_packages(dumpty_plugins.mysql.__path__, "dumpty_plugins.mysql."):
    importlib.import_module(module.name)
from support.drive import FileDump, defaults
dumpty.process.account.BECOME = {become!r}
sys.executable = {python!r}
backup = FileDump(pathlib.Path({file!r}), "sql", dumpty.Evidence(versions={{"server": {version!r}}}))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({uid}); os.setuid({uid})
with driver.scratch(dump=backup, on=None, options=defaults(driver, "scratch")) as drill:
    driver.restore(target=drill.target, dump=backup, overwrite=False, options=defaults(driver, "restore"))
    print(drill.notes, drill.ask("SELECT COUNT(*) FROM t"), drill.ask("SHOW GRANTS"))
"""


def test_a_drill_of_somebody_who_is_not_root_says_under_whose_account_it_ran(
    hostile: FileDump, open_directory: Path
) -> None:
    from dumpty.process import become

    # The tests themselves may lie where nobody else may read.
    file, program = (shutil.copy(str(path), open_directory) for path in (hostile.file, become.__file__))
    for path in open_directory.iterdir():
        path.chmod(0o644)
    uid = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    script = AS_ANOTHER.format(
        path=sys.path,
        become=program,
        python=shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin") or sys.executable,
        file=str(file),
        version=hostile.evidence.versions["server"],
        uid=uid,
    )
    completed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")
    assert completed.returncode == 0, completed.stderr
    assert f"as this user ({uid})" in completed.stdout
    assert "[(2,)]" in completed.stdout
    assert "ALL PRIVILEGES ON *.*" not in completed.stdout
