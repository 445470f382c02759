"""A failed overwrite puts back all that it took away, and takes nothing away before it knows that it could."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugins.mysql.content import cells
from support.drive import FileDump, dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as driver
from dumpty import Locked, SourceError, TargetNotEmpty
from dumpty_plugins.mysql.loading.rollback import Rollback
from dumpty_plugins.mysql.schema.recovery import lock_name
from dumpty_plugins.mysql.server.session import Session, StatementError

OLD = [
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "INSERT INTO kept VALUES (1),(2)",
    "CREATE TABLE a (old_column INT)",
    "CREATE VIEW seen AS SELECT * FROM a",
    "CREATE VIEW a_seen AS SELECT * FROM seen",
    "CREATE PROCEDURE old_work() SELECT 1",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 2",
    "CREATE TRIGGER second BEFORE INSERT ON kept FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE TRIGGER first BEFORE INSERT ON kept FOR EACH ROW SET NEW.id = NEW.id * 2",
    "CREATE TRIGGER also BEFORE INSERT ON a FOR EACH ROW SET NEW.old_column = 1",
    "CREATE EVENT old_event ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO DELETE FROM kept",
]
NEW = [
    "CREATE TABLE a (id INT PRIMARY KEY)",
    "INSERT INTO a VALUES (1),(2),(3)",
    "CREATE TABLE kept (id INT PRIMARY KEY)",
    "CREATE VIEW seen AS SELECT id FROM a",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE TRIGGER also BEFORE INSERT ON a FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE EVENT old_event ON SCHEDULE EVERY 2 DAY STARTS '2030-01-01' DO DELETE FROM a",
]
CODE = (
    (
        "SELECT TRIGGER_NAME, ACTION_ORDER, ACTION_STATEMENT, DEFINER FROM information_schema.TRIGGERS "
        "WHERE TRIGGER_SCHEMA='{0}' ORDER BY 1"
    ),
    (
        "SELECT EVENT_NAME, EVENT_DEFINITION, STATUS, INTERVAL_VALUE, DEFINER FROM information_schema.EVENTS "
        "WHERE EVENT_SCHEMA='{0}' ORDER BY 1"
    ),
    (
        "SELECT ROUTINE_NAME, ROUTINE_DEFINITION, DEFINER FROM information_schema.ROUTINES "
        "WHERE ROUTINE_SCHEMA='{0}' ORDER BY 1"
    ),
    "SELECT TABLE_NAME, VIEW_DEFINITION, DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA='{0}' ORDER BY 1",
    "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME='{0}'",
)
TIMES = (
    "SELECT TRIGGER_NAME, CREATED FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA='{0}' ORDER BY 1",
    "SELECT EVENT_NAME, CREATED FROM information_schema.EVENTS WHERE EVENT_SCHEMA='{0}' ORDER BY 1",
    "SELECT ROUTINE_NAME, CREATED FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA='{0}' ORDER BY 1",
)
BROAD = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE VIEW, SHOW VIEW, TRIGGER, EVENT"


def everything(server: MariaDBServer, name: str) -> tuple:
    """All rows and code of a database, and which databases stand beside it."""
    beside = [d for (d,) in server.run("SHOW DATABASES") if d.startswith(f"{name}__dumpty")]
    return cells(server, name), [server.run(q.format(name)) for q in CODE], beside


def times(server: MariaDBServer, name: str) -> list:
    """When each piece of code was made: another time where it was dropped and put back."""
    return [server.run(q.format(name)) for q in TIMES]


@pytest.fixture
def new_backup(server: MariaDBServer, database, tmp_path: Path) -> FileDump:
    return dump(driver, server.source(database(*NEW)), tmp_path / "new.sql", "sql")


class Watch:
    """Does something after statements of a restore, and keeps them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, then: Callable[[str, int], None]) -> None:
        self.statements: list[str] = []
        execute = Session.execute

        def watched(session: Session, sql: str | bytes) -> tuple[int, int]:
            text = sql.decode("utf-8", "replace") if isinstance(sql, bytes) else sql
            self.statements.append(text)
            try:
                result = execute(session, sql)
            except StatementError as error:
                then(text, error.code)
                raise
            then(text, 0)
            return result

        monkeypatch.setattr(Session, "execute", watched)


def privileged(server: MariaDBServer, account, *extra_grants: str) -> str:
    """Return an account that may do all in our databases, and read what a restore reads, but not name definers."""
    routine_grants = ["SHOW_ROUTINE ON *.*"] if server.kind == "mysql" else []
    return account("ALL ON `d%`.*", "SELECT ON mysql.*", *routine_grants, *extra_grants)


@pytest.fixture
def trusting(server: MariaDBServer) -> Iterator[None]:
    """Let accounts make functions and triggers although there is a binary log."""
    server.run("SET GLOBAL log_bin_trust_function_creators=1")
    yield
    server.run("SET GLOBAL log_bin_trust_function_creators=0")


def let_in(server: MariaDBServer) -> str:
    """Return the beginning of the statement after which others can read the new tables."""
    return "RENAME" if server.kind == "mariadb" else "UNLOCK TABLES"


@pytest.mark.parametrize(
    ("hold", "collation"),
    [
        ("LOCK TABLES a WRITE", "utf8mb4_general_ci"),
        ("LOCK TABLES a WRITE", "utf8mb4_bin"),
        ("INSERT INTO kept VALUES (70)", "utf8mb4_bin"),
    ],
)
def test_a_table_that_somebody_holds_costs_nothing(
    server: MariaDBServer, database, new_backup: FileDump, hold: str, collation: str
) -> None:
    target = database(f"ALTER DATABASE COLLATE {collation}", *OLD)
    before, since = everything(server, target), times(server, target)
    holder = server.connect(target)
    try:
        holder.autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(hold)
        with pytest.raises(Locked, match="lock_timeout"):
            load(driver, server.source(target), new_backup, overwrite=True, lock_timeout=1)
        assert times(server, target) == since  # nothing was dropped
    finally:
        holder.close()
    assert everything(server, target) == before
    load(driver, server.source(target), new_backup, overwrite=True)
    assert server.run("SELECT * FROM seen", database=target) == [(1,), (2,), (3,)]


@pytest.mark.usefixtures("trusting")
def test_without_the_right_to_lock_tables_what_was_dropped_is_put_back(
    server: MariaDBServer, database, account, new_backup: FileDump
) -> None:
    target = database("CREATE TABLE busy (id INT)", *OLD)
    definer_privileges = "SET USER" if server.kind == "mariadb" else "SET_ANY_DEFINER, SYSTEM_USER, SHOW_ROUTINE"
    routines = "CREATE ROUTINE, ALTER ROUTINE, EXECUTE"
    user = account(f"{BROAD}, {routines} ON *.*", f"{definer_privileges} ON *.*", "SELECT ON mysql.*")
    before, since = everything(server, target), times(server, target)
    holder = server.connect(target)
    try:
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLES busy WRITE")
        with pytest.raises(Locked):
            load(driver, server.source(target, user=user), new_backup, overwrite=True, lock_timeout=1)
        assert times(server, target) != since  # only the last step found out
    finally:
        holder.close()
    assert everything(server, target) == before


def test_a_new_table_that_somebody_takes_at_once_is_waited_for(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = database(*OLD)
    holder = server.connect(target)
    refused: list[str] = []

    def then(text: str, code: int) -> None:
        if text.startswith(let_in(server)) and not code:
            holder.begin()
            with holder.cursor() as cursor:
                cursor.execute("SELECT * FROM a")
        elif code == 1205:
            refused.append(text)
            holder.rollback()

    watch = Watch(monkeypatch, then)
    try:
        load(driver, server.source(target), new_backup, overwrite=True, lock_timeout=1)
    finally:
        holder.close()
    assert ["TRIGGER" in text for text in refused] == [True]
    assert sum(text.startswith("RENAME") and "`kept`" in text for text in watch.statements) <= 2
    assert everything(server, target)[2] == []
    assert server.run(CODE[0].format(target))[0][0] == "also"


def test_an_exchange_that_cannot_be_finished_is_undone_even_if_the_new_tables_are_in_use_for_a_while(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = database("ALTER DATABASE COLLATE utf8mb4_bin", *OLD)
    before = everything(server, target)
    holder = server.connect(target)
    backwards: list[int] = []
    exchanged: list[str] = []

    def then(text: str, code: int) -> None:
        if text.startswith(let_in(server)) and not code and not exchanged:
            exchanged.append(text)
            holder.begin()
            with holder.cursor() as cursor:
                cursor.execute("SELECT * FROM a")
        elif text.startswith("RENAME") and exchanged:
            backwards.append(code)
            if len(backwards) == 2:
                holder.rollback()

    Watch(monkeypatch, then)
    try:
        with pytest.raises(Locked):
            load(driver, server.source(target), new_backup, overwrite=True, lock_timeout=1)
    finally:
        holder.close()
    assert backwards == [1205, 1205, 0]
    assert everything(server, target) == before


def test_what_somebody_else_makes_meanwhile_is_not_destroyed(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = database(*OLD)

    def then(text: str, code: int) -> None:
        if text.startswith("DROP PROCEDURE") and not code:
            server.run("CREATE PROCEDURE late() SELECT 3", database=target)

    Watch(monkeypatch, then)
    before = everything(server, target)
    with pytest.raises(SourceError, match=r"somebody made the procedure late.*nothing was replaced"):
        load(driver, server.source(target), new_backup, overwrite=True)
    monkeypatch.undo()
    server.run("DROP PROCEDURE late", database=target)
    assert everything(server, target) == before


def test_settings_that_are_the_same_are_not_set_again(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = database(*OLD)
    watch = Watch(monkeypatch, lambda text, code: None)
    load(driver, server.source(target), new_backup, overwrite=True)
    altered = [text for text in watch.statements if text.startswith(f"ALTER DATABASE `{target}`")]
    assert altered == []


@pytest.mark.usefixtures("trusting")
def test_old_code_of_another_definer_is_found_before_anything_is_dropped(
    server: MariaDBServer, database, account, new_backup: FileDump
) -> None:
    for kind in ("VIEW seen", "PROCEDURE", "FUNCTION", "TRIGGER also", "EVENT"):
        target = database(OLD[0], OLD[2], *(s for s in OLD if s.startswith(f"CREATE {kind}")))
        before, since = everything(server, target), times(server, target)
        user = privileged(server, account)
        with pytest.raises(SourceError, match=r"could not be put back.*nothing was begun.*GRANT SE"):
            load(driver, server.source(target, user=user), new_backup, overwrite=True, definer="current")
        assert (everything(server, target), times(server, target)) == (before, since)


@pytest.mark.usefixtures("trusting")
def test_new_code_of_another_definer_is_found_before_anything_is_dropped(
    server: MariaDBServer, database, account, tmp_path: Path
) -> None:
    tables = [s for s in NEW if "TABLE" in s or "INSERT INTO" in s[:12]]
    for statement in NEW[3:]:
        backup = dump(driver, server.source(database(*tables, statement)), tmp_path / "one.sql", "sql")
        target = database("CREATE TABLE kept (id INT)", "INSERT INTO kept VALUES (5)")
        user = privileged(server, account)
        before = everything(server, target)
        with pytest.raises(SourceError, match=r"cannot be created on .*GRANT SE.*definer=current"):
            load(driver, server.source(target, user=user), backup, overwrite=True)
        assert everything(server, target) == before
        fresh = database(create=False)
        with pytest.raises(SourceError, match="definer=current"):
            load(driver, server.source(fresh, user=user), backup)
        assert not server.run(f"SHOW DATABASES LIKE '{fresh}%'")


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("overwrite", [False, True])
def test_definer_current_makes_the_account_that_restores_the_definer(
    server: MariaDBServer, database, account, new_backup: FileDump, overwrite: bool
) -> None:
    user = privileged(server, account)
    target = database("CREATE TABLE kept (id INT)") if overwrite else database(create=False)
    load(driver, server.source(target, user=user), new_backup, overwrite=overwrite, definer="current")
    for query in CODE[:4]:
        rows = server.run(query.format(target))
        assert [row[-1] for row in rows] == [f"{user}@localhost"]


def test_rights_that_an_exchange_needs_are_named_before_it_begins(
    server: MariaDBServer, database, account, new_backup: FileDump
) -> None:
    target = database("CREATE TABLE kept (id INT)")
    before = everything(server, target)
    user = account(
        f"SELECT, INSERT, TRIGGER, EVENT, EXECUTE ON `{target}`.*",
        f"ALL ON `{target}__dumpty_new`.*",
        f"ALL ON `{target}__dumpty_old`.*",
    )
    with pytest.raises(SourceError, match=r"GRANT CREATE, DROP, ALTER ON .*nothing was changed"):
        load(driver, server.source(target, user=user), new_backup, overwrite=True)
    assert everything(server, target) == before


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    ("definer", "lacking"), [("root@localhost", "SYSTEM_USER"), ("gone@localhost", "ALLOW_NONEXISTENT_DEFINER")]
)
def test_definers_that_are_mightier_or_gone_take_rights_of_their_own(
    mysql: MariaDBServer, database, account, new_backup: FileDump, definer: str, lacking: str
) -> None:
    target = database(OLD[0], f"CREATE DEFINER={definer} PROCEDURE p() SELECT 1")
    before, since = everything(mysql, target), times(mysql, target)
    user = privileged(mysql, account, "SET_ANY_DEFINER ON *.*")
    with pytest.raises(SourceError, match=rf"could not be put back.*{lacking}"):
        load(driver, mysql.source(target, user=user), new_backup, overwrite=True, definer="current")
    assert (everything(mysql, target), times(mysql, target)) == (before, since)


@pytest.mark.parametrize("statement", ["DROP EVENT", "RENAME", "CREATE OR REPLACE"])
def test_the_command_that_a_restore_without_an_end_leaves_brings_everything_back(
    server: MariaDBServer, database, new_backup: FileDump, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    target = database("ALTER DATABASE COLLATE utf8mb4_bin", *OLD)
    before = everything(server, target)
    ends = {"seen": 0}

    def then(text: str, code: int) -> None:
        if text.startswith(statement) and not code:
            ends["seen"] += 1
            if statement != "CREATE OR REPLACE" or ends["seen"] == 2:  # the first was beside the old content
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        Watch(patch, then)
        patch.setattr(Rollback, "run", lambda self, error: None)  # as if it had been killed
        with pytest.raises(KeyboardInterrupt):
            load(driver, server.source(target), new_backup, overwrite=True)
    while server.run(f"SELECT IS_FREE_LOCK('{lock_name(target)}')") != [(1,)]:
        time.sleep(0.01)  # a session that was closed ends a little later
    with pytest.raises(TargetNotEmpty, match="did not end") as refusal:
        load(driver, server.source(target), new_backup, overwrite=True)
    match = re.search(
        r"((?:mariadb|mysql) -N .*? \| (?:mariadb|mysql) --comments), then (DROP DATABASE `[^`]+`)", str(refusal.value)
    )
    assert match
    client = f"{server.program('client')} --no-defaults --default-character-set=utf8mb4 -uroot -S{server.socket} "
    command = re.sub(r"\b(mariadb|mysql) (?=-)", lambda _: client, match[1])
    completed = subprocess.run(["sh", "-c", command], check=False, capture_output=True)
    assert (completed.returncode, completed.stderr) == (0, b"")
    server.run(match[2])
    assert everything(server, target) == before


def test_a_trigger_on_a_table_that_is_wider_than_strict_mode_allows_hinders_nothing(
    server: MariaDBServer, database, new_backup: FileDump
) -> None:
    columns = ", ".join(f"c{i} CHAR(200) CHARACTER SET latin1" for i in range(60))
    target = database(
        "SET innodb_strict_mode=0",
        f"CREATE TABLE wide (id INT, {columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
        "CREATE TRIGGER numbered BEFORE INSERT ON wide FOR EACH ROW SET NEW.id = 1",
    )
    load(driver, server.source(target), new_backup, overwrite=True)
    assert server.run("SELECT * FROM seen", database=target) == [(1,), (2,), (3,)]
