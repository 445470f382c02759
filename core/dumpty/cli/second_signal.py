"""A second signal ends the program at once, whatever its main thread is at."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from dumpty.cli.status import Terminated, status_of
from dumpty.process import interruption, peer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ECHO_SECONDS", "Listener"]

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
ECHO_SECONDS = 0.2
"""Within this time a second signal is the first one's echo: from a terminal and a wrapper, or systemd's SIGHUP."""
_REPORTING_SECONDS = 0.5
_WAKE_SECONDS = 0.05


class Listener:
    """Receives signals in a thread of its own: Python's handlers wait until the main thread comes out of a library.

    The first one sets a term to all waiting for servers. A second one ends the program: children are killed,
    connections dropped, and what stays is named.

    Args:
        json_wanted: whether the result is a JSON object on standard output.
        describe: makes that object from an error and its text.
        hangup_ends: whether SIGHUP is one of those signals.
    """

    def __init__(
        self,
        *,
        json_wanted: bool,
        describe: Callable[[BaseException, str], dict[str, object]],
        hangup_ends: bool = True,
    ) -> None:
        self._json_wanted = json_wanted
        self._describe = describe
        self._ending = _ENDING if hangup_ends else _ENDING - {signal.SIGHUP}
        self._report_claim = [None]
        self._reporting_thread = 0
        self._first_signal: int | None = None
        self._is_noticed: Callable[[], bool] | None = None
        self._received_at = 0.0
        self._stdout = -1
        self._pipe = (-1, -1)
        self._wakeup_fd_before = -1

    def start(self, is_noticed: Callable[[], bool] | None) -> None:
        """Begin to listen.

        Args:
            is_noticed: tells whether the main thread has heard of the first signal; it is woken until it has. One that
                came just before the thread began to wait in the system would else be heard when that waiting ends. None
                where SIGALRM, which wakes it, is somebody else's.
        """
        self._is_noticed = is_noticed
        with contextlib.suppress(OSError):  # closed: then there is nobody to tell
            self._stdout = os.dup(1)
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._wakeup_fd_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="dumpty-signals", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        signal.set_wakeup_fd(self._wakeup_fd_before)
        os.close(self._pipe[1])  # the thread ends with it

    def claim_report(self) -> bool:
        """Return whether the caller's thread is the one to report how it ended; only one ever is."""
        with contextlib.suppress(IndexError):
            self._report_claim.pop()
            self._reporting_thread = threading.get_ident()
        return self._reporting_thread == threading.get_ident()

    def _listen(self) -> None:
        while True:
            late = self._first_signal is not None and self._is_noticed is not None and not self._is_noticed()
            if not select.select([self._pipe[0]], [], [], _WAKE_SECONDS if late else None)[0]:
                with contextlib.suppress(OSError):
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
                continue
            numbers = os.read(self._pipe[0], 64)
            if not numbers:
                os.close(self._pipe[0])
                return
            for number in numbers:
                if number in self._ending:
                    self._receive(number)

    def _receive(self, number: int) -> None:
        received_at = time.monotonic()
        if self._first_signal is None:
            self._first_signal, self._received_at = number, received_at
            peer.interrupted()
        elif received_at - self._received_at > ECHO_SECONDS:
            self._end(self._first_signal)

    def _end(self, number: int) -> None:
        # Nothing is imported here: the main thread may be doing just that. Where this was not, there is no child.
        children = sys.modules.get("dumpty.process.child")
        error = KeyboardInterrupt("SIGINT") if number == signal.SIGINT else Terminated(number)
        if children is not None:
            children.kill_all()
        peer.drop_all()
        if self.claim_report():
            reporter = threading.Thread(target=self._write_report, args=(error, _interruption_text(error)), daemon=True)
            reporter.start()
            reporter.join(_REPORTING_SECONDS)
        else:  # the main thread is reporting how it ended
            time.sleep(_REPORTING_SECONDS)
        os._exit(status_of(error))

    def _write_report(self, error: BaseException, text: str) -> None:
        live = getattr(sys.modules.get("dumpty.cli.live_lines"), "current", None)
        with contextlib.suppress(OSError):
            if self._json_wanted:
                os.write(self._stdout, json.dumps(self._describe(error, text)).encode() + b"\n")
            if live is not None:
                live.close()
            if not self._json_wanted:
                os.write(2, f"dumpty: {text}\n".encode("utf-8", "backslashreplace"))


def _interruption_text(error: BaseException) -> str:
    not_removed = interruption.unfinished()
    remaining = f"; still there: {'; '.join(not_removed)}" if not_removed else ""
    return (
        f"interrupted by {error}, and by a second signal before all was cleaned up: the next run with this directory, "
        f"or on this target, removes what this one left{remaining}"
    )
