"""A command that connects its standard input and output to a server, with what is there to do that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty.types import Endpoint

__all__ = ["relay_command"]

# Each ends when the server does. Where the client has said all, that is passed on, and what the server still says is
# awaited; bash cannot say so, so there the server gets five seconds.
_PYTHON = r"""
import os, socket, sys, threading
try:
    if sys.argv[1] == "unix":
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[2])
    else:
        s = socket.create_connection((sys.argv[2], int(sys.argv[3])), 10)
    s.settimeout(None)
except Exception as error:
    sys.exit("cannot connect to %s: %s" % (":".join(sys.argv[2:]), error))
def send():
    try:
        while True:
            piece = os.read(0, 65536)
            if not piece:
                break
            s.sendall(piece)
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
thread = threading.Thread(target=send)
thread.daemon = True
thread.start()
try:
    while True:
        piece = s.recv(65536)
        if not piece:
            break
        while piece:
            piece = piece[os.write(1, piece):]
except OSError:
    pass
os._exit(0)
"""
_PERL = r"""
use strict; use Socket;
my ($kind, @where) = @ARGV; my ($s, $why);
if ($kind eq "unix") {
    socket($s, PF_UNIX, SOCK_STREAM, 0) and connect($s, sockaddr_un($where[0])) or $why = "$!";
} else {
    my ($error, @found) = Socket::getaddrinfo($where[0], $where[1], { socktype => SOCK_STREAM });
    $why = "$error" || "it has no address";
    for my $f (@found) {
        if (socket($s, $f->{family}, $f->{socktype}, $f->{protocol}) and connect($s, $f->{addr})) { $why = ""; last }
        $why = "$!";
    }
}
die "cannot connect to " . join(":", @where) . ": $why\n" if $why;
$SIG{PIPE} = "IGNORE";
sub copy {
    my ($from, $to) = @_; my $piece;
    while (my $got = sysread($from, $piece, 65536)) {
        my $done = 0;
        while ($done < $got) { my $n = syswrite($to, $piece, $got - $done, $done); return if !defined $n; $done += $n }
    }
}
my $sender = fork();
die "cannot fork: $!\n" unless defined $sender;
if (!$sender) { copy(\*STDIN, $s); shutdown($s, 1); require POSIX; POSIX::_exit(0) }
copy($s, \*STDOUT);
kill "KILL", $sender;
"""
_BASH = r"""
exec 4<&0 3<>"/dev/tcp/$2/$3" || exit 1
cat <&3 3<&- 4<&- &
reader=$!
{ cat <&4 >&3; sleep 5; kill "$reader"; } >/dev/null 2>&1 &
exec 3<&- 4<&- </dev/null >/dev/null
wait "$reader"
kill "$!" 2>/dev/null
exit 0
"""
_SCRIPT = r"""
python=$1; perl=$2; bash=$3; kind=$4; shift 4
if [ "$kind" = unix ]; then
    found=
    for path do if [ -z "$found" ] && [ -S "$path" ]; then found=$path; fi; done
    if [ -z "$found" ]; then echo "there is no socket $*, or it is not for this user" >&2; exit 1; fi
    set -- "$found"
fi
has() { command -v "$1" >/dev/null 2>&1; }
# Isolated: what lies in its directory, or is said by its environment, is no module of it.
if has python3 && python3 -I -c 'import socket, threading' 2>/dev/null; then
    exec python3 -I -c "$python" "$kind" "$@"
fi
if has perl; then exec perl -e "$perl" "$kind" "$@"; fi
plain=yes
case "$*" in *[,:\!]*) if [ "$kind" = unix ]; then plain=; fi ;; esac
if has socat && [ "$plain" ]; then
    if [ "$kind" = unix ]; then exec socat -t 86400 - "UNIX-CONNECT:$1"; fi
    case "$1" in *:*) exec socat -t 86400 - "TCP:[$1]:$2" ;; *) exec socat -t 86400 - "TCP:$1:$2" ;; esac
fi
if has nc; then
    said=
    help=$(nc -h 2>&1 </dev/null; nc --help 2>&1 </dev/null)
    case "$help" in
        *BusyBox*|*Ncat*) half=ok ;;
        *"-N"*) half=-N ;;
        *) half= ;;
    esac
    case "$half$kind" in
        -Nunix) nc -N -U "$1" && exit 0; said=yes ;;
        -Ntcp) nc -N "$1" "$2" && exit 0; said=yes ;;
        oktcp) nc "$1" "$2" && exit 0; said=yes ;;
        okunix) case "$help" in *Ncat*) nc -U "$1" && exit 0; said=yes ;; esac ;;
    esac
    # Not all of them say why.
    if [ "$said" ]; then echo "nc does not connect to $*, or lost it" >&2; exit 1; fi
fi
if [ "$kind" = tcp ] && has bash && has cat; then exec bash -c "$bash" bash "$kind" "$@"; fi
echo "nothing there connects to a server: install python3, perl, socat or netcat-openbsd there" >&2
exit 1
"""


def relay_command(endpoint: Endpoint) -> list[str]:
    """Return the command that connects its standard input and output to ``endpoint``, by what a system has for that.

    It needs ``sh``, and one of python3, perl, socat, nc (OpenBSD's, Nmap's or BusyBox's), or for TCP bash. Where there
    is none, or nobody listens, it says so on its standard error, and ends with status 1::

        def dial(self, endpoint):
            return self.command(relay_command(endpoint))
    """
    where = ("unix", *endpoint.sockets) if endpoint.sockets else ("tcp", endpoint.host, str(endpoint.port))
    return ["sh", "-c", _SCRIPT.strip(), "relay", _PYTHON.strip(), _PERL.strip(), _BASH.strip(), *where]
