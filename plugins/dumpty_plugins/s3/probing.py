"""Whether a server decides whose a name is: found out at first use, and remembered in the bucket.

There is one object, under a name that no backup's can be. Putting it only where it is not there must fail once it is:
one request, every time the store is used. Before it is there for the first time several put one new name at once, and
exactly one of them must win. Servers are known that ignore the condition, and some that look first and write then.
"""

from __future__ import annotations

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dumpty_plugins.s3.failures import RequestFailed
from dumpty_plugins.s3.objects import put

if TYPE_CHECKING:
    from dumpty_plugins.s3.requests import Requests

__all__ = ["MARKER", "decides_by_itself"]

MARKER = "dumpty~conditional-writes"
_CONTENT = b"dumpty keeps this object here: trying to put it once more shows that this server refuses what exists.\n"
_CONTENDERS = 4


def decides_by_itself(requests: Requests) -> bool | None:
    """Return whether the server refuses to put a new object where there is one; None where nothing may be written.

    Raises:
        RequestFailed: it cannot be found out.
    """
    first = _try(requests, MARKER)
    if first is None or first is False:
        return None if first is None else True
    if _try(requests, MARKER) is False and _race(requests):
        return True
    _remove(requests, MARKER)
    return False


def _race(requests: Requests) -> bool:
    """Return whether of several that put one new object at once exactly one wins."""
    name = f"dumpty~{uuid.uuid4().hex}"
    pool = ThreadPoolExecutor(_CONTENDERS, thread_name_prefix="dumpty-s3-probe")
    try:
        outcomes = list(pool.map(lambda _: _try(requests, name), range(_CONTENDERS)))
    finally:
        pool.shutdown(cancel_futures=True)
        _remove(requests, name)
    return outcomes.count(True) == 1 and outcomes.count(False) == _CONTENDERS - 1


def _try(requests: Requests, name: str) -> bool | None:
    """Return whether the server has put a new object; None where it refuses to write, or knows no such condition."""
    try:
        put(requests, name, _CONTENT, new=True, extra={})
    except RequestFailed as failure:
        if failure.taken:
            return False
        if failure.refused:
            return None
        if failure.unsupported:
            return True
        raise
    return True


def _remove(requests: Requests, name: str) -> None:
    with contextlib.suppress(RequestFailed):
        requests.send("delete_object", {"Key": requests.address.key(name)})
