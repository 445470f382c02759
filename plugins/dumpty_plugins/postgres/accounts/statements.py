"""Facts as SQL: each statement on one line, whatever its names hold, and made of nothing but quoted values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty import IntegrityError
from dumpty_plugins.postgres.accounts.facts import ATTRIBUTES
from dumpty_plugins.postgres.schema.properties import LISTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dumpty_plugins.postgres.accounts.facts import Membership, ParameterGrant, Role, Setting, Tablespace

HAS_OPTIONS = 16
"""The version since which a membership has options, and a grantor that counts."""

# What ends a line, hides text, or talks to a terminal. A list of its own: what is printable changes with Unicode.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s",]+))\s*(?:,|$)')


def name_sql(name: str) -> str:
    """Return a name as SQL, always quoted."""
    quoted = name.replace('"', '""')
    if not _HIDDEN.search(name):
        return f'"{quoted}"'
    escaped = _HIDDEN.sub(lambda m: f"\\+{ord(m[0]):06X}", quoted.replace("\\", "\\\\"))
    return f'U&"{escaped}"'


def text_sql(text: str) -> str:
    """Return a string as SQL, right under either setting of standard_conforming_strings."""
    quoted = text.replace("'", "''")
    if "\\" not in text and not _HIDDEN.search(text):
        return f"'{quoted}'"
    return "E'" + _HIDDEN.sub(lambda m: f"\\u{ord(m[0]):04X}", quoted.replace("\\", "\\\\")) + "'"


def shown(statement: str) -> str:
    """Return a statement without what may be a secret: the hash of a password, or the value of a setting."""
    return re.split(r" WITH | PASSWORD | TO E?'", statement)[0]


def create_role(role: Role) -> str:
    """Return what creates a role as it was."""
    return f"CREATE ROLE {name_sql(role.name)} WITH {' '.join(role_options(role))}"


def alter_role(role: Role, found: Role, *, password: bool) -> str:
    """Return what makes a role what it was, and with ``password`` gives it its password, or none."""
    options = _plain_options(role)
    if role.valid_until != found.valid_until:  # NULL again it cannot become; infinity means the same
        options.append(f"VALID UNTIL {text_sql(role.valid_until or 'infinity')}")
    if password:
        options.append(f"PASSWORD {'NULL' if role.password is None else text_sql(role.password)}")
    return f"ALTER ROLE {name_sql(role.name)} WITH {' '.join(options)}"


def role_options(role: Role) -> list[str]:
    """Return the options of CREATE ROLE."""
    options = _plain_options(role)
    options += [f"VALID UNTIL {text_sql(role.valid_until)}"] if role.valid_until is not None else []
    return options + ([f"PASSWORD {text_sql(role.password)}"] if role.password is not None else [])


def _plain_options(role: Role) -> list[str]:
    words = [a.upper() if getattr(role, a) else f"NO{a.upper()}" for a in ATTRIBUTES]
    return [*words, f"CONNECTION LIMIT {role.limit}"]


def comment(kind: str, name: str, text: str | None) -> str:
    """Return what comments a role or tablespace, or removes its comment."""
    return f"COMMENT ON {kind} {name_sql(name)} IS {'NULL' if text is None else text_sql(text)}"


def grant(membership: Membership, *, major: int, bootstrap: str) -> str:
    """Return what makes a member one, on a server ``major`` whose first superuser is ``bootstrap``."""
    statement = f"GRANT {name_sql(membership.role)} TO {name_sql(membership.member)}"
    if major < HAS_OPTIONS:
        return statement + (" WITH ADMIN OPTION" if membership.admin else "")
    options = {"ADMIN": membership.admin, "INHERIT": membership.inherit, "SET": membership.set}
    known = [f"{name} {str(value).upper()}" for name, value in options.items() if value is not None]
    by = "" if membership.grantor in {None, bootstrap} else f" GRANTED BY {name_sql(str(membership.grantor))}"
    return f"{statement} WITH {', '.join(known)}{by}"


def revoke(membership: Membership) -> str:
    """Return what ends a membership."""
    by = "" if membership.grantor is None else f" GRANTED BY {name_sql(membership.grantor)}"
    return f"REVOKE {name_sql(membership.role)} FROM {name_sql(membership.member)}{by}"


def in_order(grants: Iterable[Membership], bootstrap: str, holders: Iterable[tuple[str, str]] = ()) -> list[Membership]:
    """Return memberships in an order in which each grantor may grant: those of who needs nothing first.

    ``holders`` are (role, member) that have the admin option already.
    """
    ready: list[Membership] = []
    waiting, held = list(grants), set(holders)
    while waiting:
        possible = [m for m in waiting if m.grantor in {None, bootstrap} or (m.role, m.grantor) in held]
        if not possible:
            return [*ready, *waiting]  # the server says why not
        held.update((m.role, m.member) for m in possible if m.admin)
        ready += possible
        waiting = [m for m in waiting if m not in possible]
    return ready


def alter_setting(setting: Setting, *, reset: bool = False) -> str:
    """Return what sets a setting of a role, or resets it."""
    role = "ALL" if setting.role is None else name_sql(setting.role)
    database = "" if setting.database is None else f" IN DATABASE {name_sql(setting.database)}"
    name = dotted(setting.name)
    verb = f"RESET {name}" if reset else f"SET {name} TO {', '.join(map(text_sql, setting_values(setting)))}"
    return f"ALTER ROLE {role}{database} {verb}"


def setting_values(setting: Setting) -> list[str]:
    """Return the value of a setting; of one that is a list of names, each of them.

    Raises:
        IntegrityError: it is no such list.
    """
    if setting.name.lower() not in LISTS:
        return [setting.value]
    values, position = [], 0
    while position < len(setting.value):
        match = _ELEMENT.match(setting.value, position)
        if match is None:
            raise IntegrityError(f"the setting {setting.name} of a role is no list of names")
        values.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        position = match.end()
    return values or [""]


def dotted(name: str) -> str:
    """Return the name of a parameter as SQL."""
    return ".".join(name_sql(part) for part in name.split("."))


def grant_parameter(granted: ParameterGrant) -> str:
    """Return what grants a privilege on a parameter."""
    grantee = "PUBLIC" if granted.grantee is None else name_sql(granted.grantee)
    option = " WITH GRANT OPTION" if granted.grantable else ""
    return f"GRANT {granted.privilege} ON PARAMETER {dotted(granted.parameter)} TO {grantee}{option}"


def revoke_parameter(granted: ParameterGrant) -> str:
    """Return what takes a privilege on a parameter back."""
    grantee = "PUBLIC" if granted.grantee is None else name_sql(granted.grantee)
    return f"REVOKE {granted.privilege} ON PARAMETER {dotted(granted.parameter)} FROM {grantee}"


def create_tablespace(tablespace: Tablespace, *, owner: bool = True, in_place: bool = False) -> str:
    """Return what creates a tablespace, ``in_place`` in the server's own directory."""
    owned = f" OWNER {name_sql(tablespace.owner)}" if owner else ""
    location = "" if in_place else tablespace.location
    return f"CREATE TABLESPACE {name_sql(tablespace.name)}{owned} LOCATION {text_sql(location)}"


def tablespace_statements(wanted: Tablespace, found: Tablespace, *, comments: bool = True) -> list[str]:
    """Return what makes a tablespace of ``found`` what is ``wanted``, but for its location."""
    name = name_sql(wanted.name)
    statements = [f"ALTER TABLESPACE {name} OWNER TO {name_sql(wanted.owner)}"] if wanted.owner != found.owner else []
    options, old = _options(wanted.options), _options(found.options)
    if gone := sorted(set(old) - set(options)):
        statements.append(f"ALTER TABLESPACE {name} RESET ({', '.join(map(name_sql, gone))})")
    if changed := {k: v for k, v in options.items() if old.get(k) != v}:
        pairs = ", ".join(f"{name_sql(k)} = {text_sql(v)}" for k, v in changed.items())
        statements.append(f"ALTER TABLESPACE {name} SET ({pairs})")
    # What the owner had of it goes to a new one.
    granted = {wanted.owner if g.grantee == found.owner else g.grantee: g.grantable for g in found.grants}
    if granted != {g.grantee: g.grantable for g in wanted.grants}:
        grantees = dict.fromkeys([*granted, wanted.owner])
        statements.append(f"REVOKE ALL ON TABLESPACE {name} FROM {', '.join(map(_grantee, grantees))}")
        for g in wanted.grants:
            option = " WITH GRANT OPTION" if g.grantable else ""
            statements.append(f"GRANT CREATE ON TABLESPACE {name} TO {_grantee(g.grantee)}{option}")
    if comments and wanted.comment != found.comment:
        statements.append(comment("TABLESPACE", wanted.name, wanted.comment))
    return statements


def _grantee(name: str) -> str:
    return name_sql(name) if name else "PUBLIC"


def _options(options: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (o.partition("=") for o in options)}
