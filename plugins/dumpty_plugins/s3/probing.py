"""What a server guarantees: found out at first use, and remembered in the bucket.

Several put one new name at once, and exactly one of them must win; and what it has put must be listed. Only then an
object is left under a name that no backup's can be. Whenever the store is used after that, the server must refuse to
put this one once more. Servers are known that ignore the condition, and some that look first and write then.
"""

from __future__ import annotations

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty_plugins.s3.failures import RequestFailed
from dumpty_plugins.s3.objects import head, put

if TYPE_CHECKING:
    from dumpty_plugins.s3.requests import Requests

__all__ = ["MARKER", "Guarantees", "find_guarantees"]

MARKER = "dumpty~conditional-writes"
_CONTENT = (
    b"dumpty keeps this object here: that it cannot be put once more shows that this server refuses what exists.\n"
)
_CONTENDERS = 4
_REFUSALS = frozenset({"PreconditionFailed", "412"})


class Guarantees(Struct, frozen=True, kw_only=True):
    """``decides``: of all that put one new name one wins. ``lists``: what was put is listed at once."""

    writable: bool = True
    decides: bool = False
    lists: bool = True


def find_guarantees(requests: Requests) -> Guarantees:
    """Find out what the server guarantees.

    Raises:
        RequestFailed: it cannot be found out.
    """
    try:
        head(requests, MARKER)
    except RequestFailed as failure:
        if not failure.missing and not failure.refused:
            raise
        return _prove(requests)
    refusal = _try(requests, MARKER)
    if isinstance(refusal, RequestFailed) and refusal.refused:
        return Guarantees(writable=False)
    return Guarantees(decides=isinstance(refusal, RequestFailed) and refusal.code in _REFUSALS)


def _prove(requests: Requests) -> Guarantees:
    name = f"dumpty~{uuid.uuid4().hex}"
    pool = ThreadPoolExecutor(_CONTENDERS, thread_name_prefix="dumpty-s3-probe")
    try:
        outcomes = list(pool.map(lambda _: _try(requests, name), range(_CONTENDERS)))
        if all(isinstance(outcome, RequestFailed) and outcome.refused for outcome in outcomes):
            return Guarantees(writable=False)
        lists = _is_listed(requests, name)
    finally:
        pool.shutdown(cancel_futures=True)
        _remove(requests, name)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RequestFailed) and outcome.taken]
    decides = outcomes.count(None) == 1 and len(refused) == _CONTENDERS - 1
    if decides and lists:
        failure = _try(requests, MARKER)
        decides = failure is None or failure.code in _REFUSALS
    return Guarantees(decides=decides, lists=lists)


def _try(requests: Requests, name: str) -> RequestFailed | None:
    """Put an object where there is none, and return what became of that: None for a success.

    Raises:
        RequestFailed: no answer says.
    """
    try:
        put(requests, name, _CONTENT, new=True, extra={})
    except RequestFailed as failure:
        if failure.taken or failure.refused or failure.unsupported:
            return failure
        raise
    return None


def _is_listed(requests: Requests, name: str) -> bool:
    answer = requests.send("list_objects_v2", {"Prefix": requests.address.key(name)})
    return bool(answer.get("Contents"))


def _remove(requests: Requests, name: str) -> None:
    with contextlib.suppress(RequestFailed):
        requests.send("delete_object", {"Key": requests.address.key(name)})
