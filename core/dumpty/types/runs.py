"""Runs of jobs, as a repository keeps them: who is at one, what came of it, and who was told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self

from msgspec import Struct

if TYPE_CHECKING:
    from types import TracebackType


class StoredRun(Struct, frozen=True, kw_only=True):
    """What is known of one run of a job.

    ``slot`` begins with when it was due (``20261126T030000Z``, in UTC). ``done``: it has a result. ``running``:
    somebody is at it, on ``host`` ("" where that is not said). ``last_sign`` is when whoever was at it last wrote
    something, by the store's clock; None where nobody is any more.
    """

    job: str
    slot: str
    done: bool
    running: bool = False
    last_sign: datetime | None = None
    host: str = ""


class RunClaim(Protocol):
    """A claim to a run: a block within which nobody else is let in, and that ends with ``finish``.

    Left without it, the claim is given back, and whoever comes next may try at once. Whoever is killed within it is let
    go of after a bounded time. ``key`` is a UUID of the run: whoever claims it again is given the same.
    """

    @property
    def key(self) -> str:
        """A UUID of the run."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def finish(self, content: bytes) -> bool:
        """Write down what came of the run; return whether this is the result that counts, of which there is one.

        Raises ``StoreError`` where that cannot be told.
        """
        ...


class TellingClaim(Protocol):
    """A claim to tell one recipient of a job: a block that ends with ``finish``, once the recipient has taken it.

    ``known`` is what ``finish`` was given before; several, where several told at once, and nothing where nobody did.
    Left without ``finish`` nothing was told, and whoever comes next may try at once; whoever is killed within it is let
    go of after a bounded time, and then it is told by somebody else, maybe once more.
    """

    known: tuple[bytes, ...]

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def finish(self, content: bytes) -> None:
        """Write down what the recipient knows now, in the place of all that is ``known``.

        Raises ``StoreError`` where it cannot be said whether that stands.
        """
        ...
