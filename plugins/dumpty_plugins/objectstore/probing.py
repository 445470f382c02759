"""What a server guarantees: found out at first use, and remembered in the container.

Several put one new name at once, and exactly one of them must win; and what it has put must be listed. Only then an
object is left under a name that no backup's can be. Whenever the store is used after that, the server must refuse to
put this one once more.
"""

from __future__ import annotations

import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty_plugins.objectstore.failures import RequestFailed

if TYPE_CHECKING:
    from dumpty_plugins.objectstore.azure import Container

__all__ = ["MARKER", "Guarantees", "find_guarantees"]

MARKER = "dumpty~conditional-writes"
_CONTENT = (
    b"dumpty keeps this object here: that it cannot be put once more shows that this server refuses what exists.\n"
)
_CONTENDERS = 4


class Guarantees(Struct, frozen=True, kw_only=True):
    """``decides``: of all that put one new name one wins. ``lists``: what was put is listed at once."""

    writable: bool = True
    decides: bool = False
    lists: bool = True


def find_guarantees(container: Container) -> Guarantees:
    """Find out what the server guarantees.

    Raises:
        RequestFailed: it cannot be found out.
    """
    try:
        container.head(MARKER)
    except RequestFailed as failure:
        if not failure.missing and not failure.refused:
            raise
        return _prove(container)
    refusal = _try(container, MARKER)
    if refusal is not None and refusal.refused:
        return Guarantees(writable=False)
    return Guarantees(decides=refusal is not None and refusal.taken)


def _prove(container: Container) -> Guarantees:
    name = f"dumpty~{uuid.uuid4().hex}"
    pool = ThreadPoolExecutor(_CONTENDERS, thread_name_prefix="dumpty-objectstore-probe")
    try:
        outcomes = list(pool.map(lambda _: _try(container, name), range(_CONTENDERS)))
        if all(outcome is not None and outcome.refused for outcome in outcomes):
            return Guarantees(writable=False)
        lists = any(True for page in container.pages(name) for _ in page)
    finally:
        pool.shutdown(cancel_futures=True)
        with contextlib.suppress(RequestFailed):
            container.delete(name)
    refused = [outcome for outcome in outcomes if outcome is not None and outcome.taken]
    decides = outcomes.count(None) == 1 and len(refused) == _CONTENDERS - 1
    if decides and lists:
        failure = _try(container, MARKER)
        decides = failure is None or failure.taken
    return Guarantees(decides=decides, lists=lists)


def _try(container: Container, name: str) -> RequestFailed | None:
    """Put an object where there is none, and return what became of that: None for a success.

    Raises:
        RequestFailed: no answer says.
    """
    try:
        container.put(name, _CONTENT, new=True)
    except RequestFailed as failure:
        if failure.taken or failure.refused:
            return failure
        raise
    return None
