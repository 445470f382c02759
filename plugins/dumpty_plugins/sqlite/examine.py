"""Reads a dump as SQLite does: in a scratch file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty_plugins.sqlite.files.connection import remove_database
from dumpty_plugins.sqlite.loading.dump import load

if TYPE_CHECKING:
    from dumpty import Dump, Evidence


def examine_dump(dump: Dump) -> Evidence:
    """Load a dump into a scratch file, check it, and compare its rows with the dump's evidence.

    Raises:
        IntegrityError: it is cut short, damaged, or holds other rows than were dumped.
    """
    part = os.path.join(dump.workspace(), "examined.db")
    try:
        return load(dump, part, check=True)
    finally:
        remove_database(part)
