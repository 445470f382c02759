"""A bucket, or what lies below a prefix in it, as a store."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from dumpty import Cap, Found, check_object_name, is_object_name
from dumpty_plugins.buckets.probing import MARKER, find_guarantees
from dumpty_plugins.buckets.putting import PuttingStore
from dumpty_plugins.s3 import deleting, objects
from dumpty_plugins.s3.failures import RequestFailed, as_store_error
from dumpty_plugins.s3.probing import ProbedBucket
from dumpty_plugins.s3.reader import S3Reader
from dumpty_plugins.s3.requests import Requests
from dumpty_plugins.s3.upload import S3Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from dumpty_plugins.s3.address import Address

_NO_UPLOAD = "NoSuchUpload"


class S3Store(PuttingStore):
    """Objects in a bucket.

    Args:
        address: of the bucket, and the prefix of its keys.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._requests = Requests(address)
        self._capabilities: Cap | None = None

    def capabilities(self) -> Cap:
        if self._capabilities is None:
            with self._errors("cannot find out what can be done in", ""):
                found = find_guarantees(ProbedBucket(self._requests))
            claimed = Cap.DELETE | Cap.BATCH if found.writable else Cap(0)
            claimed |= Cap.CREATE_NEW if found.decides else Cap(0)
            lists = found.lists and self._address.listing != "late"
            self._capabilities = claimed | (Cap.STRONG_LIST if lists else Cap(0))
        return self._capabilities

    def put(self, name: str, data: bytes, *, new: bool = True) -> None:
        self._put(check_object_name(name), data, new=new, extra={})

    def upload(self, name: str, expected: int | None = None) -> S3Upload:  # noqa: ARG002 - parts grow as it does
        check_object_name(name)
        extra = objects.storage_class(self._address)
        return S3Upload(
            self._requests, name, lambda data: self._put(name, data, new=True, extra=extra), self._claims_new
        )

    def open(self, name: str, offset: int = 0) -> S3Reader:
        return S3Reader(self._requests, check_object_name(name), offset)

    def stat(self, name: str) -> Found:
        with self._errors("cannot read", check_object_name(name)):
            try:
                return objects.head(self._requests, name)
            except RequestFailed as failure:
                if failure.missing:  # the answer to HEAD has no room for what is missing: the object, or the bucket
                    key = self._address.key(name)
                    self._requests.send("get_object", {"Key": key, "Range": "bytes=0-0"})["Body"].close()
                raise

    def list(self, folder: str = "") -> Iterator[Found]:
        prefix = self._address.key(f"{check_object_name(folder)}/" if folder else "")
        token, seen = "", set()
        while True:
            with self._errors("cannot list", folder):
                page, token = self._page(prefix, token)
                if token in seen:
                    raise RequestFailed(f"{self._address.server} does not say how it goes on")
            seen.add(token)
            yield from page
            if not token:
                return

    def delete(self, names: Iterable[str]) -> None:
        deleting.delete(self._requests, names)

    def now(self) -> datetime:
        with self._errors("cannot tell the time in", ""):
            return self._requests.now(self._ask)

    def locate(self, name: str) -> str:
        return self._address.location(check_object_name(name) if name else "")

    def sweep(self, older: timedelta) -> None:
        top = self._address.key("")
        parameters: dict[str, object] = {"Prefix": top} if top else {}
        with self._errors("cannot clear", ""):
            while True:
                try:
                    answer = self._requests.send("list_multipart_uploads", parameters)
                except RequestFailed as failure:
                    if failure.unsupported or failure.code == _NO_UPLOAD:  # rclone's server says that
                        return
                    raise
                for entry in answer.get("Uploads", ()):
                    self._abort_if_older(entry, older)
                if not answer["IsTruncated"]:
                    return
                last = dict(parameters)
                parameters["KeyMarker"] = answer.get("NextKeyMarker", "")
                parameters["UploadIdMarker"] = answer.get("NextUploadIdMarker", "")
                if parameters == last:
                    raise RequestFailed(f"{self._address.server} does not say how its list of uploads goes on")

    def _errors(self, what: str, name: str) -> AbstractContextManager[None]:
        return as_store_error(f"{what} {self._address.location(name)}", self._address)

    def _put(self, name: str, data: bytes, *, new: bool, extra: dict[str, object]) -> None:
        self.put_by(
            lambda conditional: objects.put(self._requests, name, data, new=conditional, extra=extra),
            name,
            data,
            new=new,
        )

    def _page(self, prefix: str, token: str) -> tuple[Sequence[Found], str]:
        """Return the objects on a page of a listing, and what asks for the next one, "" where there is none."""
        parameters: dict[str, object] = {"ContinuationToken": token} if token else {}
        answer = self._requests.send("list_objects_v2", {"Prefix": prefix, **parameters})
        top = len(self._address.key(""))
        keys = ((entry, entry["Key"][top:]) for entry in answer.get("Contents", ()) if entry["Key"].startswith(prefix))
        page = [objects.found(name, entry) for entry, name in keys if is_object_name(name)]
        more = answer["IsTruncated"]  # which an answer that was cut lacks
        return page, answer["NextContinuationToken"] if more else ""

    def _ask(self) -> None:
        try:
            objects.head(self._requests, MARKER)
        except RequestFailed as failure:
            if not failure.status:
                raise

    def _abort_if_older(self, entry: dict[str, Any], older: timedelta) -> None:
        """Abort an upload that was begun, and had its last part, so long ago: a large one can take days."""
        name = entry["Key"][len(self._address.key("")) :]
        if not is_object_name(name) or self.now() - entry["Initiated"].astimezone(UTC) < older:
            return
        upload = {"Key": entry["Key"], "UploadId": entry["UploadId"]}
        try:
            if any(self.now() - moment < older for moment in self._part_times(upload)):
                return
            self._requests.send("abort_multipart_upload", upload)
        except RequestFailed as failure:
            if failure.code != _NO_UPLOAD:
                raise

    def _part_times(self, upload: dict[str, object]) -> Iterator[datetime]:
        marker = 0
        while True:
            answer = self._requests.send("list_parts", {**upload, "PartNumberMarker": marker})
            parts = answer.get("Parts", ())
            yield from (part["LastModified"].astimezone(UTC) for part in parts)
            if not answer.get("IsTruncated") or not parts:
                return
            marker = parts[-1]["PartNumber"]
