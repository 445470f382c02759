"""Connecting to one numbered database, and saying in one line what went wrong."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dumpty import DumptyError, Inspection, Locked, SourceError, refuse_unknown_parameters
from dumpty.process import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Source

DEFAULT_PORT = 6379
_PARAMETERS = {"unix_socket_path", "ssl_ca_certs"}
_TIMEOUT = 30.0


def number_of(source: Source) -> int | None:
    """Return the database's number (0 where the URL has none), or None where it is no number."""
    text = (source.database or "0").strip("/")
    return int(text) if text.isascii() and text.isdigit() else None


@contextlib.contextmanager
def connected(source: Source, number: int | None = None) -> Iterator[redis.Redis]:
    """Connect to the database that the URL names, or to another ``number`` of the same server.

    Raises:
        SourceError: it cannot be reached, refuses us, or has no such number.
        Locked: it is busy with a script, or still loading its own data.
    """
    number = number_of(source) if number is None else number
    if number is None:
        raise SourceError(f"{source.url} names no database: Redis numbers them, redis://HOST/0 being the first")
    refuse_unknown_parameters(source=source, known=_PARAMETERS)
    address: dict[str, Any] = {"host": source.host or "localhost", "port": source.port or DEFAULT_PORT}
    if "unix_socket_path" in source.query:
        address = {"unix_socket_path": source.query["unix_socket_path"]}
    elif source.scheme == "rediss":
        address |= {"ssl": True, "ssl_ca_certs": source.query.get("ssl_ca_certs")}
    with redis_errors(source):
        client = redis.Redis(
            **address,
            db=number,
            username=source.username,
            password=source.password or None,
            socket_timeout=_TIMEOUT,
            # No second try: a command that may have been done already is not sent again.
            retry=Retry(NoBackoff(), 0),
        )
        with contextlib.closing(client):
            if client.info("cluster").get("cluster_enabled"):
                raise SourceError(f"{source.url} is a node of a cluster, which has no snapshot across its nodes")
            yield client


def inspect(source: Source) -> Inspection:
    """Look at the database; a number that the server does not have is one that does not exist.

    Raises:
        SourceError, Locked: as ``connected``.
    """
    number = number_of(source)
    address = (
        source.query.get("unix_socket_path") or f"{(source.host or 'localhost').lower()}:{source.port or DEFAULT_PORT}"
    )
    names = {"identity": f"redis:{address}/{source.database or 0}", "name": f"redis-{number}"}
    with connected(source, 0) as client, redis_errors(source):
        versions = {"redis": server_version(client)}
        if number is None or number >= databases(client):
            return Inspection(exists=False, empty=True, versions=versions, **names)
    with connected(source) as client, redis_errors(source):
        size = int(client.execute_command("DBSIZE"))
    return Inspection(exists=True, empty=size == 0, versions=versions, **names)


def server_version(client: redis.Redis) -> str:
    """Return the server's version."""
    return str(client.info("server")["redis_version"])


def databases(client: redis.Redis) -> int:
    """Return how many numbers the server has; where it does not say, what it is made with: 16."""
    try:
        return int(client.config_get("databases")["databases"])
    except (redis.ResponseError, KeyError):
        return 16


def error_text(error: Exception) -> str:
    """Return what the server said, as one line, without the command that it answers: that may hold data."""
    return " ".join(str(error).rpartition("caused error: ")[2].split())


@contextlib.contextmanager
def redis_errors(source: Source) -> Iterator[None]:
    """Turn what the client raises inside into dumpty's errors."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise _explain(error, source) from error


def _explain(error: Exception, source: Source) -> DumptyError:
    text = redact(error_text(error), source.secrets)
    if isinstance(error, redis.AuthenticationError):
        return SourceError(f"{source.url} refuses the user name or password: {text}")
    if isinstance(error, redis.exceptions.NoPermissionError):
        return SourceError(f"{source.url} does not permit what is needed: {text}")
    if isinstance(error, redis.exceptions.BusyLoadingError) or text.startswith("BUSY "):
        return Locked(f"{source.url} is busy: {text}; try again later")
    if "DB index is out of range" in text:
        return SourceError(f"{source.url} does not exist: the server has fewer databases")
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return SourceError(f"{source.url} cannot be reached, or was lost: {text}")
    return SourceError(f"Redis failed on {source.url}: {text}")
