"""One bucket's requests, each sent once, its answer compared with what was sent."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import uuid
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from dumpty import Found, is_object_name
from dumpty_plugins.buckets.asking import Requests
from dumpty_plugins.buckets.block_reader import Range
from dumpty_plugins.buckets.failures import RequestFailed as AnyFailure
from dumpty_plugins.buckets.named_upload import Uploaded
from dumpty_plugins.gcs import answers
from dumpty_plugins.gcs.failures import CONDITION, RequestFailed, as_store_error
from dumpty_plugins.gcs.sending import Answer, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from dumpty_plugins.gcs.address import Address

__all__ = ["GoogleBucket"]

_PAGE = 1000
_LISTING = 16 << 20
"""Bytes: more than a page of the longest names."""
_EMPTY_PAGES = 1000
"""How many there may be, one after the other: the server may look on where it found nothing."""
_PARTIAL, _INCOMPLETE, _UNUSABLE, _FORBIDDEN, _CONDITION = 206, 308, 400, 403, 412
_GONE = frozenset({404, 410})
_DROPPED = frozenset({204, 404, 410, 499})

_T = TypeVar("_T")


class GoogleBucket:
    """The objects of a bucket. May be used from several threads. It is ``dumpty_plugins.buckets.store.Bucket``.

    Every method raises ``RequestFailed`` where there is no answer, or it is no success.

    Args:
        address: of the bucket, and the prefix of its objects' names.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.server = address.server
        self.timeout = address.timeout
        self.location = address.location
        self.requests = Requests(address.server, address.timeout, "dumpty-gcs")
        self._sender = Sender(address, self.requests.note_time)
        bucket = quote(address.bucket, safe="")
        self._objects = f"{address.url}/storage/v1/b/{bucket}/o"
        self._uploads = f"{address.url}/upload/storage/v1/b/{bucket}/o"

    def errors(self, what: str, name: str) -> AbstractContextManager[None]:
        """Raise what fails in the block as an error of the contract."""
        return as_store_error(f"{what} {self.address.location(name)}", self.address)

    def put(self, name: str, data: bytes, *, new: bool, classed: bool = False) -> None:
        """Put an object in one request; ``new`` only where the server knows none of that name."""
        import google_crc32c

        crc = answers.checksum(google_crc32c.value(data))
        resource = self._resource(name, classed=classed) | {"crc32c": crc}
        boundary = uuid.uuid4().hex
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))

        def ask() -> Answer:
            return self._sender.send(
                "POST",
                self._uploads,
                self._asked(uploadType="multipart", fields=answers.FIELDS, **self._condition(new=new)),
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                body=lambda: io.BytesIO(body),  # sent in blocks: of bytes the time for one is that for all
            )

        with self._taken(new=new):
            answer = self._send(ask, size=len(body))
        answers.require_as_sent(answer.document(), len(data), crc)
        if problem := answers.kept_otherwise(self.address, answer.document(), classed=classed):
            raise RequestFailed(problem, status=_UNUSABLE)

    def put_new(self, name: str, data: bytes) -> None:
        """Put an object where the server knows none."""
        self.put(name, data, new=True)

    def is_listed(self, name: str) -> bool:
        """Return whether a listing has the object."""
        return any(True for page in self.pages(name) for _ in page)

    def begin(self, name: str, nonce: str) -> str:
        """Begin an upload of unknown length, where the server knows no such name; return the URL of its session."""
        resource = self._resource(name, classed=True) | {"metadata": {answers.NONCE: nonce}}

        def ask() -> Answer:
            return self._sender.send(
                "POST",
                self._uploads,
                self._asked(uploadType="resumable", fields=answers.FIELDS, **self._condition(new=True)),
                headers={"Content-Type": "application/json; charset=UTF-8"},
                body=lambda: json.dumps(resource).encode(),
            )

        with self._taken(new=True):
            session = str(self._send(ask).headers.get("Location", ""))
        if not _is_of_one_server(session, self.address.url):  # what goes there are the data, and the token
            raise RequestFailed(f"{self.server} does not say where the upload goes on")
        return session

    def put_chunk(
        self,
        session: str,
        body: Callable[[], IO[bytes]],
        start: int,
        size: int,
        *,
        over: Callable[[], bool],
        last: bool = False,
    ) -> dict[str, Any]:
        """Send the bytes from ``start`` on, and again what of them did not arrive.

        Args:
            session: the URL of the upload's session.
            body: returns the bytes, as a file at its beginning.
            start: how many went before.
            size: how many they are.
            over: tells whether nobody waits any more.
            last: whether they are the last ones: these make the object.

        Returns:
            What the server says of the object; of an object that is not made yet, nothing.
        """
        end = start + size
        total = str(end) if last else "*"
        attempts: list[None] = []

        def ask() -> dict[str, Any]:
            position = start
            if attempts:  # the answer to the last one was lost: how much of it arrived?
                answer = self._ask_session(session, f"bytes */{total}")
                if answer.status != _INCOMPLETE:
                    return answer.document()
                position = self._arrived(answer, start, end)
            attempts.append(None)
            while position < end:
                said = f"bytes {position}-{end - 1}/{total}"
                answer = self._ask_session(session, said, functools.partial(_rest, body, position - start))
                if answer.status != _INCOMPLETE:
                    return answer.document()
                arrived = self._arrived(answer, start, end)
                if arrived <= position:
                    raise RequestFailed(f"{self.server} took none of {size:,} bytes", again=True)
                position = arrived
            if last:
                raise RequestFailed(f"{self.server} has all bytes, and made no object of them", again=True)
            return {}

        with self._taken(new=True):
            made = self._send(ask, size=size, over=over)
        if made and not last:
            raise RequestFailed(f"{self.server} says that the object is whole, whose end was not sent")
        return made

    def drop(self, session: str) -> None:
        """End an upload, for a moment at most: what is left of it the service removes after a week."""
        self.requests.send_at_last(lambda: self._sender.send("DELETE", session, {}, expected=_DROPPED))

    def head(self, name: str) -> Found:
        """Return what the server knows of an object."""
        return answers.found(name, self._look_up(name))

    def look_up(self, name: str) -> Uploaded:
        """Return what the server knows of an object that was uploaded."""
        resource = self._look_up(name)
        metadata = resource.get("metadata")
        nonce = metadata.get(answers.NONCE, "") if isinstance(metadata, dict) else ""
        return Uploaded(
            size=answers.found(name, resource).size,
            nonce=str(nonce),
            checksum=str(resource.get("crc32c", "")),
            problem=answers.kept_otherwise(self.address, resource, classed=True),
        )

    def get(self, name: str, offset: int, length: int, tag: str = "") -> Range:
        """Return up to ``length`` bytes from ``offset`` on, of the object of that tag."""
        url = self._object(name)
        parameters = self._asked(alt="media", **({"ifGenerationMatch": tag} if tag else {}))
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}

        def ask() -> Range:
            answer = self._sender.send("GET", url, parameters, headers=headers, about_object=True, most=length)
            return self._range(answer, offset)

        try:
            return self._send(ask, size=length)
        except RequestFailed as failure:
            if failure.status == _CONDITION:
                raise RequestFailed("the object was replaced while it was read", status=_CONDITION) from failure
            raise

    def pages(self, prefix: str) -> Iterator[Sequence[Found]]:
        """Yield the objects whose names begin so, page by page."""
        beginning = self.address.key(prefix)
        asked = {"prefix": beginning, "maxResults": str(_PAGE), "fields": f"kind,nextPageToken,items({answers.FIELDS})"}
        token, empty = "", 0
        seen: set[str] = set()
        while True:
            parameters = self._asked(**asked, **({"pageToken": token} if token else {}))
            page, token = self._page(beginning, parameters)
            yield page
            if not token:
                return
            empty = 0 if page else empty + 1
            if token in seen or empty > _EMPTY_PAGES:
                raise RequestFailed(f"{self.server} does not say how its list goes on")
            seen.add(token)

    def delete(self, name: str) -> None:
        """Delete an object."""
        url = self._object(name)
        answer = self._send(lambda: self._sender.send("DELETE", url, self._asked(), about_object=True))
        if answer.content:  # somebody else's page
            raise RequestFailed(f"the answer of {self.server} makes no sense")

    def _look_up(self, name: str) -> dict[str, Any]:
        url, parameters = self._object(name), self._asked(fields=answers.FIELDS)
        resource = self._send(lambda: self._sender.send("GET", url, parameters, about_object=True)).document()
        if resource.get("name") != self.address.key(name):
            raise RequestFailed(f"{self.server} answers with another object than it was asked for")
        return resource

    @contextlib.contextmanager
    def _taken(self, *, new: bool) -> Iterator[None]:
        """Tell a name that is taken from what is not allowed.

        Whoever may not delete may not replace either; and that this right is missed shows that there is an object.
        """
        try:
            yield
        except AnyFailure as failure:
            if new and failure.status == _FORBIDDEN and "storage.objects.delete" in failure.reason:
                raise RequestFailed(failure.reason, code=CONDITION, status=_FORBIDDEN) from failure
            raise

    def _page(self, beginning: str, parameters: Mapping[str, str]) -> tuple[Sequence[Found], str]:
        answer = self._send(lambda: self._sender.send("GET", self._objects, parameters, most=_LISTING)).document()
        if answer.get("kind") != "storage#objects":
            raise RequestFailed(f"the answer of {self.server} makes no sense")
        top = len(self.address.key(""))
        try:
            entries = [(str(entry["name"]), entry) for entry in answer.get("items", ())]
        except (TypeError, KeyError, AttributeError) as error:
            raise RequestFailed(f"the answer of {self.server} makes no sense") from error
        names = ((entry, name[top:]) for name, entry in entries if name.startswith(beginning))
        page = [
            answers.found(name, entry) for entry, name in names if is_object_name(name) or name.startswith("dumpty~")
        ]
        return page, str(answer.get("nextPageToken") or "")

    def _range(self, answer: Answer, offset: int) -> Range:
        generation = answer.headers.get("x-goog-generation", "")
        place, _, total = answer.headers.get("Content-Range", "").rpartition("/")
        if answer.status != _PARTIAL:
            place, total = "bytes 0-", str(len(answer.content))
        if not _is_number(generation) or not _is_number(total) or not place.startswith(f"bytes {offset}-"):
            raise RequestFailed(f"{self.server} answers with other bytes than it was asked for")
        read = Range(data=answer.content, size=int(total), tag=generation)
        told = answers.told_checksum(answer.headers.get("x-goog-hash"))
        if told and len(read.data) == read.size:  # it is that of the whole
            import google_crc32c

            if answers.checksum(google_crc32c.value(read.data)) != told:
                raise RequestFailed("other bytes came than the server has", again=True)
        return read

    def _ask_session(self, session: str, place: str, body: Callable[[], Any] = bytes) -> Answer:
        headers = {"Content-Range": place}
        return self._sender.send("PUT", session, {}, headers=headers, body=body, expected={_INCOMPLETE}, gone=_GONE)

    def _arrived(self, answer: Answer, start: int, end: int) -> int:
        """Return how many bytes the server has of an upload, from its beginning."""
        place = answer.headers.get("Range", "")
        last = place.rpartition("-")[2]
        arrived = int(last) + 1 if place.startswith("bytes=0-") and _is_number(last) else 0
        if not start <= arrived <= end:
            raise RequestFailed(
                f"{self.server} says that {arrived:,} bytes have arrived, of {start:,} or more", status=_INCOMPLETE
            )
        return arrived

    def _resource(self, name: str, *, classed: bool) -> dict[str, Any]:
        resource: dict[str, Any] = {"name": self.address.key(name), "contentType": "application/octet-stream"}
        if classed and self.address.storage_class:
            # Only data: manifests, pins and proofs are read at every listing, and a cold class bills that.
            resource["storageClass"] = self.address.storage_class
        return resource

    def _condition(self, *, new: bool) -> dict[str, str]:
        asked = {"ifGenerationMatch": "0"} if new else {}
        return asked | ({"kmsKeyName": self.address.kms_key} if self.address.kms_key else {})

    def _asked(self, **parameters: str) -> dict[str, str]:
        return parameters | ({"userProject": self.address.project} if self.address.project else {})

    def _object(self, name: str) -> str:
        return f"{self._objects}/{quote(self.address.key(name), safe='')}"

    def _send(self, ask: Callable[[], _T], *, size: int = 0, over: Callable[[], bool] = lambda: False) -> _T:
        return self.requests.send(ask, size=size, over=over)


def _rest(body: Callable[[], IO[bytes]], offset: int) -> IO[bytes]:
    content = body()
    content.seek(offset)
    return content


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,19}", text) is not None


def _is_of_one_server(url: str, other: str) -> bool:
    """Return whether two URLs are of one server; all those of Google's own domain are."""
    try:
        parts, others = urlsplit(url), urlsplit(other)
        port, other_port = parts.port, others.port
    except ValueError:
        return False
    own = ".googleapis.com"
    both_own = (parts.hostname or "").endswith(own) and (others.hostname or "").endswith(own)
    if re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc) is None:  # what others take apart in another way
        return False
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    same = parts.hostname == others.hostname and (port or usual) == (other_port or usual)
    return parts.scheme == others.scheme and (same or (both_own and port in {None, 443}))
