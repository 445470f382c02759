"""A restore puts the whole dump at the target, or leaves the target as it was."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins.mysql.content import OBJECTS, TYPES, build, cells
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import DumptyError, Evidence, IntegrityError, Locked, ObjectEvidence, SourceError, TargetNotEmpty
from dumpty_plugins.mysql.loading.loader import Loader
from dumpty_plugins.mysql.schema.recovery import lock_name

OLD = [
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "INSERT INTO kept VALUES (1),(2)",
    "CREATE TABLE child (id INT PRIMARY KEY, k INT, FOREIGN KEY (k) REFERENCES kept (id))",
    "INSERT INTO child VALUES (1, 1)",
    "CREATE TABLE a (old_column TEXT)",
    "/*M! CREATE SEQUENCE counter */",
    "CREATE TABLE numbered (id INT /*M! DEFAULT (NEXTVAL(counter)) */)",
    "CREATE VIEW seen AS SELECT * FROM kept",
    "CREATE VIEW a_seen AS SELECT * FROM seen",
    "CREATE PROCEDURE old_work() BEGIN SELECT 1; END",
    "CREATE TRIGGER old_trigger BEFORE INSERT ON kept FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE EVENT old_event ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DELETE FROM kept",
]
NEW = [
    "CREATE TABLE a (id INT PRIMARY KEY, t TEXT)",
    "INSERT INTO a SELECT seq, REPEAT('x', 100) FROM seq_1_to_2000",
    "/*M! CREATE SEQUENCE counter START WITH 100 */",
    "CREATE TABLE numbered (id INT /*M! DEFAULT (NEXTVAL(counter)) */ /*!80000 DEFAULT (100) */, x INT)",
    "INSERT INTO numbered (x) VALUES (1)",
    "CREATE VIEW seen AS SELECT id FROM a",
    "CREATE FUNCTION old_work() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE TRIGGER new_trigger BEFORE INSERT ON a FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE EVENT old_event ON SCHEDULE EVERY 2 DAY STARTS '2030-01-01' DO DELETE FROM a",
]


@pytest.fixture(scope="module")
def original(server: MariaDBServer, tmp_path_factory) -> Iterator[FileDump]:
    server.run("CREATE DATABASE original", "USE original", *NEW)
    yield dump(mysql, server.source("original"), tmp_path_factory.mktemp("original") / "dump.sql", "sql")
    server.run("DROP DATABASE original")


@pytest.fixture
def new_backup(original: FileDump, tmp_path: Path) -> FileDump:
    path = tmp_path / "dump.sql"
    shutil.copy(original.file, path)
    copy = FileDump(path, "sql", original.evidence)
    copy.name = "original"
    return copy


def state(server: MariaDBServer, name: str) -> tuple:
    """All there is to know of a database, and whether a restore left anything beside it."""
    beside = [d for (d,) in server.run("SHOW DATABASES") if d.startswith(f"{name}__dumpty")]
    return server.dump(name).replace(f"`{name}`.", ""), cells(server, name), beside


def text_of(backup: FileDump) -> str:
    return backup.file.read_text("utf-8", "surrogateescape")


def rewritten(backup: FileDump, text: str) -> FileDump:
    path = backup.file.with_name("rewritten.sql")
    path.write_text(text, "utf-8", "surrogateescape")
    return FileDump(path, "sql", backup.evidence)


def test_an_existing_empty_database_is_used_and_takes_the_dumps_character_set(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    target = database(create=False)
    server.run(f"CREATE DATABASE `{target}` CHARACTER SET latin1 COLLATE latin1_bin")
    load(mysql, server.source(target), new_backup)
    assert state(server, target) == state(server, new_backup.name)


def test_a_full_database_is_refused_and_left_alone(server: MariaDBServer, database, new_backup: FileDump) -> None:
    target = database(*OLD)
    before = state(server, target)
    with pytest.raises(TargetNotEmpty, match=r"not empty.*overwrite"):
        load(mysql, server.source(target), new_backup)
    assert state(server, target) == before


@pytest.mark.parametrize(
    "only",
    [
        "CREATE VIEW v AS SELECT 1",
        "CREATE PROCEDURE p() SELECT 1",
        "CREATE /*M! SEQUENCE s */ /*!80000 TABLE s (id INT) */",
        OLD[-1].replace("kept", "x"),
    ],
)
def test_a_database_without_tables_is_not_empty_either(
    server: MariaDBServer, database, new_backup: FileDump, only: str
) -> None:
    target = database(only)
    with pytest.raises(TargetNotEmpty):
        load(mysql, server.source(target), new_backup)


def test_overwriting_replaces_everything(server: MariaDBServer, database, new_backup: FileDump) -> None:
    target = database(*OLD)
    evidence = load(mysql, server.source(target), new_backup, overwrite=True)
    assert state(server, target) == state(server, new_backup.name)
    assert {o.path: o.rows for o in evidence.objects} == {"a": 2000, "numbered": 1}
    server.run("INSERT INTO numbered (x) VALUES (2)", database=target)  # its default finds the sequence that moved


def test_a_database_of_everything_is_overwritten_by_itself(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(create=False)
    build(server, name, *TYPES, *OBJECTS)
    before = state(server, name)
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    load(mysql, server.source(name), backup, overwrite=True)
    assert state(server, name) == before


def test_overwriting_an_absent_or_empty_database_is_no_error(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    for create in (True, False):
        target = database(create=create)
        load(mysql, server.source(target), new_backup, overwrite=True)
        assert state(server, target) == state(server, new_backup.name)


def damage_cut(backup: FileDump) -> FileDump:
    text = text_of(backup)
    return rewritten(backup, text[: len(text) * 2 // 3])


def damage_no_mark(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup).rpartition("-- dumpty: complete")[0])


def damage_row_missing(backup: FileDump) -> FileDump:
    return rewritten(backup, re.sub(r"\n\(1000,'x+'\),", "", text_of(backup)))


def damage_row_missing_and_mark_adjusted(backup: FileDump) -> FileDump:
    text = re.sub(r"\n\(1000,'x+'\),", "", text_of(backup))
    return rewritten(backup, text.replace(", 2001 rows,", ", 2000 rows,"))


def damage_statement_missing(backup: FileDump) -> FileDump:
    return rewritten(backup, re.sub(r"\nCREATE OR REPLACE [^\n]*;", "", text_of(backup)))


def damage_table_unknown_to_the_evidence(backup: FileDump) -> FileDump:
    backup.evidence = Evidence(objects=tuple(o for o in backup.evidence.objects if o.path != "a"))
    return backup


def damage_evidence_of_another_dump(backup: FileDump) -> FileDump:
    backup.evidence = Evidence(objects=(ObjectEvidence(path="a", rows=2001), *backup.evidence.objects[1:]))
    return backup


def damage_goes_on(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup) + "CREATE TABLE more (id INT);\n")


def damage_duplicate_row(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup).replace("\n(1000,'", "\n(999,'"))


def damage_value_too_long(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup).replace("(100,1)", "(100,99999999999999)"))


def damage_code(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup).replace("RETURN 1", "RETURN no syntax"))


def damage_trigger(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup).replace("SET NEW.id = NEW.id + 1", "SET NEW.gone = 1"))


def damage_event(backup: FileDump) -> FileDump:
    return rewritten(backup, text_of(backup).replace("EVERY 2 DAY", "EVERY -2 DAY"))


def damage_reader(backup: FileDump) -> FileDump:
    class Failing(FileDump):
        def open(self):
            stream = super().open()

            class Reader:
                def read(self, size: int = -1) -> bytes:
                    block = stream.read(size)
                    if not block:
                        raise IntegrityError("the stored digest is another one")
                    return block

                def close(self) -> None:
                    stream.close()

            return Reader()

    return Failing(backup.file, "sql", backup.evidence)


DAMAGES = [v for k, v in sorted(globals().items()) if k.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_restore_that_fails_leaves_its_target_as_it_was(
    server: MariaDBServer, database, new_backup: FileDump, damage
) -> None:
    full = database(*OLD)
    empty = database(create=False)
    server.run(f"CREATE DATABASE `{empty}` CHARACTER SET latin1 COLLATE latin1_bin")
    missing = database(create=False)
    before = state(server, full), state(server, empty)
    damaged = damage(new_backup)
    for target in (full, empty, missing):
        with pytest.raises(DumptyError) as failure:
            load(mysql, server.source(target), damaged, overwrite=target == full)
        assert "\n" not in str(failure.value)
    assert (state(server, full), state(server, empty)) == before
    assert not server.run(f"SHOW DATABASES LIKE '{missing}%'")


@pytest.mark.parametrize("kind", ["full", "empty", "missing"])
def test_an_interrupt_leaves_the_target_as_it_was(
    server: MariaDBServer, database, new_backup: FileDump, kind: str
) -> None:
    class Interrupted(FileDump):
        def open(self):
            raise KeyboardInterrupt

    target = database(*(OLD if kind == "full" else []), create=kind != "missing")
    before = state(server, target) if kind != "missing" else None
    with pytest.raises(KeyboardInterrupt):
        load(mysql, server.source(target), Interrupted(new_backup.file, "sql"), overwrite=True)
    if before:
        assert state(server, target) == before
    else:
        assert not server.run(f"SHOW DATABASES LIKE '{target}%'")


def test_a_connection_lost_while_loading_leaves_the_target_as_it_was(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    target = database(*OLD)
    before = state(server, target)

    class Killing(FileDump):
        def open(self):
            for (number,) in server.run(
                f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB='{target}__dumpty_new'"
            ):
                server.run(f"KILL {number}")
            return super().open()

    with pytest.raises(SourceError, match=r"lost|gone"):
        load(mysql, server.source(target), Killing(new_backup.file, "sql", new_backup.evidence), overwrite=True)
    assert state(server, target) == before


def test_tables_in_use_are_an_error_in_time_and_everything_is_put_back(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    target = database(*OLD)
    before = state(server, target)
    user = server.connect(target)
    try:
        user.autocommit(False)
        with user.cursor() as cursor:
            cursor.execute("SELECT * FROM a")
        with pytest.raises(Locked, match=r"in use.*lock_timeout"):
            load(mysql, server.source(target), new_backup, overwrite=True, lock_timeout=1)
    finally:
        user.close()
    assert state(server, target) == before


def test_a_swap_that_cannot_be_undone_says_where_the_old_data_is(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch
) -> None:
    target = database(*OLD)
    before = cells(server, target)
    user = server.connect(target)
    create_stored_objects = Loader.create_stored_objects

    def fail_after_the_swap(self: Loader, session, *, events_disabled: bool = False, attempts: int = 1) -> None:
        create_stored_objects(self, session, events_disabled=events_disabled, attempts=attempts)
        if not events_disabled:
            user.begin()
            with user.cursor() as cursor:
                cursor.execute("SELECT * FROM a")  # a table that is in use cannot be moved back
            raise KeyboardInterrupt

    monkeypatch.setattr(Loader, "create_stored_objects", fail_after_the_swap)
    try:
        with pytest.raises(SourceError, match=rf"old tables are in {target}__dumpty_old.*dumpty_definitions"):
            load(mysql, server.source(target), new_backup, overwrite=True, lock_timeout=1)
    finally:
        user.close()
    saved = cells(server, f"{target}__dumpty_old")
    kept = saved.pop("dumpty_definitions")
    assert saved == before
    text = b"".join(bytes.fromhex(row[2]) for row in kept)
    assert all(n in text for n in (b"old_work", b"old_trigger", b"old_event", b"a_seen"))


@pytest.mark.parametrize("suffix", ["new", "old"])
def test_what_a_killed_restore_left_is_never_deleted(
    server: MariaDBServer, database, new_backup: FileDump, suffix: str
) -> None:
    target = database(*OLD)
    server.run(f"CREATE DATABASE `{target}__dumpty_{suffix}`", f"CREATE TABLE `{target}__dumpty_{suffix}`.t (id INT)")
    before = state(server, target)
    with pytest.raises(TargetNotEmpty, match=rf"{target}__dumpty_{suffix} exists.*DROP DATABASE"):
        load(mysql, server.source(target), new_backup, overwrite=True)
    assert state(server, target) == before
    assert server.run(f"SELECT * FROM `{target}__dumpty_{suffix}`.t") == []


def test_two_restores_of_one_target_exclude_each_other(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch
) -> None:
    monkeypatch.setattr(
        "dumpty_plugins.mysql.loading.restore_lock._MOMENT_SECONDS", 1
    )  # the other one goes on for longer anyhow
    target = database(create=False)
    inside, go_on = threading.Event(), threading.Event()
    results: list[Evidence] = []

    class Waiting(FileDump):
        def open(self):
            inside.set()
            assert go_on.wait(60)
            return super().open()

    slow = Waiting(new_backup.file, "sql", new_backup.evidence)
    thread = threading.Thread(target=lambda: results.append(load(mysql, server.source(target), slow)))
    thread.start()
    try:
        assert inside.wait(60)
        with pytest.raises(Locked, match="another restore"):
            load(mysql, server.source(target), new_backup, overwrite=True)
    finally:
        go_on.set()
        thread.join()
    assert results


def test_a_restore_waits_a_moment_for_the_end_of_another_ones_session(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    # Servers notice it when they come to it: a restore that follows at once is no second one.
    target = database(create=False)
    ending = server.connect()
    with ending.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK('{lock_name(target)}', 0)")
    timer = threading.Timer(0.5, ending.close)
    timer.start()
    try:
        assert load(mysql, server.source(target), new_backup)
    finally:
        timer.join()


def test_foreign_keys_from_other_databases_forbid_overwriting(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    target = database(*OLD)
    other_database = database(f"CREATE TABLE far (k INT, FOREIGN KEY (k) REFERENCES `{target}`.kept (id))")
    try:
        with pytest.raises(SourceError, match=rf"{other_database}\.far refers to tables of {target}"):
            load(mysql, server.source(target), new_backup, overwrite=True)
    finally:
        server.run("DROP TABLE far", database=other_database)


def test_a_row_larger_than_the_server_takes_is_explained(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT, a LONGTEXT)", "INSERT INTO t VALUES (1, REPEAT('x', 3000000))")
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    ((before,),) = server.run("SELECT @@GLOBAL.max_allowed_packet")
    server.run("SET GLOBAL max_allowed_packet=1048576")
    try:
        with pytest.raises(SourceError, match=r"a row of t needs 30000.* raise max_allowed_packet"):
            load(mysql, server.source(database(create=False)), backup)
    finally:
        server.run(f"SET GLOBAL max_allowed_packet={before}")


def test_a_long_name_still_has_room_beside_it(server: MariaDBServer, database, new_backup: FileDump) -> None:
    name = "n" * 64
    server.run(f"CREATE DATABASE {name}", f"CREATE TABLE {name}.t (id INT)")
    try:
        load(mysql, server.source(name), new_backup, overwrite=True)
        assert cells(server, name) == cells(server, new_backup.name)
        assert not server.run("SHOW DATABASES LIKE '%__dumpty%'")
    finally:
        server.run(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT ALL ON *.* TO evil@localhost",
        "DROP DATABASE mysql",
        "USE mysql",
        "SET GLOBAL max_connections=1",
        "SET PASSWORD=''",
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE a",
        "INSERT INTO `mysql`.`user` (`a`) VALUES\n(1)",
        "INSERT INTO `a` (`t`) SELECT authentication_string FROM mysql.user",
        "INSERT INTO `a` (`t`) VALUES\n((SELECT authentication_string FROM mysql.user LIMIT 1))",
        "INSERT INTO `a` (`t`) VALUES\n(LOAD_FILE('/etc/passwd'))",
        "INSERT INTO `a` (`t`) VALUES\n(@@datadir)",
        "CREATE TABLE `mysql`.`evil` (a INT)",
        "CREATE TABLE `evil` (a INT) AS SELECT * FROM mysql.user",
        "CREATE TABLE `evil` (a INT) /*!40000 SELECT * FROM mysql.user */",
        "CREATE TABLE `evil` LIKE `mysql`.`user`",
        "CREATE TABLE `evil` (a INT) ENGINE=FEDERATED CONNECTION='mysql://root@10.0.0.1/x/y'",
        "CREATE OR REPLACE VIEW mysql.evil AS SELECT 1",
        "CREATE TRIGGER evil BEFORE INSERT ON mysql.user FOR EACH ROW SET @a=1",
        "CREATE DEFINER=root@localhost PROCEDURE mysql.evil() SELECT 1",
        "CREATE USER evil@localhost",
        "CREATE DATABASE evil",
        "CREATE SERVER evil FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'x')",
        "ALTER DATABASE mysql COLLATE = utf8mb4_bin",
        "/*!40000 DROP DATABASE mysql */",
        "SELECT 1 INTO OUTFILE '/tmp/evil'",
        # A string that ends elsewhere than it seems to.
        "SET sql_mode='NO_BACKSLASH_ESCAPES';\nINSERT INTO `a` (`t`) VALUES\n('\\'),((SELECT 1)) -- ')",
        "SET character_set_client=gbk;\nINSERT INTO `a` (`t`) VALUES\n('\udcbf\\'),((SELECT 1)) -- ')",
        "SET character_set_client=gbk;\nCREATE VIEW `\udcbf` AS SELECT 1",
        "CREATE VIEW `v` AS SELECT 1;\nINSERT INTO `a` (`t`) VALUES\n('late')",
    ],
)
def test_a_dump_may_only_say_what_dumps_say(
    server: MariaDBServer, database, new_backup: FileDump, statement: str
) -> None:
    head, mark, tail = text_of(new_backup).partition("CREATE TABLE `numbered`")
    evil = rewritten(new_backup, head + statement + ";\n" + mark + tail)
    target = database(create=False)
    with pytest.raises(IntegrityError, match="which no dump by this driver says"):
        load(mysql, server.source(target), evil)
    assert not server.run(f"SHOW DATABASES LIKE '{target}%'")
