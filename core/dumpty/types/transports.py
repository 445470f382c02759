"""Ways to database servers that this machine cannot reach by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

__all__ = ["Endpoint", "Remote", "SharedConnection", "Transport"]


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a server listens, as seen from where a transport leads to.

    ``sockets`` are paths of Unix sockets, the first that is there counts; where there are none, it is ``host`` (a name
    or an address, without brackets) and ``port``.
    """

    host: str = ""
    port: int = 0
    sockets: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        if self.sockets:
            return " or ".join(self.sockets)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Transport(Protocol):
    """One way from a machine to another one, or into a container: a maker of command lines. It runs nothing itself.

    What it returns is run by dumpty without a shell: on this machine, or, where another transport comes before it, on
    the one that that leads to. It holds no secret, for others see command lines; where a program needs one, it has it
    from an agent, a file, or its own configuration. Several threads may ask at once.
    """

    @property
    def place(self) -> str:
        """The machine or container that it leads to, as a URL: what tells its ``localhost`` from any other.

        It is the same whoever logs in, and however: without user, key or other settings.
        """
        ...

    @property
    def environment(self) -> Sequence[str]:
        """Names of the variables that its program needs of this one's environment, beside PATH, HOME and the like.

        A name that ends with a star stands for all that begin so.
        """
        ...

    def command(self, argv: Sequence[str], /) -> list[str]:
        """Return the command that runs ``argv`` there, one step nearer: its input, output and exit status are its own.

        Whatever stands in ``argv`` arrives as it is, spaces, quotes and newlines, too.
        """
        ...

    def dial(self, endpoint: Endpoint, /) -> list[str]:
        """Return the command whose standard input and output are a connection to ``endpoint``, byte for byte.

        It says on its standard error why there is none, and then ends with another status than 0. Where its input ends
        so does what is sent, and what the server still says is written before it ends; where the server ends, so does
        it, or at least its output.
        """
        ...

    def advise(self, text: str, /) -> str:
        """Return what to do about ``text``, which its program wrote to its standard error; "" where nobody knows."""
        ...

    def shared(self, path: str, /) -> SharedConnection | None:
        """Return how one connection serves many commands, by a Unix socket that is made at ``path``; None where not.

        Asked only of what begins on this machine. ``path`` is private, and gone when all is done.
        """
        ...


class SharedConnection(Struct, frozen=True, kw_only=True):
    """One connection that many commands share.

    ``keeper`` is the command that makes and keeps it, until it is ended; ``transport`` is the same way by its socket.
    """

    keeper: tuple[str, ...]
    transport: Transport


class Remote(Protocol):
    """The machine or container that a way leads to (``--via``), for drivers whose programs are to run there.

    ``dumpty.process.RemoteChild`` starts one.
    """

    @property
    def endpoint(self) -> Endpoint:
        """Where the database's server listens, as seen from there."""
        ...

    @property
    def shown(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def environment(self) -> Mapping[str, str | None]:
        """Changes to the environment of the program that begins the way, on this machine."""
        ...

    def command(self, argv: Sequence[str], /) -> list[str]:
        """Return the command that, run on this machine, runs ``argv`` there."""
        ...

    def lost(self, text: str, /) -> None:
        """Note that the way broke, and what was said of it."""
        ...
