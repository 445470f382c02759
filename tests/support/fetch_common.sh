# What the scripts that fetch a server for the tests share; they read it with `.`, after they have defined say and give_up.
# shellcheck shell=sh

cache_directory() { # sets $cache to where fetched things are kept, and makes it
    if [ -n "${DUMPTY_TEST_CACHE:-}" ]; then
        cache=$DUMPTY_TEST_CACHE
    elif [ "$(id -u)" = 0 ]; then
        cache=/var/cache/dumpty-tests
    else
        cache=${XDG_CACHE_HOME:-$HOME/.cache}/dumpty-tests
    fi
    mkdir -p "$cache"
    cache=$(cd "$cache" && pwd)
}

one_at_a_time() { # NAME: waits for others who fetch NAME, then sets $work to a directory of its own, removed at the end
    command -v flock >/dev/null 2>&1 || give_up "it is fetched with flock, which is not here" "Install util-linux"
    exec 9>"$cache/.$1.lock"
    flock 9
    work=$(mktemp -d "$cache/.$1-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# -- apt with lists and a status of its own: nothing of this machine is changed --------------------------------------------

require_apt() {
    for command in apt-get apt-cache dpkg-deb; do
        command -v "$command" >/dev/null 2>&1 || give_up "it is fetched with $command, which is not here" "Run the tests on Debian"
    done
}

suites() { # prints lines of MIRROR SUITE: those of this machine's own release, its updates and its security updates
    release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-sid}")
    if [ -n "${DUMPTY_TEST_MIRROR:-}" ]; then
        printf '%s\n' "$DUMPTY_TEST_MIRROR $release" "$DUMPTY_TEST_MIRROR $release-updates"
        return
    fi
    apt-get --print-uris update 2>/dev/null |
        sed -n "s/^'\(.*\)\/dists\/\(\($release\|oldstable\|stable\|testing\|unstable\|sid\)\(-[a-z-]*\)\{0,1\}\)\/InRelease' .*/\1 \2/p" |
        sort -u
}

own_apt() { # writes what apt is to go by into $work, but for $work/sources.list; sets $signed, for its lines
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    signed=""
    [ ! -r "$keyring" ] || signed="[signed-by=$keyring] "
    suites >"$work/suites"
    [ -s "$work/suites" ] || give_up "apt's sources on this machine name no Debian mirror" "Set DUMPTY_TEST_MIRROR to the URL of one"
    mkdir -p "$work/none" "$work/state/lists/partial" "$work/cache/archives/partial"
    : >"$work/status"
    # Read after the machine's own settings, which stay: a proxy, certificates, limits. What they would run afterwards
    # does not.
    cat >"$work/apt.conf" <<EOF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/none";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$work/none";
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::State::extended_states "$work/extended_states";
Dir::Cache "$work/cache";
Dir::Log "$work";
APT::Sandbox::User "$(id -un)";
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
EOF
}

look_into_unstable() { # KIND (deb or deb-src): has apt look into Debian's unstable distribution, on all of the mirrors
    while read -r mirror suite; do
        [ "${suite%-*}" != "$suite" ] || printf '%s %s%s sid main\n' "$1" "$signed" "$mirror"
    done <"$work/suites" | sort -u >"$work/sources.list"
    [ -s "$work/sources.list" ] || give_up "apt's sources on this machine name no Debian mirror" "Set DUMPTY_TEST_MIRROR to the URL of one"
}

apt() { # VERB …: what it says goes to $work/log
    (cd "$work" && apt-get -c "$work/apt.conf" -qq -o Debug::NoLocking=1 "$@" >>"$work/log" 2>&1)
}

apt_errors() { # prints the last that apt complained of; what update could not reach is a warning to it
    grep '^[EW]:' "$work/log" | tail -n 4 | tr '\n' ' '
}
