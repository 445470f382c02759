"""Backs up the accounts of a server, and reads such a dump to its end."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dumpty import Evidence, require_same_evidence
from dumpty_plugins.postgres.accounts.catalog import (
    count_labels,
    open_server,
    read_in_snapshot,
    require_hashes,
)
from dumpty_plugins.postgres.accounts.facts import count_evidence
from dumpty_plugins.postgres.accounts.script import parse, read_script, write_script
from dumpty_plugins.postgres.server.connection import psycopg2, version
from dumpty_plugins.postgres.server.errors import translate_errors

if TYPE_CHECKING:
    from dumpty import Dump, Options, Sink
    from dumpty_plugins.postgres.server.connection import Address


def back_up_accounts(address: Address, sink: Sink, options: Options) -> Evidence:
    """Write a dump of a server's accounts.

    Raises:
        DependencyError: psycopg2 is not installed.
        SourceError: the server cannot be reached, or the hashes of passwords not be read.
    """
    hashes = options["hashes"] != "off"
    with closing(open_server(address)) as connection, translate_errors(address, "reading the accounts of"):
        if hashes:
            require_hashes(address, connection)
        accounts = read_in_snapshot(connection, hashes=hashes)
        labels = count_labels(connection)
        versions = {"server": version(connection)[1], "psycopg2": psycopg2().__version__.split()[0]}
    data = "".join(f"{line}\n" for line in write_script(accounts)).encode()
    parse(data)  # what a restore will read is all that it was made of
    sink.expect(len(data))
    sink.write(data)
    notes = [] if hashes else ["the hashes of passwords are not in it: hashes=off"]
    notes += [f"{labels} security labels of roles and tablespaces are not in it"] * bool(labels)
    objects = count_evidence(accounts.counts)
    return Evidence(objects=objects, versions=versions, notes=tuple(notes), properties={"hashes_kept": hashes})


def examine_accounts(dump: Dump) -> Evidence:
    """Read a dump of accounts to its end, and return what it holds.

    Raises:
        IntegrityError: it is not whole, or not what was counted when it was made.
    """
    accounts = read_script(dump)
    evidence = Evidence(objects=count_evidence(accounts.counts), versions={"server": accounts.header.server})
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the dump")
    return evidence
