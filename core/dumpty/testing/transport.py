"""``TransportSuite``: what ``open_transport`` and the transport behind it owe."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.testing.footprint import ProgramWatch
from dumpty.testing.rules import refused, require, shown
from dumpty.testing.suite import Suite
from dumpty.testing.ways import ARGUMENTS, run_command, shows_arguments
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dumpty.registry.host import Host
    from dumpty.testing.ways import ReachablePlace, Run
    from dumpty.types import Kind, SharedConnection, Transport

__all__ = ["TransportSuite"]

_BYTES = bytes(range(256)) * 400
_PASSWORD = "s3cret-Marker"  # noqa: S105 - of nobody
_POLL_SECONDS = 0.02


class TransportSuite(Suite):
    """The rules of a transport.

    A subclass needs ``plugin``, the fixture ``place``, and ``malformed``.
    """

    kind: ClassVar[Kind] = "transport"

    malformed: ClassVar[Mapping[str, str]] = {}
    """URLs that nothing can be opened with: what of each may not be shown, "" for nothing."""

    patience: ClassVar[float] = 30.0
    """For how many seconds a command may take."""

    @pytest.fixture
    def place(self) -> ReachablePlace:
        """A place that the transport leads to; to be overridden."""
        return pytest.fail("give your suite a fixture place: a dumpty.testing.ReachablePlace")

    def opened(self, host: Host, url: str) -> Transport:
        """Open a transport."""
        return host.open_transport(self.plugin_under_test(host), url=url)

    def run(self, argv: object, data: bytes = b"") -> Run:
        """Run what the transport returned, to its end."""
        return run_command(argv, data, seconds=self.patience)

    # -- opening -------------------------------------------------------------------------------------------------

    def test_opening_runs_nothing(self, host: Host, place: ReachablePlace) -> None:
        """open_transport(), and asking for commands, runs no program: that is how a configuration is checked."""
        with ProgramWatch() as watch:
            transport = self.opened(host, place.missing or place.url)
            transport.command(["true"])
            transport.dial(place.echo)
            transport.shared("/nowhere/socket")
        rule = "A transport makes command lines, and runs none of them."
        require(not watch.command_lines, rule, "Leave that to dumpty.", f"it ran {shown(watch.command_lines[:1])}")

    def test_a_malformed_url_is_refused_at_opening(self) -> None:
        """A URL that is none, or has settings that nobody knows, raises MalformedURL from open_transport()."""
        if not self.malformed:
            self.unproved("the suite names no URLs in `malformed`")
        for url, hidden in self.malformed.items():
            rule = "What is wrong with a URL is said by open_transport(), as MalformedURL."
            with refused(MalformedURL, rule, "Check all of it there (dumpty.parse_hop).") as texts:
                self.call_bare("open_transport", url=url)
            rule = "What may be a secret is not shown."
            require(not hidden or hidden not in texts[0], rule, "Say what is expected.", f"it said {shown(texts[0])}")

    def test_a_password_is_refused_and_not_shown(self, host: Host) -> None:
        """A password in the URL raises MalformedURL, which does not show it: others see command lines."""
        for scheme in self._plugin_info(host).schemes:
            rule = "A password in a transport's URL is refused: command lines are seen by all, and so are URLs."
            with refused(MalformedURL, rule, "Refuse it (dumpty.parse_hop does).") as texts:
                self.call_bare("open_transport", url=f"{scheme}://user:{_PASSWORD}@host/path")
            require(_PASSWORD not in texts[0], "A password is shown nowhere.", "Leave it out.", shown(texts[0]))

    def test_what_a_program_would_take_for_an_option_is_refused(self, host: Host) -> None:
        """A host that begins with a dash raises MalformedURL: a program would take it for an option of its own."""
        for scheme in self._plugin_info(host).schemes:
            rule = "What begins with a dash is an option to the program that is run: -oProxyCommand=… runs a command."
            with refused(MalformedURL, rule, "Refuse it (dumpty.parse_hop does)."):
                self.call_bare("open_transport", url=f"{scheme}://-oProxyCommand=id/path")

    # -- which place it is ---------------------------------------------------------------------------------------

    def test_a_place_has_one_name_whoever_goes_there(self, host: Host, place: ReachablePlace) -> None:
        """``place`` is the same whatever user and settings the URL has, and another one for another place."""
        name = self.opened(host, place.url).place
        rule = "place names the machine or container: backups of databases there are told from others by it."
        require(isinstance(name, str) and "://" in name, rule, "Return a URL.", f"it is {shown(name)}")
        for url in place.same:
            found = self.opened(host, url).place
            remedy = "Leave out users, keys and settings."
            require(found == name, f"{rule} It is one whoever goes there.", remedy, f"{shown(name)} became {found}")
        for url in place.others:
            rule = "Two places have two names: else one's backups are removed for the other's."
            require(
                self.opened(host, url).place != name, rule, "Keep in it what tells them.", f"{name} is that of {url}"
            )

    # -- commands ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", ARGUMENTS)
    def test_arguments_arrive_as_they_are(self, host: Host, place: ReachablePlace, sample: str) -> None:
        """command() passes every argument on as it is: no shell on the way reads it."""
        arguments = ARGUMENTS[sample]
        ran = self.run(self.opened(host, place.url).command(shows_arguments(arguments)))
        expected = "".join(f"[{argument}]" for argument in arguments).encode()
        rule = "Arguments arrive as they are, for they may be anybody's words."
        seen = f"{shown(expected)} became {shown(ran.output)} {shown(ran.error)}"
        require(ran.output == expected, rule, "Quote them for a shell on the way (shlex.join).", seen)

    def test_input_output_and_status_are_the_commands_own(self, host: Host, place: ReachablePlace) -> None:
        """A command's input and output pass byte for byte, and its exit status and its standard error come back."""
        transport = self.opened(host, place.url)
        ran = self.run(transport.command(["sh", "-c", "cat; echo why >&2; exit 7"]), _BYTES)
        rule = "What a command reads and writes passes byte for byte."
        seen = f"of {len(_BYTES):,} bytes came {len(ran.output):,}"
        require(ran.output == _BYTES, rule, "Ask for no terminal, and for its input.", seen)
        rule = "A command's exit status is that of what it ran."
        require(ran.status == 7, rule, "Pass it on.", f"7 became {ran.status}")  # noqa: PLR2004
        require(
            "why" in ran.error, "What a command says on its standard error is seen.", "Pass it on.", shown(ran.error)
        )

    # -- connections ---------------------------------------------------------------------------------------------

    def test_a_connection_passes_every_byte_and_its_end(self, host: Host, place: ReachablePlace) -> None:
        """dial() is a connection: bytes go both ways, and the end of the input is passed on, and awaited."""
        ran = self.run(self.opened(host, place.url).dial(place.echo), _BYTES)
        rule = "What is sent comes back from a server that sends it back, to the last byte."
        remedy = "Pass on the end of the input, and wait for that of the server (dumpty.relay_command)."
        require(ran.output == _BYTES, rule, remedy, f"of {len(_BYTES):,} bytes came {len(ran.output):,}; {ran.error}")

    def test_a_server_that_does_not_listen_is_said(self, host: Host, place: ReachablePlace) -> None:
        """Where nobody listens, dial() ends with another status than 0, and says why on its standard error."""
        self._must_fail(self.opened(host, place.url).dial(place.silent), "Where nobody listens")

    def test_a_place_that_is_missing_is_said(self, host: Host, place: ReachablePlace) -> None:
        """Where there is no such place, commands and connections end with another status than 0, and say why."""
        if not place.missing:
            self.unproved("its place has no URL of one that is missing")
        transport = self.opened(host, place.missing)
        self._must_fail(transport.command(["true"]), "Where there is no such place")
        self._must_fail(transport.dial(place.echo), "Where there is no such place")

    def _must_fail(self, argv: list[str], event: str) -> None:
        ran = self.run(argv)
        rule = f"{event}, the command ends with another status than 0, and says why on its standard error."
        seen = f"it ended with {ran.status}, and said {shown(ran.error)}"
        require(ran.status != 0 and ran.error.strip(), rule, "Let its program say it.", seen)

    # -- one connection for several ------------------------------------------------------------------------------

    def test_a_shared_connection_serves_and_goes(self, host: Host, place: ReachablePlace) -> None:
        """Where shared() returns a keeper, that makes the socket, commands go by it, and it ends when it is told."""
        with tempfile.TemporaryDirectory(prefix="dsh", dir="/tmp") as directory:
            path = Path(directory, "socket")
            shared = self.opened(host, place.url).shared(str(path))
            if shared is not None:
                self._require_shared(shared, path, place)

    def _require_shared(self, shared: SharedConnection, path: Path, place: ReachablePlace) -> None:
        with subprocess.Popen(shared.keeper, stdin=subprocess.DEVNULL) as keeper:  # noqa: S603 - the plugin's
            try:
                end = time.monotonic() + self.patience
                while not path.exists() and keeper.poll() is None and time.monotonic() < end:
                    time.sleep(_POLL_SECONDS)
                rule = "The keeper makes its socket at the path that shared() was given, and stays."
                require(path.exists() and keeper.poll() is None, rule, "Do not let it go to the background.")
                ran = self.run(shared.transport.command(["cat"]), _BYTES)
                require(ran.output == _BYTES, "Commands go by the shared connection.", "Name its socket.", ran.error)
                ran = self.run(shared.transport.dial(place.echo), _BYTES)
                require(ran.output == _BYTES, "Connections go by the shared connection.", "Name its socket.", ran.error)
            finally:
                keeper.terminate()
        rule = "When the keeper is ended, its socket is gone."
        require(not path.exists(), rule, "Let it end with the process.", f"{path} is left")
