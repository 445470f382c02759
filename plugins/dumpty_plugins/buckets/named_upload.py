"""An upload whose object is known by what its writer called it: so that an answer that was lost can be made up for."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Struct

from dumpty import Exists
from dumpty_plugins.buckets.failures import RequestFailed
from dumpty_plugins.buckets.parted import PartedUpload, look_until
from dumpty_plugins.buckets.parts import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["Named", "NamedUpload", "Uploaded"]

_Sent = TypeVar("_Sent")


class Uploaded(Struct, frozen=True, kw_only=True):
    """What a server knows of an object: its size in bytes, what its writer called the upload, and its checksum.

    The last two are "" where it tells none. ``problem`` says how it is not kept as it was asked for.
    """

    size: int
    nonce: str
    checksum: str = ""
    problem: str = ""


class Named(Protocol):
    """Where objects are that know what their writer called the upload."""

    @property
    def server(self) -> str:
        """What the server is called in messages."""
        ...

    @property
    def timeout(self) -> float:
        """How long the server may be silent, in seconds."""
        ...

    def location(self, name: str) -> str:
        """Return where a person finds an object."""
        ...

    def errors(self, what: str, name: str) -> AbstractContextManager[None]:
        """Raise what fails in the block as an error of the contract."""
        ...

    def look_up(self, name: str) -> Uploaded:
        """Return what the server knows of an object that was uploaded."""
        ...


class NamedUpload(PartedUpload[Part, _Sent]):
    """Parts of an object that its last request makes, and that is looked up then.

    Args:
        place: where the object will be.
        name: the object's, checked.
        put_small: puts an object of that name in one request, if there is none.
        claims_new: tells whether it is the server that decides whose a name is.
        most_parts: how many the place takes of one object.
    """

    def __init__(
        self,
        place: Named,
        name: str,
        put_small: Callable[[bytes], None],
        claims_new: Callable[[], bool],
        most_parts: int,
    ) -> None:
        self._place = place
        self._name = name
        self._claims_new = claims_new
        self._nonce = uuid.uuid4().hex
        super().__init__(place.location(name), most_parts, put_small, "dumpty-part")

    @abstractmethod
    def make(self) -> None:
        """Make the object of what was sent, in a last request that asks the server to refuse a name that is taken.

        Raises:
            RequestFailed: it is not known to be there.
        """

    def as_store_error(self) -> AbstractContextManager[None]:
        return self._place.errors("cannot write", self._name)

    def join(self) -> None:
        if not self._claims_new() and self._is_there():
            raise self._exists()
        try:
            self.make()
        except RequestFailed as failure:
            # The answer to a first request may be lost, and what is told is that to a second one.
            if (failure.certain and not self.may_be_joined(failure)) or not self._comes_to_be(failure):
                raise
        else:
            if not self._is_there():
                raise RequestFailed(f"{self._place.server} said that it has the object, and has no such")

    def checksum(self) -> str:
        """Return that of all that was sent, as the server tells it; "" where parts are compared one by one."""
        return ""

    def may_be_joined(self, failure: RequestFailed) -> bool:  # noqa: ARG002 - whoever knows better looks
        """Return whether a refusal may mean that an earlier, lost request has succeeded."""
        return False

    def _comes_to_be(self, failure: RequestFailed) -> bool:
        """Look for the object, as long as the server may still make it.

        Raises:
            Exists: the name is another's.
        """
        if look_until(self._is_there, 0.0 if failure.status else self._place.timeout):
            return True
        if failure.taken:
            raise self._exists() from failure
        return False

    def _is_there(self) -> bool:
        """Return whether the object is there as it was sent.

        Raises:
            Exists: the name is another's.
            RequestFailed: it is this upload's, and not what was sent; or it cannot be looked up.
        """
        try:
            found = self._place.look_up(self._name)
        except RequestFailed as failure:
            if failure.missing:
                return False
            raise
        if found.nonce != self._nonce:
            raise self._exists()
        if found.size != self._size:
            raise RequestFailed(f"of {self._size:,} bytes {found.size:,} arrived")
        if found.checksum != self.checksum():
            raise RequestFailed("other bytes have arrived than were sent")
        if found.problem:
            raise RequestFailed(found.problem)
        return True

    def _exists(self) -> Exists:
        return Exists(f"{self._location} exists already")
