"""A dump is proved by reading it, by fingerprints, and by restoring it where it can do no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from plugins.mysql.content import OBJECTS, TYPES, build, cells
from plugins.mysql.test_restore import DAMAGES, new_backup, original  # noqa: F401 - two of them are fixtures
from support.drive import FileDump, defaults, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import Evidence, IntegrityError, NotProvable, OptionError, Source, SourceError
from dumpty_plugins.mysql.server import private_server, programs

UNREADABLE = {
    "damage_cut",
    "damage_no_mark",
    "damage_row_missing",
    "damage_row_missing_and_mark_adjusted",
    "damage_statement_missing",
    "damage_table_unknown_to_the_evidence",
    "damage_evidence_of_another_dump",
    "damage_goes_on",
    "damage_reader",
}


def look(source: Source, evidence: str) -> Evidence:
    found = mysql.inspect(source=source, options={"evidence": evidence}).evidence
    assert found is not None
    return found


def scratch(backup: FileDump, on: Source | None = None, **chosen: str):
    options = defaults(mysql, "scratch", superuser=on is not None and on.username == "root", **chosen)
    return mysql.scratch(dump=backup, on=on, options=options)


def examine(backup: FileDump) -> Evidence:
    return mysql.examine(dump=backup, options={})


@pytest.mark.parametrize("formatting", ["server", "client"])
def test_the_fingerprints_of_original_and_restored_are_the_same(
    server: MariaDBServer, database, tmp_path: Path, formatting: str
) -> None:
    name, target = database(create=False), database(create=False)
    build(server, name, *TYPES, *OBJECTS)
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql", fingerprint=True, formatting=formatting)
    load(mysql, server.source(target), backup)
    restored = look(server.source(target), "fingerprint").objects
    assert restored == backup.evidence.objects == look(server.source(name), "fingerprint").objects
    assert all(o.fingerprint and o.fingerprint.startswith("rowsha2-2:") for o in restored)
    assert len({o.fingerprint for o in restored if o.rows}) == len([o for o in restored if o.rows])
    assert [(o.path, o.rows) for o in look(server.source(name), "counts").objects] == [
        (o.path, o.rows) for o in restored
    ]
    assert mysql.inspect(source=server.source(name), options={"evidence": "off"}).evidence is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE numbers SET d=0.3 WHERE id=4",
        "UPDATE numbers SET f=0.333333313 WHERE id=4",
        "UPDATE numbers SET d=0e0*-1e0 WHERE id=2",
        "UPDATE numbers SET f=0e0 WHERE id=6",
        "UPDATE numbers SET de=de+0.000000000000000000000000000001 WHERE id=0",
        "UPDATE numbers SET b64=b'0' WHERE id=0",
        "UPDATE numbers SET i=NULL WHERE id=0",
        "UPDATE times SET d6=d6 + INTERVAL 1 MICROSECOND WHERE id=2",
        "UPDATE texts SET u4='' WHERE id=4",
        "UPDATE texts SET u4='NULL' WHERE id=4",
        'UPDATE texts SET j=\'{"a": ["\\\\\\\\n", 1.5, null]}\' WHERE id=2',
        "UPDATE texts SET sj=_sjis X'815B' WHERE id=5",
        "UPDATE texts SET u4=CONCAT(u4,' ') WHERE id=2",
        "UPDATE bytes_ SET v=CONCAT(v,X'00') WHERE id=2",
        "UPDATE choices SET e='' WHERE id=2",
        "UPDATE shapes SET g=ST_GeomFromText('LINESTRING(0 0,1.1 2.2)', 4267) WHERE id=1",
        "UPDATE /*M! words SET u='123e4567-e89b-12d3-a456-426655440001' WHERE id=1 */ /*!80000 vectors SET v=X'00000000' */",
        "INSERT INTO twice VALUES (1)",
        "UPDATE twice SET a=3 WHERE a=2 LIMIT 1",
    ],
)
def test_one_altered_cell_alters_the_fingerprint(server: MariaDBServer, altered: str, change: str) -> None:
    before = {o.path: o.fingerprint for o in look(server.source(altered), "fingerprint").objects}
    server.run("SET sql_mode='', time_zone='+00:00'", change, database=altered)
    after = {o.path: o.fingerprint for o in look(server.source(altered), "fingerprint").objects}
    assert len([p for p in before if before[p] != after[p]]) == 1


@pytest.fixture(scope="module")
def altered(server: MariaDBServer):
    build(server, "altered", *TYPES, "CREATE TABLE twice (a INT)", "INSERT INTO twice VALUES (1),(2),(2)")
    yield "altered"
    server.run("DROP DATABASE altered")


def test_names_of_columns_are_in_the_fingerprint_and_the_order_of_rows_is_not(server: MariaDBServer, database) -> None:
    marks = []
    for columns, rows in (
        ("a INT, b INT", "(1,2),(3,4)"),
        ("a INT, b INT", "(3,4),(1,2)"),
        ("b INT, a INT", "(1,2),(3,4)"),
    ):
        name = database(f"CREATE TABLE t ({columns})", f"INSERT INTO t VALUES {rows}")
        marks.append(look(server.source(name), "fingerprint").objects[0].fingerprint)
    assert marks[0] == marks[1] != marks[2]


def test_examining_reads_every_row_without_a_database(new_backup: FileDump) -> None:  # noqa: F811
    assert examine(new_backup).objects == new_backup.evidence.objects


def test_a_table_whose_keys_are_not_here_is_not_provable_here(server: MariaDBServer, database, tmp_path: Path) -> None:
    backup = dump(mysql, server.source(database("CREATE TABLE t (a INT)")), tmp_path / "d", "sql")
    text = backup.file.read_bytes()
    encrypted = b"ENGINE=InnoDB " + (
        b"`ENCRYPTED`=YES " if server.kind == "mariadb" else b"/*!80016 ENCRYPTION='Y' */ "
    )
    assert b"ENGINE=InnoDB " in text
    backup.file.write_bytes(text.replace(b"ENGINE=InnoDB ", encrypted, 1))
    with scratch(backup) as drill, pytest.raises(NotProvable, match=r"TABLE t.*encrypted: configure a keyring"):
        load(mysql, drill.target, backup)
    with pytest.raises(SourceError, match=r"TABLE t.*encrypted: configure a keyring"):
        load(mysql, server.source(database(create=False)), backup)


def test_an_event_in_a_time_zone_that_is_not_loaded_is_not_provable_here(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    event = "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SELECT 1"
    backup = dump(mysql, server.source(database("SET time_zone='+03:21'", event)), tmp_path / "d", "sql")
    text = backup.file.read_bytes()
    assert b"SET time_zone='+03:21'" in text
    backup.file.write_bytes(text.replace(b"SET time_zone='+03:21'", b"SET time_zone='Europe/Berlin'"))
    message = r"event e of the dump cannot be created .*error 1298.*mysql_tzinfo_to_sql"
    with scratch(backup) as drill, pytest.raises(NotProvable, match=message):
        load(mysql, drill.target, backup)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_examining_finds_what_can_be_found_without_a_database(new_backup: FileDump, damage) -> None:  # noqa: F811
    damaged = damage(new_backup)
    if damage.__name__ not in UNREADABLE:
        assert examine(damaged).objects  # only loading it, or a fingerprint, shows these
        return
    with pytest.raises(IntegrityError) as failure:
        examine(damaged)
    assert "target" not in str(failure.value)


def test_a_drill_on_a_private_server_leaves_nothing(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(create=False)
    build(server, name, *TYPES, *OBJECTS)
    server.run("SET FOREIGN_KEY_CHECKS=0", "INSERT INTO dogs VALUES (9, 77)", database=name)
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql", fingerprint=True)
    with scratch(backup) as drill:
        directory = Path(drill.target.query["unix_socket"]).parent
        load(mysql, drill.target, backup)
        assert look(drill.target, "fingerprint").objects == backup.evidence.objects
        tables, keys = drill.check()
        assert tables == f"CHECK TABLE EXTENDED of {len(backup.evidence.objects)} tables"
        assert keys == "parents of 2 foreign keys, but for rows without one: 1 of dogs.d_c (as when dumped)"
        assert drill.ask("SELECT COUNT(*) > 1, NULL, 1.5, 'x', '007' FROM dogs") == [(1, None, 1.5, "x", "007")]
        assert drill.ask("SELECT @@event_scheduler, @@skip_networking, @@local_infile") == [("OFF", 1, 0)]
        assert ("MariaDB" in drill.versions["server"]) == (server.kind == "mariadb")
        pid = int((directory / "pid").read_text())
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()


KILLED = """
import os, sys, time
sys.path[:0] = [sys.argv[2]]
from pathlib import Path
from dumpty import Evidence
from dumpty_plugins.mysql import plugin as mysql
from support.drive import FileDump
backup = FileDump(Path(sys.argv[1]), "sql", Evidence(versions={"server": sys.argv[3]}))
with mysql.scratch(dump=backup, on=None, options={}) as drill:
    print(drill.target.query["unix_socket"], flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place() -> Iterator[str]:
    """A directory for scratch servers that no other drill clears, short enough for the path of a socket."""
    with tempfile.TemporaryDirectory(prefix="d", dir="/tmp") as path:
        os.chmod(path, 0o755)
        yield path


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_drill_that_is_killed_takes_its_server_with_it(new_backup: FileDump, how: signal.Signals, place: str) -> None:  # noqa: F811
    version = new_backup.evidence.versions["server"]
    argv = [sys.executable, "-c", KILLED, str(new_backup.file), str(Path(__file__).parents[2]), version]
    environment = {**os.environ, "TMPDIR": place}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as drill:
        assert drill.stdout
        directory = Path(os.fsdecode(drill.stdout.readline().strip())).parent
        assert directory.is_relative_to(place)
        pid = int((directory / "pid").read_text())
        private_server._clear(place)
        assert (directory / "s").exists()  # its owner lives: nobody clears it
        drill.send_signal(how)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert directory.exists() == (how == signal.SIGKILL)
    private_server._clear(place)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("8.0.36", r"came from MySQL 8\.0, and .* is MariaDB 1.*--on"),
        ("99.1.2-MariaDB", r"came from MariaDB 99\.1, and .* is MariaDB 1"),
        ("", "does not say which server"),
    ],
)
def test_what_this_machine_cannot_prove_is_said(
    mariadb: MariaDBServer,
    new_backup: FileDump,  # noqa: F811
    version: str,
    message: str,
) -> None:
    new_backup.evidence = replace(new_backup.evidence, versions={"server": version} if version else {})
    for on in (None, mariadb.source("any")):
        with pytest.raises(NotProvable, match=message), scratch(new_backup, on):
            pytest.fail("a scratch database was made")


OLDER = {"mariadb": "10.3.39-MariaDB", "mysql": "8.0.36"}


@pytest.fixture
def older_backup(server: MariaDBServer, new_backup: FileDump) -> FileDump:  # noqa: F811
    """A backup that says that it came from an older server of the same kind."""
    new_backup.evidence = replace(new_backup.evidence, versions={"server": OLDER[server.kind]})
    return new_backup


def test_a_dump_of_an_older_server_is_rehearsed_on_the_version_that_is_chosen(
    server: MariaDBServer, older_backup: FileDump
) -> None:
    major, minor = server.run("SELECT VERSION()")[0][0].split(".")[:2]
    directory = str(
        Path(programs.local_server({"mariadb": "MariaDB", "mysql": "MySQL"}[server.kind], {}).program).parent
    )
    for chosen in (
        {"server_version": major},
        {"server_version": f"{major}.{minor}"},
        {"bindir": directory},
        {"server_version": major, "bindir": directory},
    ):
        with scratch(older_backup, **chosen) as drill:
            load(mysql, drill.target, older_backup)
            assert look(drill.target, "counts").objects == older_backup.evidence.objects
            assert drill.rehearsal.startswith("a rehearsal on M")
            assert f" {major}.{minor}." in drill.rehearsal
            assert drill.rehearsal.endswith(OLDER[server.kind].rpartition(".")[0])
            assert drill.differs == (f"the server: it is {drill.rehearsal}",)
            assert any("sorts" in text for text in drill.not_proved)
            assert drill.versions["server"].startswith(f"{major}.{minor}.")


def test_a_drill_for_which_nobody_chose_another_version_is_no_rehearsal(
    server: MariaDBServer,
    new_backup: FileDump,  # noqa: F811
) -> None:
    with scratch(new_backup, server_version=server.run("SELECT VERSION()")[0][0].split(".")[0]) as drill:
        assert (drill.rehearsal, drill.differs) == ("", ())
    new_backup.evidence = replace(new_backup.evidence, versions={"server": OLDER[server.kind]})
    with scratch(new_backup) as drill:
        assert (drill.rehearsal, drill.differs) == ("", ())


def test_a_version_that_is_not_here_is_not_provable_and_what_is_here_is_named(
    server: MariaDBServer, older_backup: FileDump, tmp_path: Path
) -> None:
    with (
        pytest.raises(NotProvable, match=r"on M\w+ 99\.9, and this machine has only M.* in /.*install.*--bindir DIR"),
        scratch(older_backup, server_version="99.9"),
    ):
        pytest.fail("a scratch database was made")
    with pytest.raises(NotProvable, match="no mariadbd or mysqld in"), scratch(older_backup, bindir=str(tmp_path)):
        pytest.fail("a scratch database was made")
    with pytest.raises(OptionError, match="'ten' is none of"), scratch(older_backup, server_version="ten"):
        pytest.fail("a scratch database was made")
    named = pytest.raises(OptionError, match="has the version it has")
    with named, scratch(older_backup, server.source("any"), server_version="11"):
        pytest.fail("a scratch database was made")


def test_a_machine_without_a_server_or_without_room_says_so(new_backup: FileDump, monkeypatch, tmp_path: Path) -> None:  # noqa: F811
    with monkeypatch.context() as patch:
        patch.setattr(private_server, "_EMPTY_SERVER_BYTES", 1 << 60)
        with pytest.raises(NotProvable, match=r"needs \d+ MiB.*TMPDIR"), scratch(new_backup):
            pytest.fail("a scratch database was made")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_PROGRAM_DIRECTORIES", "")
    with pytest.raises(NotProvable, match=r"no mariadbd or mysqld.*apt-get install"), scratch(new_backup):
        pytest.fail("a scratch database was made")


def test_a_drill_on_a_named_server_drops_its_database(server: MariaDBServer, new_backup: FileDump) -> None:  # noqa: F811
    for failing in (False, True):
        try:
            with scratch(new_backup, server.source("mentioned")) as drill:
                assert drill.target.database != "mentioned"
                load(mysql, drill.target, new_backup)
                assert drill.ask("SELECT COUNT(*) FROM a") == [(2000,)]
                assert drill.check()[0] == "CHECK TABLE EXTENDED of 2 tables"
                if failing:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert failing
        assert server.run("SHOW DATABASES LIKE 'dumpty_drill%'") == []


def test_a_named_server_that_would_run_events_is_refused(server: MariaDBServer, new_backup: FileDump) -> None:  # noqa: F811
    server.run("SET GLOBAL event_scheduler=ON")
    try:
        with (
            pytest.raises(NotProvable, match="event old_event of the dump would run"),
            scratch(new_backup, server.source("x")),
        ):
            pytest.fail("a scratch database was made")
    finally:
        server.run("SET GLOBAL event_scheduler=OFF")


def test_a_dump_that_reaches_into_other_databases_is_refused_on_a_named_server(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    other_database = database("CREATE TABLE parent (id INT PRIMARY KEY)")
    for statement, object_name in (
        (f"CREATE TABLE child (id INT, FOREIGN KEY (id) REFERENCES `{other_database}`.parent (id))", "table child"),
        (f"CREATE VIEW v AS SELECT * FROM `{other_database}`.parent", "view v"),
        (f"CREATE PROCEDURE p() DELETE FROM {other_database} . parent", "procedure p"),
    ):
        name = database(statement)
        backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
        refusal = pytest.raises(
            NotProvable, match=f"{object_name} of the dump reaches into the database {other_database}"
        )
        with refusal, scratch(backup, server.source(name)):
            pytest.fail("a scratch database was made")
        server.run(f"DROP DATABASE `{name}`")
    code = f"DELETE FROM {other_database} . parent".encode()
    text = backup.file.read_bytes()
    assert code in text
    backup.file.write_bytes(text.replace(code, b"/*!40000 " + code + b" */"))  # the server executes such a comment
    refusal = pytest.raises(NotProvable, match=f"procedure p of the dump reaches into the database {other_database}")
    with refusal, scratch(backup, server.source(name)):
        pytest.fail("a scratch database was made")


def test_checks_find_a_damaged_table_and_rows_without_parents(server: MariaDBServer, new_backup: FileDump) -> None:  # noqa: F811
    new_backup.evidence = replace(new_backup.evidence, properties={"dangling": {}})
    with scratch(new_backup, server.source("x")) as drill:
        load(mysql, drill.target, new_backup)
        name = str(drill.target.database)
        server.run(
            "CREATE TABLE child (id INT, FOREIGN KEY k (id) REFERENCES a (id))",
            "SET FOREIGN_KEY_CHECKS=0",
            "INSERT INTO child VALUES (1), (NULL), (5000)",
            database=name,
        )
        with pytest.raises(
            IntegrityError, match=r"without the row they refer to: \{'child\.\w+': 1\}, and when dumped"
        ):
            drill.check()
        server.run("DROP TABLE child", "CREATE TABLE m (id INT, KEY (id)) ENGINE=MyISAM", database=name)
        server.run("INSERT INTO m SELECT id FROM a", "FLUSH TABLES m", database=name)
        index = server.directory / "data" / name / "m.MYI"
        data = bytearray(index.read_bytes())
        data[1024:3000] = bytes(1976)
        index.write_bytes(data)
        with pytest.raises(IntegrityError, match="CHECK TABLE m EXTENDED: "):
            drill.check()


def test_an_edited_cell_is_caught_by_the_fingerprint(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY, a TEXT)", "INSERT INTO t VALUES (1, 'right'), (2, 'x')")
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql", fingerprint=True)
    backup.file.write_bytes(backup.file.read_bytes().replace(b"right", b"wrong"))
    target = database(create=False)
    load(mysql, server.source(target), backup)
    assert cells(server, target) != cells(server, name)
    assert look(server.source(target), "counts").objects[0].rows == backup.evidence.objects[0].rows
    assert look(server.source(target), "fingerprint").objects != backup.evidence.objects
