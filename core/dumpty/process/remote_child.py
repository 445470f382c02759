"""Child processes on another machine, or in a container: there a way leads, and its own program is run here.

What is run there is a shell's script, that tells on standard error how the program ended: the status of a program on
the way says nothing certain of it, for some end with 0 where the connection is lost. Variables go ahead on standard
input, so that no secret is on a command line, here or there. And where its input ends, because this process is gone,
too, what runs there is ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets as random
import signal
import subprocess
from typing import TYPE_CHECKING

from dumpty.errors import CommandError
from dumpty.process.child import Child
from dumpty.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dumpty.types import Remote

__all__ = ["RemoteChild"]

_SCRIPT = r"""
mark=$1; reads=$2; shift 2
while :; do
    IFS= read -r line || exit 1
    case $line in
        .) break ;;
        +*) export "${line#+}" ;;
        -*) unset "${line#-}" ;;
    esac
done
exec 3<&0 </dev/null
if [ "$reads" ]; then
    "$@" <&3 3<&- &
    program=$!
    watch=
else
    "$@" </dev/null 3<&- &
    program=$!
    { while read -r nothing; do :; done; kill "$program"; sleep 5; kill -9 "$program"; } <&3 3<&- >/dev/null 2>&1 &
    watch=$!
fi
exec 3<&- >/dev/null
trap 'kill "$program"' HUP INT TERM
wait "$program"
status=$?
while kill -0 "$program"; do wait "$program"; status=$?; done 2>/dev/null
if [ "$watch" ]; then { kill "$watch"; wait "$watch"; } 2>/dev/null; fi
printf '%s %s\n' "$mark" "$status" >&2
exit "$status"
""".strip()
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNALLED = 128
_GRACE_SECONDS = 1.5


class RemoteChild(Child):
    """A child process where a way leads to; like ``Child``, but for this.

    Its environment is the one that programs have there, and ``env`` are changes to that. It may take the end of its
    input for the end of all that there is to read, also where this process was killed, or the connection lost: what it
    reads has to tell its own end. One that reads nothing is ended then.

    ``wait`` tells how the program ended, by the script that ran it there; where that says nothing, the way broke.
    ``argv`` and ``name`` are the program's.

    Raises:
        CommandError: the program that begins the way is missing, or a variable cannot be handed over.
    """

    def __init__(
        self,
        remote: Remote,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        secrets: Sequence[str] = (),
        stdin: bool = False,
        stdout: bool = True,
        on_line: Callable[[str], object] | None = None,
    ) -> None:
        self._remote = remote
        self._reads = stdin
        self._mark = random.token_hex(16)
        self._status: int | None = None
        ahead = _preamble(os.path.basename(argv[0]), env or {})
        command = remote.command(["sh", "-c", _SCRIPT, "dumpty", self._mark, "yes" if stdin else "", *argv])
        super().__init__(command, env=remote.environment, secrets=secrets, stdin=True, stdout=stdout, on_line=on_line)
        self.argv = tuple(redact(a, secrets) for a in argv)
        self.name = os.path.basename(argv[0])
        try:
            self.write(ahead)
        except BaseException:
            self.kill()
            raise

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the program there to end, and check that it succeeded.

        Raises:
            CommandError: its exit status was not 0, nobody told it, or ``timeout`` seconds passed.
            BaseException: whatever ``on_line`` raised.
        """
        super().wait(timeout)
        if self._status != 0:
            raise self._failure("ended in an unknown way")

    def end(self) -> None:
        """End the program there, and what leads to it."""
        if self.returncode is None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_GRACE_SECONDS)
        super().end()

    def _end_input(self) -> None:
        if self._reads:
            super()._end_input()  # else its end would end what runs there

    def _take_line(self, line: bytes, end: str) -> None:
        before, mark, status = line.partition(self._mark.encode())
        if mark and status.strip().isdigit():
            self._status = int(status)
            line, end = before, ""
        if line or not mark:
            super()._take_line(line, end)

    def _failure(self, event: str) -> CommandError:
        error = super()._failure(event)
        if self.returncode is None:  # it runs yet, and is given up
            return error
        where, status = f"{self.name}, run by {self._remote.shown},", self.returncode
        if self._status is None:
            self._remote.lost(error.stderr_tail)
            text = f"{where} was not seen to end: the way there broke"
        elif self._status == 0:
            self._remote.lost(error.stderr_tail)
            text = f"{where} ended well, but not the way there, which {event}"
        elif self._status - _SIGNALLED in _SIGNALS:
            status = _SIGNALLED - self._status
            text = f"{where} was ended by signal {-status}"
        else:
            status = self._status
            text = f"{where} exited with status {status}"
        said = f": {error.stderr_tail.splitlines()[-1].strip()}" if error.stderr_tail else ", and said nothing"
        return CommandError(text + said, argv=self.argv, returncode=status, stderr_tail=error.stderr_tail)


_SIGNALS = {number.value for number in signal.Signals}


def _preamble(program: str, env: Mapping[str, str | None]) -> bytes:
    """Return what goes ahead on standard input: a line for each variable that is set or removed, and one with a dot."""
    lines = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or (value is not None and ("\n" in value or "\0" in value)):
            raise CommandError(f"the variable {name} cannot be handed to {program} there: it has a line break")
        lines.append(f"-{name}\n" if value is None else f"+{name}={value}\n")
    return "".join((*lines, ".\n")).encode("utf-8", "surrogateescape")
