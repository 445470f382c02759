"""Ports for servers that cannot be told to take any that is free: between the look and the server's start lie seconds.

The kernel gives whoever asks for any port one from its own range (32768 and up); a port that it named a moment ago may
be another's by the time a server wants it. These lie below, and each of the suite's processes has its own.
"""

from __future__ import annotations

import itertools
import os
import re
import socket

_FIRST, _EACH, _PROCESSES = 10_000, 1_300, 16
_STEPS = itertools.count(os.getpid())  # where two suites run on one machine, they begin at different ones


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at, and that nothing else in the suite takes."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or _PROCESSES - 1) % _PROCESSES
    for step in itertools.islice(_STEPS, _EACH):
        port = _FIRST + worker * _EACH + step % _EACH
        with socket.socket() as probe:
            # As servers do: what lingers of an earlier one's connections is no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if not _taken(probe, port):
                return port
    raise RuntimeError(f"no port is free from {_FIRST + worker * _EACH:,} on")


def _taken(probe: socket.socket, port: int) -> bool:
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return True
    return False
