"""What a process has one of: working directory, umask, environment, signal handlers. Hooks leave them as they were."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ProcessState"]

_STATUS = "/proc/self/status"
_MAX_NAMED = 5


class ProcessState(Struct, frozen=True, kw_only=True):
    """The state of this process at one moment.

    What cannot be asked for is None: the umask where only setting another one tells it, a directory that is gone.
    ``handlers`` are those of signals, empty in any thread but the main one, where nobody can set them.
    """

    directory: str | None
    umask: str | None
    environment: Mapping[str, str]
    handlers: Mapping[int, object]

    @classmethod
    def observe(cls) -> ProcessState:
        """Return the state as it is now."""
        directory = None
        with contextlib.suppress(OSError):
            directory = os.getcwd()
        return cls(directory=directory, umask=_umask(), environment=dict(os.environ), handlers=_handlers())

    @staticmethod
    def has_one_user() -> bool:
        """Return whether this thread alone can alter the state: of others there are only dumpty's own, which do not.

        Where a program has other threads, nobody can tell whose doing a change is.
        """
        current = threading.current_thread()
        return all(t is current or t.name.startswith("dumpty-") for t in threading.enumerate())

    def changes(self, before: ProcessState, *, shared: bool = False) -> list[str]:
        """Return what is not as it was ``before``, each as a text, values of the environment left out: they are secret.

        ``shared``: leave out what any thread can alter.
        """
        texts = []
        if not shared:
            if self.directory != before.directory:
                texts.append(f"the working directory ({self.directory or 'gone'}, before {before.directory or 'gone'})")
            if self.umask != before.umask:
                texts.append(f"the umask ({self.umask}, before {before.umask})")
            names = sorted(
                n
                for n in {*self.environment, *before.environment}
                if self.environment.get(n) != before.environment.get(n)
            )
            if names:
                plural, more = "s" if len(names) > 1 else "", " and others" if len(names) > _MAX_NAMED else ""
                texts.append(f"the environment variable{plural} {', '.join(names[:_MAX_NAMED])}{more}")
        numbers = [n for n in before.handlers if n in self.handlers and self.handlers[n] != before.handlers[n]]
        if numbers:
            texts.append(f"the handling of {', '.join(signal.Signals(n).name for n in numbers)}")
        return texts

    def put_back(self, *, shared: bool = False) -> list[str]:
        """Make the state of the process this one again, and return what could not be, each as a text.

        ``shared``: leave alone what any thread can alter.
        """
        problems: list[str] = []
        if not shared:
            for name in {*os.environ} - {*self.environment}:
                del os.environ[name]
            os.environ.update(self.environment)
            if self.umask is not None:
                os.umask(int(self.umask, 8))
            if self.directory is not None:
                try:
                    os.chdir(self.directory)
                except OSError as error:
                    problems.append(one_line(error))
        current = _handlers()
        for number, handler in self.handlers.items():
            if number in current and current[number] != handler and handler is not None:
                signal.signal(number, handler)  # type: ignore[arg-type]  # as it was got
        return problems


def _umask() -> str | None:
    # Setting it and back, as os.umask does it, would give other threads files with the wrong rights meanwhile.
    with contextlib.suppress(OSError), open(_STATUS, encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("Umask:"):
                return line.split()[1]
    return None


def _handlers() -> dict[int, object]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in _signals()}


@functools.cache
def _signals() -> tuple[int, ...]:
    return tuple(sorted(signal.valid_signals()))
