#!/bin/sh
# Prints a directory with pg_dump-18, the pg_dump of PostgreSQL 18 with all its compressors, and fetches it first where it is
# not there yet: from Debian's unstable distribution, by the mirror that this machine's apt uses already. It is unpacked with
# all the libraries that it needs, down to the C library and its loader: nothing is installed, nothing of this machine is
# changed.
#
#   DUMPTY_TEST_CACHE, DUMPTY_TEST_MIRROR   as for tests/support/fetch_mysql.sh
set -eu
umask 022

say() { printf 'fetch_pg_dump.sh: %s\n' "$*" >&2; }
give_up() {
    say "no pg_dump 18: $1"
    say "$2"
    exit 1
}

. "$(dirname "$0")/../support/fetch_common.sh"

cache_directory
place=$cache/pg_dump-18-$(uname -m)
found() { [ -d "$place" ] && printf '%s\n' "$place/bin"; }
if found; then exit 0; fi

require_apt
one_at_a_time pg_dump-18
if found; then exit 0; fi # whoever had it before has fetched it

own_apt
look_into_unstable deb
root=$work/whole/unpacked
mkdir -p "$root" "$work/whole/bin"
say "fetching it into $place, once"
for verb in update "install --yes --download-only postgresql-client-18"; do
    # shellcheck disable=SC2086 # the verb, its options and a package
    apt $verb || give_up "apt-get ${verb%% *} failed: $(apt_errors)" "See whether apt-get update works here"
done
for package in "$work"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$root" || give_up "$package cannot be unpacked" "Look at the room on that disk"
done

# It runs by its own loader with its own libraries.
libraries=$(cd "$root" && find usr/lib -name 'libpq.so*' -printf '%h\n' | sort -u)
loader=$(cd "$root" && find . -name 'ld-linux-*.so.*' | head -n 1)
cat >"$work/whole/bin/pg_dump-18" <<EOF
#!/bin/sh
unpacked=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")/unpacked
program=\$unpacked/usr/lib/postgresql/18/bin/pg_dump
exec "\$unpacked/$loader" --argv0 "\$program" --library-path "\$unpacked/$libraries" "\$program" "\$@"
EOF
chmod 755 "$work/whole" "$work/whole/bin/pg_dump-18"
"$work/whole/bin/pg_dump-18" --version >"$work/log" 2>&1 || give_up "what was fetched does not run: $(tail -n 3 "$work/log")" "Look at the message"
rm -rf "$place"
mv -T "$work/whole" "$place"
found
