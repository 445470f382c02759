"""A scratch server for a drill of accounts: a private one of this machine's programs, which has no others."""

from __future__ import annotations

import contextlib
from contextlib import closing
from typing import TYPE_CHECKING

from msgspec import structs

from dumpty import IntegrityError, NotProvable
from dumpty_plugins.postgres.accounts.catalog import read_accounts
from dumpty_plugins.postgres.accounts.plan import plan
from dumpty_plugins.postgres.accounts.restore import AccountsDrillTarget, DrillRecord
from dumpty_plugins.postgres.accounts.script import read_script
from dumpty_plugins.postgres.server.connection import Address, interruptible, rows, version
from dumpty_plugins.postgres.server.errors import translate_errors
from dumpty_plugins.postgres.server.private_server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from dumpty import Dump, Options, Source
    from dumpty_plugins.postgres.accounts.facts import Accounts

# What is set for every role holds for the drill's own sessions, too, and may name libraries of this machine to load.
_SAFE = "-c session_preload_libraries= -c local_preload_libraries= -c search_path=pg_catalog"


@contextlib.contextmanager
def accounts_on_private_server(dump: Dump, on: Source | None, options: Options) -> Iterator[ScratchServer]:
    """Start a server of this machine's own programs, whose superuser's name no dump knows.

    Raises:
        NotProvable: this machine lacks a server of that version, or ``on`` names one that has accounts of its own.
    """
    if on is not None:
        raise NotProvable("accounts belong to a whole server, and the one of --on has its own: drill without --on")
    accounts = read_script(dump)
    with running_server(accounts.header.major, options, room=dump.size) as private_server:
        admin = private_server.admin
        source = structs.replace(admin, query={**admin.query, "options": _SAFE})
        notes = (f"its server runs {private_server.account}", "the accounts are restored as a superuser of that server")
        target = AccountsDrillTarget(**structs.asdict(source), record=DrillRecord())
        yield ScratchServer(target, accounts, notes=notes, rehearsal=private_server.rehearsal)


class ScratchServer:
    """A scratch server, as ``dumpty.types.Scratch`` has it."""

    def __init__(
        self, target: AccountsDrillTarget, accounts: Accounts, *, notes: tuple[str, ...], rehearsal: str = ""
    ) -> None:
        self.target = target
        self.notes = notes
        self.rehearsal = rehearsal
        self._accounts = accounts
        self._address = Address(target)

    @property
    def not_proved(self) -> tuple[str, ...]:
        """What a private server cannot show."""
        located = any(t.location for t in self._accounts.tablespaces)
        return ("the locations of tablespaces, which this machine need not have",) if located else ()

    @property
    def versions(self) -> Mapping[str, str]:
        """The server's version."""
        with closing(self._address.connect()) as connection:
            return {"server": version(connection)[1]}

    @property
    def differs(self) -> tuple[str, ...]:
        """The version of the server, where that is not the backup's."""
        here, there = self.versions["server"], self._accounts.header.major
        if int(here.split(".")[0].split()[0]) == there:
            return ()
        return (f"the server: the accounts are of PostgreSQL {there}, and were restored on {here}",)

    def check(self) -> tuple[str, ...]:
        """Read the accounts out of the server's catalogs, and compare each with the backup.

        Raises:
            IntegrityError: one differs.
        """
        with closing(self._address.connect()) as connection, translate_errors(self._address, "checking"):
            where = self.target.record.where
            if where is None:
                raise NotProvable("nothing was restored")
            rest = plan(self._accounts, read_accounts(connection, hashes=where.passwords), where)
        if missing := len(rest.creations) + len(rest.tablespaces):
            rest.differs.append(f"{missing} statements would be missing")
        if rest.differs:
            raise IntegrityError(f"the restored accounts are not those of the backup: {'; '.join(rest.differs)}")
        return (f"{len(self._accounts.roles)} roles and what is theirs compared with the backup, one by one",)

    def ask(self, statement: str, /) -> list[tuple[Any, ...]]:
        """Run a query on the server, read-only, and return its rows."""
        with (
            closing(self._address.connect()) as connection,
            translate_errors(self._address, f"asking {statement!r} of"),
        ):
            rows(connection, "SET default_transaction_read_only = on")
            return interruptible(connection, lambda: rows(connection, statement))
