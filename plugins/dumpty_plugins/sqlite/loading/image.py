"""Building a database from an image of its pages."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from dumpty import Evidence, IntegrityError, require_same_evidence, save_dump
from dumpty_plugins.sqlite.dumping.image import UNCHECKED
from dumpty_plugins.sqlite.files.connection import connect, interruptible
from dumpty_plugins.sqlite.loading.soundness import report_damage, require_sound
from dumpty_plugins.sqlite.schema import checks

if TYPE_CHECKING:
    from collections.abc import Collection

    from dumpty import Dump


def load_image(dump: Dump, part: str, *, check: bool, ignore: Collection[str] = ()) -> Evidence:
    """Write the image into the file ``part`` and prove it.

    Raises:
        IntegrityError: it is not a sound database, or not the one that was dumped.
    """
    size = save_dump(dump=dump, path=part)
    with report_damage(part), contextlib.closing(connect(part, "rw")) as database:
        if size == 0 or size != checks.image_size(database):
            raise IntegrityError(f"the image has {size} bytes, but its header says {checks.image_size(database)}")
        if check:
            require_sound(database)
        if not check and not dump.evidence.objects:
            return Evidence(versions=checks.versions(), notes=(UNCHECKED,))
        objects = interruptible(database, functools.partial(checks.count_tables, database))
    evidence = Evidence(objects=objects, versions=checks.versions())
    require_same_evidence(expected=dump.evidence, found=evidence, subject="the restored database", ignore=ignore)
    return evidence
