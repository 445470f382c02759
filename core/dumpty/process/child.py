"""Child processes: streamed output, exit status, drained stderr, secrets kept off the command line.

A child belongs to the ``with`` block it was started in: leaving the block in any way ends it and every process it
started. Its stderr is read all the time, so that it can never block on a full pipe. Success is an exit status of
0, asked for with ``wait``; a stream that ended proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from typing import IO, TYPE_CHECKING, Self

from dumpty.errors import CommandError
from dumpty.process import account
from dumpty.process.call import hear_cancellation, wait_point
from dumpty.process.usage import seconds_of_work
from dumpty.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Protocol

    from dumpty.types import ByteSink

    class HasFileno(Protocol):
        """What has a descriptor: a socket, an open file."""

        def fileno(self) -> int: ...


__all__ = ["BLOCK", "Child", "kill_all"]

BLOCK = 1 << 20
"""Bytes moved at a time; also the size asked for pipes, Linux's limit for unprivileged users."""

_SMALL_READ = 1 << 18
_PAUSE_SECONDS = 0.0005
_STDERR_LINES = 40
_GRACE_SECONDS = 1.5
"""What a child gets between SIGTERM and SIGKILL: it may be waiting for a server that does not answer."""
_STDERR_SECONDS = 5.0
_live_children: weakref.WeakSet[Child] = weakref.WeakSet()


def kill_all() -> None:
    """Kill every child of this process and all they started, at once: the program ends."""
    for child in list(_live_children):
        child.kill_now()


class Child:
    """One child process, used as a context manager.

    Args:
        argv: program and arguments. No secret belongs here.
        env: changes to the environment; a value of None removes the variable. Secrets belong here.
            With ``bare`` they are to ``account.bare_environment`` instead of ours.
        secrets: strings to replace by ``***`` in every message.
        stdin: True to write to the child through ``stdin``; a socket or a file that it reads; else it reads nothing.
        stdout: True to read its output through ``stdout``; else the output is thrown away.
        bare: True for what runs a stranger's code: an environment without ours, and / for its directory.
        on_line: is called with each line that it writes to stderr, secrets replaced and the line's end left out, by
            another thread, as it comes; what it raises is raised by ``wait``.

    Raises:
        CommandError: the program is missing or cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Sequence[str] = (),
        stdin: bool | HasFileno = False,
        stdout: bool = True,
        bare: bool = False,
        on_line: Callable[[str], object] | None = None,
    ) -> None:
        self._on_line = on_line
        self._line_error: BaseException | None = None
        self._secrets = tuple(secrets)
        self.argv = tuple(redact(a, secrets) for a in argv)
        self.name = os.path.basename(argv[0])
        variables = {**(account.bare_environment() if bare else os.environ), **(env or {})}
        environment = {k: v for k, v in variables.items() if v is not None}
        try:
            # A session of its own: Ctrl-C reaches us alone, and we end the whole group in good order.
            self._popen = subprocess.Popen(  # noqa: S603 - argv is a list built by a plugin; there is no shell
                list(argv),
                env=environment,
                cwd="/" if bare else None,
                stdin=_input(stdin),
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise CommandError(f"{self.name} could not be started: {error}", argv=self.argv) from error
        _live_children.add(self)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                _enlarge_pipe(pipe)
        self._group_ended = False
        self._last_read_small = False
        self._tail: deque[str] = deque(maxlen=_STDERR_LINES)
        self._drain = threading.Thread(target=self._drain_stderr, name=f"{self.name}-stderr", daemon=True)
        self._drain.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Where to write to the child."""
        if self._popen.stdin is None:
            raise ValueError("this child was started without stdin=True")
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Where to read from the child. Its end does not mean that the child succeeded."""
        if self._popen.stdout is None:
            raise ValueError("this child was started with stdout=False")
        return self._popen.stdout

    @property
    def returncode(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._popen.poll()

    def stderr_tail(self) -> str:
        """Return the last lines of stderr, secrets replaced."""
        return redact("".join(self._tail), self._secrets)

    def last_words(self) -> str:
        """Return the last lines of stderr, secrets replaced, once they have all come: of a child that has ended."""
        self._drain.join(_STDERR_SECONDS)
        return self.stderr_tail()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write everything to the child's stdin.

        Raises:
            CommandError: the child closed its end; the message holds its own last words.
        """
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):
                with wait_point(self._end_soon):
                    done += self.stdin.write(view[done:])
                hear_cancellation()
        except (BrokenPipeError, ValueError) as error:
            raise self._failure("stopped reading its input") from error
        return done

    def read(self) -> bytes:
        """Return the next block of the child's output, of up to ``BLOCK`` bytes; b"" at its end.

        Most programs write 4 KiB at a time, and would wake this process for each: where little has come, it waits half
        a millisecond before it asks again. The end does not mean that the child succeeded.
        """
        if self._last_read_small:
            time.sleep(_PAUSE_SECONDS)
        with wait_point(self._end_soon):
            piece: bytes = self.stdout.read(BLOCK)
        hear_cancellation()
        self._last_read_small = 0 < len(piece) < _SMALL_READ
        return piece

    def copy_to(self, sink: ByteSink) -> int:
        """Copy the child's whole output into ``sink``, wait, and return the number of bytes.

        Raises:
            CommandError: the exit status was not 0.
        """
        total = 0
        while piece := self.read():
            sink.write(piece)
            total += len(piece)
        self.wait()
        return total

    def wait(self, timeout: float | None = None) -> None:
        """Close stdin, wait for the child to exit, and check that it succeeded.

        Raises:
            CommandError: the exit status was not 0, or ``timeout`` seconds passed.
            BaseException: whatever ``on_line`` raised.
        """
        self._end_input()
        try:
            with wait_point(self._end_soon):
                status = self._popen.wait(timeout)
            hear_cancellation()
        except subprocess.TimeoutExpired as error:
            raise self._failure(f"did not end within {timeout:g} s") from error
        self._end_group()
        self._drain.join(_STDERR_SECONDS)
        if self._line_error is not None:
            raise self._line_error
        if status != 0:
            raise self._failure(f"was ended by signal {-status}" if status < 0 else f"exited with status {status}")

    def end(self) -> None:
        """End the child and all it started, if anything still runs; what it wrote can still be read."""
        if self._popen.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._popen.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._popen.wait()
        self._end_group()

    def _end_input(self) -> None:
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._popen.stdin.close()

    def _end_soon(self) -> None:
        """Ask the child and all it started to end, and see to it in a while; from any thread, waiting for nothing."""
        if self._popen.returncode is None:
            self._signal(signal.SIGTERM)
            timer = threading.Timer(_GRACE_SECONDS, self.kill_now)
            timer.daemon = True
            timer.start()

    def kill_now(self) -> None:
        """Send SIGKILL to the child and all it started, and wait for nothing."""
        if self._popen.returncode is None:
            self._signal(signal.SIGKILL)

    def seconds_of_work(self) -> float:
        """Return how long processors have worked for the child and all in its group; 0 where nobody tells."""
        return seconds_of_work(self._popen.pid)

    def kill(self) -> None:
        """End the child and all it started, and close its streams. Harmless after its end."""
        self.end()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._drain.join(_GRACE_SECONDS / 3)
        _live_children.discard(self)

    def _end_group(self) -> None:
        # Once, and at once: when nothing is left of the group, its number may become somebody else's.
        if not self._group_ended:
            self._group_ended = True
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _drain_stderr(self) -> None:
        if self._popen.stderr is None:  # pragma: no cover - always a pipe, says the constructor
            return
        with self._popen.stderr as stream:
            pending = b""
            while chunk := stream.read(4096):
                *lines, pending = (pending + chunk)[-65536:].split(b"\n")
                for line in lines:
                    self._take_line(line, "\n")
            if pending:
                self._take_line(pending, "")

    def _take_line(self, line: bytes, end: str) -> None:
        text = line.decode("utf-8", "replace")
        self._tail.append(text + end)
        if self._on_line is not None and self._line_error is None:
            try:
                self._on_line(redact(text, self._secrets))
            except BaseException as error:  # noqa: BLE001 - kept for whoever waits; the pipe is drained on
                self._line_error = error

    def _failure(self, event: str) -> CommandError:
        self._popen.poll()
        if self._popen.returncode is None:
            # It closed a pipe but may not have exited yet: its last words explain more than our "broken pipe".
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_STDERR_SECONDS / 5)
        if self._popen.returncode is not None:
            self._drain.join(_STDERR_SECONDS)
        tail = self.stderr_tail().strip()
        error_text = f": {tail.splitlines()[-1].strip()}" if tail else ", and said nothing"
        return CommandError(
            f"{self.name} {event}{error_text}",
            argv=self.argv,
            returncode=self._popen.returncode,
            stderr_tail=tail,
        )


def _input(stdin: bool | HasFileno) -> int:
    if isinstance(stdin, bool):
        return subprocess.PIPE if stdin else subprocess.DEVNULL
    return stdin.fileno()


def _enlarge_pipe(pipe: IO[bytes]) -> None:
    import fcntl

    # Linux only; 64 KiB pipes cost a context switch per 64 KiB.
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, BLOCK)
