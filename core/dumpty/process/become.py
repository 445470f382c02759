"""Becomes another program under an account that owns nothing: a program of its own, of Python's standard library alone.

    python become.py UID SIGNAL PARENT PROGRAM [ARGUMENT...]

UID: the number to run as, with a group of the same number and no other, and without a network where the system can
do that; "" to stay who we are. SIGNAL: what Linux sends the program when its parent, process PARENT, ends; 0: nothing.
Whatever it runs, no program behind it gains privileges again by a set-user-id bit.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PARENT_DIED, _NO_NEW_PRIVILEGES = 1, 38
_NEW_NETWORK = 0x40000000


def main(uid: str, signal: str, parent: str, *argv: str) -> int:  # noqa: RET503 - execv returns by raising only
    """Become the program; return a status only where that fails."""
    library = ctypes.CDLL(None)
    prctl = getattr(library, "prctl", None)  # Linux has it, and unshare
    if uid:
        if hasattr(library, "unshare"):
            library.unshare(_NEW_NETWORK)
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    if prctl is not None:
        prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if int(signal):
            prctl(_PARENT_DIED, int(signal))  # behind setuid, which takes it back
            if os.getppid() != int(parent):
                return 1
    os.chdir("/")
    os.execv(argv[0], argv)  # noqa: S606 - the program that was found, and no shell


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
