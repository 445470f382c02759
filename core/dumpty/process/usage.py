"""Process groups, as Linux tells of them."""

from __future__ import annotations

import contextlib
import glob
import os

__all__ = ["seconds_of_work"]

_GROUP, _USER, _SYSTEM = 2, 11, 12
"""Fields of /proc/PID/stat behind the program's name."""


def seconds_of_work(group: int) -> float:
    """Return how long processors have worked for all that is in a process group; 0 where nobody tells."""
    total = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="utf-8") as stream:
            fields = stream.read().rpartition(")")[2].split()
            if int(fields[_GROUP]) == group:
                total += int(fields[_USER]) + int(fields[_SYSTEM])
    return total / os.sysconf("SC_CLK_TCK")
