"""A restore puts the whole dump at the target, or leaves the target as it was."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql as mysql
from dumpty import DumptyError, Evidence, IntegrityError, Locked, ObjectEvidence, SourceError, TargetNotEmpty
from dumpty_plugins.mysql.load import Loader

from .content import OBJECTS, TYPES, build, cells

OLD = [
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "INSERT INTO kept VALUES (1),(2)",
    "CREATE TABLE child (id INT PRIMARY KEY, k INT, FOREIGN KEY (k) REFERENCES kept (id))",
    "INSERT INTO child VALUES (1, 1)",
    "CREATE TABLE a (old_column TEXT)",
    "CREATE SEQUENCE counter",
    "CREATE TABLE numbered (id INT DEFAULT (NEXTVAL(counter)))",
    "CREATE VIEW seen AS SELECT * FROM kept",
    "CREATE VIEW a_seen AS SELECT * FROM seen",
    "CREATE PROCEDURE old_work() BEGIN SELECT 1; END",
    "CREATE TRIGGER old_trigger BEFORE INSERT ON kept FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE EVENT old_event ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DELETE FROM kept",
]
NEW = [
    "CREATE TABLE a (id INT PRIMARY KEY, t TEXT)",
    "INSERT INTO a SELECT seq, REPEAT('x', 100) FROM seq_1_to_2000",
    "CREATE SEQUENCE counter START WITH 100",
    "CREATE TABLE numbered (id INT DEFAULT (NEXTVAL(counter)), x INT)",
    "INSERT INTO numbered (x) VALUES (1)",
    "CREATE VIEW seen AS SELECT id FROM a",
    "CREATE FUNCTION old_work() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE TRIGGER new_trigger BEFORE INSERT ON a FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE EVENT old_event ON SCHEDULE EVERY 2 DAY STARTS '2030-01-01' DO DELETE FROM a",
]


@pytest.fixture(scope="module")
def original(mariadb: MariaDBServer, tmp_path_factory) -> Iterator[FileDump]:
    mariadb.run("CREATE DATABASE original", "USE original", *NEW)
    yield dump(mysql, mariadb.source("original"), tmp_path_factory.mktemp("original") / "dump.sql", "sql")
    mariadb.run("DROP DATABASE original")


@pytest.fixture
def made(original: FileDump, tmp_path: Path) -> FileDump:
    path = tmp_path / "dump.sql"
    shutil.copy(original.file, path)
    one = FileDump(path, "sql", original.evidence)
    one.name = "original"
    return one


def state(server: MariaDBServer, name: str) -> tuple:
    """All there is to know of a database, and whether a restore left anything beside it."""
    beside = [d for (d,) in server.run("SHOW DATABASES") if d.startswith(f"{name}__dumpty")]
    return server.dump(name).replace(f"`{name}`.", ""), cells(server, name), beside


def text_of(made: FileDump) -> str:
    return made.file.read_text("utf-8", "surrogateescape")


def rewritten(made: FileDump, text: str) -> FileDump:
    path = made.file.with_name("rewritten.sql")
    path.write_text(text, "utf-8", "surrogateescape")
    return FileDump(path, "sql", made.evidence)


def test_an_existing_empty_database_is_used_and_takes_the_dumps_character_set(
    mariadb: MariaDBServer, database, made: FileDump
) -> None:
    target = database(create=False)
    mariadb.run(f"CREATE DATABASE `{target}` CHARACTER SET latin1 COLLATE latin1_bin")
    load(mysql, mariadb.source(target), made)
    assert state(mariadb, target) == state(mariadb, made.name)


def test_a_full_database_is_refused_and_left_alone(mariadb: MariaDBServer, database, made: FileDump) -> None:
    target = database(*OLD)
    before = state(mariadb, target)
    with pytest.raises(TargetNotEmpty, match=r"not empty.*overwrite"):
        load(mysql, mariadb.source(target), made)
    assert state(mariadb, target) == before


@pytest.mark.parametrize(
    "only",
    ["CREATE VIEW v AS SELECT 1", "CREATE PROCEDURE p() SELECT 1", "CREATE SEQUENCE s", OLD[-1].replace("kept", "x")],
)
def test_a_database_without_tables_is_not_empty_either(
    mariadb: MariaDBServer, database, made: FileDump, only: str
) -> None:
    target = database(only)
    with pytest.raises(TargetNotEmpty):
        load(mysql, mariadb.source(target), made)


def test_overwriting_replaces_everything(mariadb: MariaDBServer, database, made: FileDump) -> None:
    target = database(*OLD)
    evidence = load(mysql, mariadb.source(target), made, overwrite=True)
    assert state(mariadb, target) == state(mariadb, made.name)
    assert {o.path: o.rows for o in evidence.objects} == {"a": 2000, "numbered": 1}
    mariadb.run("INSERT INTO numbered (x) VALUES (2)", database=target)  # its default finds the sequence that moved


def test_a_database_of_everything_is_overwritten_by_itself(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(create=False)
    build(mariadb, name, *TYPES, *OBJECTS)
    before = state(mariadb, name)
    one = dump(mysql, mariadb.source(name), tmp_path / "d", "sql")
    load(mysql, mariadb.source(name), one, overwrite=True)
    assert state(mariadb, name) == before


def test_overwriting_an_absent_or_empty_database_is_no_error(mariadb: MariaDBServer, database, made: FileDump) -> None:
    for create in (True, False):
        target = database(create=create)
        load(mysql, mariadb.source(target), made, overwrite=True)
        assert state(mariadb, target) == state(mariadb, made.name)


def damage_cut(made: FileDump) -> FileDump:
    text = text_of(made)
    return rewritten(made, text[: len(text) * 2 // 3])


def damage_no_mark(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made).rpartition("-- dumpty: complete")[0])


def damage_row_missing(made: FileDump) -> FileDump:
    return rewritten(made, re.sub(r"\n\(1000,'x+'\),", "", text_of(made)))


def damage_row_missing_and_mark_adjusted(made: FileDump) -> FileDump:
    text = re.sub(r"\n\(1000,'x+'\),", "", text_of(made))
    return rewritten(made, text.replace(", 2001 rows,", ", 2000 rows,"))


def damage_statement_missing(made: FileDump) -> FileDump:
    return rewritten(made, re.sub(r"\nCREATE OR REPLACE [^\n]*;", "", text_of(made)))


def damage_table_unknown_to_the_evidence(made: FileDump) -> FileDump:
    made.evidence = Evidence(objects=tuple(o for o in made.evidence.objects if o.path != "a"))
    return made


def damage_evidence_of_another_dump(made: FileDump) -> FileDump:
    made.evidence = Evidence(objects=(ObjectEvidence(path="a", rows=2001), *made.evidence.objects[1:]))
    return made


def damage_goes_on(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made) + "CREATE TABLE more (id INT);\n")


def damage_duplicate_row(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made).replace("\n(1000,'", "\n(999,'"))


def damage_value_too_long(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made).replace("(100,1)", "(100,99999999999999)"))


def damage_code(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made).replace("RETURN 1", "RETURN no syntax"))


def damage_trigger(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made).replace("SET NEW.id = NEW.id + 1", "SET NEW.gone = 1"))


def damage_event(made: FileDump) -> FileDump:
    return rewritten(made, text_of(made).replace("EVERY 2 DAY", "EVERY -2 DAY"))


def damage_reader(made: FileDump) -> FileDump:
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

    return Failing(made.file, "sql", made.evidence)


DAMAGES = [v for k, v in sorted(globals().items()) if k.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_restore_that_fails_leaves_its_target_as_it_was(
    mariadb: MariaDBServer, database, made: FileDump, damage
) -> None:
    full = database(*OLD)
    empty = database(create=False)
    mariadb.run(f"CREATE DATABASE `{empty}` CHARACTER SET latin1 COLLATE latin1_bin")
    missing = database(create=False)
    before = state(mariadb, full), state(mariadb, empty)
    damaged = damage(made)
    for target in (full, empty, missing):
        with pytest.raises(DumptyError) as failure:
            load(mysql, mariadb.source(target), damaged, overwrite=target == full)
        assert "\n" not in str(failure.value)
    assert (state(mariadb, full), state(mariadb, empty)) == before
    assert not mariadb.run(f"SHOW DATABASES LIKE '{missing}%'")


@pytest.mark.parametrize("kind", ["full", "empty", "missing"])
def test_an_interrupt_leaves_the_target_as_it_was(mariadb: MariaDBServer, database, made: FileDump, kind: str) -> None:
    class Interrupted(FileDump):
        def open(self):
            raise KeyboardInterrupt

    target = database(*(OLD if kind == "full" else []), create=kind != "missing")
    before = state(mariadb, target) if kind != "missing" else None
    with pytest.raises(KeyboardInterrupt):
        load(mysql, mariadb.source(target), Interrupted(made.file, "sql"), overwrite=True)
    if before:
        assert state(mariadb, target) == before
    else:
        assert not mariadb.run(f"SHOW DATABASES LIKE '{target}%'")


def test_a_connection_lost_while_loading_leaves_the_target_as_it_was(
    mariadb: MariaDBServer, database, made: FileDump
) -> None:
    target = database(*OLD)
    before = state(mariadb, target)

    class Killing(FileDump):
        def open(self):
            for (number,) in mariadb.run(
                f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB='{target}__dumpty_new'"
            ):
                mariadb.run(f"KILL {number}")
            return super().open()

    with pytest.raises(SourceError, match=r"lost|gone"):
        load(mysql, mariadb.source(target), Killing(made.file, "sql", made.evidence), overwrite=True)
    assert state(mariadb, target) == before


def test_tables_in_use_are_an_error_in_time_and_everything_is_put_back(
    mariadb: MariaDBServer, database, made: FileDump
) -> None:
    target = database(*OLD)
    before = state(mariadb, target)
    user = mariadb.connect(target)
    try:
        user.autocommit(False)
        with user.cursor() as cursor:
            cursor.execute("SELECT * FROM a")
        with pytest.raises(Locked, match=r"in use.*lock_timeout"):
            load(mysql, mariadb.source(target), made, overwrite=True, lock_timeout=1)
    finally:
        user.close()
    assert state(mariadb, target) == before


def test_a_swap_that_cannot_be_undone_says_where_the_old_data_is(
    mariadb: MariaDBServer, database, made: FileDump, monkeypatch
) -> None:
    target = database(*OLD)
    before = cells(mariadb, target)
    user = mariadb.connect(target)
    run_code = Loader.run_code

    def fail_after_the_swap(self: Loader, session, *, asleep: bool = False, attempts: int = 1) -> None:
        run_code(self, session, asleep=asleep, attempts=attempts)
        if not asleep:
            user.begin()
            with user.cursor() as cursor:
                cursor.execute("SELECT * FROM a")  # a table that is in use cannot be moved back
            raise KeyboardInterrupt

    monkeypatch.setattr(Loader, "run_code", fail_after_the_swap)
    try:
        with pytest.raises(SourceError, match=rf"old tables are in {target}__dumpty_old.*dumpty_definitions"):
            load(mysql, mariadb.source(target), made, overwrite=True, lock_timeout=1)
    finally:
        user.close()
    saved = cells(mariadb, f"{target}__dumpty_old")
    kept = saved.pop("dumpty_definitions")
    assert saved == before
    text = b"".join(bytes.fromhex(row[2]) for row in kept)
    assert all(n in text for n in (b"old_work", b"old_trigger", b"old_event", b"a_seen"))


@pytest.mark.parametrize("suffix", ["new", "old"])
def test_what_a_killed_restore_left_is_never_deleted(
    mariadb: MariaDBServer, database, made: FileDump, suffix: str
) -> None:
    target = database(*OLD)
    mariadb.run(f"CREATE DATABASE `{target}__dumpty_{suffix}`", f"CREATE TABLE `{target}__dumpty_{suffix}`.t (id INT)")
    before = state(mariadb, target)
    with pytest.raises(TargetNotEmpty, match=rf"{target}__dumpty_{suffix} exists.*DROP DATABASE"):
        load(mysql, mariadb.source(target), made, overwrite=True)
    assert state(mariadb, target) == before
    assert mariadb.run(f"SELECT * FROM `{target}__dumpty_{suffix}`.t") == []


def test_two_restores_of_one_target_exclude_each_other(mariadb: MariaDBServer, database, made: FileDump) -> None:
    target = database(create=False)
    inside, go_on = threading.Event(), threading.Event()
    results: list[Evidence] = []

    class Waiting(FileDump):
        def open(self):
            inside.set()
            assert go_on.wait(60)
            return super().open()

    slow = Waiting(made.file, "sql", made.evidence)
    thread = threading.Thread(target=lambda: results.append(load(mysql, mariadb.source(target), slow)))
    thread.start()
    try:
        assert inside.wait(60)
        with pytest.raises(Locked, match="another restore"):
            load(mysql, mariadb.source(target), made, overwrite=True)
    finally:
        go_on.set()
        thread.join()
    assert results


def test_foreign_keys_from_other_databases_forbid_overwriting(mariadb: MariaDBServer, database, made: FileDump) -> None:
    target = database(*OLD)
    other = database(f"CREATE TABLE far (k INT, FOREIGN KEY (k) REFERENCES `{target}`.kept (id))")
    try:
        with pytest.raises(SourceError, match=rf"{other}\.far refers to tables of {target}"):
            load(mysql, mariadb.source(target), made, overwrite=True)
    finally:
        mariadb.run("DROP TABLE far", database=other)


def test_a_row_larger_than_the_server_takes_is_explained(mariadb: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT, a LONGTEXT)", "INSERT INTO t VALUES (1, REPEAT('x', 3000000))")
    one = dump(mysql, mariadb.source(name), tmp_path / "d", "sql")
    ((before,),) = mariadb.run("SELECT @@GLOBAL.max_allowed_packet")
    mariadb.run("SET GLOBAL max_allowed_packet=1048576")
    try:
        with pytest.raises(SourceError, match=r"a row of t needs 30000.* raise max_allowed_packet"):
            load(mysql, mariadb.source(database(create=False)), one)
    finally:
        mariadb.run(f"SET GLOBAL max_allowed_packet={before}")


def test_a_long_name_still_has_room_beside_it(mariadb: MariaDBServer, database, made: FileDump) -> None:
    name = "n" * 64
    mariadb.run(f"CREATE DATABASE {name}", f"CREATE TABLE {name}.t (id INT)")
    try:
        load(mysql, mariadb.source(name), made, overwrite=True)
        assert cells(mariadb, name) == cells(mariadb, made.name)
        assert not mariadb.run("SHOW DATABASES LIKE '%__dumpty%'")
    finally:
        mariadb.run(f"DROP DATABASE {name}")


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
def test_a_dump_may_only_say_what_dumps_say(mariadb: MariaDBServer, database, made: FileDump, statement: str) -> None:
    head, mark, tail = text_of(made).partition("CREATE TABLE `numbered`")
    evil = rewritten(made, head + statement + ";\n" + mark + tail)
    target = database(create=False)
    with pytest.raises(IntegrityError, match="which no dump by this driver says"):
        load(mysql, mariadb.source(target), evil)
    assert not mariadb.run(f"SHOW DATABASES LIKE '{target}%'")
