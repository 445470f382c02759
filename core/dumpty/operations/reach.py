"""Servers that this machine does not reach by itself: the way there, kept open while something is done."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from msgspec import Struct, structs

from dumpty.errors import (
    PluginConflict,
    PluginError,
    PluginLoadError,
    PluginNotFound,
    RestoreNotSupported,
    SourceError,
    TransportError,
)
from dumpty.operations.addressing import Destination, destination_of
from dumpty.process.call import pause
from dumpty.process.child import Child
from dumpty.process.owned_directory import OwnedDirectory
from dumpty.process.relay import Relay
from dumpty.redaction import one_line
from dumpty.url import MalformedURL, database_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Endpoint, Source, Transport

__all__ = ["Way", "is_reached", "reached", "reached_identity", "read_way", "require_way"]

_PREFIX = "dumpty-reach-"
_LONGEST_PARENT = 50
"""Bytes of the directory that sockets are made below: their paths may have no more than about a hundred."""
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.02
_KEEPER_SECONDS = 1.0
"""How long to wait for what the shared connection says of a failure, which another process tells."""
_LINES, _LONGEST = 3, 600
_REACHED = re.compile(r"(?:[^/@]+@)?[a-z][a-z0-9+.-]*://[^/].*/[a-z][a-z0-9+.-]*://")
"""Two URLs, one behind the other; the path of a file, which may hold anything, stands behind three slashes."""
_PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TZDIR", "TMPDIR", "LD_LIBRARY_PATH"),
    *("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DYLD_LIBRARY_PATH"),
)
# Ends what it keeps when its own input ends, which that does when this process is gone, however it went. It waits for
# both of its children, also where it is told to end: whom nobody waits for stays in a container that has no init. The
# one that watches may not have left the trap behind yet, where what is kept has ended at once: so it is killed.
_KEEPER = """
trap : TERM
exec 3<&0
"$@" </dev/null 3<&- &
kept=$!
{ read -r nothing <&3; kill "$kept"; } 2>/dev/null &
watching=$!
exec 3<&- </dev/null
wait "$kept"
status=$?
wait "$kept" 2>/dev/null
kill -KILL "$watching" 2>/dev/null
wait "$watching" 2>/dev/null
exit "$status"
"""


class Way(Struct, frozen=True):
    """Transports one behind the other, the outermost first; ``shown`` is each one's URL, without its settings."""

    transports: tuple[Transport, ...]
    shown: str

    @property
    def place(self) -> str:
        """What tells the machine or container at its end from any other."""
        return "/".join(transport.place for transport in self.transports)

    @property
    def name(self) -> str:
        """A short name of that, for people and file names."""
        return self.transports[-1].place.partition("://")[2].replace("/", "-")

    def dialling(self, endpoint: Endpoint, first: Transport) -> list[str]:
        """Return what connects to ``endpoint``; ``first`` is the first transport, or the same by another connection."""
        *before, last = (first, *self.transports[1:])
        return _through(before, last.dial(endpoint))

    def running(self, argv: Sequence[str], first: Transport) -> list[str]:
        """Return what runs ``argv`` at its end; ``first`` is as for ``dialling``."""
        return _through((first, *self.transports[1:]), argv)

    def explain(self, text: str) -> str:
        """Return what programs on the way said, as one line, and what to do about it."""
        plain = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        lines = [line for line in (" ".join(line.split()) for line in plain.splitlines()) if line]
        words = " ".join(dict.fromkeys(lines[-_LINES:]))[-_LONGEST:] or "it ended, and said nothing"
        advice = next(filter(None, (transport.advise(plain) for transport in self.transports)), "")
        return f"{self.shown}: {words}{'; ' if advice else ''}{advice}"


def _through(transports: Sequence[Transport], argv: Sequence[str]) -> list[str]:
    """Return what runs ``argv`` where these lead, one behind the other."""
    argv = list(argv)
    for transport in reversed(transports):
        argv = transport.command(argv)
    return argv


def require_way(via: str | Sequence[str] | None) -> None:
    """Check that ``via`` is a str, or several; ``TypeError`` where not."""
    if not isinstance(via, (str, list, tuple, type(None))):
        raise TypeError(f"via is a str, or a list of them, not {type(via).__name__}")
    for url in () if isinstance(via, str) else via or ():
        if not isinstance(url, str):
            raise TypeError(f"via is a str, or a list of them, and in it is a {type(url).__name__}")


def read_way(host: Host, via: str | Sequence[str] | None) -> Way | None:
    """Return the way that ``via`` names, which connects to nobody yet; None for none.

    Raises:
        TypeError: it is neither a str nor a list of them.
        MalformedURL, PluginNotFound: a part of it is no URL of a transport.
    """
    require_way(via)
    urls = (via,) if isinstance(via, str) else tuple(via or ())
    transports = []
    for url in urls:
        if "://" not in url or any(not c.isprintable() for c in url):
            shown = "" if "@" in url or ":" in url else f" {url[:200]!r}"
            raise MalformedURL(f"--via{shown} is no URL of a transport; write for example ssh://user@host")
        transports.append(host.open_transport(host.transport(url), url=url))
    shown = " -> ".join(url.partition("?")[0] for url in urls)
    return Way(tuple(transports), shown) if transports else None


@contextlib.contextmanager
def reached(driver: Plugin, source: Source, way: Way | None) -> Iterator[Source]:
    """Within the block ``source`` is reached by ``way``: lent is what its driver gets, which shows the same ``url``.

    What fails within, and because the way did, is ``TransportError`` and says so, in the words of whoever failed.

    Raises:
        MalformedURL: its driver, or its URL, does not go by such a way.
        TransportError: the way cannot be made.
    """
    if way is None:
        yield source
        return
    destination = destination_of(driver, source)
    with contextlib.ExitStack() as stack:
        try:
            passage, near = _opened(stack, source, destination, way)
        except OSError as error:
            raise TransportError(f"the way {way.shown} cannot be made: {one_line(error)}") from error
        with passage.blamed(source):
            yield near


def _opened(stack: contextlib.ExitStack, source: Source, destination: Destination, way: Way) -> tuple[_Passage, Source]:
    """Open a way, which ``stack`` closes, and return it, and ``source`` with our end of it for its server."""
    parent = tempfile.gettempdir()
    parent = parent if len(os.fsencode(parent)) <= _LONGEST_PARENT else "/tmp"  # noqa: S108 - a private directory is made there
    OwnedDirectory.sweep(parent, _PREFIX)
    directory = stack.enter_context(OwnedDirectory(parent, _PREFIX)).path
    passage = stack.enter_context(_Passage(way, directory, destination.endpoint))
    relay = stack.enter_context(passage.relay())
    if destination.endpoint.sockets:
        near, path = destination.by_socket(source, directory)
        relay.listen_at(path)
    else:
        near = destination.by_port(source, *relay.listen_on_port(destination.port))
    return passage, structs.replace(near, remote=passage)


class _Passage:
    """A way while it is used: the connection that all share, where there is such a one, and what failed.

    It is the ``Remote`` that drivers get.
    """

    def __init__(self, way: Way, directory: str, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._way = way
        self._first = way.transports[0]
        self._env = _environment(self._first)
        self._socket = os.path.join(directory, "shared")
        self._keeper: Child | None = None
        self._keeper_lines: deque[str] = deque(maxlen=_LINES)
        self._stack = contextlib.ExitStack()
        self._failure = ""

    def __enter__(self) -> Self:
        try:
            self._share()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        return self._way.shown

    @property
    def environment(self) -> Mapping[str, str | None]:
        """Changes to the environment of the program that begins the way."""
        return self._env

    def command(self, argv: Sequence[str], /) -> list[str]:
        """Return what runs ``argv`` at its end."""
        return self._way.running(argv, self._first)

    def relay(self) -> Relay:
        """Return what connects to the server."""
        return Relay(self._way.dialling(self.endpoint, self._first), env=self._env, on_failure=self.lost)

    @contextlib.contextmanager
    def blamed(self, source: Source) -> Iterator[None]:
        """Where the block fails because the way did, say so."""
        try:
            yield
        except (SourceError, PluginError) as error:
            own = (MalformedURL, PluginNotFound, PluginConflict, PluginLoadError, RestoreNotSupported)
            if isinstance(error, own) or not self._has_failed():
                raise
            text = one_line(error)
            # What the driver says is kept whole: a connection may have failed before, and been of no consequence.
            raise TransportError(f"cannot reach {source.url} by {self._failure}; it ended with: {text}") from error

    def _has_failed(self) -> bool:
        """Return whether a connection failed, or that which they all share has ended; what was said of it is kept."""
        if self._failure or self._keeper is None:
            return bool(self._failure)
        end = time.monotonic() + _KEEPER_SECONDS  # those who shared it have seen its end, and it may be ending yet
        while self._keeper.returncode is None:
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        self._failure = self._way.explain(self._keeper.last_words())
        return True

    def lost(self, text: str, /) -> None:
        """Note why a connection or a program's way failed; the first counts: what follows comes of it."""
        if self._failure:
            return
        if self._keeper is not None:
            time.sleep(_KEEPER_SECONDS)
        self._failure = self._failure or self._way.explain("\n".join((text, *self._keeper_lines)))

    def _share(self) -> None:
        shared = self._first.shared(self._socket)
        if shared is None:
            return
        argv = ["/bin/sh", "-c", _KEEPER, "dumpty", *shared.keeper]
        keeper = Child(argv, env=self._env, stdin=True, stdout=False, on_line=self._keeper_lines.append)
        self._stack.enter_context(keeper)
        end = time.monotonic() + _READY_SECONDS
        while not os.path.exists(self._socket):
            if keeper.returncode is not None:
                time.sleep(_POLL_SECONDS)
                raise TransportError(self._way.explain(keeper.last_words()))
            if time.monotonic() > end:
                raise TransportError(f"{self._way.shown}: no answer within {_READY_SECONDS:g} s")
            pause(_POLL_SECONDS)
        self._keeper, self._first = keeper, shared.transport


def _environment(transport: Transport) -> dict[str, str | None]:
    """Return what to take out of the environment of a transport's program: all that it has no use for."""
    names = (*_PASSED_ON, *transport.environment)
    exact = {name for name in names if not name.endswith("*")}
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
    return {name: None for name in os.environ if name not in exact and not name.startswith(beginnings)}


def is_reached(identity: str) -> bool:
    """Return whether an identity is that of a database which was reached by a way (``reached_identity``)."""
    return _REACHED.match(identity) is not None


def reached_identity(driver: Plugin, source: Source, way: Way, inspected: str, *, of_server: bool) -> str:
    """Return a canonical name for what is reached by a way: its end, then server and database as they are called there.

    What the driver sees is a socket of this machine, another one each time; and of ``localhost`` there are many.
    ``inspected`` is the database's name as the driver knows it.
    """
    location = destination_of(driver, source).location
    name = "" if of_server else database_name(source, inspected)
    return f"{way.place}/{driver.described.schemes[0]}://{location}/{name}"
