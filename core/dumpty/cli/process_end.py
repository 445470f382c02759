"""The end of the process, in which no thread that still runs can change the exit status."""

from __future__ import annotations

import atexit
import os
import sys
import threading

__all__ = ["end_process"]


def end_process(status: int) -> int:
    """End the process with ``status`` if other threads still run; else return it, and Python ends as usual.

    A thread that waits for a server, or reads for nobody any more, may be in a library's C code. The interpreter and
    the libraries (OpenSSL in ``exit``) would release their memory while it runs, and the process die of SIGSEGV: a
    command that has told its success, or that it was interrupted, would end with another status. So what Python does
    at its end is done here, and the rest left to the kernel.
    """
    if threading.active_count() == 1:
        return status
    try:
        # As the interpreter does; neither is public. The first waits for threads that are no daemons.
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
        atexit._run_exitfuncs()  # noqa: SLF001
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except Exception:  # noqa: BLE001
        return status  # Python says so, and whether that changes the status
    os._exit(status)
