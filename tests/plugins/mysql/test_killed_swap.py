"""An overwriting restore that is killed at any step loses nothing, and the next one says how to go on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugins.mysql.content import cells
from plugins.mysql.test_restore import NEW, OLD, new_backup, original, state  # noqa: F401 - two of them are fixtures
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import SourceError, TargetNotEmpty
from dumpty_plugins.mysql.schema.recovery import lock_name

GRANT = "GRANT EXECUTE ON PROCEDURE {}.old_work TO tcp@'127.0.0.1'"
KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[7:]
from pathlib import Path
from dumpty import Evidence, Source
from dumpty_plugins.mysql import plugin as mysql
from dumpty_plugins.mysql.server.session import Session
from support.drive import FileDump, load

socket, database, path, start, position, moment = sys.argv[1:7]
execute, hits = Session.execute, 0

def killing(self, sql):
    global hits
    hit = not isinstance(sql, bytes) and sql.startswith(start)
    hits += hit and moment == "before"
    if hit and hits == int(position) and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = execute(self, sql)
    hits += hit and moment == "after"  # what was refused was not done
    if hit and hits == int(position) and moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Session.execute = killing
target = Source(scheme="mysql", url="x", username="root", database=database, query={"unix_socket": socket})
load(mysql, target, FileDump(Path(path), "sql", Evidence()), overwrite=True)
"""
STEPS = [
    ("CREATE DATABASE", 1, "after"),
    ("DROP DATABASE", 1, "before"),
    ("DROP DATABASE", 1, "after"),
    ("CREATE DATABASE", 3, "after"),
    ("DROP VIEW", 1, "after"),
    ("DROP PROCEDURE", 1, "after"),
    ("DROP TRIGGER", 1, "after"),
    ("DROP EVENT", 1, "after"),
    ("CREATE TABLE", 1, "after"),
    ("COMMIT", 2, "after"),
    ("RENAME", 1, "before"),
    ("RENAME", 1, "after"),
    ("ALTER DATABASE", 1, "after"),
    ("DROP DATABASE", 2, "before"),
    ("DROP DATABASE", 3, "before"),
]


def killed(server: MariaDBServer, name: str, backup: FileDump, step: tuple[str, int, str]) -> None:
    argv = [sys.executable, "-c", KILLED, server.socket, name, str(backup.file), *map(str, step)]
    completed = subprocess.run([*argv, str(Path(__file__).parents[2])], check=False, capture_output=True)
    assert completed.returncode == -9, completed.stderr.decode()


def follow(server: MariaDBServer, advice: str) -> None:
    """Run the command that the message gives, as somebody would paste it."""
    match = re.search(
        rf"({server.program_name} -N .*? \| {server.program_name} --comments), then (DROP DATABASE `[^`]+`)", advice
    )
    assert match
    reach = f"{server.program('client')} --no-defaults --default-character-set=utf8mb4 --socket={server.socket} --user=root "
    command = re.sub(rf"\b{server.program_name} (?=-)", lambda _: reach, match[1])
    completed = subprocess.run(["sh", "-c", command], check=False, capture_output=True)
    assert (completed.returncode, completed.stderr) == (0, b"")
    server.run(match[2])


@pytest.mark.parametrize("step", STEPS, ids=lambda s: " ".join(map(str, s)))
def test_a_restore_killed_at_any_step_loses_nothing(server: MariaDBServer, database, new_backup, step) -> None:  # noqa: F811
    target = database("ALTER DATABASE COLLATE utf8mb4_bin", *OLD)
    server.run(GRANT.format(f"`{target}`"))
    before = state(server, target)
    new = state(server, new_backup.name)
    killed(server, target, new_backup, step)
    assert server.run(f"SELECT GET_LOCK('{lock_name(target)}', 60)") == [(1,)]  # its session has ended
    refusal = ""
    try:
        load(mysql, server.source(target), new_backup, overwrite=True)
    except TargetNotEmpty as error:
        refusal = str(error)
    if refusal:
        assert f"{target}__dumpty_old" in refusal
        assert "\n" not in refusal
        if "whole" in refusal:
            assert state(server, target)[:2] == new[:2]
            server.run(f"DROP DATABASE `{target}__dumpty_old`")
        else:
            with pytest.raises(SourceError, match=r"to (go back|bring them back)"):
                dump(mysql, server.source(target), new_backup.file.with_name("half.sql"), "sql")
            follow(server, refusal)
            assert state(server, target)[:2] == before[:2]
            assert any(f"`{target}`.`old_work`" in line for (line,) in server.run("SHOW GRANTS FOR tcp@'127.0.0.1'"))
        load(mysql, server.source(target), new_backup, overwrite=True)
    assert state(server, target) == new


def test_a_backup_of_a_database_that_is_being_overwritten_waits_for_it(
    server: MariaDBServer, database, tmp_path
) -> None:
    name = database(*OLD)
    server.run(
        f"CREATE DATABASE `{name}__dumpty_old`",
        f"CREATE TABLE `{name}__dumpty_old`.dumpty_definitions (n INT, stage TEXT, statement BLOB)",
        f"INSERT INTO `{name}__dumpty_old`.dumpty_definitions VALUES (1, 'always', 'x')",
    )
    holder = server.connect()
    try:
        with holder.cursor() as cursor:
            cursor.execute(f"SELECT GET_LOCK('{lock_name(name)}', 0)")
        with pytest.raises(SourceError, match="is being overwritten by a restore: wait"):
            dump(mysql, server.source(name), tmp_path / "d", "sql")
    finally:
        holder.close()


def test_overwriting_keeps_grants_on_routines_that_are_there_again(server: MariaDBServer, database, new_backup) -> None:  # noqa: F811
    target = database(
        "CREATE FUNCTION old_work() RETURNS INT DETERMINISTIC RETURN 7", "CREATE PROCEDURE gone() SELECT 1"
    )
    server.run(
        f"GRANT EXECUTE, ALTER ROUTINE ON FUNCTION `{target}`.old_work TO tcp@'127.0.0.1' WITH GRANT OPTION",
        f"GRANT EXECUTE ON PROCEDURE `{target}`.gone TO tcp@'127.0.0.1'",
    )
    query = "SHOW GRANTS FOR tcp@'127.0.0.1'"
    before = server.run(query)
    load(mysql, server.source(target), new_backup, overwrite=True)
    ended = set(before) - set(server.run(query))
    assert ["gone" in line for (line,) in ended] == [True]


def test_overwriting_takes_the_databases_comment_and_putting_back_keeps_the_old_one(
    mariadb: MariaDBServer, database, tmp_path: Path
) -> None:
    comment = "SELECT SCHEMA_COMMENT FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='{}'"
    name, target = database(*NEW), database(*OLD)
    mariadb.run(
        f"ALTER DATABASE `{name}` COMMENT 'the new, it''s \\\\'", f"ALTER DATABASE `{target}` COMMENT 'the old'"
    )
    backup = dump(mysql, mariadb.source(name), tmp_path / "d", "sql")
    broken = FileDump(tmp_path / "broken", "sql", backup.evidence)
    broken.file.write_bytes(backup.file.read_bytes().replace(b"EVERY 2 DAY", b"EVERY -2 DAY"))
    with pytest.raises(SourceError):
        load(mysql, mariadb.source(target), broken, overwrite=True)
    assert mariadb.run(comment.format(target)) == [("the old",)]
    load(mysql, mariadb.source(target), backup, overwrite=True)
    assert mariadb.run(comment.format(target)) == mariadb.run(comment.format(name)) == [("the new, it's \\",)]


def test_what_was_made_in_the_old_database_while_the_new_one_loaded_is_put_back_too(
    server: MariaDBServer,
    database,
    new_backup,  # noqa: F811
) -> None:
    target = database(*OLD)

    class Late(FileDump):
        def open(self):
            server.run("CREATE TRIGGER late BEFORE DELETE ON kept FOR EACH ROW SET @late=1", database=target)
            return super().open()

    text = new_backup.file.read_text().replace("EVERY 2 DAY", "EVERY -2 DAY")
    new_backup.file.write_text(text)
    with pytest.raises(SourceError):
        load(mysql, server.source(target), Late(new_backup.file, "sql", new_backup.evidence), overwrite=True)
    assert "late" in {row[0] for row in server.run("SHOW TRIGGERS", database=target)}
    assert set(cells(server, target)) - {"counter"} == {"kept", "child", "a", "numbered"}
