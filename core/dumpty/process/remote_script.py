"""The script that runs a program where a way leads: in the shell that is there, with what every system has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dumpty.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCRIPT", "preamble"]

# Two processes: one passes on what is to be read, counted, and then holds the connection; the other one runs the
# program. The first says that all has come before the program can see an end of it. A third one
# ends the program where it cannot say that it is alive: where a program does not read what has come, nobody sees
# whether more does.
SCRIPT = r"""
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
        head -c "$size" 2>/dev/null
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
beat() {
    trap '' PIPE
    trap - HUP INT TERM
    while sleep 15 2>/dev/null; do printf '%s beat\n' "$mark" >&2 || break; done
    kill "$$"
}
stop_it() {
    stop=yes
    if [ "$program" ]; then
        { kill -s TERM -- "-$program" || kill "$program"; } 2>/dev/null
        { sleep 5; kill -s KILL -- "-$program" || kill -9 "$program"; } >/dev/null 2>&1 &
        killer=$!
    fi
}
run() {
    program= killer=
    trap stop_it HUP INT TERM
    exec 4<&0 </dev/null
    if [ -z "$size" ]; then exec 4</dev/null; fi
    $own "$@" <&4 4<&- &
    program=$!
    exec 4<&-
    beat >/dev/null &
    beating=$!
    if [ "$stop" ]; then stop_it; fi
    wait "$program" 2>/dev/null
    status=$?
    while kill -0 "$program" 2>/dev/null; do wait "$program" 2>/dev/null; status=$?; done
    { kill -9 "$beating"; wait "$beating"; } 2>/dev/null
    if [ "$stop" ]; then
        { kill -s KILL -- "-$program"; kill "$killer"; } 2>/dev/null
        if [ "$status" = 0 ]; then status=143; fi
    fi
    kill -USR1 "$$"
    trap '' PIPE
    printf '\n%s\n' "$mark"
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
"""Its arguments: a mark, the size of what is read in bytes or nothing, and the program with its arguments."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def preamble(program: str, env: Mapping[str, str | None]) -> bytes:
    """Return what goes ahead on standard input: a line for each variable that is set or removed, and one with a dot."""
    lines = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or (value is not None and ("\n" in value or "\0" in value)):
            raise CommandError(f"the variable {name} cannot be handed to {program} there: it has a line break")
        lines.append(f"-{name}\n" if value is None else f"+{name}={value}\n")
    return "".join((*lines, ".\n")).encode("utf-8", "surrogateescape")
