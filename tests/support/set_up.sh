#!/bin/sh
# Sets up what the tests need, into the virtual environment $1: tests/run.sh calls this.
#
# Needs Python 3.11 or newer. Installs the PostgreSQL, MariaDB, Redis and SSH servers and clients, Prometheus, Chromium,
# and systemd (for its program that checks units), with apt-get where they are missing and it may; where it may not, it says
# which command does. A MySQL server is unpacked into a cache directory, once: see tests/support/fetch_mysql.sh. So is Azurite, from
# npm: see tests/support/fetch_azurite.sh. PostgreSQL's regression suite is compiled there, of Debian's source package: see
# tests/support/fetch_postgres_regress.sh.
set -eu
cd "$(dirname "$0")/../.."
venv=$1

say() { printf 'tests/run.sh: %s\n' "$*" >&2; }

# -- what Debian packages ---------------------------------------------------------------------------------------------
missing=""
need() { # PACKAGE, then a command that is true where it is installed
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1"; }
has_postgres() { ls /usr/lib/postgresql/*/bin/initdb && has pg_dump; }
has_mariadb() { has mariadbd || has mysqld; }
has_mariadb_client() { has mariadb-dump && has mariadb; }
has_sshd() { has sshd && ls /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server | grep -q .; }

need postgresql has_postgres
need pgbouncer has pgbouncer
need mariadb-server has_mariadb
need mariadb-client has_mariadb_client
need sqlite3 has sqlite3
need redis-server has redis-server
need redis-tools has redis-cli
need openssh-server has_sshd
need openssh-client has ssh-keygen
need socat has socat
need busybox has busybox # a shell of its own, that many containers have
need netcat-openbsd has nc.openbsd
need gzip has gzip
need jq has jq
need openssl has openssl
need age has age
need xz-utils has xz
need procps has ps
need systemd has systemd-analyze
need prometheus has promtool
need gcc has gcc # compiles what PostgreSQL's regression suite has in C
need libc6-dev test -e /usr/include/stdlib.h
need bzip2 has bzip2 # what its source is packed with
need chromium has chromium # looks at the page

# $PYTHON, where it is set. Else Debian's own, where it makes environments: it is compiled with a profile of what programs
# do, which one that was compiled on this machine is often not, and then pure Python takes a third longer. Else the newest.
python=""
can_make_environments='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
if [ -z "${PYTHON:-}" ] && /usr/bin/python3 -c "$can_make_environments" 2>/dev/null; then
    python=/usr/bin/python3
else
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    missing="$missing python3 python3-venv"
    python=python3
else
    need python3-venv "$python" -c 'import venv, ensurepip'
fi

if [ -n "$missing" ]; then
    command="apt-get update && apt-get install -y --no-install-recommends$missing"
    if ! command -v apt-get >/dev/null 2>&1; then
        say "missing, and there is no apt-get here; install what corresponds to:$missing"
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        say "missing:$missing. As root, run: $command"
        exit 1
    fi
    say "installing$missing"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
    # shellcheck disable=SC2086 # package names are words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi

# -- what PyPI has ------------------------------------------------------------------------------------------------------
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'

# -- what no registry of this release has ---------------------------------------------------------------------------------
sh tests/support/fetch_mysql.sh >/dev/null

# -- what Debian has as source alone ------------------------------------------------------------------------------------
sh tests/support/fetch_postgres_regress.sh "$venv/bin/python" >/dev/null

# -- what npm has ----------------------------------------------------------------------------------------------------------
sh tests/support/fetch_azurite.sh "$venv/bin/python" >/dev/null
