"""One backup, from the read transaction to the last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.sqlite.dumping import image, text_dump
from dumpty_plugins.sqlite.files import connection

if TYPE_CHECKING:
    from dumpty import Evidence, Options, Sink, Source


def back_up(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Write one dump from one read transaction.

    Raises:
        SourceError: the database cannot be read, or is corrupt.
        Locked: somebody holds it exclusively for longer than ``busy_timeout``.
    """
    write = image.write_image if format == "native" else text_dump.write_text
    with connection.snapshot(source, options) as database:
        return write(database, sink, check=bool(options["check"]), fingerprints=bool(options["fingerprint"]))
