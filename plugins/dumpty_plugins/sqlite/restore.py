"""One restore: built beside the target, checked, and put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import Replacement
from dumpty_plugins.sqlite.files.target import Target
from dumpty_plugins.sqlite.loading.dump import load

if TYPE_CHECKING:
    from dumpty import Dump, Evidence, Options, Source


def restore_dump(target: Source, dump: Dump, *, overwrite: bool, options: Options) -> Evidence:
    """Build the database beside the target, check it, and put it in place in one step.

    Raises:
        TargetNotEmpty, Locked, SourceError: as ``Target`` says.
        IntegrityError: the dump is not whole.
    """
    destination = Target(target, options, overwrite=overwrite)
    with Replacement(target=destination.path) as part:
        evidence = load(dump, part.path, check=bool(options["check"]))
        destination.swap(part)
    return evidence
