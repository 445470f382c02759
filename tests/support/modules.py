"""Modules that a test writes, and imports into this process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def modules_of(directory: Path) -> Iterator[None]:
    """Within the block the modules in ``directory`` are those that are imported; behind it none of them is.

    Python goes by the name alone: what one test left under a name, pytest would run as the next one's of that name.
    """
    others = {path.stem: sys.modules.pop(path.stem, None) for path in directory.glob("*.py")}
    before, path = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(f"{directory}{os.sep}"):
                del sys.modules[name]
        sys.modules.update({name: module for name, module in others.items() if module is not None})
        sys.path[:] = path
