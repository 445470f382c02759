"""Child processes on another machine, or in a container: there a way leads, and its own program is run here.

What is run there is a shell's script. It tells on standard error how the program ended, and whether all that it was to
read had come: the status of a program on the way says nothing certain of either, for some end with 0 where the
connection is lost. Variables go ahead on standard input, so that no secret is on a command line, here or there. That
input stays open until the program has ended, and where it ends before, because this process is gone, the script ends
the program.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets as random
import signal
import stat
import subprocess
import threading
from typing import TYPE_CHECKING, BinaryIO

from dumpty.errors import CommandError
from dumpty.process.child import BLOCK, Child
from dumpty.process.remote_script import SCRIPT, preamble
from dumpty.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty.types import Remote

__all__ = ["RemoteChild"]

_AHEAD = 1 << 16
"""Spaces behind what is counted, so that a head which reads ahead takes none of the mark."""
_SIGNALLED = 128
_SIGNALS = {number.value for number in signal.Signals}
_GRACE_SECONDS = 1.5
_NOISE = 1 << 20
"""Bytes that may come before the program's own output: what a shell there says to whoever logs in."""


class RemoteChild(Child):
    """A child process where a way leads; like ``Child``, but for this.

    Its environment is the one that programs have there, and ``env`` are changes to that. ``stdin`` is all that it
    reads, bytes or the path of a file; without any it reads nothing. Where this process is killed, or the way breaks,
    it is ended there, as soon as the connection's end is seen.

    ``wait`` tells how the program ended, by what the script there says that ran it; where that says nothing, or not
    that all had come that was to be read, the way broke. A program that ends well before it has read all ended well.
    ``argv`` and ``name`` are the program's.

    Raises:
        CommandError: the program that begins the way is missing, or a variable cannot be handed over.
        OSError: the file cannot be opened.
    """

    def __init__(
        self,
        remote: Remote,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Sequence[str] = (),
        stdin: str | os.PathLike[str] | bytes | None = None,
        stdout: bool = True,
        on_line: Callable[[str], object] | None = None,
    ) -> None:
        self._remote = remote
        self._mark = random.token_hex(16).encode()
        self._status: int | None = None
        self._input, self._input_size = _opened(stdin)
        self._is_whole = self._input is None
        self._input_error: OSError | None = None
        self._is_past_noise = self._has_output = not stdout
        self._held = b""
        self._saw_end = False
        self._may_close, self._given_up = threading.Event(), threading.Event()
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_input)
            ahead = preamble(os.path.basename(argv[0]), env or {})
            size = "" if self._input is None else str(self._input_size)
            command = remote.command(["sh", "-c", SCRIPT, "dumpty", self._mark.decode(), size, *argv])
            super().__init__(
                command, env=remote.environment, secrets=secrets, stdin=True, stdout=stdout, on_line=on_line
            )
            stack.callback(self.kill_now)
            self.argv = tuple(redact(a, secrets) for a in argv)
            self.name = os.path.basename(argv[0])
            self._feeder = threading.Thread(target=self._feed, args=(ahead,), name=f"{self.name}-stdin", daemon=True)
            self._feeder.start()
            stack.pop_all()

    def read(self) -> bytes:
        """Return the next block of the program's output, without what was written before it began; b"" at its end.

        The end does not mean that it succeeded.
        """
        if not self._is_past_noise and not self._pass_noise():
            self._saw_end = True
        while not self._saw_end:
            piece = super().read()
            known, self._held = self._held + piece, b""
            if not piece:
                self._saw_end = True
                ended = known.removesuffix(b"\n" + self._mark + b"\n")
                self._has_output = ended != known
                return ended
            kept = len(known) - len(self._mark) - 2  # which may be the mark of its end
            if kept > 0:
                self._held = known[kept:]
                return known[:kept]
            self._held = known
        return b""

    def _pass_noise(self) -> bool:
        """Read up to where the program's output begins; False where it does not."""
        before = b""
        while len(before) < _NOISE:
            piece = super().read()
            if not piece:
                return False
            before += piece
            _, mark, rest = before.partition(self._mark + b"\n")
            if mark:
                self._is_past_noise, self._held = True, rest
                return True
        self.end()
        return False

    def require_output(self) -> None:
        """Check that output which was read to its end was all of it.

        Raises:
            CommandError: the way broke before all had come.
        """
        if self._saw_end and not self._has_output:
            raise self._failure("ended")

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the program there to end, and check that it succeeded.

        Raises:
            CommandError: its exit status was not 0, nobody told it, its input did not all come, or ``timeout`` seconds
                passed.
            OSError: the file that it was to read cannot be read.
            BaseException: whatever ``on_line`` raised.
        """
        try:
            super().wait(timeout)
        except CommandError:
            if self._input_error is not None:
                raise self._input_error from None
            raise
        if self._input_error is not None:
            raise self._input_error
        if self._status != 0 or not self._is_whole:
            raise self._failure("ended")
        self.require_output()

    def end(self) -> None:
        """End the program there, and what leads to it."""
        self._given_up.set()
        self._may_close.set()
        if self.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_GRACE_SECONDS)
        super().end()
        self._feeder.join(_GRACE_SECONDS)

    def seconds_of_work(self) -> float:
        """Return 0: what works for it does so elsewhere."""
        return 0.0

    def _feed(self, ahead: bytes) -> None:
        """Write what goes ahead and what is read, then hold the connection until the program has ended."""
        with contextlib.suppress(BrokenPipeError):
            try:
                self._write_all(ahead)
                if self._input is not None:
                    self._send(self._input)
            except OSError as error:
                if isinstance(error, BrokenPipeError):
                    raise
                self._input_error = error
                self._may_close.set()
            self._may_close.wait()
        self._close_input()
        with contextlib.suppress(OSError):
            self.stdin.close()

    def _send(self, stream: BinaryIO) -> None:
        left = self._input_size
        while left:
            piece = stream.read(min(BLOCK, left))
            if not piece:
                raise OSError(f"what {self.name} was to read became shorter while it was sent")
            if self._given_up.is_set():
                return
            self._write_all(piece)
            left -= len(piece)
        self._write_all(b" " * _AHEAD + b"\n" + self._mark + b"\n")

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.stdin.write(view) :]

    def _close_input(self) -> None:
        if self._input is not None:
            self._input.close()

    def _end_input(self) -> None:
        """Do nothing: its end would end what runs there."""

    def _take_line(self, line: bytes, end: str) -> None:
        before, mark, word = line.partition(self._mark)
        if not mark:
            super()._take_line(line, end)
            return
        if before:  # its last line, that has no end
            super()._take_line(before, "\n")
        if word == b" whole":
            self._is_whole = True
        elif (told := word.removeprefix(b" ended ")).isdigit():
            self._status = int(told[:3])
            self._may_close.set()
        if self._status is not None and (self._status or self._is_whole):
            self._given_up.set()  # what it has not read yet, it needs no more

    def _failure(self, event: str) -> CommandError:
        error = super()._failure(event)
        if self.returncode is None:  # it runs yet, and is given up
            return error
        where, status = f"{self.name}, run by {self._remote.shown},", self._status
        if status is None:
            text = f"{where} was not seen to end: the way there broke"
        elif status and status - _SIGNALLED in _SIGNALS:
            status = _SIGNALLED - status
            text = f"{where} was ended by signal {-status}"
        elif status:
            text = f"{where} exited with status {status}"
        elif not self._is_whole:
            text, status = f"{where} ended before all had come that it was to read: the way there broke", None
        elif self._saw_end and not self._has_output:
            text, status = f"{where} ended well, but not all that it wrote came: the way there broke", None
        else:
            text, status = f"{where} ended well, but not the way there, which {event}", None
        if status is None:
            self._remote.lost(error.stderr_tail)
        said = f": {error.stderr_tail.splitlines()[-1].strip()}" if error.stderr_tail else ", and said nothing"
        return CommandError(text + said, argv=self.argv, returncode=status, stderr_tail=error.stderr_tail)


def _opened(stdin: str | os.PathLike[str] | bytes | None) -> tuple[BinaryIO | None, int]:
    """Return what is to be read, and its size in bytes."""
    if stdin is None:
        return None, 0
    if isinstance(stdin, bytes):
        return io.BytesIO(stdin), len(stdin)
    stream = open(stdin, "rb")  # noqa: SIM115 - closed with the child
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        stream.close()
        raise OSError(f"{os.fspath(stdin)} is no file that could be sent")
    return stream, found.st_size
