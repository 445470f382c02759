"""A scratch server for a drill of accounts: a private one of this machine's programs, which has no others."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from dumpty import IntegrityError, NotProvable
from dumpty_plugins.mysql.accounts.catalog import read_accounts
from dumpty_plugins.mysql.accounts.plan import plan
from dumpty_plugins.mysql.accounts.restore import AccountsDrillTarget, circumstances
from dumpty_plugins.mysql.accounts.script import read_script
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.private_server import PrivateServer
from dumpty_plugins.mysql.server.programs import local_server, rehearsal_of
from dumpty_plugins.mysql.server.session import decode, versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dumpty import Dump, Options, Source
    from dumpty_plugins.mysql.accounts.facts import Accounts


@contextlib.contextmanager
def accounts_on_private_server(dump: Dump, on: Source | None, options: Options) -> Iterator[ScratchServer]:
    """Start a server that nobody else can reach, and stop and remove it whatever happens.

    Raises:
        NotProvable: this machine has no such server, or ``on`` names one that has accounts of its own.
    """
    if on is not None:
        raise NotProvable("accounts belong to a whole server, and the one of --on has its own: drill without --on")
    accounts = read_script(dump)
    flavour, version = accounts.header.flavour, accounts.header.version
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    program = local_server(flavour, options)
    if program.flavour != flavour or program.version[:2] < numbers:
        found = f"{program.flavour} {'.'.join(map(str, program.version))}"
        raise NotProvable(f"the accounts are of {flavour} {version}, and {program.program} on this machine is {found}")
    with PrivateServer(program, dump_bytes=dump.size) as server:
        source = server.source("mysql")
        session = connect(source, None)
        try:
            if flavour == "MySQL" and accounts.header.partial_revokes:
                session.execute("SET GLOBAL partial_revokes=ON")
            server_versions = versions(session)
        finally:
            session.close()
        notes = (f"its server runs {server.account}", "the accounts are restored as root of that server")
        target = AccountsDrillTarget(**asdict(source))
        yield ScratchServer(target, accounts, server_versions, notes, rehearsal_of(program, flavour, numbers, options))


class ScratchServer:
    """A scratch server, as ``dumpty.types.Scratch`` has it."""

    def __init__(
        self,
        target: Source,
        accounts: Accounts,
        server_versions: Mapping[str, str],
        notes: tuple[str, ...],
        rehearsal: str,
    ) -> None:
        self.target = target
        self.notes = notes
        self.versions = server_versions
        self.rehearsal = rehearsal
        self.differs = (f"the server: it is {rehearsal}",) if rehearsal else ()
        self._accounts = accounts

    @property
    def not_proved(self) -> tuple[str, ...]:
        """What a server without databases cannot show."""
        inside = any(g.type or any(p.columns for p in g.privileges) for g in self._accounts.grants)
        return ("privileges on columns and routines, which need their databases",) if inside else ()

    def check(self) -> tuple[str, ...]:
        """Read the accounts out of the server's own tables, and compare each with the backup.

        Raises:
            IntegrityError: one differs.
        """
        session = connect(self.target, None)
        try:
            rest = plan(self._accounts, read_accounts(session), circumstances(session))
        finally:
            session.close()
        if rest.created:
            rest.differs.append(f"{len(rest.created)} accounts are missing")
        if rest.differs:
            raise IntegrityError(f"the restored accounts are not those of the backup: {'; '.join(rest.differs)}")
        return (f"{len(self._accounts.users)} accounts and what was granted to them compared, one by one",)

    def ask(self, statement: str, /) -> list[tuple[object, ...]]:
        """Run a query, which can only read; numbers come as numbers, everything else as text."""
        session = connect(self.target, None)
        try:
            session.execute("SET SESSION TRANSACTION READ ONLY")
            return [tuple(_value(v) for v in row) for row in session.rows(statement)]
        finally:
            session.close()


def _value(value: bytes | None) -> object:
    if value is None:
        return None
    text = decode(value)
    if re.fullmatch(r"-?(0|[1-9]\d*)", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", text) else text
