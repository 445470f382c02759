"""The token that ends calls, and the block that a facade's call is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.process.call import Call, CancelRequested, current_call, stop_working, work_for

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cancellation", "cancellable", "require_token"]


class Cancellation:
    """A token that ends calls: pass it as ``cancel=`` to one or several of them, one after another or at once.

    ``cancel()`` may be called from any thread, from a progress callback and from the handler of a signal. It returns
    at once. The call then ends in its own thread with ``Cancelled``, its connections shut down and its child processes
    ended, everything that was there before untouched. That takes less than five seconds, also where a server or a
    network hangs, as long as whoever waits does so by dumpty's means (a ``Peer``, a ``Child``, ``run_in_worker``):
    the built-in drivers do. A library's own waiting in the call's thread (SQLite's for a lock, up to ``busy_timeout``;
    a file system that hangs; another driver's) ends when it ends. Servers that answer get the time to clean up, and
    observers (the hook ``finished``) that of being told.

    A call whose commit point has passed is not cancelled any more: it goes on, and says what has come of it. A server
    that then gives no answer is waited for as without a cancellation, for it may be at work on what it was told.
    """

    def __init__(self) -> None:
        # No lock: it may be cancelled by the handler of a signal, in the midst of anything; each step is a single one.
        self._reasons: list[str] = []
        self._calls: dict[int, Call] = {}

    def __repr__(self) -> str:
        return f"<Cancellation: {'cancelled' if self.cancelled else 'not cancelled'}>"

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return bool(self._reasons)

    @property
    def reason(self) -> str:
        """What the first ``cancel`` gave as its reason."""
        return self._reasons[0] if self._reasons else ""

    def cancel(self, reason: str = "") -> None:
        """End the calls that this token was passed to, now and from now on. A second time changes nothing.

        Args:
            reason: becomes part of the error's text.

        Raises:
            TypeError: ``reason`` is no str.
        """
        if not isinstance(reason, str):
            raise TypeError(f"the reason of a cancellation is a str, not {type(reason).__name__}")
        self._reasons.append(reason)
        for call in list(self._calls.values()):
            call.receive(self.reason)

    def _join(self, call: Call) -> None:
        self._calls[id(call)] = call
        if self.cancelled:
            call.receive(self.reason)

    def _leave(self, call: Call) -> None:
        self._calls.pop(id(call), None)


@contextlib.contextmanager
def cancellable(token: Cancellation | None, what: str) -> Iterator[Call]:
    """Run one call of a facade: within the block ``token``, and those of calls around it, cancel it.

    So is every call that commits anything: its commit point would be taken for that of a call around it.

    Args:
        token: None where it has none.
        what: names it in the error: "the backup of sqlite:///shop.db".

    Raises:
        Cancelled: it was cancelled; at once, where that was before.
        TypeError: ``token`` is none.
    """
    require_token(token)
    around, call = current_call(), Call(what)
    before = work_for(call)

    def follow() -> None:
        if around is not None and around.cancelled:
            call.receive(around.reason)

    try:
        if around is not None:
            around.listen(follow)
            follow()
        if token is not None:
            token._join(call)  # noqa: SLF001 - a call is a part of it
        call.check()
        yield call
    except CancelRequested:
        raise call.error() from call.cause
    except Exception as error:
        if not call.cancelled:
            raise
        raise call.error(error) from error
    finally:
        stop_working(before)
        if around is not None:
            around.unlisten(follow)
        if token is not None:
            token._leave(call)  # noqa: SLF001
        call.close()


def require_token(token: object) -> None:
    """Check that ``token`` is a ``Cancellation`` or None; ``TypeError`` where not."""
    if token is not None and not isinstance(token, Cancellation):
        raise TypeError(f"cancel= takes a dumpty.Cancellation, not {type(token).__name__}")
