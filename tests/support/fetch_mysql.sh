#!/bin/sh
# Prints the path of a MySQL server's program, and fetches it first where it is not there yet: Debian 12 and 13 have
# MariaDB alone. It comes from Debian's unstable distribution, by the mirror that this machine's apt uses already, and is
# unpacked into a directory with all the libraries that it needs, down to the C library and its loader: nothing is
# installed, nothing of this machine is changed. About 63 MB, once.
#
#   DUMPTY_TEST_MYSQLD   the mysqld (9.0 or newer) of your own to use instead; nothing is fetched then
#   DUMPTY_TEST_CACHE    where it is kept; default: /var/cache/dumpty-tests as root, for the server gives root up and must
#                        reach it still, else $XDG_CACHE_HOME/dumpty-tests or ~/.cache/dumpty-tests. Remove it to fetch anew
#   DUMPTY_TEST_MIRROR   the URL of the Debian mirror; default: the one in this machine's apt sources
set -eu
umask 022

say() { printf 'fetch_mysql.sh: %s\n' "$*" >&2; }
give_up() {
    say "no MySQL server for the tests: $1"
    say "$2, or set DUMPTY_TEST_MYSQLD to the path of a mysqld (9.0 or newer) of your own, or copy $place from a machine where this worked"
    exit 1
}

. "$(dirname "$0")/fetch_common.sh"

if [ -n "${DUMPTY_TEST_MYSQLD:-}" ]; then
    place=${DUMPTY_TEST_CACHE:-the cache directory}
    [ -x "$DUMPTY_TEST_MYSQLD" ] || give_up "DUMPTY_TEST_MYSQLD=$DUMPTY_TEST_MYSQLD is no program" "Correct it"
    printf '%s\n' "$DUMPTY_TEST_MYSQLD"
    exit 0
fi

cache_directory
place=$cache/mysql-$(uname -m)
program=$place/bin/mysqld

found() { [ -x "$program" ] && printf '%s\n' "$program"; }
if found; then exit 0; fi

require_apt
one_at_a_time mysql
if found; then exit 0; fi # whoever had it before has fetched it

own_apt
look_into_unstable deb
mkdir "$work/unpacked"
fetch() { # VERB …
    apt "$@" || give_up "apt-get $1 failed: $(apt_errors)" "See whether apt-get update works here"
}
say "fetching a MySQL server into $place, once"
fetch update
fetch install --yes --download-only mysql-server-core mysql-client-core

# -- unpacked, not installed ---------------------------------------------------------------------------------------------
root=$work/unpacked
for package in "$work"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$root" || give_up "$package cannot be unpacked" "Look at the room on that disk"
done
for name in bin sbin lib lib64; do
    [ -e "$root/$name" ] || ln -s "usr/$name" "$root/$name"
done
mkdir "$root/programs"
mv "$root/usr/sbin/mysqld" "$root/usr/bin/mysql" "$root/usr/bin/mysqldump" "$root/programs/"
rm -rf "$root/etc" "$root/usr/bin" "$root/usr/sbin" "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" \
    "$root"/usr/share/perl* "$root"/usr/lib/*/perl* "$root"/usr/lib/*/libperl*

# Each runs by its own loader with its own libraries. Its directories are said last, for --no-defaults has to be first.
mkdir "$work/bin"
wrap() { # NAME OPTION…
    name=$1
    shift
    cat >"$work/bin/$name" <<EOF
#!/bin/sh
place=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
for loader in "\$place"/unpacked/lib64/ld-linux-*.so.* "\$place"/unpacked/lib/ld-linux-*.so.*; do
    [ ! -x "\$loader" ] || break
done
libraries=\$(echo "\$place"/unpacked/usr/lib/*-linux-gnu*)
exec "\$loader" --argv0 "\$place/unpacked/programs/$name" --library-path "\$libraries" \\
    "\$place/unpacked/programs/$name" "\$@" $*
EOF
    chmod 755 "$work/bin/$name"
}
wrap mysqld '"--basedir=$place/unpacked/usr"' '"--lc-messages-dir=$place/unpacked/usr/share/mysql"' \
    '"--character-sets-dir=$place/unpacked/usr/share/mysql/charsets"' '"--plugin-dir=$place/unpacked/usr/lib/mysql/plugin"'
wrap mysql
wrap mysqldump

"$work/bin/mysqld" --no-defaults --version >"$work/log" 2>&1 || give_up "what was fetched does not run: $(tail -n 3 "$work/log")" "Look at the message"
rm -rf "$place" # of an attempt that this one replaces
mkdir "$work/whole"
mv "$work/bin" "$work/unpacked" "$work/whole/"
chmod 755 "$work/whole"
mv -T "$work/whole" "$place"
found
