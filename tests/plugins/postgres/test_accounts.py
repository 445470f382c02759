"""The accounts of a PostgreSQL server: dumped, compared, and restored where nothing of them is lost or changed."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import shutil
import subprocess
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
    OtherDatabase,
    SourceError,
    TargetNotEmpty,
    UnknownBackup,
)
from dumpty.cli import main
from dumpty.testing.dumps import RecordedDump, RecordedPart
from dumpty.url import parse_url
from dumpty_plugins.age import new_identity
from dumpty_plugins.postgres import plugin as postgres_plugin
from dumpty_plugins.postgres.accounts import restore
from dumpty_plugins.postgres.accounts.facts import (
    Accounts,
    Header,
    Membership,
    ParameterGrant,
    Role,
    Setting,
    Tablespace,
    TablespaceGrant,
)
from dumpty_plugins.postgres.accounts.plan import Circumstances, plan
from dumpty_plugins.postgres.accounts.script import parse, write_script

NASTY = ("q\"uo'te", "back\\slash", "per%cent %s", "ünï 名", "line\nbreak\t\x1b[31m", "sp ace;DROP", "U&x")


class Roles:
    """Makes roles of one test, on the servers that it names, and drops them from all."""

    def __init__(self, *servers) -> None:
        self.prefix = f"a{uuid.uuid4().hex[:6]}_"
        self.servers = servers

    def __call__(self, name: str) -> str:
        return self.prefix + name

    def execute(self, server, *statements: str) -> None:
        with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def names(self, server) -> set[str]:
        sql = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"
        return {name.removeprefix(self.prefix) for (name,) in server.execute(sql, self.prefix)}

    def drop(self) -> None:
        for server in self.servers:
            self.forget(server)

    def forget(self, server) -> None:
        """Drop a test's roles from one server."""
        sql = "SELECT spcname FROM pg_tablespace WHERE starts_with(spcname, %s)"
        for (name,) in server.execute(sql, self.prefix):
            server.execute(f"DROP TABLESPACE {quoted(name)}")
        names = [quoted(self.prefix + name) for name in self.names(server)]
        for name in names:
            server.execute(f"DROP OWNED BY {name} CASCADE")
        if names:
            server.execute(f"DROP ROLE {', '.join(names)}")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture
def roles(postgres, postgres_newer):
    made = Roles(postgres, postgres_newer)
    yield made
    made.drop()


@pytest.fixture
def manager(tmp_path):
    return BackupManager(str(tmp_path / "backups"))


def taken(manager, server, **options):
    return manager.create_backup(server.url(""), format="accounts", **{"hashes": "plain", **options})


def backed_up(manager, server, **options):
    result = taken(manager, server, **options)
    result.raise_for_error()
    return result.backup


def state(server, roles) -> dict[str, object]:
    """Return all that a server knows of a test's roles, by other means than the driver's."""
    queries = {
        "roles": """SELECT to_jsonb(a) - 'oid', shobj_description(oid, 'pg_authid') FROM pg_authid a
                    WHERE starts_with(rolname, %s) ORDER BY rolname""",
        "settings": """SELECT r.rolname, d.datname, unnest(s.setconfig) FROM pg_db_role_setting s
                       JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
                       WHERE starts_with(r.rolname, %s) ORDER BY 1, 2, 3""",
        "memberships": """SELECT r.rolname, m.rolname, g.rolname, to_jsonb(a) - '{oid,roleid,member,grantor}'::text[]
                          FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid
                          JOIN pg_roles m ON m.oid = a.member LEFT JOIN pg_roles g ON g.oid = a.grantor
                          WHERE starts_with(m.rolname, %s) ORDER BY 1, 2, 3""",
        "tablespaces": """SELECT spcname, pg_get_userbyid(spcowner), pg_tablespace_location(oid), spcoptions, spcacl::text,
                                 shobj_description(oid, 'pg_tablespace')
                          FROM pg_tablespace WHERE starts_with(spcname, %s) ORDER BY 1""",
    }
    if server.major >= 15:
        queries["parameters"] = """SELECT parname, acl.privilege_type, acl.is_grantable, r.rolname
            FROM pg_parameter_acl, aclexplode(paracl) acl JOIN pg_roles r ON r.oid = acl.grantee
            WHERE starts_with(r.rolname, %s) ORDER BY 1, 2"""
    return {name: server.execute(sql, roles.prefix) for name, sql in queries.items()}


def make_nasty(roles, server) -> None:
    for number, name in enumerate(NASTY):
        role = quoted(roles(name))
        attribute = ("CREATEDB", "CREATEROLE", "SUPERUSER", "REPLICATION", "BYPASSRLS", "NOINHERIT", "NOLOGIN")[number]
        roles.execute(
            server,
            f"CREATE ROLE {role} LOGIN PASSWORD 'secret {number}' CONNECTION LIMIT {number}",
            f"ALTER ROLE {role} {attribute}",
            f"ALTER ROLE {role} VALID UNTIL '{2030 + number}-02-03 04:05:06.7+02'",
            f"COMMENT ON ROLE {role} IS $a$it's \\ %s \n {name}$a$",
            f"""ALTER ROLE {role} SET search_path = 'a''b', "$user", 'c"d', public""",
            f"ALTER ROLE {role} SET my.{'own'} = $a$it's \\ %s \n {name}$a$",
            f"ALTER ROLE {role} IN DATABASE postgres SET work_mem = '5MB'",
        )


def dump_of(backup, tmp_path, data: bytes) -> RecordedDump:
    """Return a dump of ``data`` as a driver gets it, whatever its digest says."""
    file = tmp_path / f"dump-{uuid.uuid4().hex}"
    file.write_bytes(data)
    return RecordedDump(recorded=(RecordedPart(file=file),), format="accounts", evidence=backup.evidence)


def restored(server, dump, *, overwrite=True, url="", **overrides):
    host = Host([postgres_plugin], discover=False)
    plugin = host.plugins()[0]
    options = host.options({"restore": plugin}, overrides)["restore"]
    return host.restore(
        plugin, target=parse_url(url or server.url("")), dump=dump, overwrite=overwrite, options=options
    )


def data_of(backup) -> bytes:
    return gzip.decompress(Path(backup.file_path).read_bytes())


def written(accounts: Accounts, **facts: object) -> bytes:
    """Return a dump of accounts with some facts in the place of theirs."""
    return "".join(f"{line}\n" for line in write_script(structs.replace(accounts, **facts))).encode()


HAS_OPTIONS = 16
"""The version since which a membership has options, and a grantor that counts."""


def granted(role: str, member: str, major: int, *, admin: bool = False, **options: object) -> Membership:
    """Return a membership as a server of a version says it that its first superuser, postgres, has granted."""
    names = ("inherit", "set", "grantor")
    said = zip(names, (True, True, "postgres") if major >= HAS_OPTIONS else (None,) * 3, strict=True)
    return Membership(role=role, member=member, **{"admin": admin, **dict(said), **options})


def as_of(major: int, accounts: Accounts) -> Accounts:
    """Return plain accounts as a server of a version would have said them: of memberships only ADMIN is kept."""
    memberships = (granted(m.role, m.member, major, admin=m.admin) for m in accounts.memberships)
    header = structs.replace(accounts.header, major=major)
    return structs.replace(accounts, header=header, memberships=tuple(memberships))


# -- round trips -----------------------------------------------------------------------------------------------------


def test_roles_come_back_whatever_they_are_called(roles, manager, postgres):
    """Attributes, passwords, comments and settings of roles with hostile names are the same after a restore."""
    make_nasty(roles, postgres)
    before = state(postgres, roles)
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert state(postgres, roles) == before
    assert len(before["roles"]) == len(NASTY)


def test_roles_go_to_a_newer_server_and_back(roles, manager, postgres, postgres_newer):
    """A newer server takes them, and what it then backs up the older one finds to be the same as its own."""
    make_nasty(roles, postgres)
    roles.execute(postgres, f"GRANT {quoted(roles(NASTY[0]))} TO {quoted(roles(NASTY[1]))}")
    manager.restore(backed_up(manager, postgres).id, postgres_newer.url("")).raise_for_error()
    old, new = state(postgres, roles), state(postgres_newer, roles)
    assert (new["roles"], new["settings"]) == (old["roles"], old["settings"])
    manager.restore(backed_up(manager, postgres_newer).id, postgres.url("")).raise_for_error()
    assert state(postgres, roles) == old


def test_memberships_come_back_with_options_and_grantors(roles, manager, postgres_newer):
    """A chain of memberships, each granted by a member with ADMIN, comes back in whatever order it was made."""
    a, b, c, d = (quoted(roles(name)) for name in "dcab")
    roles.execute(
        postgres_newer,
        *(f"CREATE ROLE {role} LOGIN" for role in (a, b, c, d)),
        f"GRANT {a} TO {b} WITH ADMIN TRUE, INHERIT FALSE",
        f"GRANT {a} TO {c} WITH ADMIN TRUE, SET FALSE GRANTED BY {b}",
        f"GRANT {a} TO {d} WITH INHERIT FALSE GRANTED BY {c}",
        f"GRANT {a} TO {d} WITH ADMIN FALSE, INHERIT TRUE GRANTED BY {b}",
        f"GRANT pg_read_all_data TO {d}",
        f"GRANT postgres TO {c}",
    )
    before = state(postgres_newer, roles)
    backup = backed_up(manager, postgres_newer)
    roles.forget(postgres_newer)
    manager.restore(backup.id, postgres_newer.url("")).raise_for_error()
    assert state(postgres_newer, roles) == before
    assert len(before["memberships"]) == 6


def test_memberships_of_older_servers_come_back(roles, manager, postgres, tmp_path):
    """Where no membership has options, ADMIN is what comes back, on a server that knows of options, too."""
    a, b, c = (quoted(roles(name)) for name in "abc")
    roles.execute(postgres, *(f"CREATE ROLE {role}" for role in (a, b, c)))
    roles.execute(postgres, f"GRANT {a} TO {b} WITH ADMIN OPTION", f"GRANT {b} TO {c}", f"GRANT pg_monitor TO {c}")
    before = state(postgres, roles)
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert state(postgres, roles) == before
    older = dump_of(backup, tmp_path, written(as_of(15, parse(data_of(backup)))))
    restored(postgres, older, overwrite=False)  # and it is found to be the same
    roles.forget(postgres)
    restored(postgres, older, overwrite=False)
    assert state(postgres, roles) == before
    assert len(before["memberships"]) == 3


@pytest.mark.parametrize("kind", ["postgres", "postgres_newer"])
def test_accounts_of_an_older_server_are_drilled_on_a_newer(kind, roles, manager, postgres, request, tmp_path):
    """What PostgreSQL 15 knows of memberships is proved by every later server, which knows more of them."""
    server = request.getfixturevalue(kind)
    a, b, c = (quoted(roles(name)) for name in "abc")
    roles.execute(postgres, f"CREATE ROLE {a}", f"CREATE ROLE {b}", f"CREATE ROLE {c} NOINHERIT")
    roles.execute(postgres, f"GRANT {a} TO {b} WITH ADMIN OPTION", f"GRANT {a} TO {c}", f"GRANT {a} TO pg_monitor")
    backup = backed_up(manager, postgres)
    dump = dump_of(backup, tmp_path, written(as_of(15, parse(data_of(backup)))))
    with drilled(dump, server) as scratch:
        assert scratch.versions["server"].startswith(f"{server.major}.")
        sql = """SELECT m.rolname, to_jsonb(a) - '{oid,roleid,member,grantor}'::text[]
                 FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
                 WHERE starts_with(r.rolname, '%s') ORDER BY 1"""
        members = scratch.ask(sql % roles.prefix)
    admin = {roles("b"): True, roles("c"): False, "pg_monitor": False}
    expected = {member: {"admin_option": may} for member, may in admin.items()}
    if server.major >= HAS_OPTIONS:
        for member, options in expected.items():
            options |= {"inherit_option": member != roles("c"), "set_option": True}
    assert dict(members) == expected


@contextlib.contextmanager
def drilled(dump, server):
    """Restore a dump as a drill does, on a server of its own of the version of ``server``, and check what is there."""
    host = Host([postgres_plugin], discover=False)
    plugin = host.plugins()[0]
    options = host.options({"scratch": plugin, "restore": plugin}, {"bindir": str(server.bindir)})
    with host.scratch(plugin, dump=dump, on=None, options=options["scratch"]) as scratch:
        host.restore(plugin, target=scratch.target, dump=dump, overwrite=False, options=options["restore"])
        scratch.check()
        yield scratch


def test_an_older_server_gets_no_more_than_was_granted(roles, manager, postgres, postgres_newer, caplog):
    """A membership that an older server would make more powerful is left out there, and that is said."""
    a, b = (quoted(roles(name)) for name in "ab")
    roles.execute(postgres_newer, f"CREATE ROLE {a}", f"CREATE ROLE {b}", f"GRANT {a} TO {b} WITH SET FALSE")
    memberships = state(postgres_newer, roles)["memberships"]
    manager.restore(backed_up(manager, postgres_newer).id, postgres.url("")).raise_for_error()
    knows = postgres.major >= HAS_OPTIONS  # then it is as it was, and nothing is left out
    assert state(postgres, roles)["memberships"] == (memberships if knows else [])
    assert ("was left out: PostgreSQL" in caplog.text) == (not knows)


PLAIN = Role(
    name="",
    superuser=False,
    inherit=True,
    createrole=False,
    createdb=False,
    login=False,
    replication=False,
    bypassrls=False,
    limit=-1,
    valid_until=None,
    password=None,
    comment=None,
)


def accounts_of(major: int, *memberships: Membership, names: str = "abcd") -> Accounts:
    """Return the accounts of a server that nobody started."""
    header = Header(major=major, server=f"{major}.1", bootstrap="postgres", hashes=False)
    return Accounts(header=header, roles=tuple(structs.replace(PLAIN, name=n) for n in names), memberships=memberships)


WHERE = Circumstances(user="postgres", login="postgres", superuser=True, databases=())


def test_what_an_older_server_would_make_more_of_is_planned_for_none():
    """Of memberships with options PostgreSQL 15 gets those alone that mean the same there."""
    wanted = accounts_of(
        17,
        granted("a", "b", 17, set=False),
        granted("a", "c", 17, inherit=False),
        granted("a", "d", 17, admin=True),
        granted("b", "c", 17, inherit=False),
        granted("b", "c", 17, grantor="d"),
    )
    todo = plan(wanted, accounts_of(15, names=""), WHERE)
    grants = ['GRANT "a" TO "d" WITH ADMIN OPTION', 'GRANT "b" TO "c"']
    assert [s for s in todo.creations if s.startswith("GRANT")] == grants
    left = [note for note in todo.notes if "was left out: PostgreSQL 15 has none with such options" in note]
    assert len(left) == len(todo.notes) == 3
    assert todo.uncounted == {"memberships"}


@pytest.mark.parametrize("major", [15, 17])
def test_an_older_server_takes_admin_back_with_the_membership(major):
    """To PostgreSQL 15 a grant only adds: a membership that has ADMIN there, and not in the backup, is granted anew."""
    todo = plan(accounts_of(major, granted("a", "b", major)), accounts_of(15, granted("a", "b", 15, admin=True)), WHERE)
    assert todo.creations == []
    assert todo.changes == ['REVOKE "a" FROM "b"', 'GRANT "a" TO "b"']
    assert len(todo.differs) == 1


def test_tablespaces_and_privileges_on_parameters_come_back(roles, manager, postgres):
    """A tablespace comes back where it was, with owner, options, privileges and comment."""
    owner, user, name = quoted(roles("owner")), quoted(roles("user")), quoted(roles("fast 'disk'"))
    directory = postgres.root / roles("over there")
    directory.mkdir()
    shutil.chown(directory, postgres._user or None)
    roles.execute(
        postgres,
        f"CREATE ROLE {owner}",
        f"CREATE ROLE {user}",
        f"CREATE TABLESPACE {name} OWNER {owner} LOCATION '{directory}'",
        f"ALTER TABLESPACE {name} SET (random_page_cost = 1.5, seq_page_cost = 0.5)",
        f"GRANT CREATE ON TABLESPACE {name} TO {user} WITH GRANT OPTION",
        f"GRANT CREATE ON TABLESPACE {name} TO PUBLIC",
        f"COMMENT ON TABLESPACE {name} IS 'it''s fast'",
        f"GRANT SET, ALTER SYSTEM ON PARAMETER work_mem TO {user} WITH GRANT OPTION",
        f"GRANT SET ON PARAMETER my.own TO {user}",
    )
    before = state(postgres, roles)
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    assert state(postgres, roles)["tablespaces"] == []
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    after = state(postgres, roles)
    assert _unordered(after) == _unordered(before)
    assert len(before["parameters"]) == 3


def _unordered(states: dict[str, object]) -> dict[str, object]:
    """Return the same with the order left out in which privileges were granted."""
    spaces = [(*t[:3], sorted(t[3]), sorted(t[4].strip("{}").split(",")), t[5]) for t in states["tablespaces"]]
    return {**states, "tablespaces": spaces}


def test_psql_loads_what_was_dumped(roles, manager, postgres, postgres_newer):
    """The dump without dumpty: psql creates what is missing, and leaves what exists as it is."""
    make_nasty(roles, postgres)
    roles.execute(postgres, f"GRANT {quoted(roles(NASTY[0]))} TO {quoted(roles(NASTY[1]))} WITH ADMIN OPTION")
    script = data_of(backed_up(manager, postgres))
    argv = [str(postgres_newer.bindir / "psql"), "-X", postgres_newer.url()]
    process = subprocess.run(argv, input=script, capture_output=True, check=True)
    errors = [line for line in process.stderr.decode().splitlines() if "ERROR" in line]
    assert any('role "postgres" already exists' in line for line in errors)
    assert not any(roles.prefix in line for line in errors)
    old, new = state(postgres, roles), state(postgres_newer, roles)
    assert (new["roles"], new["settings"]) == (old["roles"], old["settings"])
    assert len(new["memberships"]) == 1


# -- what exists ----------------------------------------------------------------------------------------------------


def differing(roles, server) -> None:
    names = tuple(quoted(roles(name)) for name in ("known", "group", "new"))
    known, group, _ = names
    roles.execute(server, *(f"CREATE ROLE {name}" for name in names))
    roles.execute(
        server,
        f"ALTER ROLE {known} LOGIN PASSWORD 'first'",
        f"GRANT {group} TO {known}",
        f"ALTER ROLE {known} SET work_mem = '5MB'",
        f"COMMENT ON ROLE {known} IS 'a'",
    )


def change(roles, server) -> None:
    """Change everything about a role, and drop another."""
    known, group, new = (quoted(roles(name)) for name in ("known", "group", "new"))
    roles.execute(
        server,
        f"ALTER ROLE {known} CREATEDB NOLOGIN PASSWORD 'second'",
        f"REVOKE {group} FROM {known}",
        f"ALTER ROLE {known} SET work_mem = '6MB'",
        f"ALTER ROLE {known} SET datestyle = 'ISO'",
        f"COMMENT ON ROLE {known} IS 'b'",
        f"CREATE ROLE {quoted(roles('stranger'))} LOGIN",
        f"GRANT {quoted(roles('stranger'))} TO {known}",
        f"DROP ROLE {new}",
    )


def test_what_differs_is_told_and_nothing_is_changed(roles, manager, postgres):
    """Without overwrite a role that differs refuses the whole restore, each difference told, and no hash."""
    differing(roles, postgres)
    backup = backed_up(manager, postgres)
    change(roles, postgres)
    before = state(postgres, roles)
    result = manager.restore(backup.id, postgres.url(""))
    assert isinstance(result.exception, TargetNotEmpty)
    assert state(postgres, roles) == before
    known = quoted(roles("known"))
    for text in (
        f"role {known}: it is CREATEDB, NOLOGIN there, NOCREATEDB, LOGIN in the backup",
        f"role {known}: its password differs",
        f"role {known}: its comment differs",
        f"role {known}: it is no member of {quoted(roles('group'))} there, a member of",
        f"role {known}: it is a member of {quoted(roles('stranger'))}",
        f"role {known}: the setting work_mem = '6MB' there, work_mem = '5MB' in the backup",
        f"role {known}: it has the setting DateStyle = 'ISO' there, and not in the backup",
        "--overwrite",
    ):
        assert text.lower() in result.error.lower()
    assert "SCRAM" not in result.error


def test_no_value_of_an_applications_setting_is_told(roles, manager, postgres, tmp_path, caplog):
    """Applications keep secrets in settings of their own: they are named in errors and notes, and not shown."""
    a, admin = quoted(roles("a")), quoted(roles("admin"))
    roles.execute(
        postgres,
        f"CREATE ROLE {a}",
        f"CREATE ROLE {admin} SUPERUSER LOGIN PASSWORD 'x'",
        *(f"ALTER ROLE {role} SET app.secret = 'hunter2'" for role in (a, admin)),
        f"ALTER ROLE {a} IN DATABASE postgres SET app.secret = 'hunter3'",
    )
    backup = backed_up(manager, postgres)
    roles.execute(
        postgres,
        f"ALTER ROLE {a} SET app.secret = 'hunter4'",
        f"ALTER ROLE {a} SET app.more = 'hunter5'",
        f"ALTER ROLE {a} IN DATABASE postgres RESET app.secret",
        f"ALTER ROLE {admin} RESET app.secret",
    )
    refused = manager.restore(backup.id, postgres.url(""))
    assert isinstance(refused.exception, TargetNotEmpty)
    for text in (
        "the setting app.secret differs",
        "it has the setting app.more there, and not in the backup",
        'no setting there, app.secret in database "postgres" in the backup',
    ):
        assert f"role {a}: {text}" in refused.error
    manager.restore(backup.id, postgres.url("", roles("admin"), "x"), overwrite=True).raise_for_error()
    assert f"the setting app.secret of {admin} was left as it is" in caplog.text
    assert "hunter" not in refused.error + caplog.text


def test_no_value_of_a_setting_is_told_by_what_fails(roles, manager, postgres_newer, tmp_path):
    """A setting that the server refuses is named by the error without its value."""
    roles.execute(postgres_newer, f"CREATE ROLE {quoted(roles('a'))}")
    accounts = parse(data_of(backup := backed_up(manager, postgres_newer)))
    roles.forget(postgres_newer)
    fact = Setting(role=roles("a"), database=None, name="app.a b", value="hunter2")
    with pytest.raises(SourceError, match=r'"app"\."a b"') as failed:
        restored(postgres_newer, dump_of(backup, tmp_path, written(accounts, settings=(fact,))))
    assert "hunter2" not in str(failed.value)
    assert roles.names(postgres_newer) == set()


@pytest.mark.parametrize("kind", ["postgres", "postgres_newer"])
def test_overwriting_makes_roles_what_they_were(kind, roles, manager, request):
    """With overwrite what differs becomes what it was; a role that the backup does not know is left."""
    server = request.getfixturevalue(kind)
    differing(roles, server)
    wanted = state(server, roles)
    backup = backed_up(manager, server)
    change(roles, server)
    manager.restore(backup.id, server.url(""), overwrite=True).raise_for_error()
    after = state(server, roles)
    assert roles.names(server) == {"known", "group", "new", "stranger"}
    roles.execute(server, f"DROP ROLE {quoted(roles('stranger'))}")
    assert state(server, roles) == wanted
    assert len(after["roles"]) == 4


OTHERS_GRANTS = {
    # what there is besides, who is a member of a in the backup (and may grant it)
    "a member more": (["{a} TO {c} GRANTED BY {b}"], {}),
    "an admin": (["{a} TO {c} WITH ADMIN TRUE GRANTED BY {b}"], {"c": False}),
    "an admin twice": (["{a} TO {c} WITH ADMIN TRUE", "{a} TO {c} WITH ADMIN TRUE GRANTED BY {b}"], {"c": False}),
    "no admin": (["{a} TO {c} GRANTED BY {b}"], {"c": True}),
    "a chain": (["{a} TO {c} WITH ADMIN TRUE GRANTED BY {b}", "{a} TO {d} GRANTED BY {c}"], {}),
    "the end of a chain": (["{a} TO {c} WITH ADMIN TRUE GRANTED BY {b}", "{a} TO {d} GRANTED BY {c}"], {"c": False}),
}


@pytest.mark.parametrize("what", OTHERS_GRANTS)
@pytest.mark.parametrize("major", [15, 16])
def test_overwriting_ends_what_others_granted(major, what, roles, manager, postgres_newer, tmp_path):
    """What members with ADMIN have granted is ended like what superusers have, after a backup of an older server, too."""
    grants, members = OTHERS_GRANTS[what]
    names = {name: quoted(roles(name)) for name in "abcd"}
    roles.execute(postgres_newer, *(f"CREATE ROLE {role}" for role in names.values()))
    members = {"b": True, **members}
    for member, admin in members.items():
        roles.execute(postgres_newer, f"GRANT {names['a']} TO {names[member]} WITH ADMIN {admin}")
    backup = backed_up(manager, postgres_newer)
    dump = dump_of(backup, tmp_path, written(as_of(major, parse(data_of(backup)))))
    for member in members.keys() - {"b"}:
        roles.execute(postgres_newer, f"REVOKE {names['a']} FROM {names[member]}")
    roles.execute(postgres_newer, *(f"GRANT {grant.format(**names)}" for grant in grants))
    before = state(postgres_newer, roles)
    with pytest.raises(TargetNotEmpty):
        restored(postgres_newer, dump, overwrite=False)
    assert state(postgres_newer, roles) == before
    restored(postgres_newer, dump)
    after: dict[str, bool] = {}
    for _, member, _, options in state(postgres_newer, roles)["memberships"]:
        name = member.removeprefix(roles.prefix)
        after[name] = after.get(name, False) or options["admin_option"]
    assert after == members
    restored(postgres_newer, dump, overwrite=False)


def test_what_is_the_same_is_left(roles, manager, postgres):
    """Restoring onto the server that the backup is of, as it still is, succeeds and changes nothing."""
    differing(roles, postgres)
    backup = backed_up(manager, postgres)
    before = state(postgres, roles)
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert state(postgres, roles) == before


def test_whoever_restores_is_never_changed(roles, manager, postgres, caplog):
    """The account that restores, and the server's own superuser, are left as they are, and that is said."""
    admin = quoted(roles("admin"))
    roles.execute(postgres, f"CREATE ROLE {admin} SUPERUSER LOGIN PASSWORD 'x' CONNECTION LIMIT 5")
    backup = backed_up(manager, postgres)
    roles.execute(postgres, f"ALTER ROLE {admin} CONNECTION LIMIT 6", "COMMENT ON ROLE postgres IS 'x'")
    try:
        before = state(postgres, roles)
        result = manager.restore(backup.id, postgres.url("", roles("admin"), "x"), overwrite=True)
        result.raise_for_error()
        assert state(postgres, roles) == before
        assert postgres.execute("SELECT shobj_description(10, 'pg_authid')") == [("x",)]
    finally:
        postgres.execute("COMMENT ON ROLE postgres IS NULL")
    assert f"the role {admin}, whoever restores, was left as it is" in caplog.text
    assert 'the role "postgres", the server\'s own superuser, was left as it is: its comment differs' in caplog.text


def test_whoever_logged_in_is_never_changed(roles, manager, postgres, caplog):
    """Nor is the account that logged in where the session acts as another: a restore locks nobody out of the server."""
    admin, acting = quoted(roles("admin")), quoted(roles("acting"))
    roles.execute(
        postgres,
        f"CREATE ROLE {acting} SUPERUSER NOLOGIN",
        f"CREATE ROLE {admin} NOLOGIN",
    )
    backup = backed_up(manager, postgres)
    roles.execute(
        postgres,
        f"ALTER ROLE {admin} LOGIN PASSWORD 'x'",
        f"GRANT {acting} TO {admin}",
        f"ALTER ROLE {admin} SET work_mem = '5MB'",
    )
    before = state(postgres, roles)
    url = f"{postgres.url('', roles('admin'), 'x')}&options=-c%20role%3D{roles('acting')}"
    manager.restore(backup.id, url, overwrite=True).raise_for_error()
    assert state(postgres, roles) == before
    assert f"the role {admin}, whoever restores, was left as it is" in caplog.text


EVERYBODYS = {
    "a setting of all roles": ("settings", Setting(role=None, database=None, name="my.own", value="x")),
    "a parameter for everybody": (
        "parameters",
        ParameterGrant(grantee=None, parameter="my.own", privilege="SET", grantable=False),
    ),
    "a parameter for a predefined role": (
        "parameters",
        ParameterGrant(grantee="pg_monitor", parameter="my.own", privilege="ALTER SYSTEM", grantable=False),
    ),
}


@pytest.mark.parametrize("what", EVERYBODYS)
def test_what_everybody_is_given_changes_who_is_there(roles, manager, postgres, tmp_path, what):
    """Where a server has roles, what is set for all or granted to all is no addition, and takes an overwrite."""
    kind, fact = EVERYBODYS[what]
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))}")
    backup = backed_up(manager, postgres)
    dump = dump_of(backup, tmp_path, written(parse(data_of(backup)), **{kind: (fact,)}))
    sql = """SELECT setconfig::text FROM pg_db_role_setting WHERE setrole = 0
             UNION ALL SELECT paracl::text FROM pg_parameter_acl WHERE parname = 'my.own'"""
    before = postgres.execute(sql)
    with pytest.raises(TargetNotEmpty, match="--overwrite") as refused:
        restored(postgres, dump, overwrite=False)
    assert "my.own" in str(refused.value)
    assert postgres.execute(sql) == before
    try:
        restored(postgres, dump)
        assert postgres.execute(sql) != before
    finally:
        roles.execute(postgres, 'ALTER ROLE ALL RESET "my"."own"')
        if kind == "parameters":
            roles.execute(postgres, "REVOKE ALL ON PARAMETER my.own FROM PUBLIC, pg_monitor")


@pytest.mark.parametrize("major", [15, 16])
def test_what_everybody_is_given_comes_to_a_new_server(major, manager, postgres, postgres_newer, tmp_path):
    """Where nobody is there yet it is added: so a drill shows it, memberships of predefined roles among it."""
    backup = backed_up(manager, postgres)
    accounts = as_of(major, parse(data_of(backup)))
    facts = [fact for _, fact in EVERYBODYS.values()]
    fields = {f: getattr(accounts.roles[0], f) for f in accounts.roles[0].__struct_fields__}
    group = Role(**{**fields, "name": "group", "superuser": False, "password": None})
    memberships = (granted("group", "pg_monitor", major),)
    changed = {"settings": tuple(facts[:1]), "parameters": tuple(facts[1:]), "memberships": memberships}
    dump = dump_of(backup, tmp_path, written(accounts, roles=(*accounts.roles, group), **changed))
    with drilled(dump, postgres if postgres.major >= major else postgres_newer) as scratch:
        assert scratch.ask("SELECT pg_has_role('pg_monitor', 'group', 'MEMBER')") == [(True,)]


def test_accounts_of_another_server_replace_nothing_unasked(roles, manager, postgres, postgres_newer):
    """Onto another server what is missing is added; to change what is there takes overwrite, and then other, too."""
    differing(roles, postgres)
    backup = backed_up(manager, postgres)
    manager.restore(backup.id, postgres_newer.url(""), other=False).raise_for_error()
    roles.execute(postgres_newer, f"ALTER ROLE {quoted(roles('known'))} CREATEDB")
    refused = manager.restore(backup.id, postgres_newer.url(""), overwrite=True, other=False)
    assert isinstance(refused.exception, OtherDatabase)
    manager.restore(backup.id, postgres_newer.url(""), overwrite=True, other=True).raise_for_error()


def test_settings_in_databases_that_are_missing_are_left_out(roles, manager, postgres, dbs, caplog):
    """Accounts come before databases: what needs one that is not there is left to its own backup, and said."""
    name, role = dbs.new(), quoted(roles("a"))
    roles.execute(postgres, f"CREATE ROLE {role}", f"ALTER ROLE {role} IN DATABASE {name} SET work_mem = '5MB'")
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    dbs.drop()
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert roles.names(postgres) == {"a"}
    assert f'databases that do not exist here yet were left out ("{name}")' in caplog.text


# -- failures -------------------------------------------------------------------------------------------------------


def with_tablespace(roles, server) -> None:
    directory = server.root / roles("place")
    directory.mkdir()
    shutil.chown(directory, server._user or None)
    roles.execute(
        server,
        f"CREATE ROLE {quoted(roles('owner'))}",
        f"CREATE TABLESPACE {quoted(roles('disk'))} OWNER {quoted(roles('owner'))} LOCATION '{directory}'",
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SourceError("it failed")], ids=["ctrl-c", "error"])
def test_what_ends_in_the_middle_leaves_nothing(roles, manager, postgres, monkeypatch, error):
    """A restore that is interrupted, or fails, before its commit leaves neither a role nor a tablespace."""
    with_tablespace(roles, postgres)
    backup = backed_up(manager, postgres)
    roles.forget(postgres)

    def fail() -> None:
        raise error

    monkeypatch.setattr("dumpty_plugins.postgres.accounts.restore.commit_point", fail)
    with contextlib.suppress(KeyboardInterrupt):
        assert not manager.restore(backup.id, postgres.url("")).success
    assert roles.names(postgres) == set()
    assert state(postgres, roles)["tablespaces"] == []


def test_a_tablespace_whose_directory_is_missing_is_said(roles, manager, postgres):
    """Without its directory no tablespace is made, nor any role, and the way round it is told to work."""
    with_tablespace(roles, postgres)
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    (postgres.root / roles("place")).rmdir()
    result = manager.restore(backup.id, postgres.url(""))
    assert "does not exist" in result.error
    assert "tablespaces=off" in result.error
    assert roles.names(postgres) == set()
    manager.restore(backup.id, postgres.url(""), tablespaces=False).raise_for_error()
    assert roles.names(postgres) == {"owner"}


def test_what_is_cancelled_midway_leaves_nothing(roles, manager, postgres, monkeypatch):
    """A restore that its caller cancels after some of its statements leaves no account, and says that it was cancelled."""
    make_nasty(roles, postgres)
    with_tablespace(roles, postgres)
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    cancellation, done = Cancellation(), []
    execute = restore._Restore._execute

    def cancelling(self, statement, *advice):
        execute(self, statement, *advice)
        done.append(statement)
        if len(done) == 4:
            cancellation.cancel()

    monkeypatch.setattr(restore._Restore, "_execute", cancelling)
    result = manager.restore(backup.id, postgres.url(""), cancel=cancellation)
    assert isinstance(result.exception, Cancelled)
    assert roles.names(postgres) == set()
    assert state(postgres, roles)["tablespaces"] == []


def test_hashes_are_not_written_in_the_clear_unasked(roles, manager, postgres, tmp_path):
    """Without encryption a backup with hashes is refused, with the ways that there are; nothing is stored."""
    result = taken(manager, postgres, hashes="on")
    assert isinstance(result.exception, OptionError)
    for way in ("--encrypt-to", "-o hashes=off", "-o hashes=plain"):
        assert way in result.error
    assert manager.list_backups() == []


def test_an_encrypted_backup_keeps_hashes_from_everybody_else(roles, manager, postgres, tmp_path):
    """Encrypted, hashes go with the backup, come back with an identity, and are in no file that can be read."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))} LOGIN PASSWORD 'x'")
    before = state(postgres, roles)
    pair = new_identity()
    backup = backed_up(manager, postgres, hashes="on", encrypt_to=[pair.recipient.text])
    roles.forget(postgres)
    manager.restore(backup.id, postgres.url(""), identities=[pair.identity]).raise_for_error()
    assert state(postgres, roles) == before
    digest = before["roles"][0][0]["rolpassword"]
    assert not any(digest.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_no_hash_is_in_a_manifest(roles, manager, postgres, tmp_path):
    """What is kept beside the dump, in the clear, holds no hash of a password."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))} LOGIN PASSWORD 'x'")
    backed_up(manager, postgres)
    manifests = list(tmp_path.rglob("*.manifest.json"))
    assert manifests
    assert not any("SCRAM" in p.read_text() for p in manifests)


RECORDING = (
    "log_statement=all",
    "log_min_duration_statement=0",
    "log_min_duration_sample=0",
    "log_statement_sample_rate=1",
    "log_transaction_sample_rate=1",
    "log_min_error_statement=error",
)


@pytest.mark.parametrize("setting", RECORDING)
def test_no_hash_is_in_the_servers_log(roles, manager, postgres, setting):
    """Whatever a server logs of its statements, samples of them among it, is not what a restore gives it."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))} LOGIN PASSWORD 'x'")
    [(digest,)] = postgres.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", roles("a"))
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    url = f"{postgres.url('')}&options=-c%20{setting.replace('=', '%3D')}"
    if setting.startswith("log_min_duration_sample"):
        url += "%20-c%20log_statement_sample_rate%3D1"
    start = postgres.log.stat().st_size
    manager.restore(backup.id, url).raise_for_error()
    with postgres.log.open("rb") as log:
        log.seek(start)
        logged = log.read().decode(errors="replace")
    assert roles.names(postgres) == {"a"}
    assert digest not in logged


def test_extensions_are_told_to_record_no_statement(roles, manager, postgres, monkeypatch):
    """What extensions record of a session's statements is off while hashes are in them."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))} LOGIN PASSWORD 'x'")
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    names = ("pg_stat_statements.track", "pgaudit.log", "auto_explain.log_min_duration")
    execute, seen = restore._Restore._execute, set()

    def looking(self, statement, *advice):
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
            seen.update(cursor.fetchall())
        execute(self, statement, *advice)

    monkeypatch.setattr(restore._Restore, "_execute", looking)
    settings = "%20".join(f"-c%20{name}%3D{value}" for name, value in zip(names, ("all", "all", "0"), strict=True))
    manager.restore(backup.id, f"{postgres.url('')}&options={settings}").raise_for_error()
    assert seen == {("none", "none", "-1")}


def test_what_records_statements_is_left_where_it_may_not_be_set(roles, manager, postgres_newer):
    """An account that may set none of what keeps its statements from being recorded restores all the same."""
    roles.execute(postgres_newer, f"CREATE ROLE {quoted(roles('a'))} LOGIN PASSWORD 'x'")
    backup = backed_up(manager, postgres_newer)
    roles.forget(postgres_newer)
    roles.execute(
        postgres_newer,
        f"CREATE ROLE {quoted(roles('admin'))} LOGIN CREATEROLE PASSWORD 'x'",
        f"GRANT SELECT ON pg_authid TO {quoted(roles('admin'))}",
    )
    manager.restore(backup.id, postgres_newer.url("", roles("admin"), "x")).raise_for_error()
    assert roles.names(postgres_newer) == {"a", "admin"}


def test_hashes_can_be_left_out(roles, manager, postgres):
    """Left out, roles come back without passwords; those that are there are left as they are."""
    role = quoted(roles("a"))
    roles.execute(postgres, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    backup = backed_up(manager, postgres, hashes="off")
    assert b"SCRAM" not in data_of(backup)
    roles.execute(postgres, f"ALTER ROLE {role} PASSWORD 'y'")
    before = state(postgres, roles)
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert state(postgres, roles) == before
    roles.forget(postgres)
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert postgres.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", roles("a")) == [(None,)]


def test_who_may_not_read_hashes_is_told_how_to(roles, manager, postgres):
    """Without the right to hashes no backup is made, the grant that is named gives it, and without hashes none is."""
    role, url = quoted(roles("a")), postgres.url("", roles("a"), "x")
    roles.execute(postgres, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    result = manager.create_backup(url, format="accounts", hashes="plain")
    grant = f"GRANT SELECT ON pg_catalog.pg_authid TO {role}"  # a privilege of one database, though on a table of all
    assert isinstance(result.exception, SourceError)
    assert f'{grant} (in the database "postgres")' in result.error
    assert "-o hashes=off" in result.error
    host = Host([postgres_plugin], discover=False)
    options = host.options({"inspect": host.plugins()[0]}, {"server": True, "rights": True})["inspect"]
    assert grant in host.inspect(host.plugins()[0], source=parse_url(url), options=options).lacks[0]
    manager.create_backup(url, format="accounts", hashes="off").raise_for_error()
    postgres.execute(grant)
    manager.create_backup(url, format="accounts", hashes="plain").raise_for_error()


def test_who_may_create_roles_restores_without_being_a_superuser(roles, manager, postgres_newer):
    """CREATEROLE is enough for plain roles without hashes; what it does not allow is refused as a whole."""
    a, b = quoted(roles("a")), quoted(roles("b"))
    roles.execute(postgres_newer, f"CREATE ROLE {a} LOGIN", f"CREATE ROLE {b} LOGIN", f"GRANT {a} TO {b}")
    backup = backed_up(manager, postgres_newer, hashes="off")
    roles.forget(postgres_newer)
    roles.execute(postgres_newer, f"CREATE ROLE {quoted(roles('admin'))} LOGIN CREATEROLE PASSWORD 'x'")
    url = postgres_newer.url("", roles("admin"), "x")
    manager.restore(backup.id, url).raise_for_error()
    assert roles.names(postgres_newer) == {"a", "b", "admin"}


def test_a_superuser_is_created_by_a_superuser_alone(roles, manager, postgres_newer):
    """What the account may not create fails with the server's reason, and no role is left."""
    roles.execute(postgres_newer, f"CREATE ROLE {quoted(roles('a'))}", f"CREATE ROLE {quoted(roles('b'))} SUPERUSER")
    backup = backed_up(manager, postgres_newer, hashes="off")
    roles.forget(postgres_newer)
    roles.execute(postgres_newer, f"CREATE ROLE {quoted(roles('admin'))} LOGIN CREATEROLE PASSWORD 'x'")
    result = manager.restore(backup.id, postgres_newer.url("", roles("admin"), "x"))
    assert "SUPERUSER" in result.error
    assert roles.names(postgres_newer) == {"admin"}


# -- a dump is hostile ------------------------------------------------------------------------------------------------


def _replace(old: bytes, new: bytes):
    def alter(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new)

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        _replace(b" NOSUPERUSER ", b" SUPERUSER "),
        _replace(b'"superuser":false', b'"superuser":true'),
        _replace(b"-- Roles\n", b"\\! touch /tmp/dumpty-was-here\n-- Roles\n"),
        _replace(b"-- end of the accounts\n", b"DROP TABLE t;\n-- end of the accounts\n"),
        _replace(b"-- end of the accounts\n", b"-- end"),
        _replace(b'"limit":-1', b'"limit":"-1; DROP"'),
        _replace(b'"kind":"role"', b'"kind":"role","more":1'),
        lambda data: data[: len(data) // 2],
        lambda data: data + b"SELECT 1;\n",
        lambda data: b"",
        lambda data: b"\xff\xfe",
    ],
    ids=range(11),
)
def test_a_dump_that_was_altered_is_refused(roles, manager, postgres, tmp_path, alter):
    """What does not say the same to psql and to us, or is not whole, is executed by neither examine nor restore."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))}")
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    dump = dump_of(backup, tmp_path, alter(data_of(backup)))
    with pytest.raises(IntegrityError):
        restored(postgres, dump)
    with pytest.raises(IntegrityError):
        postgres_plugin.examine(dump=dump, options={})
    assert roles.names(postgres) == set()


STRANGERS = {
    "a membership of a stranger": lambda a, s: granted(a, s, 15),
    "a membership in a stranger": lambda a, s: granted(s, a, 15),
    "a newer server's membership of a stranger": lambda a, s: granted(a, s, 16),
    "a membership that a stranger granted": lambda a, s: granted("pg_monitor", a, 16, grantor=s),
    "a setting of a stranger": lambda a, s: Setting(role=s, database=None, name="work_mem", value="64kB"),
    "a setting of a predefined role": lambda a, s: Setting(role="pg_monitor", database=None, name="my.own", value="x"),
    "a setting of all in a database": lambda a, s: Setting(role=None, database="postgres", name="my.own", value="x"),
    "a parameter for a stranger": lambda a, s: ParameterGrant(
        grantee=s, parameter="work_mem", privilege="SET", grantable=True
    ),
    "a tablespace of a stranger": lambda a, s: Tablespace(
        name=f"{a} disk", owner=s, location="", options=[], grants=[], comment=None
    ),
    "a tablespace that a stranger may use": lambda a, s: Tablespace(
        name=f"{a} disk",
        owner=a,
        location="",
        options=[],
        grants=[TablespaceGrant(grantee=s, grantable=False)],
        comment=None,
    ),
}
KINDS = {
    Membership: "memberships",
    Setting: "settings",
    ParameterGrant: "parameters",
    Tablespace: "tablespaces",
}


@pytest.mark.parametrize("what", STRANGERS)
def test_a_dump_says_nothing_of_roles_that_it_does_not_hold(roles, manager, postgres, tmp_path, what):
    """Whoever overwrites changes the roles of the backup: a dump that would change others is refused as a whole."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))}")
    accounts = parse(data_of(backup := backed_up(manager, postgres)))
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('stranger'))}", f"ALTER ROLE {quoted(roles('a'))} CREATEDB")
    before = state(postgres, roles)
    fact = STRANGERS[what](roles("a"), roles("stranger"))
    dump = dump_of(backup, tmp_path, written(accounts, **{KINDS[type(fact)]: (fact,)}))
    with pytest.raises(IntegrityError, match=r"the accounts (say something of|hold a)"):
        restored(postgres, dump)
    assert state(postgres, roles) == before


def test_what_predefined_roles_are_given_is_backed_up(roles, manager, postgres):
    """PostgreSQL's own roles may be members, and hold privileges, though they are in no dump."""
    a = quoted(roles("a"))
    roles.execute(postgres, f"CREATE ROLE {a}", f"GRANT {a} TO pg_monitor")
    backup = backed_up(manager, postgres)
    manager.restore(backup.id, postgres.url("")).raise_for_error()
    assert any(m.member == "pg_monitor" for m in parse(data_of(backup)).memberships)


@pytest.mark.parametrize("setting", ["search_path", "session_preload_libraries"])
def test_a_value_is_a_value(roles, manager, postgres, tmp_path, setting):
    """The value of a setting that is a list of names is taken apart into names, and never pasted as it is."""
    roles.execute(postgres, f"CREATE ROLE {quoted(roles('a'))}")
    backup = backed_up(manager, postgres)
    roles.forget(postgres)
    fact = Setting(role=roles("a"), database=None, name=setting, value="x; DROP ROLE postgres")
    with pytest.raises(IntegrityError):
        "".join(write_script(Accounts(header=parse(data_of(backup)).header, settings=(fact,))))
    fact = Setting(role=roles("a"), database=None, name=setting, value='"x\'; DROP ROLE postgres; --"')
    accounts = parse(data_of(backup))
    settings = (*accounts.settings, fact)
    hostile = "".join(f"{line}\n" for line in write_script(structs.replace(accounts, settings=settings)))
    restored(postgres, dump_of(backup, tmp_path, hostile.encode()))
    assert state(postgres, roles)["settings"] == [(roles("a"), None, f'{setting}="x\'; DROP ROLE postgres; --"')]


# -- proofs, and what else there is --------------------------------------------------------------------------------


def test_a_drill_restores_accounts(roles, manager, postgres):
    """A drill restores all of it on a server of its own, tablespaces included, and compares each."""
    make_nasty(roles, postgres)
    with_tablespace(roles, postgres)
    roles.execute(postgres, f"GRANT {quoted(roles(NASTY[0]))} TO {quoted(roles(NASTY[1]))} WITH ADMIN OPTION")
    backup = backed_up(manager, postgres)
    manager.verify(backup.id, level="structure")
    proof = manager.drill(backup.id, assertions=["SELECT count(*) FROM pg_roles WHERE rolconnlimit = 3"])
    text = " ".join(step.what for step in proof.proved)
    assert "roles and what is theirs compared with the backup, one by one" in text
    assert any("locations of tablespaces" in t for t in proof.not_proved)


def test_a_drill_loads_no_library_that_a_dump_names(roles, manager, postgres, tmp_path):
    """What a dump sets for every role is restored in a drill, and holds for none of the drill's own sessions."""
    backup = backed_up(manager, postgres)
    accounts = parse(data_of(backup))
    fact = Setting(role=None, database=None, name="session_preload_libraries", value='"/nowhere/at/all"')
    text = "".join(f"{line}\n" for line in write_script(structs.replace(accounts, settings=(fact,))))
    dump, host = dump_of(backup, tmp_path, text.encode()), Host([postgres_plugin], discover=False)
    plugin = host.plugins()[0]
    options = host.options({"scratch": plugin, "restore": plugin}, {})
    with host.scratch(plugin, dump=dump, on=None, options=options["scratch"]) as scratch:
        host.restore(plugin, target=scratch.target, dump=dump, overwrite=False, options=options["restore"])
        scratch.check()
        sql = "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0"
        assert scratch.ask(sql) == [(['session_preload_libraries="/nowhere/at/all"'],)]


def test_accounts_are_not_drilled_on_somebodys_server(roles, manager, postgres):
    """A server that serves others gets no accounts by a drill."""
    backup = backed_up(manager, postgres)
    with pytest.raises(NotProvable, match="accounts belong to a whole server"):
        manager.drill(backup.id, on=postgres.url())


def test_accounts_never_count_as_a_databases_backups(roles, manager, postgres, dbs):
    """Even a database of the same name is another source: latest, retention and --database keep them apart."""
    accounts = backed_up(manager, postgres)
    name = dbs.server.create(accounts.database_name)
    database = manager.create_backup(postgres.url(name.replace("@", "%40").replace(":", "%3A")), format="sql")
    database.raise_for_error()
    assert database.backup.source != accounts.source
    with pytest.raises(UnknownBackup):
        manager.find("latest", alone=True)
    assert manager.find(f"latest:{accounts.database_name}", source=accounts.source).id == accounts.id
    assert {b.id for b in manager.list_backups()} == {accounts.id, database.backup.id}


def test_the_command_tells_what_it_left(roles, postgres, tmp_path, capsys, monkeypatch):
    """On the command line a backup says what it holds, a restore what it left as it is, with a warning for programs."""
    monkeypatch.chdir(tmp_path)
    postgres.execute(f"CREATE ROLE {quoted(roles('a'))}")
    assert main(["backup", postgres.url(""), "--format", "accounts", "-o", "hashes=plain"]) == 0
    assert re.search(r"holds roles: \d+.*, as accounts\+gzip", capsys.readouterr().out)
    postgres.execute("COMMENT ON ROLE postgres IS 'x'")
    try:
        assert main(["restore", "latest", "--to", postgres.url(""), "--json"]) == 0
    finally:
        postgres.execute("COMMENT ON ROLE postgres IS NULL")
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert 'the role "postgres", whoever restores, was left as it is' in warning
