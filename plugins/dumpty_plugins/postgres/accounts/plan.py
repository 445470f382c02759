"""What a restore of accounts does on a server, and what it would have to change there: nothing, unless insisted on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty_plugins.postgres.accounts import statements
from dumpty_plugins.postgres.accounts.facts import ATTRIBUTES, Tablespace, TablespaceGrant
from dumpty_plugins.postgres.accounts.statements import HAS_OPTIONS, name_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from dumpty_plugins.postgres.accounts.facts import Accounts, Membership, Role, Setting

_HAS_PARAMETER_GRANTS = 15


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """Where accounts are restored, and by whom: ``user``, and ``login``, who logged in; they are left as they are.

    The two differ where a setting, or the URL, has the session act as another role.
    ``passwords``, ``comments``, ``tablespaces``: whether they are restored. ``in_place``: tablespaces go into the
    server's own directory; ``new_tablespaces`` were created a moment ago, and are the restore's.
    """

    user: str
    login: str
    superuser: bool
    databases: Collection[str]
    passwords: bool = True
    comments: bool = True
    tablespaces: bool = True
    in_place: bool = False
    new_tablespaces: Collection[str] = ()


@dataclass
class Plan:
    """What there is to do.

    ``creations`` are of what is missing, ``changes`` of what exists and ``differs``, a line for each. ``uncounted`` are
    kinds of which something was left as it is, as ``notes`` say.
    """

    tablespaces: list[Tablespace] = field(default_factory=list)
    creations: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    uncounted: set[str] = field(default_factory=set)

    def leave(self, note: str, *kinds: str) -> None:
        """Note that something is left as it is."""
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
        self._major = found.header.major
        self._bootstrap = found.header.bootstrap
        self._there = {r.name: r for r in found.roles}
        self._roles = {r.name: r for r in wanted.roles}
        self._exempt = {self._bootstrap, where.user, where.login}
        # What everybody is given changes nobody only where nobody is there yet.
        self._populated = bool(self._there.keys() - self._exempt)

    def plan(self) -> Plan:
        if not self._where.passwords and self._wanted.header.hashes:
            self._plan.leave("passwords were left out, as asked", "passwords")
        for role in self._wanted.roles:
            self._role(role)
        self._memberships()
        self._settings()
        self._parameters()
        if self._where.tablespaces:
            for tablespace in self._wanted.tablespaces:
                self._tablespace(tablespace)
        elif self._wanted.tablespaces:
            self._plan.leave("tablespaces were left out, as asked", "tablespaces")
        return self._plan

    def _role(self, role: Role) -> None:
        there = self._there.get(role.name)
        with_password = self._where.passwords and self._wanted.header.hashes
        if there is None:
            self._plan.creations.append(statements.create_role(role if with_password else replace(role, password=None)))
            if role.comment is not None and self._where.comments:
                self._plan.creations.append(statements.comment("ROLE", role.name, role.comment))
            return
        differs = []
        words = [(_word(there, a), _word(role, a)) for a in ATTRIBUTES]
        words += [(f"CONNECTION LIMIT {there.limit}", f"CONNECTION LIMIT {role.limit}")]
        words += [(_until(there), _until(role))]
        if changed := [(old, new) for old, new in words if old != new]:
            old, new = ", ".join(o for o, _ in changed), ", ".join(n for _, n in changed)
            differs.append(f"it is {old} there, {new} in the backup")
        if with_password and role.password != there.password:
            differs.append("its password differs")
        if not self._differ(role.name, differs, lambda: statements.alter_role(role, there, password=with_password)):
            return
        if self._where.comments and role.comment != there.comment:
            self._differ(
                role.name, ["its comment differs"], lambda: statements.comment("ROLE", role.name, role.comment)
            )

    def _differ(self, name: str, differs: Iterable[str], change: Callable[[], str]) -> bool:
        """Note how a role differs, and what changes that; False where it is left as it is."""
        differs = list(differs)
        if name in self._exempt and differs:
            whose = (
                "whoever restores" if name in {self._where.user, self._where.login} else "the server's own superuser"
            )
            self._plan.leave(
                f"the role {name_sql(name)}, {whose}, was left as it is: {'; '.join(differs)}", "roles", "passwords"
            )
            return False
        if differs:
            self._plan.differs += [f"role {name_sql(name)}: {text}" for text in differs]
            self._plan.changes.append(change())
        return True

    # -- memberships ---------------------------------------------------------------------------------------------

    def _memberships(self) -> None:
        wanted, found = self._keyed(self._wanted), self._keyed(self._found)
        holders = [(m.role, m.member) for m in self._found.memberships if m.admin]
        missing = [m for key, m in wanted.items() if key not in found or not _same(m, found[key], self._major)]
        left = [m for m in missing if m.member in self._exempt]
        if left:
            names = ", ".join(dict.fromkeys(name_sql(m.member) for m in left))
            self._plan.leave(f"the memberships of {names} were left as they are", "memberships")
        given = self._given()
        gone: list[Membership] = []
        grants: list[str] = []
        for key, membership in found.items():
            if membership.member in self._roles and membership.member not in self._exempt and key not in wanted:
                text = f"it is a member of {_described(membership)} there, and not in the backup"
                self._plan.differs.append(f"role {name_sql(membership.member)}: {text}")
                gone += given[key]
        for membership in statements.in_order(missing, self._bootstrap, holders):
            if membership.member in self._exempt:
                continue
            key = (membership.role, membership.member, membership.grantor)
            grant = statements.grant(membership, major=self._major, bootstrap=self._bootstrap)
            if key not in found and self._adds(membership.member):
                self._plan.creations.append(grant)
                continue
            there = found.get(key)
            state = f"a member of {_described(there)}" if there else f"no member of {name_sql(membership.role)}"
            text = f"it is {state} there, a member of {_described(membership)} in the backup"
            self._plan.differs.append(f"role {name_sql(membership.member)}: {text}")
            gone += [m for m in given.get(key, ()) if self._exceeds(m, membership)]
            grants.append(grant)
        self._plan.changes += [*self._revoking(gone), *grants]

    def _exceeds(self, found: Membership, wanted: Membership) -> bool:
        """Return whether a membership gives more than the wanted one, and granting that would not change it."""
        if self._major < HAS_OPTIONS:
            return True
        # A grant changes what the same grantor gave: the first superuser, where a superuser names none.
        unchanged = self._where.superuser and wanted.grantor is None and found.grantor != self._bootstrap
        return unchanged and found.admin and not wanted.admin

    def _revoking(self, memberships: Iterable[Membership]) -> list[str]:
        """Return what ends memberships, each before the one by virtue of which it was granted."""
        gone = set(memberships)
        given = statements.in_order(self._found.memberships, self._bootstrap)
        named = [m if self._where.superuser else replace(m, grantor=None) for m in reversed(given) if m in gone]
        return list(dict.fromkeys(map(statements.revoke, named)))

    def _given(self) -> dict[tuple[str, str, str | None], list[Membership]]:
        """Return the memberships that are there, each as it was granted, by the keys of ``_keyed``."""
        given: dict[tuple[str, str, str | None], list[Membership]] = {}
        for membership in self._found.memberships:
            grantor = membership.grantor if self._by_grantor else None
            given.setdefault((membership.role, membership.member, grantor), []).append(membership)
        return given

    @property
    def _by_grantor(self) -> bool:
        """Whether memberships are told apart by who granted them."""
        return min(self._wanted.header.major, self._major) >= HAS_OPTIONS and self._where.superuser

    def _keyed(self, accounts: Accounts) -> dict[tuple[str, str, str | None], Membership]:
        """Return memberships by what tells them apart on both servers: by grantors only where both know of them."""
        keyed: dict[tuple[str, str, str | None], Membership] = {}
        for membership in accounts.memberships:
            entry = membership
            if self._major < HAS_OPTIONS and (entry.set is False or self._loses_inheritance(entry)):
                text = f"the membership of {name_sql(entry.member)} in {_described(entry)} was left out: PostgreSQL "
                self._plan.leave(f"{text}{self._major} has none with such options", "memberships")
                continue
            grantor = None
            if self._by_grantor:
                bootstrap = accounts.header.bootstrap
                grantor = self._bootstrap if entry.grantor == bootstrap else entry.grantor
            entry = replace(entry, grantor=grantor)
            other = keyed.get((entry.role, entry.member, grantor))
            keyed[entry.role, entry.member, grantor] = entry if other is None else _merged(entry, other)
        return keyed

    def _loses_inheritance(self, membership: Membership) -> bool:
        member = self._roles.get(membership.member)
        return membership.inherit is False and member is not None and member.inherit

    def _adds(self, role: str | None) -> bool:
        """Return whether what a role is given, or everybody (None), is given to nobody who is there already."""
        if role in self._roles:
            return role not in self._there
        return not self._populated

    # -- settings and privileges ---------------------------------------------------------------------------------

    def _settings(self) -> None:
        wanted = {(s.role, s.database, s.name): s for s in self._wanted.settings}
        found = {(s.role, s.database, s.name): s for s in self._found.settings}
        for key, setting in found.items():
            if setting.role in self._roles and setting.role not in self._exempt and key not in wanted:
                text = f"it has the setting {_setting(setting)} there, and not in the backup"
                self._plan.differs.append(f"role {name_sql(str(setting.role))}: {text}")
                self._plan.changes.append(statements.alter_setting(setting, reset=True))
        absent = set()
        for key, setting in wanted.items():
            there = found.get(key)
            if there and statements.setting_values(there) == statements.setting_values(setting):
                continue
            if setting.database is not None and setting.database not in self._where.databases:
                absent.add(setting.database)
            elif setting.role in self._exempt:
                self._plan.leave(
                    f"the setting {_setting(setting)} of {name_sql(str(setting.role))} was left as it is",
                    "settings in databases" if setting.database is not None else "settings",
                )
            elif there is None and self._adds(setting.role):
                self._plan.creations.append(statements.alter_setting(setting))
            else:
                self._plan.differs.append(f"{_whose(setting.role)}: {_setting_differs(setting, there)}")
                self._plan.changes.append(statements.alter_setting(setting))
        if absent:
            names = ", ".join(map(name_sql, sorted(absent)))
            text = f"settings of roles in databases that do not exist here yet were left out ({names}): the backup of "
            self._plan.leave(f"{text}each has its own", "settings in databases")

    def _parameters(self) -> None:
        if self._wanted.parameters and self._major < _HAS_PARAMETER_GRANTS:
            text = f"privileges on parameters were left out: PostgreSQL {self._major} has none"
            self._plan.leave(text, "privileges on parameters")
            return
        wanted = {(p.grantee, p.parameter, p.privilege): p for p in self._wanted.parameters}
        found = {(p.grantee, p.parameter, p.privilege): p for p in self._found.parameters}
        for key, granted in found.items():
            if granted.grantee in self._roles and granted.grantee not in self._exempt and key not in wanted:
                text = f"it has {granted.privilege} on the parameter {granted.parameter} there, and not in the backup"
                self._plan.differs.append(f"role {name_sql(str(granted.grantee))}: {text}")
                self._plan.changes.append(statements.revoke_parameter(granted))
        for key, granted in wanted.items():
            if found.get(key) == granted:
                continue
            if granted.grantee in self._exempt:
                text = f"the privileges on parameters of {name_sql(str(granted.grantee))} were left as they are"
                self._plan.leave(text, "privileges on parameters")
            elif key not in found and self._adds(granted.grantee):
                self._plan.creations.append(statements.grant_parameter(granted))
            else:
                text = f"{granted.privilege} on the parameter {granted.parameter} differs"
                self._plan.differs.append(f"{_whose(granted.grantee)}: {text}")
                if key in found:
                    self._plan.changes.append(statements.revoke_parameter(found[key]))
                self._plan.changes.append(statements.grant_parameter(granted))

    # -- tablespaces ---------------------------------------------------------------------------------------------

    def _tablespace(self, tablespace: Tablespace) -> None:
        there = next((t for t in self._found.tablespaces if t.name == tablespace.name), None)
        name = f"tablespace {name_sql(tablespace.name)}"
        if there is None:
            self._plan.tablespaces.append(tablespace)
            there = new_tablespace(tablespace, self._where.user)
            self._plan.creations += statements.tablespace_statements(tablespace, there, comments=self._where.comments)
            return
        if tablespace.name in self._where.new_tablespaces:
            self._plan.creations += statements.tablespace_statements(tablespace, there, comments=self._where.comments)
            return
        if there.location != tablespace.location and not self._where.in_place:
            here, was = there.location or "the server's directory", tablespace.location or "the server's directory"
            self._plan.notes.append(f"the {name} was left where it is, in {here}: in the backup it is in {was}")
        changes = statements.tablespace_statements(tablespace, there, comments=self._where.comments)
        if changes:
            same = {"owner": there.owner == tablespace.owner, "options": there.options == tablespace.options}
            same |= {"privileges": there.grants == tablespace.grants, "comment": there.comment == tablespace.comment}
            names = " and ".join(name for name, equal in same.items() if not equal)
            self._plan.differs.append(f"{name}: its {names} differ")
            self._plan.changes += changes


def new_tablespace(tablespace: Tablespace, owner: str) -> Tablespace:
    """Return a tablespace as it is when ``owner`` has just created it."""
    grants = [TablespaceGrant(grantee=owner, grantable=False)]
    return replace(tablespace, owner=owner, options=[], grants=grants, comment=None)


def _word(role: Role, attribute: str) -> str:
    return attribute.upper() if getattr(role, attribute) else f"NO{attribute.upper()}"


def _whose(role: str | None) -> str:
    return "all roles" if role is None else f"role {name_sql(role)}"


def _until(role: Role) -> str:
    return f"VALID UNTIL {role.valid_until or 'infinity'}"


def _same(wanted: Membership, found: Membership, major: int) -> bool:
    pairs: list[tuple[bool | None, bool | None]] = [(wanted.admin, found.admin)]
    if major >= HAS_OPTIONS:
        pairs += [(wanted.inherit, found.inherit), (wanted.set, found.set)]
    return all(w is None or w == f for w, f in pairs)


def _merged(first: Membership, second: Membership) -> Membership:
    """Return what two grants give together."""

    def either(a: bool | None, b: bool | None) -> bool | None:
        return None if a is None or b is None else a or b

    return replace(
        first,
        admin=first.admin or second.admin,
        inherit=either(first.inherit, second.inherit),
        set=either(first.set, second.set),
    )


def _described(membership: Membership) -> str:
    options = {"ADMIN": membership.admin, "INHERIT": membership.inherit, "SET": membership.set}
    known = ", ".join(f"{name} {str(value).upper()}" for name, value in options.items() if value is not None)
    by = f", granted by {name_sql(membership.grantor)}" if membership.grantor is not None else ""
    return f"{name_sql(membership.role)} ({known}{by})"


def _setting(setting: Setting) -> str:
    """Describe a setting; one of an application's own may be a secret, and is named alone."""
    where = f" in database {name_sql(setting.database)}" if setting.database is not None else ""
    value = "" if "." in setting.name else f" = {statements.text_sql(setting.value)}"
    return f"{setting.name}{value}{where}"


def _setting_differs(wanted: Setting, found: Setting | None) -> str:
    if found is None:
        return f"no setting there, {_setting(wanted)} in the backup"
    if "." in wanted.name:
        return f"the setting {_setting(wanted)} differs"
    return f"the setting {_setting(found)} there, {_setting(wanted)} in the backup"
