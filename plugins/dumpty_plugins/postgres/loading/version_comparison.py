"""What is not as on the server that a dump came from: versions of the server, of collations and of extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty_plugins.postgres.schema.object_versions import ObjectVersions, read_object_versions
from dumpty_plugins.postgres.server.connection import version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class, whatever its case

    from dumpty import Dump

_SORTING = "text may sort, and compare, otherwise"


class VersionComparison:
    """Compares the versions that a dump's evidence has with those of a database that it was restored into.

    What the evidence has not is told as not known: nothing is guessed.
    """

    def __init__(self, dump: Dump) -> None:
        self._server = dump.versions.get("server", "")
        self._recorded = ObjectVersions.of(dump.evidence.properties)
        collate = str(dump.evidence.properties.get("collate", ""))
        self._sorts_by_language = collate not in {"C", "POSIX"} and not collate.startswith("C.")
        self._extensions: list[str] = list(dump.evidence.properties.get("extensions", ()))

    def differences(self, connection: Connection) -> tuple[str, ...]:
        """Return what differs, in a sentence each: the server's version, and those of collations and extensions."""
        here = read_object_versions(connection, actual=True)
        there = self._recorded
        server = version(connection)[1]
        differences = [f"the server: the backup is of PostgreSQL {self._server}, and was restored on {server}"]
        if there is None:
            return tuple(differences)
        if there.database and here.database and there.database != here.database:
            differences.append(
                f"the collation of the database: version {there.database}, here {here.database}: {_SORTING}"
            )
        for name, old, new in _changed(there.collations, here.collations):
            differences.append(f"the collation {name}: version {old}, here {new}: {_SORTING}")
        for name, old, new in _changed(there.extensions, here.extensions):
            differences.append(f"the extension {name}: version {old}, here {new}")
        return tuple(differences)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What cannot be compared, because the backup does not say what its own server had."""
        there = self._recorded
        if there is None:
            extensions = f", and that the extensions {', '.join(self._extensions)} do as there" * bool(self._extensions)
            reason = "the backup does not say which versions it had"
            return (f"that text sorts as on the original's server{extensions}: {reason}",)
        if not there.database and self._sorts_by_language:
            return ("that text sorts as on the original's server: the backup knows no version of its collation",)
        return ()


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the name of each that has another version here, with the old version and the new one."""
    return [(name, str(old), str(here[name])) for name, old in there.items() if here.get(name) and here[name] != old]
