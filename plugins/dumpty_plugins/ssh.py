"""The transport ``ssh``: OpenSSH's own client, with the user's configuration, keys and agent."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty import Hop, MalformedURL, PluginInfo, SharedConnection, hookimpl, parse_hop, relay_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty import Endpoint, Transport

_EXAMPLE = "ssh://user@host:port"
_SETTINGS = ("identity", "known_hosts", "config")
_OPTIONS = (
    *("-T", "-x", "-a"),
    # What the user's configuration says of these does not count.
    *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ClearAllForwardings=yes"),
    *("-o", "PermitLocalCommand=no", "-o", "RemoteCommand=none", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o", "ControlPersist=no"),
    *("-o", "NoHostAuthenticationForLocalhost=no", "-o", "LogLevel=INFO"),
    *("-o", "IgnoreUnknown=ForkAfterAuthentication,StdinNull"),
    *("-o", "ForkAfterAuthentication=no", "-o", "StdinNull=no"),
)
_OWN_CONNECTION = ("-o", "ControlMaster=no", "-o", "ControlPath=none")
_BAD_IN_PATHS = frozenset('"\\$')
_BAD_IN_NAMES = frozenset("\"'`$\\;&|<>(){}*?!#~ ")
"""A user's own configuration may hand a name to a shell: ProxyCommand, Match exec."""
_PORT = 22


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="transport", summary="another machine, by OpenSSH's client", schemes=("ssh",))


@hookimpl
def open_transport(url: str) -> Transport:
    """Return the way to another machine.

    Raises:
        MalformedURL: it names no host, a password or a path, or a file that ssh could not be given.
    """
    hop = parse_hop(url, example=_EXAMPLE, settings=_SETTINGS)
    if hop.path.strip("/"):
        raise MalformedURL(f"an ssh URL ends with the host: {_EXAMPLE}; what stands behind it is the database's URL's")
    for name in ("identity", "known_hosts"):
        if _BAD_IN_PATHS & set(hop.settings.get(name, "")):
            raise MalformedURL(f"{name} of an ssh URL is a file whose path has no quotes, backslashes or dollars")
    if _BAD_IN_NAMES & set(hop.user + hop.host):
        raise MalformedURL(f"an ssh URL names user and host without characters that a shell knows: {_EXAMPLE}")
    return _SSH(hop)


class _SSH(Struct, frozen=True):
    """The way to one host; ``connection`` are the options by which it uses another's connection, or none."""

    hop: Hop
    connection: tuple[str, ...] = _OWN_CONNECTION

    @property
    def place(self) -> str:
        host, config = self.hop.host.lower(), self.hop.settings.get("config", "")
        config = config if config != "none" else ""
        shown = f"[{host}]" if ":" in host else host
        port = f":{self.hop.port}" if self.hop.port not in {0, _PORT} else ""
        return f"ssh://{shown}{port}{'?config=' if config else ''}{config}"  # in which a name may be another host's

    @property
    def environment(self) -> Sequence[str]:
        return ("SSH_AUTH_SOCK", "KRB5*")

    def command(self, argv: Sequence[str], /) -> list[str]:
        # ssh joins its arguments by spaces, and a shell there takes that apart again.
        return [*self._program(*self.connection), "--", self._destination, shlex.join(argv)]

    def dial(self, endpoint: Endpoint, /) -> list[str]:
        if endpoint.sockets:  # which -W knows nothing of
            return self.command(relay_command(endpoint))
        return [*self._program(*self.connection), "-W", endpoint.shown, "--", self._destination]

    def advise(self, text: str, /) -> str:
        login = shlex.join(["ssh", *(("-p", str(self.hop.port)) if self.hop.port else ()), "--", self._destination])
        if "IDENTIFICATION HAS CHANGED" in text:
            return "the host has another key than the one that is known: find out why before anything else"
        if "Host key verification failed" in text or "host key is known" in text:
            return (
                f"log in once by hand, and compare the key's fingerprint with the host's own: {login}; or name a file "
                "that has the key: ?known_hosts=FILE"
            )
        if "Permission denied (" in text:
            return f"see that this logs in without asking: {login}; a key is named by ?identity=FILE"
        return ""

    def shared(self, path: str, /) -> SharedConnection:
        keeper = self._program("-o", "ControlMaster=yes", "-o", f"ControlPath={_quoted(path)}", "-N")
        transport = _SSH(self.hop, ("-o", "ControlMaster=no", "-o", f"ControlPath={_quoted(path)}"))
        return SharedConnection(keeper=(*keeper, "--", self._destination), transport=transport)

    @property
    def _destination(self) -> str:
        return f"{self.hop.user}@{self.hop.host}" if self.hop.user else self.hop.host

    def _program(self, *options: str) -> list[str]:
        argv = ["ssh", *_OPTIONS, *options]
        if self.hop.port:
            argv += ["-p", str(self.hop.port)]
        if config := self.hop.settings.get("config"):
            argv += ["-F", config]
        if identity := self.hop.settings.get("identity"):
            argv += ["-o", "IdentitiesOnly=yes", "-o", f"IdentityFile={_quoted(identity)}"]
        if known_hosts := self.hop.settings.get("known_hosts"):
            argv += ["-o", f"UserKnownHostsFile={_quoted(known_hosts)}", "-o", "GlobalKnownHostsFile=/dev/null"]
        return argv


def _quoted(path: str) -> str:
    """Return a path as ssh's options take it, in which a % would begin a name of its own."""
    return f'"{path.replace("%", "%%")}"'
