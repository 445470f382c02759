"""Where a database URL's server is, seen from the end of a way, and the same source with our end of it instead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from dumpty.types import Addressing, Endpoint
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Source

__all__ = ["Destination", "destination_of"]

_LOCAL = {"localhost", "127.0.0.1", "::1"}
_MAX_PORT = 65535


class Destination(Struct, frozen=True, kw_only=True):
    """Where a URL's server is: ``endpoint`` for who connects there, ``host`` and ``port`` as it is called.

    ``addressing`` is what its driver says of that.
    """

    endpoint: Endpoint
    host: str
    port: int
    addressing: Addressing | None

    @property
    def is_local(self) -> bool:
        """Whether it is one of the machine that the way leads to."""
        return bool(self.endpoint.sockets) or not self.host or self.host.lower() in _LOCAL

    @property
    def location(self) -> str:
        """Its name, whatever the spelling of the URL."""
        if self.host.startswith("/"):
            return self.endpoint.sockets[0]
        host = "localhost" if self.is_local else self.host.lower()
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def by_socket(self, source: Source, directory: str) -> tuple[Source, str]:
        """Return ``source`` with a Unix socket in ``directory`` for its server, and that socket's path."""
        addressing = self.addressing
        if addressing is None or not addressing.sockets:  # pragma: no cover - there are sockets only by its parameters
            raise MalformedURL(f"{source.url} names no socket")
        path = os.path.join(directory, (addressing.socket_name or "server").format(port=self.port))
        named = {addressing.sockets[0]: directory if addressing.socket_name else path}
        # Empty, so that nothing in the environment says another one.
        named |= {addressing.address: ""} if addressing.address else {}
        query = {**self._other_parameters(source), **named}
        return structs.replace(source, host=None, port=self.port, query=query), path

    def by_port(self, source: Source, address: str, port: int) -> Source:
        """Return ``source`` with a port of this machine for its server's."""
        query = self._other_parameters(source)
        if self.addressing is None or not self.addressing.address:
            return structs.replace(source, host=address, port=port, query=query)
        query[self.addressing.address] = address
        return structs.replace(source, host=self.host or "localhost", port=port, query=query)

    def _other_parameters(self, source: Source) -> dict[str, str]:
        addressing = self.addressing
        told = set() if addressing is None else {"port", addressing.address, *addressing.sockets}
        return {name: value for name, value in source.query.items() if name not in told}


def destination_of(driver: Plugin, source: Source) -> Destination:
    """Return where the server of ``source`` is, seen from the end of a way.

    Raises:
        MalformedURL: its databases are files; or it cannot be told, or is several.
    """
    addressing = driver.described.addressing
    if any(name.startswith("-") for name in (source.host or "", source.query.get("host", ""))):
        raise MalformedURL(f"{source.url} names a host that begins with a dash, which a program may take for an option")
    if driver.described.files:
        raise MalformedURL(
            f"{source.url} names a file, and --via leads to servers: run dumpty where the file is, with a repository "
            "that both reach (sftp://, s3://), or restore from there"
        )
    if addressing is None:
        if not source.port:
            raise MalformedURL(
                f"{source.url} names no port, and {driver} does not say which is its own: write it for --via"
            )
        endpoint = Endpoint(host=source.host or "localhost", port=source.port)
        return Destination(endpoint=endpoint, host=source.host or "localhost", port=source.port, addressing=None)
    _refuse_what_is_told_elsewhere(source, addressing)
    port = _port(source, addressing)
    socket = _named_socket(source, addressing)
    if socket:
        path = f"{socket.rstrip('/')}/{addressing.socket_name.format(port=port)}" if addressing.socket_name else socket
        return Destination(endpoint=Endpoint(sockets=(path,)), host=socket, port=port, addressing=addressing)
    host = source.query.get("host") if "host" in addressing.sockets else None
    host = host or source.host or ""
    address = source.query.get(addressing.address, "") or host
    if address or not addressing.default_sockets:
        endpoint = Endpoint(host=address or "localhost", port=port)
    else:
        endpoint = Endpoint(sockets=tuple(path.format(port=port) for path in addressing.default_sockets))
    return Destination(endpoint=endpoint, host=host or address, port=port, addressing=addressing)


def _refuse_what_is_told_elsewhere(source: Source, addressing: Addressing) -> None:
    for name in addressing.elsewhere:
        if name in source.query:
            raise MalformedURL(
                f"{source.url} has the parameter {name}, which says on this machine where the server is: with --via, "
                "name host and port in the URL"
            )
    if any("," in source.query.get(name, "") for name in ("host", "port", addressing.address)):
        raise MalformedURL(f"{source.url} names several hosts: with --via name one of them")


def _port(source: Source, addressing: Addressing) -> int:
    text = source.query.get("port") or str(source.port or addressing.port)
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT):
        raise MalformedURL(f"the port in {source.url} is not a number from 1 to {_MAX_PORT}")
    return int(text)


def _named_socket(source: Source, addressing: Addressing) -> str:
    """Return the path of the Unix socket, or of its directory, that a URL names; "" where it names a host, or none."""
    values = [source.query.get(name, "") for name in addressing.sockets]
    if "host" in addressing.sockets:
        values = [value or source.host or "" for value in values]
    value = next(filter(None, values), "")
    if value.startswith("@"):
        raise MalformedURL(f"{source.url} names an abstract socket, which --via does not reach: name its host and port")
    is_path = value.startswith("/")
    if value and not is_path and "host" not in addressing.sockets:
        raise MalformedURL(f"{source.url} names a socket by a relative path: with --via write the whole path")
    return value if is_path else ""
