"""Which process is it, and is it gone? Asked where a repository lies on this machine's own disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from pathlib import Path

__all__ = ["active", "is_gone", "is_here", "is_over", "is_running", "process_identity"]

_START_TIME = 19
"""Field of /proc/PID/stat behind the program's name; the state is the first."""

_ENDED = ("Z", "X")
_PID_LIMIT = 2**31
_INTERPRETER = secrets.token_hex(8)
"""Several interpreters in one process each import this module, and know nothing of what the others have begun."""


def process_identity() -> dict[str, str | int]:
    """Return what tells this process, and the interpreter in it, from every other: "" where the system does not say."""
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "pid_namespace": _namespace(),
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
        "interpreter": _INTERPRETER,
    }


active: set[str] = set()
"""The nonces of what this process has begun, and not ended."""


def is_over(claim: object) -> bool:
    """Return whether whoever put a claim is gone, or is this very process and has done with it.

    Args:
        claim: what it says: the process's identity and ``nonce``.
    """
    return is_gone(claim) or (is_here(claim) and isinstance(claim, dict) and claim.get("nonce") not in active)


def is_here(identity: object) -> bool:
    """Return whether it is that of this very process and interpreter; False where the system does not tell all of it.

    In a sandbox that hides the boot's id, another sandbox may have the same host, number and start.

    Args:
        identity: what ``process_identity`` said there; it may hold more.
    """
    here = process_identity()
    return isinstance(identity, dict) and all(here.values()) and all(identity.get(key) == here[key] for key in here)


def is_gone(identity: object) -> bool:
    """Return whether a process ran on this very boot of this host, in this pid namespace, and does not any more.

    Args:
        identity: what ``process_identity`` said there; whatever else is no evidence.
    """
    return _is_there(identity) is False


def is_running(identity: object) -> bool:
    """Return whether a process runs on this very boot of this host, in this pid namespace, and is known to.

    Args:
        identity: as for ``is_gone``.
    """
    return _is_there(identity) is True


def _is_there(identity: object) -> bool | None:
    """Return whether a process is there; None where that cannot be told from here."""
    here = process_identity()
    if not isinstance(identity, dict) or any(
        identity.get(key) != here[key] for key in ("host", "boot", "pid_namespace")
    ):
        return None
    pid, started = identity.get("pid"), identity.get("started")
    if not all(here.values()) or not started or not isinstance(pid, int) or not 0 < pid < _PID_LIMIT:
        return None
    fields = _status(pid)
    if fields:
        return fields[0] not in _ENDED and fields[_START_TIME] == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's, and hidden (hidepid): it is there, and no more is known
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _namespace() -> str:
    """Return within what /proc shows everybody the same numbers and starts; "" where it is not this process's own."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""  # another namespace's is mounted there
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    with contextlib.suppress(OSError):  # older systems have one clock for all
        namespace += " " + os.readlink("/proc/self/ns/time")
    return namespace


def _start_time(pid: int) -> str:
    fields = _status(pid)
    return fields[_START_TIME] if fields else ""


def _status(pid: int) -> list[str]:
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields if len(fields) > _START_TIME else []
