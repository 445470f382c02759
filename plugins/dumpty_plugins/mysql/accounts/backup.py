"""Backs up the accounts of a server, and reads such a dump to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Evidence, require_same_evidence
from dumpty_plugins.mysql.accounts.catalog import ignored_accounts, read_accounts, second_passwords, unknown_properties
from dumpty_plugins.mysql.accounts.facts import count_evidence, without_hashes
from dumpty_plugins.mysql.accounts.script import parse, read_script, write_script
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.session import versions

if TYPE_CHECKING:
    from dumpty import Dump, Options, Sink, Source


def back_up_accounts(source: Source, sink: Sink, options: Options) -> Evidence:
    """Write a dump of a server's accounts.

    Raises:
        DependencyError: pymysql is not installed.
        SourceError: the server cannot be reached, or its accounts not be read.
    """
    session = connect(source, None)
    try:
        accounts = read_accounts(session)
        ignored = ignored_accounts(session, accounts)
        seconds = second_passwords(session)
        unknown = unknown_properties(session)
        server_versions = versions(session)
    finally:
        session.close()
    hashes = options["hashes"] != "off"
    notes = [f"{seconds} accounts have a second password, which is not in it: no statement gives it again"] * bool(
        seconds
    )
    notes += [f"the server ignores these accounts, which are not in it: {', '.join(ignored)}"] * bool(ignored)
    notes += [
        f"the server keeps of {name} what is not known here, and not in it: {', '.join(keys)}"
        for name, keys in unknown.items()
    ]
    if not hashes:
        accounts = without_hashes(accounts)
        locked = sum(user.left_out for user in accounts.users)
        notes.append(f"the hashes of passwords are not in it (hashes=off): {locked} accounts will be created locked")
    data = "".join(f"{line}\n" for line in write_script(accounts)).encode()
    parse(data)  # what a restore will read is all that it was made of
    sink.expect(len(data))
    sink.write(data)
    objects, properties = count_evidence(accounts.counts), {"hashes_kept": hashes}
    return Evidence(objects=objects, versions=server_versions, notes=tuple(notes), properties=properties)


def examine_accounts(dump: Dump) -> Evidence:
    """Read a dump of accounts to its end, and return what it holds.

    Raises:
        IntegrityError: it is not whole, or not what was counted when it was made.
    """
    accounts = read_script(dump)
    evidence = Evidence(objects=count_evidence(accounts.counts), versions={"server": accounts.header.version})
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the dump")
    return evidence
