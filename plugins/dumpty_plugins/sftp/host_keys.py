"""Which key a server must show: what stands in the known_hosts files, and nothing else."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, cast

import asyncssh

from dumpty_plugins.sftp.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dumpty_plugins.sftp.address import Address

_USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_DEFAULT_PORT = 22


class KnownHosts:
    """The keys of hosts that this machine knows.

    Args:
        address: names the file, or leaves it to the ssh configuration.
        options: of asyncssh, made of that configuration.

    Raises:
        ConnectError: the file that the URL names cannot be read.
    """

    def __init__(self, address: Address, options: asyncssh.SSHClientConnectionOptions) -> None:
        self.files = [address.known_hosts] if address.known_hosts else _configured_files(options)
        self.entries = asyncssh.SSHKnownHosts()
        for path in self.files:
            try:
                with open(path, encoding="utf-8", errors="replace") as stream:
                    lines = stream.read().splitlines()
            except OSError as error:
                if address.known_hosts:
                    text = f"cannot read the known hosts of {path}: {error.strerror}; check ?known_hosts= in the URL"
                    raise ConnectError(text) from error
                continue
            for line in lines:
                with contextlib.suppress(ValueError):  # as ssh itself does: what is no entry names no key
                    self.entries.load(line)

    def names(self, host: str, port: int) -> bool:
        """Return whether there is any key for a host."""
        return any(self.entries.match(host, "", None if port == _DEFAULT_PORT else port)[:2])


class Greeter(asyncssh.SSHClient):
    """What asyncssh tells of a connection that is being made.

    Args:
        progress: called when the server has answered.
    """

    def __init__(self, progress: Callable[[], object]) -> None:
        self._progress = progress
        self.refused_key: asyncssh.SSHKey | None = None
        """The key that the server showed and that is not known."""
        self.met = False
        """Whether the server has shown a key that is known."""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:  # noqa: ARG002 - as asyncssh calls it
        self._progress()

    def begin_auth(self, username: str) -> None:  # noqa: ARG002 - as asyncssh calls it
        self.met = True
        self._progress()

    def auth_completed(self) -> None:
        self._progress()

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002
        """Refuse a key: this is asked only about one that the files do not hold."""
        self.refused_key = key
        return False


def refusal(server: str, host: str, port: int, known: KnownHosts, greeter: Greeter, text: str) -> ConnectError:
    """Return the error for a server whose key is not the known one."""
    place = known.files[0] if known.files else _USER_FILES[0]
    key = greeter.refused_key
    if key is None:  # revoked, or a certificate that is none of a known authority
        return ConnectError(f"cannot connect to {server}: its host key is refused ({text}); see {place}")
    shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
    target = host if port == _DEFAULT_PORT else f"[{host}]:{port}"
    if known.names(host, port):
        return ConnectError(
            f"cannot connect to {server}: its host key is not the one that {place} has for it, which can be an attack; "
            f"it shows {shown}. Ask whoever runs it whether the key was changed; only then: "
            f"ssh-keygen -R '{target}' -f {place}"
        )
    scan = f"ssh-keyscan {'' if port == _DEFAULT_PORT else f'-p {port} '}{host} >> {place}"
    return ConnectError(
        f"cannot connect to {server}: its host key is not known; it shows {shown}. Compare that with what whoever runs "
        f"it says, then add it: {scan}"
    )


def _configured_files(options: asyncssh.SSHClientConnectionOptions) -> list[str]:
    """Return the files that the configuration names, or ssh's own; "none" among them is no leave to ask for no key."""
    configured = cast("Sequence[object] | None", options.known_hosts)
    named = [str(item) for item in configured or () if isinstance(item, (str, os.PathLike))]
    if configured is None:
        return []
    return [os.path.expanduser(path.replace("%d", "~", 1)) for path in (*(named or _USER_FILES), *_GLOBAL_FILES)]
