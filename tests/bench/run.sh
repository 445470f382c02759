#!/bin/sh
# Measures dumpty beside what people use now: sh tests/bench/run.sh --small | --full | --growth | --fixed | --bucket | --workers
# [--engine sqlite] [--json] [--chart FILE.svg]. Uses the environment of sh tests/run.sh, and installs the peers where it may; what is
# missing all the same is left out, and said to be.
set -eu
cd "$(dirname "$0")/../.."
missing=""
for program in pigz zstd mydumper; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    # shellcheck disable=SC2086 # package names are words
    DEBIAN_FRONTEND=noninteractive sh -c "apt-get -qq update && apt-get -qq install -y --no-install-recommends $missing" >/dev/null
fi
# Newer than this release's own, and with zstd; left out where it cannot be had. (Of mydumper nothing newer is in Debian.)
if newer=$(sh tests/bench/fetch_pg_dump.sh); then
    export PATH="$newer:$PATH"
fi
sh tests/run.sh --collect-only -q tests/test_url.py >/dev/null
python="${DUMPTY_TEST_VENV:-.venv-test}/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check 'django-dbbackup>=5,<6'
# As pip leaves an installed package: compiled. Where Python may not write bytecode, each start would compile it again.
unset PYTHONDONTWRITEBYTECODE
"$python" -m compileall -q core plugins
exec "$python" tests/bench/bench.py "$@"
