"""What ``run`` and ``serve`` have in common."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["collecting_garbage_often"]

_GARBAGE = 5_000
"""Objects made before garbage is looked for."""


@contextlib.contextmanager
def collecting_garbage_often() -> Iterator[None]:
    """Within the block, look for garbage often.

    The command line does so seldom, for a short command's sake: what backs up a thousand databases is none.
    """
    before = gc.get_threshold()
    gc.set_threshold(_GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
