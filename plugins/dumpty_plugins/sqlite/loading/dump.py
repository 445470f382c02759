"""Building a database from a dump in either format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dumpty import SourceError, open_regular
from dumpty_plugins.sqlite.loading.image import load_image
from dumpty_plugins.sqlite.loading.text_load import load_text

if TYPE_CHECKING:
    from dumpty import Dump, Evidence


def load(dump: Dump, part: str, *, check: bool) -> Evidence:
    """Build the database ``part``, a new file and its owner's alone, from ``dump``, and prove it.

    Raises:
        IntegrityError: the dump is damaged, or not what was dumped.
        SourceError: there is no room for it.
    """
    try:
        os.close(open_regular(part, os.O_CREAT | os.O_EXCL | os.O_RDWR))
    except OSError as error:
        raise SourceError(f"{part} cannot be created: {error.strerror}") from error
    load_format = load_image if dump.format == "native" else load_text
    return load_format(dump, part, check=check)
