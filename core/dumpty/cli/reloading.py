"""SIGHUP, where it asks a program that goes on to read its configuration again."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from dumpty.cli.status import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Reloading", "current"]


class Reloading:
    """Whether SIGHUP came; ``asked_by`` is its handler, and takes no lock.

    A terminal that goes away sends it, too: then it ends the program, as it ends any other.
    """

    def __init__(self) -> None:
        self._asked = False
        self._wake: Callable[[], None] | None = None
        self._has_terminal = _has_terminal()

    def asked_by(self, _number: int, _frame: FrameType | None) -> None:
        """Note that SIGHUP came."""
        self._asked = True
        if self._wake is not None:
            self._wake()

    def wakes(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever it comes; that may happen in a signal's handler."""
        self._wake = wake

    def take(self) -> bool:
        """Return whether it came since this was called last.

        Raises:
            Terminated: it came because the terminal is gone.
        """
        asked, self._asked = self._asked, False
        had_terminal, self._has_terminal = self._has_terminal, self._has_terminal and _has_terminal()
        if asked and had_terminal and not self._has_terminal:
            raise Terminated(signal.SIGHUP)
        return asked


def _has_terminal() -> bool:
    """Return whether there is a controlling terminal (https://man7.org/linux/man-pages/man4/tty.4.html)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


current = Reloading()
"""That of the verb that runs: ``dumpty.cli.main`` makes it before anything else, for SIGHUP may come at any time."""
