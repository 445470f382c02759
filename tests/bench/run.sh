#!/bin/sh
# Measures dumpty beside what people use now: sh tests/bench/run.sh --small | --full [--engine sqlite] [--json].
# Uses the environment of sh tests/run.sh, and says which peers are missing (apt-get install pigz zstd mydumper).
set -eu
cd "$(dirname "$0")/../.."
sh tests/run.sh --collect-only -q tests/test_readme.py >/dev/null
exec "${DUMPTY_TEST_VENV:-.venv-test}/bin/python" tests/bench/bench.py "$@"
