"""How the process that holds databases hears that the tests have ended."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

__all__ = ["wait_for_end"]

_LOOK_SECONDS = 1.0


def wait_for_end(owner: int, listener: socket.socket) -> None:
    """Return when somebody connects to ``listener``, or the process ``owner`` has ended, however it did."""
    with _end_of(owner) as descriptor:
        watched = [listener.fileno(), *([] if descriptor is None else [descriptor])]
        while not select.select(watched, [], [], _LOOK_SECONDS if descriptor is None else None)[0]:
            if not _is_there(owner):
                return


@contextlib.contextmanager
def _end_of(owner: int) -> Iterator[int | None]:
    """Yield a descriptor that can be read once a process has ended, a zombie too; None where there is no such thing."""
    with contextlib.ExitStack() as stack:
        try:
            yield _descriptor(owner, stack)
        except ProcessLookupError:  # it has ended already
            reader, writer = os.pipe()
            os.close(writer)
            stack.callback(os.close, reader)
            yield reader


def _descriptor(owner: int, stack: contextlib.ExitStack) -> int | None:
    if sys.platform != "linux":
        queue = stack.enter_context(contextlib.closing(select.kqueue()))
        event = select.kevent(owner, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([event], 0)
        return queue.fileno()
    try:
        descriptor = os.pidfd_open(owner)
    except ProcessLookupError:
        raise
    except OSError:  # a kernel, or a sandbox, without it
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
