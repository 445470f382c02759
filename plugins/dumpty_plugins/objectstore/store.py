"""A container, or what lies below a prefix in it, as a store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dumpty import Cap, Found, Retained, StoreError, check_object_name, is_object_name
from dumpty_plugins.buckets.probing import MARKER, find_guarantees
from dumpty_plugins.buckets.putting import PuttingStore
from dumpty_plugins.objectstore.azure import Container
from dumpty_plugins.objectstore.failures import RequestFailed, as_store_error, store_error
from dumpty_plugins.objectstore.reader import ObjectReader
from dumpty_plugins.objectstore.requests import Requests
from dumpty_plugins.objectstore.upload import ObjectUpload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from dumpty_plugins.objectstore.address import Address

_THREADS = 8


class ObjectStore(PuttingStore):
    """Objects in a container.

    Args:
        address: of the container, and the prefix of its blobs' names.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._requests = Requests(address)
        self._container = Container(self._requests)
        self._capabilities: Cap | None = None

    def capabilities(self) -> Cap:
        if self._capabilities is None:
            with self._errors("cannot find out what can be done in", ""):
                found = find_guarantees(self._container)
            claimed = Cap.DELETE if found.writable else Cap(0)
            claimed |= Cap.CREATE_NEW if found.decides else Cap(0)
            self._capabilities = claimed | (Cap.STRONG_LIST if found.lists else Cap(0))
        return self._capabilities

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        self._put(check_object_name(name), data, new=new, classed=False)

    def upload(self, name: str, expected: int | None = None) -> ObjectUpload:  # noqa: ARG002 - parts grow as it does
        check_object_name(name)
        return ObjectUpload(
            self._container, name, lambda data: self._put(name, data, new=True, classed=True), self._claims_new
        )

    def open(self, name: str, offset: int = 0) -> ObjectReader:
        return ObjectReader(self._container, check_object_name(name), offset)

    def stat(self, name: str) -> Found:
        with self._errors("cannot read", check_object_name(name)):
            return self._container.head(name)

    def list(self, folder: str = "") -> Iterator[Found]:
        pages = self._container.pages(f"{check_object_name(folder)}/" if folder else "")
        while True:
            with self._errors("cannot list", folder):
                page = next(pages, None)
            if page is None:
                return
            yield from (found for found in page if is_object_name(found.name))

    def delete(self, names: Iterable[str]) -> None:
        checked = list(dict.fromkeys(check_object_name(name) for name in names))
        if not checked:
            return
        with ThreadPoolExecutor(min(_THREADS, len(checked)), thread_name_prefix="dumpty-objectstore-delete") as pool:
            failures = [failure for failure in pool.map(self._delete, checked) if failure is not None]
        if failures:
            # What is kept until later is no failure to whoever removes; so any other one is what is to be told.
            raise min(failures, key=lambda error: isinstance(error, Retained))

    def now(self) -> datetime:
        with self._errors("cannot tell the time in", ""):
            return self._requests.now(self._ask)

    def locate(self, name: str) -> str:
        return self._address.location(check_object_name(name) if name else "")

    def sweep(self, older: timedelta) -> None:
        """Do nothing: the service itself removes blocks that nobody joined, a week after the last of them."""

    def _errors(self, what: str, name: str) -> AbstractContextManager[None]:
        return as_store_error(f"{what} {self._address.location(name)}", self._address)

    def _put(self, name: str, data: bytes, *, new: bool, classed: bool) -> None:
        self.put_by(
            lambda conditional: self._container.put(name, data, new=conditional, classed=classed), name, data, new=new
        )

    def _delete(self, name: str) -> StoreError | None:
        try:
            self._container.delete(name)
        except RequestFailed as failure:
            if failure.missing:
                return None
            return store_error(f"cannot delete {self._address.location(name)}", failure, self._address)
        return None

    def _ask(self) -> None:
        try:
            self._container.head(MARKER)
        except RequestFailed as failure:
            if not failure.status:
                raise
