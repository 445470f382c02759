"""Building a database from a dump in any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty_plugins.sqlite.files.connection import create_file
from dumpty_plugins.sqlite.loading.image import load_image
from dumpty_plugins.sqlite.loading.text_load import load_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty import Dump, Evidence


def load(
    dump: Dump, part: str, *, check: bool, ignore: Collection[str] = (), tables: Collection[str] | None = None
) -> Evidence:
    """Build the database ``part``, a new file and its owner's alone, from ``dump``, and prove it.

    Differences of the kinds ``ignore`` from ``dump.evidence`` (see ``dumpty.Difference``) are none. Of a dump
    in parts ``tables`` (``folded`` names), where these are given, are all whose rows are loaded.

    Raises:
        IntegrityError: the dump is damaged, or not what was dumped.
        SourceError: there is no room for it.
    """
    create_file(part)
    if dump.format == "native":
        return load_image(dump, part, check=check, ignore=ignore)
    return load_text(dump, part, check=check, ignore=ignore, tables=tables)
