"""How a server is reached: the ssh configuration, hosts to jump over, the key of the host, one's own keys."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, cast

import asyncssh

from dumpty_plugins.sftp.errors import ConnectError, describe, unreachable
from dumpty_plugins.sftp.host_keys import Greeter, KnownHosts, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty_plugins.sftp.address import Address

PASSPHRASE = "DUMPTY_SFTP_PASSPHRASE"  # noqa: S105 - the name of a variable
"""The environment variable that holds the passphrase of key files."""

_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk", "id_ed448", "id_dsa")
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Those that a processor helps with come first: half as fast again, measured."""

_KEEPALIVES = 3
_WINDOW = 8 << 20
"""How many bytes the server may send before it is told that they came."""


async def open_ssh(address: Address, progress: Callable[[], object]) -> asyncssh.SSHClientConnection:
    """Connect to a server and log in.

    Raises:
        ConnectError: that cannot be done; the text says why.
    """
    hop = _Hop(address, address.host, address.port, address.user, progress)
    return await hop.connect(())


class _Hop:
    """One server on the way, the last one included."""

    def __init__(
        self, address: Address, host: str, port: int | None, user: str | None, progress: Callable[[], object]
    ) -> None:
        self._address = address
        self.host = host
        self._progress = progress
        self._server = address.server if host == address.host else f"{host} on the way to {address.server}"
        self._location: dict[str, Any] = {
            "host": host,
            "port": () if port is None else port,
            "username": () if user is None else user,
            "config": _configuration(address),
            "x509_trusted_certs": None,
        }
        self._greeter = Greeter(progress)

    async def connect(self, passed: tuple[str, ...]) -> asyncssh.SSHClientConnection:
        """Connect, over the hosts that the configuration names, none of which are jumped to again."""
        options = await self._configured()
        known = KnownHosts(self._address, options)
        tunnel = None
        hops = options.tunnel.split(",") if isinstance(options.tunnel, str) else []
        for number, jump in enumerate(hops):
            hop = self._jump(jump)
            if hop.host not in {*passed, self.host}:
                # Of several the first alone may have one of its own before it.
                around = (*passed, self.host) if number == 0 else (*passed, self.host, *hops)
                tunnel = await hop.connect(around) if tunnel is None else await hop.log_in(tunnel)
        return await self.log_in(tunnel, options, known)

    async def log_in(
        self,
        tunnel: asyncssh.SSHClientConnection | None,
        options: asyncssh.SSHClientConnectionOptions | None = None,
        known: KnownHosts | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Connect through ``tunnel``, which ends with the connection, and log in."""
        options = options or await self._configured()
        known = known or KnownHosts(self._address, options)
        try:
            connection = await self._try(tunnel, options, known)
        except BaseException as error:
            failure = await self._failure(error, tunnel, options, known)
            if tunnel is not None:
                tunnel.abort()
            if failure is None:
                raise
            raise failure from error
        if tunnel is not None:
            connection.set_tunnel(tunnel)
        return connection

    async def _failure(
        self,
        error: BaseException,
        tunnel: asyncssh.SSHClientConnection | None,
        options: asyncssh.SSHClientConnectionOptions,
        known: KnownHosts,
    ) -> ConnectError | None:
        """Return what to raise for an error; None for one that is nobody's answer."""
        host, port = str(options.host_key_alias or options.host), options.port
        # A server that has no key of the known kind ends it in one of these ways.
        ends = (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)
        if isinstance(error, ends) and not self._greeter.met and known.names(host, port):
            await self._see_new_key(tunnel, options, known)
        if isinstance(error, asyncssh.HostKeyNotVerifiable) or self._greeter.refused_key is not None:
            return refusal(self._server, host, port, known, self._greeter, describe(error))
        if isinstance(error, asyncssh.PermissionDenied):
            return self._not_logged_in(options)
        if isinstance(error, OSError):
            return self._os_error(error)
        reason = _reason(error)
        return ConnectError(f"cannot connect to {self._server}: {reason}") if reason else None

    async def _configured(self) -> asyncssh.SSHClientConnectionOptions:
        """Return what the configuration says, before any key is read."""
        try:
            settings = {**self._location, "client_keys": None, "agent_path": None}
            options = await asyncssh.SSHClientConnectionOptions.construct(**settings)
        except (ValueError, OSError) as error:
            text = f"cannot connect to {self._server}: the ssh configuration cannot be used: {describe(error)}"
            raise ConnectError(text) from error
        return cast("asyncssh.SSHClientConnectionOptions", options)

    async def _try(
        self,
        tunnel: asyncssh.SSHClientConnection | None,
        options: asyncssh.SSHClientConnectionOptions,
        known: KnownHosts,
        algorithms: object = (),
    ) -> asyncssh.SSHClientConnection:
        timeout = self._address.timeout
        settings: dict[str, Any] = {
            **self._location,
            **_credentials(self._address),
            "tunnel": tunnel,
            "known_hosts": known.entries,
            "server_host_key_algs": algorithms,
            "encryption_algs": () if options.config.get("Ciphers") else _CIPHERS,
            "client_factory": lambda: self._greeter,
            "connect_timeout": timeout,
            "login_timeout": timeout,
            "keepalive_interval": max(1.0, timeout / _KEEPALIVES),
            "keepalive_count_max": _KEEPALIVES,
            "command": None,  # and all else that a configuration has for logins by people
            "request_pty": False,
            "x11_forwarding": False,
            "agent_forwarding": False,
            "window": _WINDOW,
        }
        return await asyncssh.connect(**settings)

    async def _see_new_key(
        self,
        tunnel: asyncssh.SSHClientConnection | None,
        options: asyncssh.SSHClientConnectionOptions,
        known: KnownHosts,
    ) -> None:
        """Ask for the key of another kind that the server has now, for it is to be shown."""
        try:
            connection = await self._try(tunnel, options, known, "default")
        except (asyncssh.Error, OSError, ValueError):
            return
        connection.abort()  # its key is known after all: something else failed

    def _jump(self, text: str) -> _Hop:
        user, at, location = text.strip().rpartition("@")
        host, colon, port = location.rpartition(":")
        if not colon or not port.isdigit():
            host, port = location, ""
        return _Hop(self._address, host.strip("[]"), int(port) if port else None, user if at else None, self._progress)

    def _not_logged_in(self, options: asyncssh.SSHClientConnectionOptions) -> ConnectError:
        if self._address.identity:
            keys = [self._address.identity]
        else:
            configured = cast("list[str]", options.config.get("IdentityFile", ()))
            defaults = (os.path.expanduser(f"~/.ssh/{name}") for name in _DEFAULT_KEYS)
            keys = list(configured) or [path for path in defaults if os.path.exists(path)]
            keys += ["the keys of the agent"] if os.environ.get("SSH_AUTH_SOCK") else []
        tried = f"tried: {', '.join(keys)}" if keys else "there was no key to try, and no agent"
        return ConnectError(
            f"cannot log in to {self._server} as {options.username}: the server takes no key of this user ({tried}); "
            f"name one with ?identity=PATH, or install it there: ssh-copy-id (the passphrase of a file: ${PASSPHRASE})"
        )

    def _os_error(self, error: OSError) -> ConnectError:
        if error.filename is not None:
            text = f"cannot read the key file {error.filename}: {error.strerror}; see ?identity= or IdentityFile"
            return ConnectError(f"cannot connect to {self._server}: {text}")
        return unreachable(self._server, error, self._address.timeout)


def _configuration(address: Address) -> Any:
    """Return what asyncssh is to read: () for the user's own configuration, None for none."""
    if address.config == "none":
        return None
    return [address.config] if address.config else ()


def _credentials(address: Address) -> dict[str, Any]:
    credentials: dict[str, Any] = {
        "passphrase": os.environ.get(PASSPHRASE) or None,
        "password_auth": False,
        "kbdint_auth": False,
    }
    if address.identity:  # that one, and none of an agent's, some of which may be more than a server lets try
        credentials |= {"client_keys": [address.identity], "agent_path": None}
    elif address.config == "none":
        credentials["agent_path"] = os.environ.get("SSH_AUTH_SOCK")
    return credentials


def _reason(error: BaseException) -> str:
    """Return why a connection was not made; "" where an error does not say that."""
    text = describe(error)
    if isinstance(error, asyncssh.DisconnectError):
        return f"the server or the network ended it: {text}"
    if isinstance(error, asyncssh.ChannelOpenError):
        return f"the host that is jumped over does not get there: {text}"
    if not isinstance(error, ValueError):
        return ""
    if isinstance(error, asyncssh.KeyEncryptionError) or "passphrase" in text.lower():
        held = "what it holds is not the one" if os.environ.get(PASSPHRASE) else "it is not set"
        return f"a key file needs its passphrase in ${PASSPHRASE}, and {held} ({text})"
    return f"a key file or the ssh configuration cannot be used: {text}"


async def within(seconds: float, server: str, work: Any) -> Any:
    """Return what ``work`` returns, if it does so in time.

    Raises:
        ConnectError: it does not.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise unreachable(server, error, seconds) from error
