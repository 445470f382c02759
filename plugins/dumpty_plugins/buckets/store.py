"""What lies below a prefix in a bucket or container as a store, whose every request is sent once and answered whole."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from dumpty import Cap, Found, MissingFile, Retained, StoreError, check_object_name, is_object_name
from dumpty_plugins.buckets.block_reader import BlockReader, Blocks
from dumpty_plugins.buckets.failures import RequestFailed
from dumpty_plugins.buckets.probing import MARKER, Probed, find_guarantees
from dumpty_plugins.buckets.putting import PuttingStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from dumpty import Upload
    from dumpty_plugins.buckets.asking import Requests

__all__ = ["Bucket", "BucketStore"]

_THREADS = 8


class Bucket(Blocks, Probed, Protocol):
    """A bucket's requests; ``RequestFailed`` where there is no success."""

    requests: Requests

    def head(self, name: str) -> Found:
        """Return what the server knows of an object."""
        ...

    def put(self, name: str, data: bytes, *, new: bool, classed: bool = False) -> None:
        """Put an object in one request.

        Args:
            name: the object's.
            data: its content.
            new: whether to put it only where the server knows none of that name.
            classed: whether it goes into the storage class that the URL asks for.
        """
        ...

    def pages(self, prefix: str) -> Iterator[Sequence[Found]]:
        """Yield the objects whose names begin so, page by page."""
        ...


class BucketStore(PuttingStore):
    """Objects in a bucket.

    Args:
        bucket: sends the requests.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._capabilities: Cap | None = None

    @abstractmethod
    def _new_upload(self, name: str) -> Upload:
        """Return what takes a large object, or a small one."""

    def capabilities(self) -> Cap:
        if self._capabilities is None:
            with self._errors("cannot find out what can be done in", ""):
                found = find_guarantees(self._bucket)
            claimed = Cap.DELETE if found.writable else Cap(0)
            claimed |= Cap.CREATE_NEW if found.decides else Cap(0)
            self._capabilities = claimed | (Cap.STRONG_LIST if found.lists else Cap(0))
        return self._capabilities

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        self._put(check_object_name(name), data, new=new, classed=False)

    def upload(self, name: str, expected: int | None = None) -> Upload:  # noqa: ARG002 - parts grow as it does
        return self._new_upload(check_object_name(name))

    def open(self, name: str, offset: int = 0) -> BlockReader:
        return BlockReader(self._bucket, check_object_name(name), offset)

    def stat(self, name: str) -> Found:
        with self._errors("cannot read", check_object_name(name)):
            return self._bucket.head(name)

    def list(self, folder: str = "") -> Iterator[Found]:
        pages = self._bucket.pages(f"{check_object_name(folder)}/" if folder else "")
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
        with ThreadPoolExecutor(min(_THREADS, len(checked)), thread_name_prefix="dumpty-delete") as pool:
            failures = [failure for failure in pool.map(self._delete, checked) if failure is not None]
        if failures:
            # What is kept until later is no failure to whoever removes; so any other one is what is to be told.
            raise min(failures, key=lambda error: isinstance(error, Retained))

    def now(self) -> datetime:
        with self._errors("cannot tell the time in", ""):
            return self._bucket.requests.now(self._ask)

    def locate(self, name: str) -> str:
        return self._bucket.location(check_object_name(name) if name else "")

    def sweep(self, older: timedelta) -> None:
        """Do nothing: the service itself removes what was begun and never ended, a week after the last of it."""

    def _errors(self, what: str, name: str) -> AbstractContextManager[None]:
        return self._bucket.errors(what, name)

    def _put(self, name: str, data: bytes, *, new: bool, classed: bool) -> None:
        # Asked for in every case: a server that heeds it now was perhaps not reached when that was to be found out.
        self.put_by(lambda _: self._bucket.put(name, data, new=new, classed=classed), name, data, new=new)

    def _delete(self, name: str) -> StoreError | None:
        try:
            with self._errors("cannot delete", name):
                self._bucket.delete(name)
        except MissingFile:
            return None
        except StoreError as error:
            return error
        return None

    def _ask(self) -> None:
        try:
            self._bucket.head(MARKER)
        except RequestFailed as failure:
            if not failure.status:
                raise
