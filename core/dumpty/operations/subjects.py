"""What a backup is of: one database, or a whole server, by what its driver says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import IntegrityError, OptionError
from dumpty.operations.addressing import destination_of
from dumpty.operations.reach import reached_identity
from dumpty.url import database_name, identity_of, server_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.operations.reach import Way
    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Inspection, Options, Record, Source

__all__ = [
    "identity_and_name",
    "inspect_subject",
    "is_of_server",
    "require_comparable",
    "require_subject",
    "require_tables_of",
    "subject_url",
]


def is_of_server(driver: Plugin, format_name: str) -> bool:
    """Return whether a format of a driver is of a whole server."""
    return any(f.server for f in driver.described.formats if f.name == format_name)


def require_subject(driver: Plugin, record: Record) -> None:
    """Check that what a backup says it is of is what its format is of, before its driver acts on either.

    Whoever altered a manifest could otherwise have a database's restore change the accounts of its server.

    Raises:
        IntegrityError: its format is of a whole server, and its source is a database, or the other way round.
    """
    of_server = is_of_server(driver, record.format)
    prefixes = tuple(f"{f.name}@" for f in driver.described.formats if f.server)
    if of_server:
        prefix = f"{record.format}@"
        same = record.identity.startswith(prefix) and record.database.startswith(prefix)
    else:
        same = not record.identity.startswith(prefixes)
    if not same:
        kind = "a whole server" if of_server else "one database"
        raise IntegrityError(
            f"the manifest of backup {record.id} was altered, or is damaged: its format {record.format} is of {kind}, "
            f"and what was backed up is {record.database} ({record.identity}). Nothing was done: do not use it, but "
            "another backup, or a copy of this one from another place"
        )


def require_tables_of(driver: Plugin, record: Record) -> None:
    """Check that a backup is of what has tables.

    Raises:
        OptionError: it is of a whole server.
    """
    if is_of_server(driver, record.format):
        raise OptionError(f"backup {record.id} is of a server, in the format {record.format}, which has no tables")


def require_comparable(sides: Iterable[tuple[str, Plugin]]) -> None:
    """Check that two backups, each an id and the driver that made it, are of the same kind of database.

    Raises:
        OptionError: they are not.
    """
    (first, one), (second, other) = sides
    if one.name != other.name:
        raise OptionError(f"backup {first} was made by {one}, and {second} by {other}: their tables cannot be compared")


def inspect_subject(host: Host, driver: Plugin, source: Source, options: Options, format_name: str) -> Inspection:
    """Ask a driver for the database behind a URL, or for the server, where the format is of one.

    Raises:
        DumptyError: it cannot be reached.
    """
    declared = any(o.name == "server" and "inspect" in o.verbs for o in driver.described.options)
    subject = {"server": is_of_server(driver, format_name)} if declared else {}
    return host.inspect(driver, source=source, options={**options, **subject})


def identity_and_name(
    driver: Plugin, source: Source, inspection: Inspection, format_name: str, way: Way | None = None
) -> tuple[str, str]:
    """Return the canonical name of what a backup is of, and the one for people and file names.

    ``source`` is as its URL says, however the driver got it; ``way`` is how it was reached.

    Of a whole server both begin with the format and an ``@``: so its backups never count as a database's, nor as those
    of another such format, whatever a database is called; and servers are told apart by their names.
    """
    of_server = is_of_server(driver, format_name)
    known = "" if way is None else reached_identity(driver, source, way, inspection.name, of_server=of_server)
    if not of_server:
        identity = known or inspection.identity or identity_of(source, driver.described.schemes[0])
        return identity, database_name(source, inspection.name)
    server = source.replace(database=None)
    identity = known or inspection.identity or identity_of(server, driver.described.schemes[0])
    name = inspection.name or server.host or source.scheme
    if way is not None and destination_of(driver, source).is_local:
        name = way.name
    return f"{format_name}@{identity}", f"{format_name}@{name}"


def subject_url(driver: Plugin, source: Source, format_name: str) -> str:
    """Return the URL of what a backup is of, as it is shown: that of a whole server names no database."""
    return server_url(source.url) if is_of_server(driver, format_name) else source.url
