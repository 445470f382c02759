"""How many processors there are, and how long they have worked."""

from __future__ import annotations

import contextlib
import glob
import os

__all__ = ["processors", "seconds_of_work"]

_GROUP, _USER, _SYSTEM = 2, 11, 12
"""Fields of /proc/PID/stat behind the program's name."""


def processors(most: int) -> int:
    """Return how many processors this process may run on, or ``most`` if they are more."""
    try:
        free = len(os.sched_getaffinity(0))
    except AttributeError:  # not everywhere
        free = os.cpu_count() or 1
    return min(free, most)


def seconds_of_work(group: int) -> float:
    """Return how long processors have worked for all that is in a process group; 0 where nobody tells."""
    total = 0
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="utf-8") as stream:
            fields = stream.read().rpartition(")")[2].split()
            if int(fields[_GROUP]) == group:
                total += int(fields[_USER]) + int(fields[_SYSTEM])
    return total / os.sysconf("SC_CLK_TCK")
