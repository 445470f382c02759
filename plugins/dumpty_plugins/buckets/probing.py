"""What a server guarantees: found out at first use, and remembered where its objects lie.

Several put one new name at once, and exactly one of them must win; and what it has put must be listed. Only then an
object is left under a name that no backup's can be. Whenever the store is used after that, the server must refuse to
put this one once more. Servers are known that ignore the condition, and some that look first and write then.
"""

from __future__ import annotations

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from msgspec import Struct

from dumpty_plugins.buckets.failures import RequestFailed

__all__ = ["MARKER", "Guarantees", "Probed", "find_guarantees"]

MARKER = "dumpty~conditional-writes"
_CONTENT = (
    b"dumpty keeps this object here: that it cannot be put once more shows that this server refuses what exists.\n"
)
_CONTENDERS = 4


class Probed(Protocol):
    """What is asked of the server, each once; ``RequestFailed`` where that is no success."""

    def head(self, name: str) -> object:
        """Look an object up."""
        ...

    def put_new(self, name: str, data: bytes) -> None:
        """Put an object where the server knows none."""
        ...

    def is_listed(self, name: str) -> bool:
        """Return whether a listing has the object."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object."""
        ...


class Guarantees(Struct, frozen=True, kw_only=True):
    """``decides``: of all that put one new name one wins. ``lists``: what was put is listed at once."""

    writable: bool = True
    decides: bool = False
    lists: bool = True


def find_guarantees(server: Probed) -> Guarantees:
    """Find out what the server guarantees.

    Raises:
        RequestFailed: it cannot be found out.
    """
    try:
        server.head(MARKER)
    except RequestFailed as failure:
        if failure.unsigned or not (failure.missing or failure.refused):
            raise
        return _prove(server) or _prove(server) or Guarantees()
    refusal = _try(server, MARKER)
    if refusal is not None and refusal.refused:
        return Guarantees(writable=False)
    return Guarantees(decides=refusal is not None and refusal.decided)


def _prove(server: Probed) -> Guarantees | None:
    """Let several race; None where nobody is known to have won: the winner's answer may have been lost."""
    name = f"dumpty~{uuid.uuid4().hex}"
    pool = ThreadPoolExecutor(_CONTENDERS, thread_name_prefix="dumpty-probe")
    try:
        outcomes = list(pool.map(lambda _: _try(server, name), range(_CONTENDERS)))
        if all(outcome is not None and outcome.refused for outcome in outcomes):
            return Guarantees(writable=False)
        lists = server.is_listed(name)
    finally:
        pool.shutdown(cancel_futures=True)
        with contextlib.suppress(RequestFailed):
            server.delete(name)
    if all(outcome is not None and outcome.taken for outcome in outcomes):
        return None
    refused = [outcome for outcome in outcomes if outcome is not None and outcome.taken]
    decides = outcomes.count(None) == 1 and len(refused) == _CONTENDERS - 1
    if decides and lists:
        failure = _try(server, MARKER)
        decides = failure is None or failure.decided
    return Guarantees(decides=decides, lists=lists)


def _try(server: Probed, name: str) -> RequestFailed | None:
    """Put an object where there is none, and return what became of that: None for a success.

    Raises:
        RequestFailed: no answer says.
    """
    try:
        server.put_new(name, _CONTENT)
    except RequestFailed as failure:
        if failure.unsigned or not (failure.taken or failure.refused or failure.unsupported):
            raise
        return failure
    return None
