"""Transports that break one rule each: ways to this very machine."""

from __future__ import annotations

import shlex
import subprocess

from dumpty import MalformedURL, PluginInfo, SharedConnection, hookimpl, parse_hop, relay_command
from testing.breaks import breaks

KEEPER = """
import os, signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
def end(*_):
    os.unlink(sys.argv[1])
    os._exit(0)
signal.signal(signal.SIGTERM, end)
signal.pause()
"""


class Way:
    """The way to a place on this machine."""

    environment = ()

    def __init__(self, hop):
        self.hop = hop
        self.place = f"toyway://{hop.host}"

    def command(self, argv):
        if self.hop.host == "missing":
            return ["sh", "-c", "echo there is no such place >&2; exit 3"]
        return ["env", *argv]

    def dial(self, endpoint):
        return self.command(relay_command(endpoint))

    def advise(self, text):
        return ""

    def shared(self, path):
        return SharedConnection(keeper=("python3", "-c", KEEPER, path), transport=self)


class GoodTransport:
    """What the broken ones are made of."""

    way = Way
    name = "toyway"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="transport", summary="a toy", schemes=("toyway",))

    @hookimpl
    def open_transport(self, url):
        return self.way(self.parse(url))

    def parse(self, url):
        return parse_hop(url, example="toyway://NAME", settings=("file",))


@breaks("test_opening_runs_nothing")
class LooksAtOpening(GoodTransport):
    @hookimpl
    def open_transport(self, url):
        subprocess.run(["true"], check=True)
        return super().open_transport(url)


@breaks("test_opening_runs_nothing")
class AsksForEachCommand(GoodTransport):
    class way(Way):
        def command(self, argv):
            subprocess.run(["true"], check=True)
            return super().command(argv)


@breaks("test_a_malformed_url_is_refused_at_opening")
class ChecksNothing(GoodTransport):
    def parse(self, url):
        if "unknown" in url:
            return super().parse("toyway://here")
        return super().parse(url)


@breaks("test_a_malformed_url_is_refused_at_opening")
class ShowsTheURL(GoodTransport):
    def parse(self, url):
        if "unknown" in url:
            raise MalformedURL(f"{url} is wrong")
        return super().parse(url)


@breaks("test_a_password_is_refused_and_not_shown")
class TakesPasswords(GoodTransport):
    def parse(self, url):
        userinfo, at, rest = url.partition("://")[2].rpartition("@")
        return super().parse(f"toyway://{userinfo.partition(':')[0]}{at}{rest}")


@breaks("test_a_password_is_refused_and_not_shown")
class ShowsPasswords(GoodTransport):
    def parse(self, url):
        try:
            return super().parse(url)
        except MalformedURL:
            raise MalformedURL(f"{url.partition('?')[0]} is refused") from None


@breaks("test_what_a_program_would_take_for_an_option_is_refused")
class TakesOptions(GoodTransport):
    def parse(self, url):
        return super().parse(url.replace("://-", "://"))


@breaks("test_a_place_has_one_name_whoever_goes_there")
class HasANameForEachUser(GoodTransport):
    class way(Way):
        def __init__(self, hop):
            super().__init__(hop)
            self.place = f"toyway://{hop.user}@{hop.host}"


@breaks("test_a_place_has_one_name_whoever_goes_there")
class HasOneNameForAll(GoodTransport):
    class way(Way):
        def __init__(self, hop):
            super().__init__(hop)
            self.place = "toyway://"


@breaks("test_arguments_arrive_as_they_are", "test_a_connection_passes_every_byte_and_its_end",
        "test_input_output_and_status_are_the_commands_own", "test_a_shared_connection_serves_and_goes")  # fmt: skip
class JoinsBySpaces(GoodTransport):
    class way(Way):
        def command(self, argv):
            return super().command(["sh", "-c", " ".join(argv)])


@breaks("test_arguments_arrive_as_they_are")
class QuotesOnceTooOften(GoodTransport):
    class way(Way):
        def command(self, argv):
            return super().command([*argv[:4], *(shlex.quote(a) if "/" not in a else a for a in argv[4:])])

        def dial(self, endpoint):
            return Way.command(self, relay_command(endpoint))


@breaks("test_input_output_and_status_are_the_commands_own", "test_a_shared_connection_serves_and_goes")
class KeepsTheInput(GoodTransport):
    class way(Way):
        def command(self, argv):
            return super().command(["sh", "-c", 'exec "$@" </dev/null', "sh", *argv])

        def dial(self, endpoint):
            return Way.command(self, relay_command(endpoint))


@breaks("test_input_output_and_status_are_the_commands_own", "test_a_place_that_is_missing_is_said",
        "test_a_server_that_does_not_listen_is_said")  # fmt: skip
class LosesTheStatus(GoodTransport):
    class way(Way):
        def command(self, argv):
            return ["sh", "-c", '"$@"; exit 0', "sh", *super().command(argv)]


@breaks("test_input_output_and_status_are_the_commands_own", "test_a_place_that_is_missing_is_said",
        "test_a_server_that_does_not_listen_is_said")  # fmt: skip
class IsQuiet(GoodTransport):
    class way(Way):
        def command(self, argv):
            return ["sh", "-c", 'exec "$@" 2>/dev/null', "sh", *super().command(argv)]


@breaks("test_a_connection_passes_every_byte_and_its_end", "test_a_shared_connection_serves_and_goes")
class EndsWithItsInput(GoodTransport):
    class way(Way):
        def dial(self, endpoint):
            script = "import socket,sys;s=socket.create_connection((sys.argv[1],int(sys.argv[2])));s.sendall(sys.stdin.buffer.read())"
            return self.command(["python3", "-c", script, endpoint.host, str(endpoint.port)])


@breaks("test_a_connection_passes_every_byte_and_its_end", "test_a_shared_connection_serves_and_goes",
        "test_a_place_that_is_missing_is_said")  # fmt: skip
class GoesOnForEver(GoodTransport):
    class way(Way):
        def dial(self, endpoint):
            if endpoint.port == 1:
                return super().dial(endpoint)
            return ["sleep", "60"]


@breaks("test_a_server_that_does_not_listen_is_said", "test_a_place_that_is_missing_is_said")
class FailsInSilence(GoodTransport):
    class way(Way):
        def dial(self, endpoint):
            return ["sh", "-c", '"$@" 2>/dev/null', "sh", *super().dial(endpoint)]


@breaks("test_a_place_that_is_missing_is_said")
class IsThereAlways(GoodTransport):
    class way(Way):
        def command(self, argv):
            return ["env", *argv]


@breaks("test_a_shared_connection_serves_and_goes")
class GoesToTheBackground(GoodTransport):
    class way(Way):
        def shared(self, path):
            return SharedConnection(keeper=("touch", path), transport=self)


@breaks("test_a_shared_connection_serves_and_goes")
class LeavesItsSocket(GoodTransport):
    class way(Way):
        def shared(self, path):
            return SharedConnection(keeper=("sh", "-c", f"touch {path}; exec sleep 60"), transport=self)
