"""What stands at a URL, without creating or changing it."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from dumpty import Evidence, Inspection, SourceError, require_file
from dumpty_plugins.sqlite.files.connection import (
    busy_seconds,
    file_path,
    interruptible,
    read_transaction,
)
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from dumpty import Options, Source


def inspect_file(source: Source, options: Options) -> Inspection:
    """Look at a database file. One that SQLite cannot read is not empty, and says so in its notes.

    Raises:
        SourceError: it is not a file, or may not be read.
        Locked: somebody holds it exclusively for longer than ``busy_timeout``.
    """
    path = file_path(source)
    inspection = functools.partial(
        Inspection,
        identity=f"sqlite:{path}",
        name=os.path.splitext(os.path.basename(path))[0],
        versions=checks.versions(),
    )
    evidence_option = options.get("evidence", "off")
    no_tables = None if evidence_option == "off" else Evidence(versions=checks.versions())  # there is no table yet
    if not os.path.exists(path):
        return inspection(exists=False, empty=True, evidence=no_tables)
    if os.path.isfile(path) and os.path.getsize(path) == 0:  # SQLite throws away a journal or WAL beside it
        return inspection(exists=True, empty=True, estimated_bytes=0, evidence=no_tables)
    require_file(path=path)
    try:
        with read_transaction(path, busy_seconds(source, options)) as database:
            size = checks.image_size(database)
            evidence = None
            if evidence_option != "off":
                count_tables = functools.partial(
                    checks.count_tables, database, fingerprints=evidence_option == "fingerprint"
                )
                objects = interruptible(database, count_tables)
                evidence = Evidence(objects=objects, versions=checks.versions())
            return inspection(exists=True, empty=checks.is_empty(database), estimated_bytes=size, evidence=evidence)
    except SourceError as error:
        if evidence_option != "off":
            raise
        # No backup can be made of it, which `backup` says; but a restore may replace it.
        return inspection(exists=True, empty=False, notes=(str(error),))
