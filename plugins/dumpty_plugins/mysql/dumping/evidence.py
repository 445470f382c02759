"""What is known of a table whose rows are in a dump, and what is to be said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import IntegrityError, ObjectEvidence
from dumpty_plugins.mysql.schema.fingerprint import fingerprint

if TYPE_CHECKING:
    from dumpty_plugins.mysql.schema.catalog import Table
    from dumpty_plugins.mysql.server.session import Session


def table_evidence(session: Session, table: Table, count: int | None, *, fingerprinted: bool) -> ObjectEvidence:
    """Return the evidence of ``table``, of which a dump has ``count`` rows, or where that is None nothing.

    Args:
        session: one of the snapshot, or the one that holds the lock.
        table: the table.
        count: how many rows of it were written.
        fingerprinted: whether to take its fingerprint.

    Raises:
        IntegrityError: the fingerprint is of another number of rows.
    """
    if not fingerprinted or count is None:
        return ObjectEvidence(path=table.name, rows=count)
    rows_fingerprinted, digest = fingerprint(session, table)
    if rows_fingerprinted != count:
        raise IntegrityError(
            f"table {table.name} delivered {count} rows, but its fingerprint is of {rows_fingerprinted}"
        )
    return ObjectEvidence(path=table.name, rows=count, fingerprint=digest)


def table_notes(session: Session, table: Table, zone: str | None) -> list[str]:
    """Return what a restore of ``table`` cannot bring back, though nobody is to blame for it."""
    notes = []
    if zone is None:
        names = ", ".join(c.name for c in table.computed)
        notes.append(
            f"table {table.name}: what its generated columns ({names}) store could not be shown to be what their "
            "expressions give in any one time zone, and a restore computes them anew: compare them afterwards, or take "
            "fingerprints for drills"
        )
    momentary_rows = session.number(table.momentary_count) if table.versioned else 0
    if momentary_rows:
        notes.append(
            f"table {table.name}: {momentary_rows} versions of rows that were replaced in the very moment in which "
            "they were written are left out: they were never valid, and no table takes them back"
        )
    return notes
