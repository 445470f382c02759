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
import re
import secrets as random
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, BinaryIO

from dumpty.errors import CommandError
from dumpty.process.child import BLOCK, Child
from dumpty.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty.types import Remote

__all__ = ["RemoteChild"]

# Two processes: one passes on what is to be read, counted, and then holds the connection; the other one runs the
# program. The first says that all has come before the program can see an end of it. Behind the bytes that are counted
# come so many spaces that a head which reads ahead takes none of the mark.
_SCRIPT = r"""
mark=$1 size=$2
shift 2
while :; do
    IFS= read -r line || exit 1
    case $line in
        .) break ;;
        +*) export "${line#+}" ;;
        -*) unset "${line#-}" ;;
    esac
done
printf '%s\n' "$mark"
own=
if command -v setsid >/dev/null 2>&1; then own=setsid; fi
feed() {
    if [ "$size" ]; then
        whole=
        head -c "$size"
        case $? in
            0) while [ -z "$whole" ] && IFS= read -r line; do case $line in *"$mark") whole=yes ;; esac; done ;;
            141) whole=yes ;;
        esac
        if [ "$whole" ]; then printf '%s whole\n' "$mark" >&2; fi
    fi
    exec >/dev/null 2>&1
    cat
    kill "$$"
}
end() {
    stop=yes
    if [ "$program" ]; then
        { kill -- "-$program" || kill "$program"; } 2>/dev/null
        { sleep 5; kill -9 -- "-$program" || kill -9 "$program"; } >/dev/null 2>&1 &
        killer=$!
    fi
}
run() {
    program= killer=
    trap end HUP INT TERM
    exec 4<&0 </dev/null
    if [ -z "$size" ]; then exec 4</dev/null; fi
    $own "$@" <&4 4<&- &
    program=$!
    exec 4<&- >/dev/null
    if [ "$stop" ]; then end; fi
    wait "$program" 2>/dev/null
    status=$?
    while kill -0 "$program" 2>/dev/null; do wait "$program" 2>/dev/null; status=$?; done
    if [ "$killer" ]; then kill "$killer" 2>/dev/null; fi
    kill -USR1 "$$"
    printf '%s ended %s\n' "$mark" "$status" >&2
}
job= stop= over=
trap over=yes USR1
trap 'stop=yes; if [ "$job" ] && [ -z "$over" ]; then kill "$job"; fi' HUP INT TERM
exec 3<&0 </dev/null
feed <&3 3<&- | run "$@" 3<&- &
job=$!
exec 3<&- >/dev/null
if [ "$stop" ]; then kill "$job"; fi
while :; do
    wait
    if [ "$?" -le 128 ]; then break; fi
done 2>/dev/null
exit 0
""".strip()
_AHEAD = 1 << 16
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
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
        self._is_past_noise = not stdout
        self._may_close, self._given_up = threading.Event(), threading.Event()
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_input)
            ahead = _preamble(os.path.basename(argv[0]), env or {})
            size = "" if self._input is None else str(self._input_size)
            command = remote.command(["sh", "-c", _SCRIPT, "dumpty", self._mark.decode(), size, *argv])
            super().__init__(
                command, env=remote.environment, secrets=secrets, stdin=True, stdout=stdout, on_line=on_line
            )
            stack.pop_all()
        self.argv = tuple(redact(a, secrets) for a in argv)
        self.name = os.path.basename(argv[0])
        self._feeder = threading.Thread(target=self._feed, args=(ahead,), name=f"{self.name}-stdin", daemon=True)
        self._feeder.start()

    def read(self) -> bytes:
        """Return the next block of the program's output, without what was written before it began; b"" at its end.

        The end does not mean that it succeeded.
        """
        piece = super().read()
        if self._is_past_noise:
            return piece
        before = b""
        while piece and len(before) < _NOISE:
            before += piece
            _, mark, rest = before.partition(self._mark + b"\n")
            if mark:
                self._is_past_noise = True
                return rest or super().read()
            piece = super().read()
        return b""

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

    def end(self) -> None:
        """End the program there, and what leads to it."""
        self._given_up.set()
        self._may_close.set()
        if self.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_GRACE_SECONDS)
        super().end()
        self._feeder.join()

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
            if self._status:
                self._given_up.set()
            self._may_close.set()

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
    return stream, os.fstat(stream.fileno()).st_size


def _preamble(program: str, env: Mapping[str, str | None]) -> bytes:
    """Return what goes ahead on standard input: a line for each variable that is set or removed, and one with a dot."""
    lines = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or (value is not None and ("\n" in value or "\0" in value)):
            raise CommandError(f"the variable {name} cannot be handed to {program} there: it has a line break")
        lines.append(f"-{name}\n" if value is None else f"+{name}={value}\n")
    return "".join((*lines, ".\n")).encode("utf-8", "surrogateescape")
