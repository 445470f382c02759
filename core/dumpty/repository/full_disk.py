"""Whether a failure was for want of space."""

from __future__ import annotations

import errno

__all__ = ["is_full"]


def is_full(error: BaseException | None) -> bool:
    """Return whether an error is, or was caused by, a disk or a quota that is full: of blocks, or of files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        error = error.__cause__
    return False
