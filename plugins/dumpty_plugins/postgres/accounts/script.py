"""A dump of accounts: a script that psql loads, with the facts that it was made of in its comments.

A restore takes the facts alone, and makes statements of its own of them. That the script says the same as they do is
seen by writing it once more.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from dumpty import IntegrityError
from dumpty_plugins.postgres.accounts import statements
from dumpty_plugins.postgres.accounts.facts import (
    Accounts,
    AnyFact,
    Header,
    Membership,
    ParameterGrant,
    Role,
    Setting,
    Tablespace,
    TablespaceGrant,
    require_closed,
    require_sound,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dumpty import Dump

_FACT = "-- dumpty: "
_MAX_BYTES = 256 << 20
_END = "-- end of the accounts"


def write_script(accounts: Accounts) -> Iterator[str]:
    """Return the lines of a dump."""
    header = accounts.header
    yield "-- Accounts of a PostgreSQL server, as dumpty wrote them: roles with what is theirs, and tablespaces."
    yield "-- To load it without dumpty, give it to psql as a superuser, before the databases are restored."
    yield "-- What exists there is left as it is: psql says so of each, and goes on."
    yield _fact(header)
    yield "SET client_encoding = 'UTF8';"
    yield "SET standard_conforming_strings = on;"
    yield from _section("Roles", accounts.roles, _role)
    bootstrap, major = header.bootstrap, header.major
    memberships = statements.in_order(accounts.memberships, bootstrap)
    yield from _section("Memberships", memberships, lambda m: [statements.grant(m, major=major, bootstrap=bootstrap)])
    everywhere = [s for s in accounts.settings if s.database is None]
    yield from _section("Settings", everywhere, lambda s: [statements.alter_setting(s)])
    yield from _section("Privileges on parameters", accounts.parameters, lambda p: [statements.grant_parameter(p)])
    yield from _section("Tablespaces", accounts.tablespaces, _tablespace)
    in_databases = [s for s in accounts.settings if s.database is not None]
    title = "Settings in databases, which fail where the database does not exist yet: its own backup brings them, too"
    yield from _section(title, in_databases, lambda s: [statements.alter_setting(s)])
    yield ""
    yield _END


def read_script(dump: Dump) -> Accounts:
    """Read a dump to its end, and return what it holds.

    Raises:
        IntegrityError: it is none, or not whole, or says something else to psql than to us.
    """
    if dump.size > _MAX_BYTES:
        raise IntegrityError(
            f"the dump has {dump.size:,} bytes, and no server's accounts take more than {_MAX_BYTES:,}"
        )
    with closing(dump.open()) as reader:
        data = b"".join(iter(lambda: reader.read(1 << 20), b""))
    return parse(data)


# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODER: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)


def parse(data: bytes) -> Accounts:
    """Return what a dump holds.

    Raises:
        IntegrityError: as for ``read_script``.
    """
    try:
        lines = data.decode("utf-8").split("\n")
        facts = [_DECODER.decode(line.removeprefix(_FACT)) for line in lines if line.startswith(_FACT)]
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        # Without the line, which may hold the hash of a password.
        raise IntegrityError(f"the dump is not one of accounts, or is damaged ({type(error).__name__})") from None
    headers = [f for f in facts if isinstance(f, Header)]
    if len(headers) != 1:
        raise IntegrityError("the dump is not one of accounts: its header is missing, or there are several")
    accounts = Accounts(
        header=headers[0],
        roles=tuple(f for f in facts if isinstance(f, Role)),
        memberships=tuple(f for f in facts if isinstance(f, Membership)),
        settings=tuple(f for f in facts if isinstance(f, Setting)),
        parameters=tuple(f for f in facts if isinstance(f, ParameterGrant)),
        tablespaces=tuple(f for f in facts if isinstance(f, Tablespace)),
    )
    require_sound(accounts)
    require_closed(accounts)
    if "".join(f"{line}\n" for line in write_script(accounts)).encode() != data:
        raise IntegrityError(
            "the dump is damaged, cut off, or was altered: its statements are not what its own facts say"
        )
    return accounts


def _section(title: str, facts: Iterable[AnyFact], render) -> Iterator[str]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    for number, fact in enumerate(facts):
        if not number:
            yield from ("", f"-- {title}", "")
        yield _fact(fact)
        yield from (f"{statement};" for statement in render(fact))


def _fact(fact: AnyFact) -> str:
    # In ASCII: whatever a name holds, it ends no line, and nothing of it reaches a terminal but what SQL shows.
    return _FACT + json.dumps(msgspec.to_builtins(fact), separators=(",", ":"))


def _role(role: Role) -> list[str]:
    comments = [statements.comment("ROLE", role.name, role.comment)] if role.comment is not None else []
    return [statements.create_role(role), *comments]


def _tablespace(tablespace: Tablespace) -> list[str]:
    new = replace(
        tablespace, options=[], grants=[TablespaceGrant(grantee=tablespace.owner, grantable=False)], comment=None
    )
    return [statements.create_tablespace(tablespace), *statements.tablespace_statements(tablespace, new)]
