"""One container's requests, each sent once, its answer compared with what was sent."""

from __future__ import annotations

import logging
import re
import threading
from datetime import UTC
from typing import IO, TYPE_CHECKING, Any, TypeVar

from dumpty import Found, is_object_name
from dumpty_plugins.buckets.asking import Requests
from dumpty_plugins.buckets.block_reader import Range
from dumpty_plugins.buckets.named_upload import Uploaded
from dumpty_plugins.buckets.per_process import PerProcess
from dumpty_plugins.objectstore.account import find_account
from dumpty_plugins.objectstore.failures import RequestFailed, as_store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from dumpty_plugins.objectstore.address import Address

__all__ = ["Container"]

_CONNECT_SECONDS = 10.0
_NONCE = "dumptyupload"
_AGAIN = frozenset({408, 429})
_SERVER_ERROR = 500
_REFUSED = frozenset({401, 403})
_UNUSABLE = 400
_NOT_FOUND = 404
_LARGEST_SINGLE = 256 << 20

_QUIET = logging.NullHandler()

_T = TypeVar("_T")


class Container:
    """The blobs of a container. May be used from several threads. It is ``dumpty_plugins.buckets.store.Bucket``.

    Every method raises ``RequestFailed`` where there is no answer, or it is no success.

    Args:
        address: of the container, and the prefix of its blobs' names.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.server = address.server
        self.timeout = address.timeout
        self.location = address.location
        self.requests = Requests(address.server, address.timeout, "dumpty-objectstore")
        self._client = PerProcess(self._new_client)
        self._last = threading.local()

    def errors(self, what: str, name: str) -> AbstractContextManager[None]:
        """Raise what fails in the block as an error of the contract."""
        return as_store_error(f"{what} {self.address.location(name)}", self.address)

    def put(self, name: str, data: bytes, *, new: bool, classed: bool = False) -> None:
        """Put an object in one request; ``new`` only where the server knows none of that name."""

        def ask(client: Any) -> None:
            blob = client.get_blob_client(self.address.key(name))
            kept = self._kept("", classed=classed)
            blob.upload_blob(data, length=len(data), overwrite=not new, validate_content=True, **kept)

        self._send(ask, size=len(data))

    def put_new(self, name: str, data: bytes) -> None:
        """Put an object where the server knows none."""
        self.put(name, data, new=True)

    def is_listed(self, name: str) -> bool:
        """Return whether a listing has the object."""
        return any(True for page in self.pages(name) for _ in page)

    def put_block(
        self, name: str, block: str, body: Callable[[], IO[bytes]], size: int, over: Callable[[], bool]
    ) -> None:
        """Put a block, which waits to be joined with others."""

        def ask(client: Any) -> None:
            blob = client.get_blob_client(self.address.key(name))
            blob.stage_block(block, body(), length=size, validate_content=True)

        self._send(ask, size=size, over=over)

    def join(self, name: str, blocks: Sequence[str], *, nonce: str, patience: int) -> None:
        """Make an object of blocks, where the server knows none of that name."""
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock

        def ask(client: Any) -> None:
            blob = client.get_blob_client(self.address.key(name))
            listed = [BlobBlock(block_id=block) for block in blocks]
            kept = self._kept(nonce, classed=True)
            blob.commit_block_list(listed, match_condition=MatchConditions.IfMissing, **kept)

        self._send(ask, size=patience)

    def head(self, name: str) -> Found:
        """Return what the server knows of an object."""
        return _found(name, self._properties(name))

    def look_up(self, name: str) -> Uploaded:
        """Return what the server knows of an object that was uploaded; its blocks' checksums were compared."""
        found = self._properties(name)
        return Uploaded(size=_found(name, found).size, nonce=str((found.metadata or {}).get(_NONCE, "")))

    def _properties(self, name: str) -> Any:
        found = self._send(lambda client: client.get_blob_client(self.address.key(name)).get_blob_properties())
        if _is_folder(found):
            raise RequestFailed("it is a directory", code="BlobNotFound", status=_NOT_FOUND)
        return found

    def get(self, name: str, offset: int, length: int, tag: str = "") -> Range:
        """Return up to ``length`` bytes from ``offset`` on, of the object of that tag."""
        from azure.core import MatchConditions

        wanted = {"etag": f'"{tag}"', "match_condition": MatchConditions.IfNotModified} if tag else {}

        def ask(client: Any) -> Range:
            blob = client.get_blob_client(self.address.key(name))
            stream = blob.download_blob(offset=offset, length=length, max_concurrency=1, **wanted)
            total = str(stream.properties.content_range or "").rpartition("/")[2]
            data = stream.readall()
            size = int(total) if total.isdigit() else len(data)
            return Range(data=data, size=size, tag=str(stream.properties.etag).strip('"'))

        return self._send(ask, size=length)

    def pages(self, prefix: str) -> Iterator[Sequence[Found]]:
        """Yield the objects whose names begin so, page by page."""
        beginning = self.address.key(prefix)
        top = len(self.address.key(""))
        token: str | None = None
        seen: set[str] = set()
        while True:
            entries, token = self._send(_page_asked(beginning, token))
            blobs = (entry for entry in entries if entry.name.startswith(beginning) and not _is_folder(entry))
            names = ((entry, entry.name[top:]) for entry in blobs)
            yield [_found(name, entry) for entry, name in names if is_object_name(name) or name.startswith("dumpty~")]
            if not token:
                return
            if token in seen:
                raise RequestFailed(f"{self.address.server} does not say how its list goes on")
            seen.add(token)

    def delete(self, name: str) -> None:
        """Delete an object."""
        self._send(lambda client: client.get_blob_client(self.address.key(name)).delete_blob())

    def _kept(self, nonce: str, *, classed: bool) -> dict[str, Any]:
        from azure.storage.blob import StandardBlobTier

        kept: dict[str, Any] = {"metadata": {_NONCE: nonce}} if nonce else {}
        if classed and self.address.storage_class:
            # Only data: manifests, pins and proofs are read at every listing, and a cool class bills that.
            kept["standard_blob_tier"] = StandardBlobTier(self.address.storage_class)
        return kept

    def _send(self, ask: Callable[[Any], _T], *, size: int = 0, over: Callable[[], bool] = lambda: False) -> _T:
        return self.requests.send(lambda: self._answer(ask), size=size, over=over)

    def _answer(self, ask: Callable[[Any], _T]) -> _T:
        self._last.answer = None
        try:
            return self._translated(ask)
        except RequestFailed:
            if self._last.answer is not None:  # it may not have been read to its end, and nobody will
                self._last.answer.internal_response.close()
            raise

    def _note(self, answer: Any) -> None:
        self._last.answer = answer.http_response
        self.requests.note_time(answer.http_response.headers.get("Date"))

    def _translated(self, ask: Callable[[Any], _T]) -> _T:
        from azure.core import exceptions

        try:
            return ask(self._client.get())
        except exceptions.ClientAuthenticationError as error:
            raise (_refusal(error) if error.status_code else _unsigned(error)) from error
        except exceptions.HttpResponseError as error:
            raise _refusal(error) from error
        except exceptions.ServiceRequestError as error:
            raise self._unsent(error) from error
        except (exceptions.AzureError, OSError) as error:
            raise RequestFailed(self._broken(error), again=True) from error
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise RequestFailed(f"the answer of {self.address.server} makes no sense ({_one_line(error)})") from error

    def _new_client(self) -> Any:
        from azure.storage.blob import ContainerClient

        # What it would say on the terminal is said by errors; whoever reads its log still gets it.
        logging.getLogger("azure").addHandler(_QUIET)
        account = find_account(self.address)
        return ContainerClient(
            account.url,
            self.address.container,
            credential=account.credential,
            connection_timeout=min(_CONNECT_SECONDS, self.address.timeout),
            read_timeout=self.address.timeout,
            retry_total=0,  # Requests does
            max_single_put_size=_LARGEST_SINGLE,
            max_single_get_size=_LARGEST_SINGLE,  # so one block is one request
            raw_response_hook=self._note,
            user_agent="dumpty",
        )

    def _unsent(self, error: Exception) -> RequestFailed:
        text, server = _one_line(error), self.address.server
        if "CERTIFICATE_VERIFY_FAILED" in text or "SSLError" in text or "[SSL" in text:
            return RequestFailed(f"{server} has no certificate that is trusted here ({text}); see REQUESTS_CA_BUNDLE")
        return RequestFailed(
            f"{server} cannot be reached; see its address (?account=, ?endpoint=), and the network", again=True
        )

    def _broken(self, error: Exception) -> str:
        text = _one_line(error)
        if "timed out" in text.lower():
            return (
                f"{self.address.server} gave no answer within {self.address.timeout:g} s; see the network, or allow "
                "more: ?timeout="
            )
        return f"the connection to {self.address.server} broke off: {text}"


def _page_asked(beginning: str, token: str | None) -> Callable[[Any], tuple[list[Any], str | None]]:
    def ask(client: Any) -> tuple[list[Any], str | None]:
        pages = client.list_blobs(name_starts_with=beginning or None, include=["metadata"]).by_page(token)
        return list(next(pages, ())), pages.continuation_token

    return ask


def _is_folder(properties: Any) -> bool:
    """Return whether it is a directory, which an account with a hierarchical namespace lists, too."""
    return str((properties.metadata or {}).get("hdi_isfolder", "")).lower() == "true"


def _found(name: str, properties: Any) -> Found:
    tag = str(properties.etag or "").strip('"')
    if not tag or properties.size is None or properties.last_modified is None:
        raise RequestFailed("the server does not say how large the object is, and when it was written")
    return Found(name=name, size=int(properties.size), tag=tag, modified=properties.last_modified.astimezone(UTC))


def _refusal(error: Any) -> RequestFailed:
    status = int(error.status_code or 0)
    code = getattr(error, "error_code", None)
    code = str(getattr(code, "value", code) or "")
    if not code and status in _REFUSED:
        code = str(status)
    message = _one_line(error)
    if "including the signature" in message:  # some servers give that another code
        code = "AuthenticationFailed"
    text = code if code and not code.isdigit() else f"HTTP status {status}"
    reason = text if not message or message in {code, text} else f"{text}: {message}"
    return RequestFailed(reason, code=code, status=status, again=status in _AGAIN or status >= _SERVER_ERROR)


def _unsigned(error: Exception) -> RequestFailed:
    """Return what becomes of a request that nothing could sign, and so was never sent."""
    if type(error).__name__ == "AzureSigningError":
        return RequestFailed("what is given as the account's key is none", code="NoKey", status=_UNUSABLE)
    return RequestFailed(f"nothing signs in: {_one_line(error).rstrip('.')}", code="NothingSignsIn", status=_UNUSABLE)


def _one_line(error: Any) -> str:
    """Return an error's first line, without the address that it may tell: a SAS token stands in that."""
    lines = [line for line in str(getattr(error, "message", "") or error).splitlines() if line.strip()]
    text = " ".join(lines[0].split()) if lines else type(error).__name__
    return re.sub(r"(with url:|https?://)\s*\S+|\S*\bsig=\S+", "…", text)[:300]
