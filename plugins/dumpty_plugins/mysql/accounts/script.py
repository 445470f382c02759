"""A dump of accounts: a script that the server's client loads, behind the facts that it was made of, in comments.

A restore takes the facts alone, and makes statements of its own of them. That the script says the same as they do is
seen by writing it once more.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import msgspec

from dumpty import IntegrityError
from dumpty_plugins.mysql.accounts import statements
from dumpty_plugins.mysql.accounts.facts import (
    Accounts,
    AnyFact,
    DefaultRole,
    Grant,
    Header,
    Membership,
    Proxy,
    User,
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
    mariadb = accounts.mariadb
    for fact in accounts.facts:
        # In ASCII: whatever a name holds, it ends no line here.
        yield _FACT + json.dumps(msgspec.to_builtins(fact), separators=(",", ":"))
    yield f"-- Accounts of a {accounts.header.flavour} server, as dumpty wrote them: what is above, as statements."
    yield "-- To load it without dumpty, give it to the server's client with --force, which goes on where an account"
    yield "-- exists, and again when the databases are there: privileges on tables and routines need them."
    yield f"SET SESSION sql_mode='{statements.MODES[accounts.header.flavour]}';"
    yield "SET NAMES utf8mb4;"
    yield from _section("Users and roles", (s for u in accounts.users for s in statements.create(u, mariadb=mariadb)))
    yield from _section("Roles of each", map(statements.grant_role, accounts.memberships))
    default_roles = statements.by_member(accounts.default_roles)
    yield from _section(
        "Default roles", (statements.set_default_roles(m, r, mariadb=mariadb) for m, r in default_roles.items())
    )
    grants = sorted(accounts.grants, key=lambda g: (g.revoked, g.type.startswith("PACKAGE")))
    for packages, group in itertools.groupby(grants, key=lambda g: g.type.startswith("PACKAGE")):
        if packages:  # a word that only this mode knows
            yield "SET SESSION sql_mode=ORACLE;"
        yield from _section("Privileges", map(statements.grant_privileges, group))
    yield from _section("Proxies", map(statements.grant_proxy, accounts.proxies))
    yield ""
    yield _END


def read_script(dump: Dump) -> Accounts:
    """Read a dump to its end, and return what it holds.

    Raises:
        IntegrityError: it is none, or not whole, or says something else to the client than to us.
    """
    if dump.size > _MAX_BYTES:
        raise IntegrityError(
            f"the dump has {dump.size:,} bytes, and no server's accounts take more than {_MAX_BYTES:,}"
        )
    stream = dump.open()
    try:
        data = b"".join(iter(lambda: stream.read(1 << 20), b""))
    finally:
        stream.close()
    return parse(data)


# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODER: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)


def parse(data: bytes) -> Accounts:
    """Return what a dump holds.

    Raises:
        IntegrityError: as for ``read_script``.
    """
    try:
        lines = itertools.takewhile(lambda line: line.startswith(_FACT), data.decode("utf-8").split("\n"))
        facts = [_DECODER.decode(line.removeprefix(_FACT)) for line in lines]
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        # Without the line, which may hold the hash of a password.
        raise IntegrityError(f"the dump is not one of accounts, or is damaged ({type(error).__name__})") from None
    headers = [f for f in facts if isinstance(f, Header)]
    if len(headers) != 1:
        raise IntegrityError("the dump is not one of accounts: its header is missing, or there are several")
    accounts = Accounts(
        header=headers[0],
        users=tuple(f for f in facts if isinstance(f, User)),
        memberships=tuple(f for f in facts if isinstance(f, Membership)),
        default_roles=tuple(f for f in facts if isinstance(f, DefaultRole)),
        grants=tuple(f for f in facts if isinstance(f, Grant)),
        proxies=tuple(f for f in facts if isinstance(f, Proxy)),
    )
    require_sound(accounts)
    if "".join(f"{line}\n" for line in write_script(accounts)).encode() != data:
        raise IntegrityError(
            "the dump is damaged, cut off, or was altered: its statements are not what its own facts say"
        )
    return accounts


def _section(title: str, texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if not number:
            yield from ("", f"-- {title}", "")
        yield f"{text};"
