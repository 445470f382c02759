"""Programs that people run through us: on their terminal, with their own input and output.

Unlike a ``Child`` such a program shares our terminal, where there is one, so that it can ask, draw and be interrupted
as if it had been started alone: Ctrl-C is the program's, and Ctrl-Z stops both of us. Where there is no terminal it has
a session of its own, and whatever it started there ends with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

from dumpty.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["run_in_foreground"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_GRACE_SECONDS = 5.0
"""What the program gets between SIGTERM and SIGKILL when we are asked to end."""


def run_in_foreground(argv: Sequence[str], *, env: Mapping[str, str | None], stdout: int | None = None) -> int:
    """Run a program to its end, and return its exit status, negative for the signal that ended it.

    Whatever comes up meanwhile (a signal that asks us to end) ends the program before it leaves here. SIGINT of a
    terminal is left to the program. To be called in the main thread.

    Args:
        argv: program and arguments. No secret belongs here.
        env: changes to the environment; None removes a variable. Secrets belong here.
        stdout: the descriptor of its output; ours by default.

    Raises:
        CommandError: it cannot be started.
    """
    environment = {k: v for k, v in {**os.environ, **env}.items() if v is not None}
    shares_terminal = _has_terminal()
    with _terminal_kept(), _awake(leave_interrupts=shares_terminal) as wake:
        process: subprocess.Popen[bytes] | None = None
        try:
            with _signals_deferred():
                process = _started(argv, environment, stdout, start_new_session=not shares_terminal)
            while process.poll() is None:
                select.select([wake], [], [])
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
        finally:
            if process is not None:
                _end(process, group=not shares_terminal)
    return process.returncode


def _started(
    argv: Sequence[str], environment: Mapping[str, str], stdout: int | None, *, start_new_session: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - what the user asked to run, and no shell
            list(argv), env=environment, stdout=stdout, start_new_session=start_new_session
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CommandError(f"{argv[0]} could not be started: {reason}", argv=tuple(argv)) from error


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Let signals that come within the block be heard at its end: while a program is started, nobody could end it."""
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _ENDING}
    deferred = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in deferred:
        signal.signal(number, lambda caught, _frame: received.append(caught))
    try:
        yield
    finally:
        for number, handler in deferred.items():
            signal.signal(number, handler)
        for caught in received:
            signal.raise_signal(caught)


def _has_terminal() -> bool:
    """Return whether there is a terminal that sends us signals."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _awake(*, leave_interrupts: bool) -> Iterator[int]:
    """Yield a descriptor that can be read whenever a signal came or a child ended, and hear of no SIGINT meanwhile.

    A signal that comes right before we wait is not lost so: it is written by the system's own handler.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a program that shares the terminal is run by the main thread")
    receiver, sender = os.pipe()
    os.set_blocking(receiver, False)
    os.set_blocking(sender, False)
    handlers: dict[int, Any] = {}
    # Whoever listens there counts signals, and takes the second Ctrl-C in a shell for one that is to end us at once.
    listener = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    try:
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _note)
        if leave_interrupts and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            # No SIG_IGN, which the program would inherit.
            handlers[signal.SIGINT] = signal.signal(signal.SIGINT, _note)
        yield receiver
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(listener)
        os.close(receiver)
        os.close(sender)


def _note(_number: int, _frame: object) -> None:
    """Do nothing: what woke us is looked at by whoever waits."""


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Put the terminal's settings back at the end: a program that is killed leaves those that it made."""
    try:
        descriptor = sys.stdin.fileno()
        settings = termios.tcgetattr(descriptor)
    except (OSError, ValueError, AttributeError, termios.error):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):
            if os.tcgetpgrp(descriptor) == os.getpgrp():  # else it is not ours to set, and we would be stopped
                termios.tcsetattr(descriptor, termios.TCSANOW, settings)


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """End the program, where it still runs, and with ``group`` all that it started and left."""

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)

    if process.poll() is None:
        send(signal.SIGTERM)
        send(signal.SIGCONT)  # what is stopped hears nothing
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            send(signal.SIGKILL)
            process.wait()
    if group:
        send(signal.SIGKILL)
