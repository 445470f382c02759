"""The accounts of MariaDB and MySQL: dumped, compared, and restored where nothing of them is lost or changed."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import re
import uuid
from pathlib import Path

import pytest
from msgspec import structs

from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    Host,
    IntegrityError,
    NotProvable,
    OptionError,
    SourceError,
    TargetNotEmpty,
)
from dumpty.testing.dumps import RecordedDump, RecordedPart
from dumpty_plugins.age import new_identity
from dumpty_plugins.mysql import plugin as mysql_plugin
from dumpty_plugins.mysql.accounts import restore
from dumpty_plugins.mysql.accounts.catalog import grants_of
from dumpty_plugins.mysql.accounts.facts import Name
from dumpty_plugins.mysql.accounts.script import parse, write_script
from dumpty_plugins.mysql.server.session import Session

NASTY = ("q`uo'te\"", "back\\slash", "per%ce_nt %s", "ünï 名", "line\n-- dumpty: {}")


class Accounts:
    """Makes accounts of one test on a server, and drops them."""

    def __init__(self, server) -> None:
        self.server = server
        self.maria = server.kind == "mariadb"
        self.prefix = f"a{uuid.uuid4().hex[:6]}_"

    def __call__(self, name: str, host: str = "10.%") -> str:
        quoted = "`" + (self.prefix + name).replace("`", "``") + "`"
        return f"{quoted}@`{host}`"

    def role(self, name: str) -> str:
        return self(name).partition("@`10.%`")[0] + ("" if self.maria else "@`10.%`")

    def run(self, *statements: str) -> list[tuple]:
        return self.server.run("SET sql_mode=''", *statements)

    def names(self) -> set[str]:
        sql = f"SELECT User FROM mysql.user WHERE User LIKE '{self.prefix.replace('_', '!_')}%' ESCAPE '!'"
        return {name.removeprefix(self.prefix) for (name,) in self.run(sql)}

    def everything(self) -> list[tuple[str, str, bool]]:
        is_role = "is_role='Y'" if self.maria else "0"
        sql = f"SELECT User, Host, {is_role} FROM mysql.user WHERE User LIKE '{self.prefix}%' ORDER BY 1, 2"
        return [(user, host, bool(int(role))) for user, host, role in self.run(sql)]

    def sql(self, user: str, host: str, role: bool) -> str:
        quoted = "`" + user.replace("`", "``") + "`"
        return quoted if role and self.maria else f"{quoted}@`{host}`"

    def drop(self) -> None:
        for entry in self.everything():
            self.run(f"DROP {'ROLE' if entry[2] else 'USER'} {self.sql(*entry)}")

    def state(self) -> dict[str, object]:
        """Return all that the server says of the test's accounts."""
        said: dict[str, object] = {}
        for entry in self.everything():
            name = self.sql(*entry)
            as_hex = [] if self.maria else ["SET print_identified_with_as_hex=ON"]
            created = [] if entry[2] else self.run(*as_hex, f"SHOW CREATE USER {name}")
            said[name] = (created, sorted(in_one_order(line) for (line,) in self.run(f"SHOW GRANTS FOR {name}")))
        return said


def in_one_order(line: str) -> str:
    """Return a line of SHOW GRANTS with its columns sorted: MariaDB 11.8 says them in the order they were granted in."""
    return re.sub(r" \((`[^()]*`)\)", lambda m: f" ({', '.join(sorted(m[1].split(', ')))})", line)


@pytest.fixture
def accounts(server):
    made = Accounts(server)
    # With it a name in GRANT is no pattern, for every later test of this server.
    revokes = [] if made.maria else server.run("SELECT @@GLOBAL.partial_revokes")
    yield made
    made.drop()
    for (before,) in revokes:  # off only where no account has an exception any more
        server.run(f"SET GLOBAL partial_revokes={before}")


@pytest.fixture
def url(server):
    return f"mysql://root@/?unix_socket={server.socket}"


@pytest.fixture
def manager(tmp_path):
    return BackupManager(str(tmp_path / "backups"))


def backed_up(manager, url, **options):
    result = manager.create_backup(url, format="accounts", **{"hashes": "plain", **options})
    result.raise_for_error()
    return result.backup


def data_of(backup) -> bytes:
    return gzip.decompress(Path(backup.file_path).read_bytes())


def make(accounts, database: str) -> None:
    """Make accounts of every kind, with every kind of privilege."""
    run, role = accounts.run, accounts.role
    for number, name in enumerate(NASTY):
        run(f"CREATE USER {accounts(name)} IDENTIFIED BY 'secret {number}'")
    a, b, c = (accounts(name) for name in NASTY[:3])
    more = " MAX_STATEMENT_TIME 2.5" if accounts.maria else ""
    run(f"ALTER USER {a} REQUIRE SUBJECT '/C=x\\\\y''z' AND ISSUER '/O=\"i\"' WITH MAX_QUERIES_PER_HOUR 5{more}")
    run(f"ALTER USER {b} REQUIRE SSL PASSWORD EXPIRE INTERVAL 30 DAY ACCOUNT LOCK")
    run(f"ALTER USER {c} PASSWORD EXPIRE NEVER", f"ALTER USER {c} PASSWORD EXPIRE")
    run(f"CREATE ROLE {role('r`ole')}", f"CREATE ROLE {role('outer')}")
    run(f"GRANT {role('r`ole')} TO {role('outer')}", f"GRANT {role('outer')} TO {a} WITH ADMIN OPTION")
    run(f"GRANT {role('r`ole')} TO {b}", f"SET DEFAULT ROLE {role('outer')} {'FOR' if accounts.maria else 'TO'} {a}")
    run(f"GRANT SELECT, PROCESS ON *.* TO {a} WITH GRANT OPTION")
    run(f"GRANT ALL ON `sh\\_op%`.* TO {b}", f"GRANT SELECT, INSERT ON `{database}`.* TO {role('r`ole')}")
    run(f"GRANT SELECT (`ä`, b), INSERT (b), UPDATE ON `{database}`.`t` TO {c} WITH GRANT OPTION")
    run(f"GRANT EXECUTE ON PROCEDURE `{database}`.`p` TO {role('r`ole')}")
    run(f"GRANT EXECUTE, ALTER ROUTINE ON FUNCTION `{database}`.`f` TO {c} WITH GRANT OPTION")
    run(f"GRANT PROXY ON {a} TO {b} WITH GRANT OPTION")
    if accounts.maria:
        run(
            f"CREATE USER {accounts('several')} IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('y')"
        )
        run(f"CREATE USER {accounts('none')}", f"GRANT BINLOG MONITOR, READ_ONLY ADMIN ON *.* TO {c}")
    else:
        run(f"ALTER USER {a} PASSWORD HISTORY 5 PASSWORD REUSE INTERVAL 3 DAY PASSWORD REQUIRE CURRENT OPTIONAL")
        run(f"ALTER USER {a} FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED COMMENT 'it''s \\\\ me'")
        run(f"ALTER USER {b} PASSWORD REQUIRE CURRENT", f"ALTER USER {c} ATTRIBUTE '{json.dumps({'a': 1})}'")
        run(f"GRANT BACKUP_ADMIN ON *.* TO {c} WITH GRANT OPTION", f"GRANT ROLE_ADMIN ON *.* TO {c}")
        run("SET GLOBAL partial_revokes=ON", f"REVOKE SELECT ON mysql.* FROM {a}")


@pytest.fixture
def shop(database):
    return database(
        "CREATE TABLE t (`ä` INT, b INT)",
        "CREATE PROCEDURE p() SELECT 1",
        "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    )


# -- round trips -----------------------------------------------------------------------------------------------------


def test_accounts_come_back(accounts, manager, url, shop):
    """Everything that the server says of accounts with hostile names is the same after a restore."""
    make(accounts, shop)
    before = accounts.state()
    backup = backed_up(manager, url)
    accounts.drop()
    manager.restore(backup.id, url).raise_for_error()
    assert accounts.state() == before
    assert len(before) >= 7


def test_what_is_the_same_is_left(accounts, manager, url, shop):
    """Restoring onto the server that the backup is of, as it still is, succeeds and changes nothing."""
    make(accounts, shop)
    before = accounts.state()
    manager.restore(backed_up(manager, url).id, url).raise_for_error()
    assert accounts.state() == before


@pytest.mark.parametrize("columns", [*itertools.permutations(["`ä`", "`b`", "`c,) d`"])], ids=range(6))
def test_the_order_of_columns_says_nothing(accounts, manager, url, database, columns):
    """Privileges on columns are the same whatever order they were granted, or are said, in: so nothing differs."""
    name, a = database("CREATE TABLE t (`b` INT, `c,) d` INT, `ä` INT)"), accounts("a")
    accounts.run(f"CREATE USER {a}", f"GRANT SELECT (`ä`, `b`, `c,) d`), UPDATE (`b`) ON `{name}`.t TO {a}")
    backup = backed_up(manager, url)
    accounts.drop()
    accounts.run(f"CREATE USER {a}")
    for column in columns:
        accounts.run(f"GRANT SELECT ({column}) ON `{name}`.t TO {a}")
    accounts.run(f"GRANT UPDATE (`b`) ON `{name}`.t TO {a}")
    before = accounts.run(f"SHOW GRANTS FOR {a}")
    assert parse(data_of(backed_up(manager, url))).grants == parse(data_of(backup)).grants
    manager.restore(backup.id, url).raise_for_error()
    assert accounts.run(f"SHOW GRANTS FOR {a}") == before
    accounts.run(f"REVOKE SELECT ({columns[0]}) ON `{name}`.t FROM {a}")
    refused = manager.restore(backup.id, url)
    assert isinstance(refused.exception, TargetNotEmpty)
    manager.restore(backup.id, url, overwrite=True).raise_for_error()
    assert parse(data_of(backed_up(manager, url))).grants == parse(data_of(backup)).grants


def test_columns_are_read_in_whatever_order_they_are_said():
    """Whichever server it is: MariaDB 10.11 and 11.8 say the columns of one privilege in orders of their own."""

    class Saying:
        def __init__(self, *columns: str) -> None:
            self.line = f"GRANT UPDATE, SELECT ({', '.join(columns)}), INSERT (`b`) ON `d`.`t` TO `a`@`%`"

        def rows(self, sql):
            return [(self.line.encode(),)]

    said = [
        grants_of(Saying(*order), Name(user="a", host="%")) for order in itertools.permutations(["`ä`", "`b`", "`c`"])
    ]
    assert [p.columns for p in said[0][0].privileges] == [["b"], ["b", "c", "ä"], []]
    assert all(grants == said[0] for grants in said)


def test_the_client_loads_what_was_dumped(accounts, manager, url, shop, server):
    """The dump without dumpty: the client creates what is missing, and goes on where an account exists."""
    make(accounts, shop)
    before = accounts.state()
    script = data_of(backed_up(manager, url))
    accounts.drop()
    server.client(None, script, "--force")
    assert accounts.state() == before


def test_privileges_on_tables_come_before_their_tables(accounts, manager, url, database, caplog):
    """A privilege on a table is restored before the table is; those on columns and routines wait, and that is said."""
    name = database("CREATE TABLE t (a INT)", "CREATE TABLE u (a INT)", "CREATE PROCEDURE p() SELECT 1")
    a = accounts("a")
    accounts.run(f"CREATE USER {a}", f"GRANT SELECT ON `{name}`.t TO {a} WITH GRANT OPTION")
    backup = backed_up(manager, url)
    accounts.run(f"GRANT SELECT (a) ON `{name}`.u TO {a}", f"GRANT EXECUTE ON PROCEDURE `{name}`.p TO {a}")
    more, before = backed_up(manager, url), accounts.state()
    accounts.drop()
    accounts.run(f"DROP DATABASE `{name}`")
    manager.restore(backup.id, url).raise_for_error()
    grants = [line for (line,) in accounts.run(f"SHOW GRANTS FOR {a}")]
    assert any(f"GRANT SELECT ON `{name}`.`t` TO" in g and g.endswith("WITH GRANT OPTION") for g in grants)
    assert not any("CREATE" in g for g in grants)
    accounts.drop()
    manager.restore(more.id, url).raise_for_error()
    assert caplog.text.count("were left out, for it does not exist here yet") == 2
    accounts.run(
        f"CREATE DATABASE `{name}`", f"USE `{name}`", "CREATE TABLE u (a INT)", "CREATE PROCEDURE p() SELECT 1"
    )
    assert isinstance(manager.restore(more.id, url).exception, TargetNotEmpty)
    manager.restore(more.id, url, overwrite=True).raise_for_error()
    assert accounts.state() == before


def test_roles_stay_their_admins(accounts, manager, url, mariadb):
    """Whoever restores keeps no role that MariaDB gives to who creates it, where the backup has another admin of it."""
    a, b, role = accounts("a"), accounts("b"), accounts.role("role")
    accounts.run(f"CREATE USER {a}", f"CREATE USER {b}", f"CREATE ROLE {role} WITH ADMIN {a}")
    before = accounts.state()
    backup = backed_up(manager, url)
    accounts.drop()
    manager.restore(backup.id, url).raise_for_error()
    assert accounts.state() == before
    assert accounts.run(f"SELECT User FROM mysql.roles_mapping WHERE Role='{accounts.prefix}role'") == [
        (f"{accounts.prefix}a",)
    ]
    accounts.run(f"DROP USER {a}")  # the only admin: nobody can give the role any more
    result = manager.restore(backup.id, url, overwrite=True)
    assert "only who has it WITH ADMIN OPTION grants a role on MariaDB" in result.error
    assert accounts.names() == {"b", "role"}


def test_privileges_on_packages_come_back(accounts, manager, url, database, server, mariadb):
    """A privilege on a package is granted in the only mode that knows the word, by a restore and by the client."""
    name, a = database(), accounts("a")
    package = f"CREATE PACKAGE `{name}`.pk AS PROCEDURE p(); END"
    body = f"CREATE PACKAGE BODY `{name}`.pk AS PROCEDURE p() AS BEGIN NULL; END; END"
    accounts.run(
        "SET sql_mode=ORACLE", package, body, f"CREATE USER {a}", f"GRANT EXECUTE ON PACKAGE `{name}`.pk TO {a}"
    )
    accounts.run("SET sql_mode=ORACLE", f"GRANT EXECUTE ON PACKAGE BODY `{name}`.pk TO {a}")
    before = accounts.state()
    backup = backed_up(manager, url)
    accounts.drop()
    accounts.run(f"CREATE USER {a}")
    without, nothing = accounts.state(), backed_up(manager, url)
    manager.restore(backup.id, url, overwrite=True).raise_for_error()
    assert accounts.state() == before
    assert "PACKAGE BODY" in str(before)
    manager.restore(nothing.id, url, overwrite=True).raise_for_error()  # takes them back
    assert accounts.state() == without
    accounts.drop()
    server.client(None, data_of(backup), "--force")
    assert accounts.state() == before


def test_privileges_on_libraries_come_back(accounts, manager, url, database, mysql, caplog):
    """A privilege on one of MySQL's libraries is in a backup, and waits for the library like one on a routine."""
    name, a = database(), accounts("a")
    library = f"CREATE LIBRARY `{name}`.`l``b` LANGUAGE JAVASCRIPT AS 'export function f(n) {{ return n }}'"
    accounts.run(library, f"CREATE USER {a}", f"GRANT EXECUTE ON LIBRARY `{name}`.`l``b` TO {a} WITH GRANT OPTION")
    before, backup = accounts.state(), backed_up(manager, url)
    accounts.drop()
    manager.restore(backup.id, url).raise_for_error()
    assert accounts.state() == before
    accounts.drop()
    accounts.run(f"DROP LIBRARY `{name}`.`l``b`")
    manager.restore(backup.id, url).raise_for_error()
    assert "were left out, for it does not exist here yet" in caplog.text
    accounts.run(library)
    manager.restore(backup.id, url, overwrite=True).raise_for_error()
    assert accounts.state() == before


def test_what_is_not_known_of_an_account_is_noted(accounts, manager, url):
    """What the server keeps of an account, and no statement of ours says, is named, without its value."""
    a = accounts("a")
    accounts.run(f"CREATE USER {a}")
    table, column = ("global_priv", "Priv") if accounts.maria else ("user", "User_attributes")
    value = f"JSON_SET(COALESCE({column}, '{{}}'), '$.colour', 'red')"
    accounts.run(f"UPDATE mysql.{table} SET {column}={value} WHERE User='{accounts.prefix}a'")
    (note,) = [note for note in backed_up(manager, url).evidence.notes if a in note]
    assert note == f'the server keeps of {a} what is not known here, and not in it: "colour"'


def test_what_everybody_may_comes_back(accounts, manager, url, database, mariadb):
    """What MariaDB's role PUBLIC was granted changes all that are there, so it takes overwrite; what else it has is left."""
    name = database("CREATE TABLE t (a INT)", "CREATE TABLE u (a INT)")
    accounts.run(f"GRANT SELECT ON `{name}`.t TO PUBLIC")
    try:
        backup = backed_up(manager, url)
        accounts.run(f"REVOKE SELECT ON `{name}`.t FROM PUBLIC", f"GRANT SELECT ON `{name}`.u TO PUBLIC")
        result = manager.restore(backup.id, url)
        assert isinstance(result.exception, TargetNotEmpty)
        assert f"account PUBLIC: its privileges on `{name}`.`t` are none there, SELECT in the backup" in result.error
        assert accounts.run("SHOW GRANTS FOR PUBLIC") == [(f"GRANT SELECT ON `{name}`.`u` TO PUBLIC",)]
        manager.restore(backup.id, url, overwrite=True).raise_for_error()
        manager.drill(backup.id)  # on a server without accounts it changes nobody's
        granted = [line for (line,) in accounts.run("SHOW GRANTS FOR PUBLIC")]
        assert sorted(granted) == [f"GRANT SELECT ON `{name}`.`{table}` TO PUBLIC" for table in "tu"]
    finally:
        accounts.run(f"REVOKE SELECT ON `{name}`.t FROM PUBLIC", f"REVOKE SELECT ON `{name}`.u FROM PUBLIC")


@pytest.mark.parametrize(("then", "now"), [("OFF", "ON"), ("ON", "OFF")])
def test_a_pattern_never_becomes_a_name(accounts, manager, url, mysql, then, now):
    """Where the server would read the names of databases in privileges otherwise, nothing is restored, and a drill asks not."""
    a = accounts("a")
    mysql.run(f"SET GLOBAL partial_revokes={then}")
    accounts.run(f"CREATE USER {a}", f"GRANT SELECT ON `sh\\_op%`.* TO {a}")
    before, backup = accounts.state(), backed_up(manager, url)
    if then == "OFF":  # other drills show ON
        manager.drill(backup.id, assertions=["SELECT 1-@@GLOBAL.partial_revokes"])
    mysql.run(f"SET GLOBAL partial_revokes={now}")
    assert f"SET PERSIST partial_revokes={then} there" in manager.restore(backup.id, url, overwrite=True).error
    accounts.drop()
    assert "and restore again; nothing was restored" in manager.restore(backup.id, url).error
    assert accounts.names() == set()
    mysql.run(f"SET GLOBAL partial_revokes={then}")
    manager.restore(backup.id, url).raise_for_error()
    assert accounts.state() == before


# -- what exists ----------------------------------------------------------------------------------------------------


def change(accounts, database: str) -> None:
    """Change everything about an account, and drop another."""
    a, b = accounts(NASTY[0]), accounts(NASTY[1])
    accounts.run(
        f"ALTER USER {a} IDENTIFIED BY 'another' REQUIRE NONE WITH MAX_QUERIES_PER_HOUR 6 ACCOUNT LOCK",
        f"REVOKE {accounts.role('outer')} FROM {a}",
        f"REVOKE PROCESS ON *.* FROM {a}",
        f"GRANT DELETE ON `{database}`.t TO {a}",
        f"REVOKE SELECT ON `{database}`.* FROM {accounts.role('r`ole')}",
        f"CREATE USER {accounts('stranger')}",
        f"DROP USER {b}",
    )


def test_what_differs_is_told_and_nothing_is_changed(accounts, manager, url, shop):
    """Without overwrite an account that differs refuses the whole restore, each difference told, and no hash."""
    make(accounts, shop)
    backup = backed_up(manager, url)
    change(accounts, shop)
    before = accounts.state()
    result = manager.restore(backup.id, url)
    assert isinstance(result.exception, TargetNotEmpty)
    assert accounts.state() == before
    a = accounts(NASTY[0])
    for text in (
        f"account {a}: its password differs; its TLS requirement is NONE there, SPECIFIED in the backup",
        "its MAX_QUERIES_PER_HOUR is 6 there, 5 in the backup; its lock is on there, off in the backup",
        f"account {a}: it has no role {accounts.role('outer')} there",
        "its privileges on *.* are GRANT OPTION, SELECT there, GRANT OPTION, PROCESS, SELECT in the backup",
        f"its privileges on `{shop}`.`t` are DELETE there, none in the backup",
        f"account {accounts.role('r`ole')}: its privileges on `{shop}`.* are INSERT there, INSERT, SELECT in the backup",
        "--overwrite",
    ):
        assert text in result.error
    digests = [line for (line,) in accounts.run(f"SHOW CREATE USER {a}")]
    assert "*" + "A" * 3 not in result.error
    assert not any(word in result.error for line in digests for word in line.split("'")[1::2] if len(word) > 25)


def test_overwriting_makes_accounts_what_they_were(accounts, manager, url, shop):
    """With overwrite what differs becomes what it was; an account that the backup does not know is left."""
    make(accounts, shop)
    wanted = accounts.state()
    backup = backed_up(manager, url)
    change(accounts, shop)
    manager.restore(backup.id, url, overwrite=True).raise_for_error()
    assert "stranger" in accounts.names()
    accounts.run(f"DROP USER {accounts('stranger')}")
    assert accounts.state() == wanted


def test_whoever_restores_is_never_changed(accounts, manager, url, server, caplog):
    """The account that restores is left as it is, even with overwrite, and that is said; so is root."""
    admin = accounts("admin", "localhost")
    accounts.run(f"CREATE USER {admin} IDENTIFIED BY 'x'", f"GRANT ALL ON *.* TO {admin} WITH GRANT OPTION")
    backup = backed_up(manager, url)
    accounts.run(f"ALTER USER {admin} WITH MAX_QUERIES_PER_HOUR 100000")
    before = accounts.state()
    own = f"mysql://{accounts.prefix}admin:x@/?unix_socket={server.socket}"
    manager.restore(backup.id, own, overwrite=True).raise_for_error()
    assert accounts.state() == before
    assert f"the account {admin}, which restores, was left as it is: its MAX_QUERIES_PER_HOUR" in caplog.text


# -- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SourceError("it failed")], ids=["ctrl-c", "error"])
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over"])
def test_what_ends_in_the_middle_is_undone(accounts, manager, url, shop, monkeypatch, error, overwrite):
    """A restore that is interrupted, or fails, leaves every account as it was, those that it changed, too."""
    make(accounts, shop)
    backup = backed_up(manager, url)
    if overwrite:
        change(accounts, shop)
    else:
        accounts.drop()
    before = accounts.state()

    def fail() -> None:
        raise error

    monkeypatch.setattr("dumpty_plugins.mysql.accounts.restore.commit_point", fail)
    with contextlib.suppress(KeyboardInterrupt):
        assert not manager.restore(backup.id, url, overwrite=overwrite).success
    assert accounts.state() == before


def test_what_the_server_refuses_midway_is_undone(accounts, manager, url, monkeypatch):
    """Where a statement is refused behind others, those are undone, and no hash is in what is said."""
    accounts.run(f"CREATE USER {accounts('a')} IDENTIFIED BY 'x'", f"CREATE USER {accounts('b')} IDENTIFIED BY 'y'")
    accounts.run(f"GRANT SELECT ON *.* TO {accounts('b')}")
    backup = backed_up(manager, url)
    accounts.drop()
    monkeypatch.setattr(
        "dumpty_plugins.mysql.accounts.statements.grant_privileges", lambda grant: "GRANT NONSENSE ON *.* TO nobody"
    )
    monkeypatch.setattr("dumpty_plugins.mysql.accounts.restore.read_script", lambda dump: _read(dump, backup))
    result = manager.restore(backup.id, url)
    assert not result.success
    assert accounts.names() == set()


def test_nothing_is_undone_under_a_session_that_goes_on(accounts, manager, url, monkeypatch):
    """Where the session of a restore that failed does not end, nobody says that it was undone; the error names what is left."""
    a = accounts("a")
    accounts.run(f"CREATE USER {a}")
    backup = backed_up(manager, url)
    accounts.drop()

    def fail() -> None:
        raise SourceError("it failed")

    execute = Session.execute
    monkeypatch.setattr(Session, "abandon", lambda session: None)
    monkeypatch.setattr(Session, "execute", lambda s, sql: (0, 0) if sql[:4] == "KILL" else execute(s, sql))
    monkeypatch.setattr(restore, "commit_point", fail)
    monkeypatch.setattr(restore, "_KILL_SECONDS", 0)
    result = manager.restore(backup.id, url)
    assert "does not end" in result.error
    assert "could not be undone" in result.error
    assert f"DROP USER {a}" in result.error


def _read(dump, backup):
    """Read a dump to its end, and take its facts as they are."""
    import msgspec

    from dumpty_plugins.mysql.accounts import facts

    with_end = dump.open()
    data = b"".join(iter(lambda: with_end.read(1 << 20), b""))
    with_end.close()
    lines = [ln.removeprefix("-- dumpty: ") for ln in data.decode().split("\n") if ln.startswith("-- dumpty: ")]
    found = [msgspec.json.decode(line, type=facts.AnyFact) for line in lines]
    return facts.Accounts(
        header=found[0],
        users=tuple(f for f in found if isinstance(f, facts.User)),
        grants=tuple(f for f in found if isinstance(f, facts.Grant)),
    )


def test_what_is_cancelled_midway_leaves_nothing(accounts, manager, url, shop, monkeypatch):
    """A restore that its caller cancels after some of its statements leaves no account, and says that it was cancelled."""
    make(accounts, shop)
    backup = backed_up(manager, url)
    accounts.drop()
    cancellation, done = Cancellation(), []
    execute = restore._Restore._execute

    def cancelling(self, statement, *advice):
        execute(self, statement, *advice)
        done.append(statement)
        if len(done) == 4:
            cancellation.cancel()

    monkeypatch.setattr(restore._Restore, "_execute", cancelling)
    result = manager.restore(backup.id, url, cancel=cancellation)
    assert isinstance(result.exception, Cancelled)
    assert accounts.names() == set()


def test_hashes_are_not_written_in_the_clear_unasked(manager, url):
    """Without encryption a backup with hashes is refused, with the ways that there are; nothing is stored."""
    result = manager.create_backup(url, format="accounts")
    assert isinstance(result.exception, OptionError)
    for way in ("--encrypt-to", "-o hashes=off", "-o hashes=plain"):
        assert way in result.error
    assert manager.list_backups() == []


def test_an_encrypted_backup_keeps_hashes_from_everybody_else(accounts, manager, url, tmp_path):
    """Encrypted, hashes go with the backup, come back with an identity, and are in no file that can be read."""
    accounts.run(f"CREATE USER {accounts('a')} IDENTIFIED BY 'x'")
    before = accounts.state()
    pair = new_identity()
    backup = backed_up(manager, url, hashes="on", encrypt_to=[pair.recipient.text])
    accounts.drop()
    manager.restore(backup.id, url, identities=[pair.identity]).raise_for_error()
    assert accounts.state() == before
    ((digest,),) = accounts.run(f"SELECT HEX(authentication_string) FROM mysql.user WHERE User='{accounts.prefix}a'")
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert digest.encode() not in content
        assert bytes.fromhex(digest) not in content


def test_an_account_without_its_hash_lets_nobody_in(accounts, manager, url, server, caplog):
    """Where hashes were left out, an account comes back locked: with no password, everybody could be it."""
    a = accounts("a", "localhost")
    accounts.run(f"CREATE USER {a} IDENTIFIED BY 'x'")
    backup = backed_up(manager, url, hashes="off")
    assert b"*B69027D44F6E5EDC07F1AEAD1477967B16F28227" not in data_of(backup)
    manager.restore(backup.id, url).raise_for_error()
    accounts.drop()
    manager.restore(backup.id, url).raise_for_error()
    assert f"the account {a} is locked" in caplog.text
    with pytest.raises(Exception, match=r"(?i)lock"):
        server.connect(user=f"{accounts.prefix}a")
    accounts.run(f"ALTER USER {a} IDENTIFIED BY 'new' ACCOUNT UNLOCK")
    manager.restore(backup.id, url).raise_for_error()


@pytest.mark.parametrize("locked", [False, True], ids=["open", "locked"])
def test_a_restore_without_hashes_leaves_how_an_account_authenticates(accounts, manager, url, server, caplog, locked):
    """What else differs is changed; the lock, the password and its plugin stay, for the backup does not know them."""
    a = accounts("a", "localhost")
    accounts.run(f"CREATE USER {a} IDENTIFIED BY 'x' WITH MAX_QUERIES_PER_HOUR 5000")
    backup = backed_up(manager, url, hashes="off")
    plugin, given = ("unix_socket", "") if accounts.maria else ("sha256_password", " BY 'y'")
    lock = "ACCOUNT LOCK" if locked else ""
    accounts.drop()
    accounts.run(f"CREATE USER {a} IDENTIFIED {'VIA' if accounts.maria else 'WITH'} {plugin}{given} {lock}")
    before = accounts.run(f"SHOW CREATE USER {a}")
    result = manager.restore(backup.id, url)
    assert f"account {a}: its MAX_QUERIES_PER_HOUR is 0 there, 5000 in the backup. To make" in result.error
    manager.restore(backup.id, url, overwrite=True).raise_for_error()
    assert f"the account {a} authenticates by {plugin} there" in caplog.text
    assert accounts.run(f"SELECT max_questions FROM mysql.user WHERE User='{accounts.prefix}a'") == [(5000,)]
    accounts.run(f"ALTER USER {a} WITH MAX_QUERIES_PER_HOUR 0")
    assert accounts.run(f"SHOW CREATE USER {a}") == before
    assert ("ACCOUNT LOCK" in before[0][0]) == locked


def test_statements_with_hashes_are_in_no_log(accounts, manager, url):
    """What creates and changes accounts is in neither the general log of the server nor that of slow statements."""
    a = accounts("a")
    accounts.run(f"CREATE USER {a} IDENTIFIED BY 'x' WITH MAX_QUERIES_PER_HOUR 5")
    backup = backed_up(manager, url)
    accounts.run(f"ALTER USER {a} WITH MAX_QUERIES_PER_HOUR 6", f"CREATE USER {accounts('seen')}")
    settings = ("general_log", "slow_query_log", "log_output", "long_query_time")
    (before,) = accounts.run(f"SELECT {', '.join(f'@@GLOBAL.{name}' for name in settings)}")
    logs = "SELECT argument FROM mysql.general_log UNION ALL SELECT sql_text FROM mysql.slow_log"
    accounts.run("TRUNCATE mysql.general_log", "TRUNCATE mysql.slow_log", "SET GLOBAL log_output='TABLE'")
    accounts.run("SET GLOBAL long_query_time=0", "SET GLOBAL slow_query_log=1", "SET GLOBAL general_log=1")
    try:
        accounts.run(f"ALTER USER {accounts('seen')} ACCOUNT LOCK")
        manager.restore(backup.id, url, overwrite=True).raise_for_error()
        accounts.run(f"DROP USER {a}")
        manager.restore(backup.id, url).raise_for_error()
    finally:
        for name, value in zip(settings, before, strict=True):
            accounts.run(f"SET GLOBAL {name}={value!r}")
    logged = [text if isinstance(text, str) else text.decode() for (text,) in accounts.run(logs)]
    assert any(f"ALTER USER {accounts('seen')}" in text for text in logged)
    assert not any(f"{verb} USER {a}" in text for text in logged for verb in ("CREATE", "ALTER"))


def test_who_may_not_read_accounts_is_told_how_to(accounts, manager, server):
    """Without the right to the server's own tables no backup is made, and the grant that is named gives it."""
    a = accounts("a", "localhost")
    accounts.run(f"CREATE USER {a} IDENTIFIED BY 'x'")
    own = f"mysql://{accounts.prefix}a:x@/?unix_socket={server.socket}"
    result = manager.create_backup(own, format="accounts", hashes="plain")
    assert isinstance(result.exception, SourceError)
    grant = f"GRANT SELECT ON mysql.* TO '{accounts.prefix}a'@'localhost'"
    assert grant in result.error
    host = Host([mysql_plugin], discover=False)
    options = host.options({"inspect": host.plugins()[0]}, {"server": True, "rights": True})["inspect"]
    source = structs.replace(server.source("mysql", user=f"{accounts.prefix}a", password="x"))
    assert grant in host.inspect(host.plugins()[0], source=source, options=options).lacks[0]
    accounts.run(grant)
    manager.create_backup(own, format="accounts", hashes="plain").raise_for_error()


def test_who_may_not_restore_is_told_before_anything_is_done(accounts, manager, url, server):
    """An account that may read accounts, but not create them, is refused with what it lacks, and nothing is done."""
    a = accounts("a", "localhost")
    accounts.run(f"CREATE USER {a} IDENTIFIED BY 'x'", f"GRANT SELECT ON *.* TO {a}")
    accounts.run(f"CREATE USER {accounts('b')}", f"GRANT INSERT ON *.* TO {accounts('b')}")
    backup = backed_up(manager, url)
    accounts.run(f"DROP USER {accounts('b')}")
    result = manager.restore(backup.id, f"mysql://{accounts.prefix}a:x@/?unix_socket={server.socket}")
    assert "lacks CREATE USER, INSERT, GRANT OPTION" in result.error
    assert accounts.names() == {"a"}


def test_accounts_of_the_other_kind_of_server_are_refused(manager, mariadb, mysql):
    """MariaDB's accounts are not MySQL's: nothing is tried."""
    backup = backed_up(manager, f"mysql://root@/?unix_socket={mariadb.socket}")
    result = manager.restore(backup.id, f"mysql://root@/?unix_socket={mysql.socket}")
    assert "the accounts are of MariaDB" in result.error


def test_a_plugin_that_the_server_lacks_is_said_first(accounts, manager, url, tmp_path):
    """An account that authenticates by a plugin that is not there refuses the restore, before anything is done."""
    accounts.run(f"CREATE USER {accounts('a')}", f"CREATE USER {accounts('b')} IDENTIFIED BY 'x'")
    backup = backed_up(manager, url)
    accounts.drop()
    plugin = "mysql_native_password" if accounts.maria else "caching_sha2_password"
    altered = data_of(backup).replace(plugin.encode(), b"no_such_plugin")
    with pytest.raises(SourceError, match=r"has not the plugins .*no_such_plugin \(of "):
        restored(url, dump_of(backup, tmp_path, altered))
    assert accounts.names() == set()


# -- a dump is hostile ------------------------------------------------------------------------------------------------


def dump_of(backup, tmp_path, data: bytes) -> RecordedDump:
    """Return a dump of ``data`` as a driver gets it, whatever its digest says."""
    file = tmp_path / f"dump-{uuid.uuid4().hex}"
    file.write_bytes(data)
    return RecordedDump(recorded=(RecordedPart(file=file),), format="accounts", evidence=backup.evidence)


def restored(url, dump, **overrides):
    from dumpty.url import parse_url

    host = Host([mysql_plugin], discover=False)
    plugin = host.plugins()[0]
    options = host.options({"restore": plugin}, overrides)["restore"]
    return host.restore(plugin, target=parse_url(url), dump=dump, overwrite=True, options=options)


def _replace(old: bytes, new: bytes):
    def alter(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        _replace(b"GRANT SELECT ON", b"GRANT SUPER ON"),
        _replace(b'"name":"SELECT"', b'"name":"SUPER"'),
        _replace(b"SET NAMES utf8mb4;\n", b"system touch /tmp/dumpty-was-here\nSET NAMES utf8mb4;\n"),
        _replace(b"-- end of the accounts\n", b"DROP TABLE t;\n-- end of the accounts\n"),
        _replace(b'"privileges":[', b'"privileges":[{"name":"SELECT ON *.* TO x","columns":[]},'),
        _replace(b'"kind":"user"', b'"kind":"user","more":1'),
        _replace(b'"kind":"grant","member":{"user":"a', b'"kind":"grant","member":{"user":"b'),
        _replace(b'"lifetime":null', b'"lifetime":"1 DAY; DROP"'),
        lambda data: data[: len(data) // 2],
        lambda data: data + b"SELECT 1;\n",
        lambda data: b"",
        lambda data: b"\xff\xfe",
    ],
    ids=range(12),
)
def test_a_dump_that_was_altered_is_refused(accounts, manager, url, tmp_path, alter):
    """What does not say the same to the client and to us, or is not whole, is executed by nobody."""
    accounts.run(f"CREATE USER {accounts('a')}", f"GRANT SELECT ON *.* TO {accounts('a')}")
    backup = backed_up(manager, url)
    accounts.drop()
    dump = dump_of(backup, tmp_path, alter(data_of(backup)))
    with pytest.raises(IntegrityError):
        restored(url, dump)
    with pytest.raises(IntegrityError):
        mysql_plugin.examine(dump=dump, options={})
    assert accounts.names() == set()


def rewritten(data: bytes, alter) -> bytes:
    """Return a dump whose facts were altered, and whose statements say what they do."""
    accounts = parse(data)
    return "".join(f"{line}\n" for line in write_script(alter(accounts))).encode()


def _named(old: str, user: str, host: str):
    """Return what gives an account of a dump, and all that is of it, another name."""

    def alter(accounts):
        name = Name(user=user, host=host)

        def renamed(fact):
            which = "name" if hasattr(fact, "name") else "member"
            return structs.replace(fact, **{which: name}) if getattr(fact, which).user == old else fact

        users, grants = (tuple(map(renamed, facts)) for facts in (accounts.users, accounts.grants))
        return structs.replace(accounts, users=users, grants=grants)

    return alter


@pytest.mark.parametrize(
    ("user", "host", "message"),
    [
        ("mysql.sys", "localhost", "every server has for itself"),
        ("mariadb.sys", "localhost", "every server has for itself"),
        ("evil", "HOST.X", "host in capitals"),
    ],
)
def test_a_name_that_no_dump_has_is_refused(accounts, manager, url, tmp_path, user, host, message):
    """A dump of the server's own accounts, or of hosts as no server keeps them, is refused before anything is done."""
    accounts.run(f"CREATE USER {accounts('a')}", f"GRANT SELECT ON *.* TO {accounts('a')}")
    backup = backed_up(manager, url)
    accounts.drop()
    before = accounts.run("SELECT User, Host FROM mysql.user ORDER BY 1, 2")
    altered = rewritten(data_of(backup), _named(f"{accounts.prefix}a", user, host))
    with pytest.raises(IntegrityError, match=message):
        restored(url, dump_of(backup, tmp_path, altered))
    assert accounts.run("SELECT User, Host FROM mysql.user ORDER BY 1, 2") == before


def test_an_account_that_the_server_names_otherwise_is_dropped_again(accounts, manager, url, tmp_path, monkeypatch):
    """What a restore that fails has created is dropped by the name it was given, whatever the server made of that."""
    accounts.run(f"CREATE USER {accounts('a')}", f"GRANT SELECT ON *.* TO {accounts('a')}")
    backup = backed_up(manager, url)
    accounts.drop()
    before = accounts.run("SELECT User, Host FROM mysql.user ORDER BY 1, 2")
    monkeypatch.setattr("dumpty_plugins.mysql.accounts.script.require_sound", lambda accounts: None)
    altered = rewritten(data_of(backup), _named(f"{accounts.prefix}a", f"{accounts.prefix}a", "HOST.X"))
    with pytest.raises(IntegrityError, match="what was done is undone"):
        restored(url, dump_of(backup, tmp_path, altered))
    assert accounts.run("SELECT User, Host FROM mysql.user ORDER BY 1, 2") == before


def test_an_account_that_is_called_like_the_servers_own_comes_back(accounts, manager, url):
    """An account that has the name of one of the server's own, but another host, is in a backup like any other."""
    other = "`mysql.sys`@`192.0.2.%`"
    accounts.run(f"CREATE USER {other}", f"GRANT SELECT ON *.* TO {other}")
    try:
        before = accounts.run(f"SHOW GRANTS FOR {other}")
        backup = backed_up(manager, url)
        accounts.run(f"DROP USER {other}")
        manager.restore(backup.id, url).raise_for_error()
        assert accounts.run(f"SHOW GRANTS FOR {other}") == before
    finally:
        accounts.run(f"DROP USER IF EXISTS {other}")


# -- proofs, and what else there is --------------------------------------------------------------------------------


def test_a_drill_restores_accounts(accounts, manager, url, shop):
    """A drill restores all of it on a server of its own, and compares each account."""
    make(accounts, shop)
    backup = backed_up(manager, url)
    manager.verify(backup.id, level="structure")
    proof = manager.drill(backup.id, assertions=["SELECT COUNT(*) FROM mysql.user WHERE max_questions=5"])
    text = " ".join(step.what for step in proof.proved)
    assert "accounts and what was granted to them compared, one by one" in text
    assert any("privileges on columns and routines" in t for t in proof.not_proved)


def test_accounts_are_not_drilled_on_somebodys_server(manager, url):
    """A server that serves others gets no accounts by a drill."""
    with pytest.raises(NotProvable, match="accounts belong to a whole server"):
        manager.drill(backed_up(manager, url).id, on=url)


def test_no_account_of_the_servers_own_is_dumped(manager, url):
    """Accounts that every server has for itself are in no dump, and no second name makes another source of one."""
    backup = backed_up(manager, url)
    data = data_of(backup)
    for name in (b"mysql.sys", b"mysql.session", b"mysql.infoschema", b"mariadb.sys"):
        assert name not in data
    assert backup.source.startswith("accounts@mysql://localhost:")
    assert backup.database_name.startswith("accounts@localhost")
