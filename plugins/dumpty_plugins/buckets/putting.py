"""One object put, small and whole, where there is none: what a store of objects does around the request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

from dumpty import Cap, Exists, MissingFile, StoreError, check_object_name
from dumpty_plugins.buckets.failures import RequestFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from dumpty import Found

__all__ = ["PuttingStore", "SizedReader"]

_LARGEST_SMALL = 256 << 20
"""What is read at once: a manifest of a million tables is smaller."""


class SizedReader(Protocol):
    """A ``Reader`` that knows how many bytes its object has."""

    @property
    def size(self) -> int:
        """How many bytes the object has."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """See ``Reader``."""
        ...

    def close(self) -> None:
        """See ``Reader``."""
        ...


class PuttingStore(ABC):
    """The part of a store that puts small objects, and reads them back where an answer was lost."""

    @abstractmethod
    def capabilities(self) -> Cap:
        """See ``Store``."""

    @abstractmethod
    def locate(self, name: str) -> str:
        """See ``Store``."""

    @abstractmethod
    def stat(self, name: str) -> Found:
        """See ``Store``."""

    @abstractmethod
    def _errors(self, what: str, name: str) -> AbstractContextManager[None]:
        """Raise what fails in the block as an error of the contract."""

    @abstractmethod
    def open(self, name: str, offset: int = 0) -> SizedReader:
        """See ``Store``."""

    def get(self, name: str) -> bytes:
        reader = self.open(name)
        try:
            if reader.size > _LARGEST_SMALL:
                raise StoreError(f"{self.locate(name)} is larger than {_LARGEST_SMALL >> 20} MiB, and should be small")
            return reader.read()
        finally:
            reader.close()

    def put_by(self, send: Callable[[bool], None], name: str, data: bytes, *, new: bool) -> None:
        """Put an object.

        Args:
            send: sends the request once, asking the server to refuse a name that is taken where it is told to.
            name: the object's.
            data: its content.
            new: whether there may be none of that name.

        Raises:
            Exists: ``new``, and there is one.
            StoreError: it is not known to be there.
        """
        check_object_name(name)
        conditional = new and self._claims_new()
        if new and not conditional:
            self._refuse_taken(name)
        with self._errors("cannot write", name):
            try:
                send(conditional)
            except RequestFailed as failure:
                # The answer to a first request may be lost, and what is told is that to a second one.
                if failure.certain or not self._holds(name, data, failure, new=new):
                    raise

    def _claims_new(self) -> bool:
        return Cap.CREATE_NEW in self.capabilities()

    def _holds(self, name: str, data: bytes, failure: RequestFailed, *, new: bool) -> bool:
        """Return whether an object is there as it was put, after what may have been a success.

        Raises:
            Exists: ``new``, and it is another's.
        """
        try:
            content = self.get(name)
        except MissingFile:
            if failure.taken:
                raise self._exists(name) from failure
            return False
        except StoreError:
            return False
        if content != data and new:
            raise self._exists(name) from failure
        return content == data

    def _refuse_taken(self, name: str) -> None:
        try:
            self.stat(name)
        except MissingFile:
            return
        raise self._exists(name)

    def _exists(self, name: str) -> Exists:
        return Exists(f"{self.locate(name)} exists already")
