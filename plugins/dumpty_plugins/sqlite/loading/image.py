"""Building a database from an image of its pages."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, SourceError, open_regular
from dumpty.process import BLOCK
from dumpty_plugins.sqlite.dumping.image import UNCHECKED
from dumpty_plugins.sqlite.files.connection import connect, interruptible
from dumpty_plugins.sqlite.loading.soundness import report_damage, require_sound
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from io import FileIO

    from dumpty import Dump


def load_image(dump: Dump, part: str, *, check: bool) -> Evidence:
    """Write the image into the file ``part`` and prove it.

    Raises:
        IntegrityError: it is not a sound database, or not the one that was dumped.
    """
    with contextlib.closing(dump.open()) as reader, open(_open_part(part), "r+b", buffering=0) as stream:
        while block := reader.read(BLOCK):
            _write(stream, block, part)
        size = stream.tell()
    with report_damage(part), contextlib.closing(connect(part, "rw")) as database:
        if size == 0 or size != checks.image_size(database):
            raise IntegrityError(f"the image has {size} bytes, but its header says {checks.image_size(database)}")
        if check:
            require_sound(database)
        if not check and not dump.evidence.objects:
            return Evidence(versions=checks.versions(), notes=(UNCHECKED,))
        objects = interruptible(database, functools.partial(checks.count_tables, database))
        checks.require_same_rows(dump.evidence, objects)
    return Evidence(objects=objects, versions=checks.versions())


def _open_part(part: str) -> int:
    try:
        return open_regular(part, os.O_RDWR)  # whoever may write to the directory could have put a link there
    except OSError as error:
        raise SourceError(f"{part} cannot be written: {error.strerror}") from error


def _write(stream: FileIO, block: bytes, part: str) -> None:
    view = memoryview(block)
    try:
        while view:
            view = view[stream.write(view) :]
    except OSError as error:
        raise SourceError(
            f"{part} cannot be written: {error.strerror}; the restored database is built there: free some space on its"
            " file system, or restore elsewhere"
        ) from error
