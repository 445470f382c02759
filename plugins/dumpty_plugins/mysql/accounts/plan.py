"""What a restore of accounts does on a server, and what it would have to change there: nothing, unless insisted on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty_plugins.mysql.accounts import statements
from dumpty_plugins.mysql.accounts.facts import PUBLIC, Factor, Grant, Name, Privilege
from dumpty_plugins.mysql.accounts.statements import name_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from dumpty_plugins.mysql.accounts.facts import Accounts, Membership, User

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_FIELDS = {
    "require": "TLS requirement",
    "cipher": "TLS cipher",
    "issuer": "certificate's issuer",
    "subject": "certificate's subject",
    "queries": "MAX_QUERIES_PER_HOUR",
    "updates": "MAX_UPDATES_PER_HOUR",
    "connections": "MAX_CONNECTIONS_PER_HOUR",
    "user_connections": "MAX_USER_CONNECTIONS",
    "statement_seconds": "MAX_STATEMENT_TIME",
    "locked": "lock",
    "expired": "password's expiry",
    "lifetime": "password's lifetime",
    "history": "password's history",
    "reuse_days": "password's reuse interval",
    "require_current": "need of the current password",
    "failed_attempts": "FAILED_LOGIN_ATTEMPTS",
    "lock_days": "PASSWORD_LOCK_TIME",
}

_Target = tuple[Name, str, "str | None", "str | None", bool]


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """Where accounts are restored, and by whom: ``user``, whose own account is left as it is.

    ``exists`` says whether a table, or a routine of a type, is there. ``spare``: root and the like are left, too,
    and what everybody has beside what the backup says. ``private``: the server has no accounts that anybody uses.
    """

    user: Name
    exists: Callable[[str, str, str], bool]
    spare: bool = True
    private: bool = False


@dataclass
class Plan:
    """What there is to do.

    ``creations`` are of what is missing, ``changes`` of what exists and ``differs``, a line for each. ``uncounted`` are
    kinds of which something was left as it is, as ``notes`` say. ``created`` are the accounts that are missing, each
    with the statement of ``creations`` that creates it, and ``privileges`` the names of all that is granted.
    """

    creations: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    uncounted: set[str] = field(default_factory=set)
    created: dict[Name, str] = field(default_factory=dict)
    privileges: set[str] = field(default_factory=set)

    def leave(self, note: str, *kinds: str) -> None:
        """Note that something is left as it is."""
        if note not in self.notes:
            self.notes.append(note)
        self.uncounted.update(kinds)


def plan(wanted: Accounts, found: Accounts, where: Circumstances) -> Plan:
    """Return what makes of a server's accounts, ``found``, what they were when the backup was made, ``wanted``."""
    return _Planner(wanted, found, where).plan()


class _Planner:
    def __init__(self, wanted: Accounts, found: Accounts, where: Circumstances) -> None:
        self._wanted = wanted
        self._found = found
        self._where = where
        self._plan = Plan()
        self._mariadb = wanted.mariadb
        self._there = {u.name: u for u in found.users}
        self._names = {u.name for u in wanted.users}
        # What everybody gets changes each of these.
        users = [u.name for u in found.users if u.name.host is not None]
        self._has_others = not where.private and not all(map(self._is_exempt, users))

    def plan(self) -> Plan:
        for user in self._wanted.users:
            self._user(user)
        self._memberships()
        self._default_roles()
        self._grants()
        self._proxies()
        self._leave_roles_to_their_admins()
        return self._plan

    def _is_exempt(self, name: Name) -> bool:
        if name == self._where.user:
            return True
        local = name.host in _LOCAL_HOSTS
        return self._where.spare and local and name.user in ({"root", "mysql"} if self._mariadb else {"root"})

    def _is_new(self, name: Name) -> bool:
        return name in self._names and name not in self._there

    def _change(self, name: Name, text: str, kinds: Iterable[str], changes: Iterable[str]) -> None:
        """Note how an existing account differs, and what changes that."""
        if self._is_exempt(name):
            whose = "which restores" if name == self._where.user else "the server's own"
            self._plan.leave(f"the account {name_sql(name)}, {whose}, was left as it is: {text}", *kinds)
            return
        self._plan.differs.append(f"account {name_sql(name)}: {text}")
        self._plan.changes += changes

    # -- users ---------------------------------------------------------------------------------------------------

    def _user(self, user: User) -> None:
        there = self._there.get(user.name)
        if there is None:
            creation = statements.create(user, mariadb=self._mariadb)
            self._plan.created[user.name] = creation[0]
            self._plan.creations += creation
            if user.left_out:
                text = f"the account {name_sql(user.name)} is locked, for its password is not in the backup: give it "
                self._plan.leave(f"{text}one, and ACCOUNT UNLOCK", "passwords")
            return
        if user.left_out:
            self._note_left(user, there)
            # Nobody unlocks an account, or lets its password be valid again, whose password may not be what it was.
            user = replace(user, locked=user.locked or there.locked, expired=user.expired or there.expired)
        differences = list(_differences(user, there))
        if differences:
            changes = statements.alter(user, there, mariadb=self._mariadb)
            self._change(user.name, "; ".join(differences), ("users", "passwords"), changes)

    def _note_left(self, user: User, there: User) -> None:
        """Note what is left of an existing account because its password is not in the backup."""
        name = name_sql(user.name)
        if there.locked:
            self._plan.leave(f"the account {name} is locked, and its password not in the backup", "passwords")
        if there.expired and not user.expired:
            self._plan.leave(f"the account {name} has an expired password, and it is not in the backup", "passwords")
        old, new = _plugins(there), _plugins(user)
        if old != new:
            text = f"the account {name} authenticates by {old} there, by {new} in the backup, where its password is not"
            self._plan.leave(f"{text}: how it does was left as it is", "passwords")

    # -- roles ---------------------------------------------------------------------------------------------------

    def _memberships(self) -> None:
        wanted = {(m.member, m.role): m for m in self._wanted.memberships}
        found = {(m.member, m.role): m for m in self._found.memberships}
        for key, membership in found.items():
            if membership.member in self._names and key not in wanted and not self._is_exempt(membership.member):
                text = f"it has the role {_role(membership)} there, and not in the backup"
                self._change(membership.member, text, (), [statements.revoke_role(membership.role, membership.member)])
        for key, membership in wanted.items():
            there = found.get(key)
            if there == membership:
                continue
            grant = statements.grant_role(membership)
            if self._is_new(membership.member):
                self._plan.creations.append(grant)
                continue
            state = f"the role {_role(there)}" if there else f"no role {name_sql(membership.role)}"
            revoke = [statements.revoke_role(there.role, there.member)] if there else []
            text = f"it has {state} there, {_role(membership)} in the backup"
            self._change(membership.member, text, ("memberships",), [*revoke, grant])

    def _default_roles(self) -> None:
        wanted, found = (
            statements.by_member(self._wanted.default_roles),
            statements.by_member(self._found.default_roles),
        )
        for member in dict.fromkeys([*wanted, *found]):
            roles, there = wanted.get(member, []), found.get(member, [])
            if roles == there or member not in self._names:
                continue
            statement = statements.set_default_roles(member, roles, mariadb=self._mariadb)
            if self._is_new(member):
                self._plan.creations.append(statement)
                continue
            text = f"its default roles are {_names(there)} there, {_names(roles)} in the backup"
            self._change(member, text, ("default roles",), [statement])

    def _leave_roles_to_their_admins(self) -> None:
        """Take from whoever restores the roles that MariaDB gave it for having created them, where others have them."""
        if not self._mariadb:
            return
        wanted = self._wanted.memberships
        for role in self._plan.created:
            admins = {m.member for m in wanted if m.role == role and m.admin}
            if role.host is None and admins and self._where.user not in admins:
                self._plan.creations.append(statements.revoke_role(role, self._where.user))

    # -- privileges ----------------------------------------------------------------------------------------------

    def _grants(self) -> None:
        wanted, found = _by_target(self._wanted.grants), _by_target(self._found.grants)
        # Exceptions come after what they are exceptions from.
        for target in sorted({*wanted, *found}, key=lambda t: (t[4], repr(t))):
            member = target[0]
            ours, there = wanted.get(target, frozenset()), found.get(target, frozenset())
            if ours == there or (member not in self._names and member != Name(user=PUBLIC, host=None)):
                continue
            missing = _grants_of(target, ours - there)
            extra = _grants_of(target, there - ours)
            if member.user == PUBLIC and member.host is None and self._where.spare:
                extra = []  # everybody's: what the backup does not know is left
            absent = [g for g in missing if not self._can_be_granted(g)]
            if absent:
                where = statements.target(absent[0])
                text = f"privileges of {name_sql(member)} on {where} were left out, for it does not exist here yet: "
                self._plan.leave(f"{text}restore the accounts again, with --overwrite, when it does", "grants")
                if not there:
                    continue
                missing = [g for g in missing if g not in absent]
            granting = [s for g in missing for s in self._granting(g)]
            self._plan.privileges |= {p.name for g in missing for p in g.privileges}
            if self._is_new(member) or (member == Name(user=PUBLIC, host=None) and not self._has_others):
                self._plan.creations += granting
            elif granting or extra:
                text = f"its privileges on {statements.target(_any(target))} are {_atoms(there)} there, "
                revoking = [s for g in extra for s in _in_mode(g, statements.revoke_privileges(g))]
                self._change(member, f"{text}{_atoms(ours)} in the backup", ("grants",), [*revoking, *granting])

    def _can_be_granted(self, grant: Grant) -> bool:
        if grant.database is None or grant.object is None:
            return True
        if not grant.type and not any(p.columns for p in grant.privileges):
            return True
        return self._where.exists(grant.type, grant.database, grant.object)

    def _granting(self, grant: Grant) -> list[str]:
        """Return what grants; on a table that does not exist, by way of the right to create it, which is no other's."""
        on_table = grant.database is not None and grant.object is not None and not grant.type
        names = {p.name for p in grant.privileges}
        if not on_table or names & {"CREATE", "ALL PRIVILEGES"}:
            return _in_mode(grant, statements.grant_privileges(grant))
        if self._where.exists("", str(grant.database), str(grant.object)):
            return [statements.grant_privileges(grant)]
        create = Privilege(name="CREATE", columns=[])
        return [
            statements.grant_privileges(replace(grant, privileges=[*grant.privileges, create])),
            statements.revoke_privileges(replace(grant, privileges=[create], grantable=False)),
        ]

    def _proxies(self) -> None:
        wanted = {(p.member, p.proxied): p for p in self._wanted.proxies}
        found = {(p.member, p.proxied): p for p in self._found.proxies}
        for key in dict.fromkeys([*found, *wanted]):
            ours, there = wanted.get(key), found.get(key)
            member, proxied = key
            if ours == there or member not in self._names:
                continue
            granting = [statements.grant_proxy(ours)] if ours else []
            if self._is_new(member):
                self._plan.creations += granting
                continue
            revoking = [statements.revoke_proxy(there)] if there else []
            text = f"that it may act as {name_sql(proxied)} differs"
            self._change(member, text, ("proxies",) if ours else (), [*revoking, *granting])


def _in_mode(grant: Grant, statement: str) -> list[str]:
    """Return a statement about a grant, on a package in the only mode that knows the word."""
    if not grant.type.startswith("PACKAGE"):
        return [statement]
    return ["SET SESSION sql_mode=ORACLE", statement, f"SET SESSION sql_mode='{statements.MODES['MariaDB']}'"]


def _differences(wanted: User, found: User) -> Iterable[str]:
    ours, there = _factors(wanted), _factors(found)
    if wanted.left_out:
        pass  # how it authenticates is left as it is
    elif [f.plugin for f in ours] != [f.plugin for f in there]:
        yield f"it authenticates by {_plugins(found)} there, by {_plugins(wanted)} in the backup"
    elif [f.secret for f in ours] != [f.secret for f in there]:
        yield "its password differs"
    for name, label in _FIELDS.items():
        old, new = getattr(found, name), getattr(wanted, name)
        if old != new:
            yield f"its {label} is {_shown(old)} there, {_shown(new)} in the backup"
    if statements.attributes(wanted) != statements.attributes(found):
        yield "its attributes differ"


def _factors(user: User) -> list[Factor]:
    """Return how a user authenticates; MariaDB says nothing of one with an empty password."""
    return user.factors or [Factor(plugin="mysql_native_password", secret="", left_out=False)]


def _plugins(user: User) -> str:
    return " or ".join(f.plugin for f in _factors(user))


def _shown(value: object) -> str:
    if value is None or value == "":
        return "the default" if value is None else "none"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


# Of MySQL's dynamic privileges each may be granted further or not; of others all of one target.
_Atom = tuple[str, str, bool]


def _is_dynamic(name: str) -> bool:
    """Return whether a privilege is one of MySQL's dynamic ones; MariaDB's with an underscore have a space, too."""
    return "_" in name and " " not in name


def _by_target(grants: Iterable[Grant]) -> dict[_Target, frozenset[_Atom]]:
    targets: dict[_Target, set[_Atom]] = {}
    for grant in grants:
        atoms = targets.setdefault((grant.member, grant.type, grant.database, grant.object, grant.revoked), set())
        dynamic = [p.name for p in grant.privileges if _is_dynamic(p.name)]
        atoms.update((name, "", grant.grantable) for name in dynamic)
        for privilege in grant.privileges:
            if privilege.name not in dynamic:
                atoms.update((privilege.name, column, False) for column in privilege.columns or [""])
        if grant.grantable and len(dynamic) != len(grant.privileges or [None]):
            atoms.add(("GRANT OPTION", "", False))
    return {target: frozenset(atoms) for target, atoms in targets.items()}


def _grants_of(target: _Target, atoms: Collection[_Atom]) -> list[Grant]:
    """Return grants that give these privileges on a target, and no others."""
    grants = []
    for grantable in (False, True):
        dynamic = sorted(name for name, _, option in atoms if _is_dynamic(name) and option == grantable)
        if dynamic:
            named = [Privilege(name=n, columns=[]) for n in dynamic]
            grants.append(replace(_any(target), privileges=named, grantable=grantable))
    static = sorted((name, column) for name, column, _ in atoms if not _is_dynamic(name) and name != "GRANT OPTION")
    privileges = [Privilege(name=name, columns=[]) for name, column in static if not column]
    privileges += [
        Privilege(name=name, columns=[c for n, c in static if n == name and c])
        for name in dict.fromkeys(name for name, column in static if column)
    ]
    grantable = ("GRANT OPTION", "", False) in atoms
    if privileges or grantable:
        grants.append(replace(_any(target), privileges=privileges, grantable=grantable))
    return grants


def _any(target: _Target) -> Grant:
    member, kind, database, obj, revoked = target
    return Grant(
        member=member,
        type=kind,  # type: ignore[arg-type]
        database=database,
        object=obj,
        privileges=[],
        grantable=False,
        revoked=revoked,
    )


def _atoms(atoms: Collection[_Atom]) -> str:
    texts = [
        f"{name}{f' ({column})' if column else ''}{' WITH GRANT OPTION' if option else ''}"
        for name, column, option in sorted(atoms)
    ]
    return ", ".join(texts) or "none"


def _role(membership: Membership) -> str:
    return f"{name_sql(membership.role)}{' WITH ADMIN OPTION' if membership.admin else ''}"


def _names(names: Collection[Name]) -> str:
    return ", ".join(map(name_sql, names)) or "none"
