"""A request that brought no success, as every server's own kind of it is told apart."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar

from dumpty import MissingFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty import StoreError

__all__ = ["GIVEN_UP", "RequestFailed", "translated"]

GIVEN_UP = "given-up"
"""The code of a request whose time was over: once more would take as long."""
_SERVER_ERROR = 500


class RequestFailed(Exception):
    """A request that brought no success; a store's own subclass knows its server's codes.

    Args:
        reason: one line.
        code: the server's, "" where none answered.
        status: of HTTP, 0 where none answered.
        again: whether the same request may succeed when it is sent once more.
    """

    MISSING: ClassVar[frozenset[str]] = frozenset()
    TAKEN: ClassVar[frozenset[str]] = frozenset()
    REFUSED: ClassVar[frozenset[str]] = frozenset()
    UNSUPPORTED: ClassVar[frozenset[str]] = frozenset()
    UNSIGNED: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, reason: str, *, code: str = "", status: int = 0, again: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status
        self.reason = reason
        self.again = again
        self.uncertain = False
        """Whether the same request was sent before, and its answer was lost: it may have succeeded."""

    @property
    def missing(self) -> bool:
        """Whether the object is not there."""
        return self.code in self.MISSING

    @property
    def taken(self) -> bool:
        """Whether the name was somebody's, or is being fought for."""
        return self.code in self.TAKEN

    @property
    def decided(self) -> bool:
        """Whether the name was somebody's, and no longer fought for."""
        return self.taken

    @property
    def refused(self) -> bool:
        """Whether the rights at hand do not suffice."""
        return self.code in self.REFUSED

    @property
    def unsigned(self) -> bool:
        """Whether the server does not know who asks: which says nothing of anybody's rights."""
        return self.code in self.UNSIGNED

    @property
    def unsupported(self) -> bool:
        """Whether the server does not know what was asked for."""
        return self.code in self.UNSUPPORTED

    @property
    def certain(self) -> bool:
        """Whether the server has said no, and nothing can come of it any more."""
        said_no = 0 < self.status < _SERVER_ERROR and not self.taken
        return said_no and not self.again and not self.uncertain


@contextlib.contextmanager
def translated(what: str, translate: Callable[[RequestFailed], StoreError]) -> Iterator[None]:
    """Raise as an error of the contract what comes up in the block.

    Args:
        what: says what cannot be done.
        translate: returns the error for a request that failed, if it was not for an object that is missing.
    """
    try:
        yield
    except RequestFailed as failure:
        if failure.missing:
            raise MissingFile(f"{what}: it does not exist") from failure
        raise translate(failure) from failure
