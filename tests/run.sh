#!/bin/sh
# Sets up what the tests need and runs them all; arguments go to pytest (sh tests/run.sh tests/streaming -k name).
#
# The set-up (tests/support/set_up.sh) makes a virtual environment of its own (.venv-test, or $DUMPTY_TEST_VENV) and
# installs what is missing. With --fast, before all other arguments, it is left out where nothing that it reads has
# changed since it was last done: sh tests/run.sh --fast tests/test_url.py begins within a second.
set -eu
cd "$(dirname "$0")/.."

fast=""
if [ "${1:-}" = --fast ]; then
    fast=yes
    shift
fi

venv=${DUMPTY_TEST_VENV:-.venv-test}
done_for=$venv/set-up-for
state=$(pwd; cksum pyproject.toml tests/support/set_up.sh tests/support/fetch_*.sh)
if [ -z "$fast" ] || [ "$(cat "$done_for" 2>/dev/null)" != "$state" ]; then
    rm -f "$done_for"
    sh tests/support/set_up.sh "$venv"
    printf '%s\n' "$state" >"$done_for"
fi

# As on a machine where dumpty is installed: compiled once. Where Python may not write bytecode, each of the programs
# that the tests start would compile dumpty again, which takes four times as long as what it does, and each of the
# suite's processes would rewrite the assertions of every test again.
unset PYTHONDONTWRITEBYTECODE

# The whole suite runs in three processes, which two cores keep at work, for each often waits for a server or a child;
# what is asked for by its path in one, where a debugger works.
side_by_side="--numprocesses=3"
for argument in "$@"; do
    [ ! -e "${argument%%::*}" ] || side_by_side=""
done

# shellcheck disable=SC2086 # no word, or one
exec "$venv/bin/python" -m pytest $side_by_side "$@"
