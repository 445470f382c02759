"""How a job is ended before it is done."""

from __future__ import annotations

import threading

from dumpty.process.cancellation import Cancellation

__all__ = ["Stop"]


class Stop:
    """What ends a job before it is done: its deadline, or whoever asks the whole run to end."""

    def __init__(self) -> None:
        self.token = Cancellation()
        self._asked = threading.Event()
        self.interrupted = False

    @property
    def asked(self) -> bool:
        """Whether it is to end."""
        return self._asked.is_set()

    @property
    def reason(self) -> str:
        """Why."""
        return self.token.reason

    def interrupt(self, reason: str) -> None:
        """End it as if it had not been begun: nothing is written down of it."""
        self.interrupted = True
        self.ask(reason)

    def ask(self, reason: str) -> None:
        """End it, from any thread."""
        self.token.cancel(reason)
        self._asked.set()

    def wait(self, seconds: float) -> bool:
        """Wait, but no longer than until it is to end; return whether it is."""
        return self._asked.wait(seconds)
