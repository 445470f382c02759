"""Lines at the bottom of a terminal that change, and what is said above them, of which nothing is lost.

Drawn here and not by rich, whose live display hides the cursor: after a second signal, or a SIGKILL, nothing would show
it again. And where a terminal gets narrower, it forgets that lines now take two rows.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Self

from dumpty.cli.standard_streams import ForgivingStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

__all__ = ["LiveLines", "cells", "current"]

_DRAWN_APART_SECONDS = 0.2
_CLOSING_SECONDS = 2.0
"""How long a terminal that takes nothing (Ctrl-S) is waited for."""
_ECHO = 4
"""Columns that stay free: a terminal shows "^C" behind the last line."""

current: LiveLines | None = None
"""What is shown now: whoever writes to the same terminal does it by its ``write_above``."""


class LiveLines:
    """Shows lines at the bottom of a terminal within a block, drawn anew as they change, in a thread of its own.

    A terminal that goes away fails nothing, and one that takes nothing is waited for only by what is said above.

    Args:
        terminal: where.
        content: returns the lines of now, of printable characters alone, for so many columns and rows.
    """

    def __init__(self, terminal: TextIO, content: Callable[[int, int], Sequence[str]]) -> None:
        self._terminal, self._content = terminal, content
        self._stream = ForgivingStream(terminal)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._closed = False
        self._drawn: Sequence[str] = ()
        self._thread = threading.Thread(target=self._draw_again, name="dumpty-live-lines", daemon=True)

    def __enter__(self) -> Self:
        global current  # noqa: PLW0603 - the program has one terminal
        with contextlib.suppress(RuntimeError):  # no room for another thread: nothing is shown
            self._thread.start()
        current = self
        return self

    def __exit__(self, *_: object) -> None:
        global current  # noqa: PLW0603 - as above
        try:
            self.close()
        finally:
            current = None

    def close(self) -> None:
        """Wipe the lines, and show none any more; in any thread."""
        if self._lock.acquire(timeout=_CLOSING_SECONDS):
            try:
                self._closed = True
                self._write(self._wiped())
                self._drawn = ()
            finally:
                self._lock.release()
        self._closing.set()

    def write_above(self, line: str) -> bool:
        """Write a line above the lines, from any thread; return False where these are not shown any more."""
        with self._lock:
            if self._closed:
                return False
            self._write(f"{self._wiped()}{line}\n" + "\n".join(self._drawn))
            return True

    def _draw_again(self) -> None:
        while not self._closing.wait(_DRAWN_APART_SECONDS):
            with self._lock:
                if not self._closed:
                    self._draw()

    def _draw(self) -> None:
        width, height = self._size()
        lines = [*self._content(width - _ECHO, max(1, height - 1))]
        if lines != self._drawn:
            self._write(self._wiped() + "\n".join(lines))
            self._drawn = lines

    def _wiped(self) -> str:
        """Return what wipes the lines, and leaves the cursor where the first of them began."""
        if not self._drawn:
            return ""
        width = self._size()[0]
        rows = sum(max(1, -(-cells(line) // width)) for line in self._drawn)  # it may be narrower than it was
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._terminal.fileno())
        except (OSError, ValueError):  # it has gone away
            width = height = 0
        return max(width or 80, _ECHO + 1), height or 24

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def cells(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
