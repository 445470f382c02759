"""How much of a processor a command takes, told as a multiple of what Python itself takes on the same machine."""

import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

_LIBRARY: Final = "import asyncio, email.message, http.client, unittest.mock, xml.dom.minidom, zipfile"
"""A start of Python that a person calls instant, and that grows with what slows every start of a program."""


def times_a_start_of_python(command: Sequence[str], env: Mapping[str, str] | None = None, *, pairs: int = 5) -> float:
    """Return the processor time of ``command`` divided by that of a start of Python with a few of its own modules.

    Both run in turns, ``pairs`` times, and the lowest ratio counts: a machine that is slow, or busy with something
    else, slows both.
    """
    return min(_seconds(command, env) / _seconds([sys.executable, "-c", _LIBRARY], env) for _ in range(pairs))


def _seconds(command: Sequence[str], env: Mapping[str, str] | None) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
