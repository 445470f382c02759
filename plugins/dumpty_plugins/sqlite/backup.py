"""One backup, from the read transaction to the last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import OptionError
from dumpty_plugins.sqlite.dumping import image, parts, text_dump
from dumpty_plugins.sqlite.files import connection

if TYPE_CHECKING:
    from dumpty import Evidence, Options, Sink, Source


def back_up(source: Source, sink: Sink, format: str, options: Options) -> Evidence:
    """Write one dump from one read transaction.

    Raises:
        OptionError: ``part_size`` is no size.
        SourceError: the database cannot be read, or is corrupt.
        Locked: somebody holds it exclusively for longer than ``busy_timeout``.
    """
    check, fingerprints = bool(options["check"]), bool(options["fingerprint"])
    part_size = int(str(options["part_size"]))
    if part_size < 0:
        raise OptionError("part_size is a number of bytes, or 0 for what suits")
    with connection.snapshot(source, options) as database:
        if format == "native":
            return image.write_image(database, sink, check=check, fingerprints=fingerprints)
        if format == "sql":
            return text_dump.write_text(database, sink, check=check, fingerprints=fingerprints)
        return parts.write_parts(database, sink, check=check, fingerprints=fingerprints, part_size=part_size)
