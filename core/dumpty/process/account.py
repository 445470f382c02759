"""Accounts of the operating system for scratch servers, which run code that strangers wrote.

Such a server runs under a number of its own, which no entry of the system's, no service and no process has: what runs
there owns no file, may read what everybody may, and reaches no service that asks who it is. Only root can give it one.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dumpty.errors import NotProvable
from dumpty.process import become

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BECOME", "bare_environment", "confined", "end_account", "spare_account"]

BECOME = become.__file__
"""The program ``dumpty.process.become``."""

_UNUSED = range(1_879_048_192, 2_147_352_576)
"""What systemd's "Users, groups, UIDs and GIDs" says nothing uses: https://systemd.io/UIDS-GIDS/."""

_SMALL = range(20_000, 60_000)
"""For containers, whose numbers often end at 65,535."""

_TRIES = 200
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "TZDIR")


def bare_environment() -> dict[str, str]:
    """Return the environment of a server that runs a stranger's code: what it needs to start, and no secret."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": os.defpath, **passed_on, "HOME": "/", "LC_ALL": "C"}


def spare_account() -> int | None:
    """Return a user id that nobody and nothing has; None where this process is not root, and can give none.

    Raises:
        NotProvable: root has no such number here.
    """
    if os.geteuid() != 0:
        return None
    mapped = [*_mapped_ids("uid"), *_mapped_ids("gid")] or [range(2**32 - 1)]
    candidates = (
        _UNUSED if all(any(_within(_UNUSED, m) for m in _mapped_ids(kind)) for kind in ("uid", "gid")) else _SMALL
    )
    delegated = [*_delegated_ids("/etc/subuid"), *_delegated_ids("/etc/subgid")]
    running_uids = _running_uids()
    for _attempt in range(_TRIES):
        uid = secrets.choice(candidates)
        if not any(uid in m for m in mapped) or any(uid in t for t in delegated) or uid in running_uids:
            continue
        try:
            pwd.getpwuid(uid)
        except KeyError:
            try:
                grp.getgrgid(uid)
            except KeyError:
                return uid
    raise NotProvable(
        "a scratch server needs a user id that nothing else has, and this machine has none free; "
        "drill as another user than root, or name a server with --on"
    )


def confined(argv: Sequence[str], uid: int | None) -> list[str]:
    """Return the command that runs ``argv`` (a path and arguments) as ``uid``, or as ourselves where that is None."""
    shown = "" if uid is None else str(uid)
    return [sys.executable, "-I", "-S", BECOME, shown, "0", "0", *argv]


def end_account(uid: int) -> None:
    """End every process of ``uid``, all at once, so that none can beget another meanwhile."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            ["/bin/sh", "-c", "kill -s KILL -- -1"],
            user=uid,
            group=uid,
            extra_groups=[],
            check=False,
            capture_output=True,
            cwd="/",
            env=bare_environment(),
        )


def _mapped_ids(kind: str) -> list[range]:
    """Return the numbers that this process's user namespace has."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").split("\n")
    except OSError:  # not Linux
        return [range(2**31)]
    numbers = [line.split() for line in lines if line.strip()]
    return [range(int(inside), int(inside) + int(count)) for inside, _outside, count in numbers]


def _within(inner: range, outer: range) -> bool:
    return outer.start <= inner.start and inner.stop <= outer.stop


def _delegated_ids(path: str) -> Iterator[range]:
    """Yield the numbers that some user's containers have."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            _name, begin, count = line.split(":")
            yield range(int(begin), int(begin) + int(count))


def _running_uids() -> set[int]:
    uids = set()
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                uids.add(entry.stat().st_uid)
    return uids
