"""Deletions, a thousand at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from dumpty import Retained, StoreError, check_object_name
from dumpty_plugins.s3.failures import RequestFailed, store_error
from dumpty_plugins.s3.objects import head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dumpty_plugins.s3.requests import Requests

__all__ = ["delete"]

_BATCH = 1_000
_THREADS = 8
_REFUSED = 403


def delete(requests: Requests, names: Iterable[str]) -> None:
    """Delete objects, as ``Store.delete`` says."""
    failures: list[StoreError] = []
    for batch in _batches(dict.fromkeys(check_object_name(name) for name in names)):
        failures += _delete_batch(requests, batch)
    if failures:
        # What is kept until later is no failure to whoever removes; so any other one is what is to be told.
        raise min(failures, key=lambda error: isinstance(error, Retained))


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(names)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _delete_batch(requests: Requests, names: Sequence[str]) -> list[StoreError]:
    address = requests.address
    if len(names) > 1:
        keys = {address.key(name): name for name in names}
        try:
            answer = requests.send(
                "delete_objects", {"Delete": {"Objects": [{"Key": key} for key in keys], "Quiet": True}}
            )
        except RequestFailed as failure:
            if not failure.unsupported and failure.code != "InvalidRequest":  # Content-MD5 is missing, say some
                return [store_error(f"cannot delete {address.location(names[0])}", failure, address)]
        else:
            errors = (_error_of(requests, keys, entry) for entry in answer.get("Errors", ()))
            return [error for error in errors if error is not None]
    with ThreadPoolExecutor(min(_THREADS, len(names)), thread_name_prefix="dumpty-s3-delete") as pool:
        return [error for error in pool.map(lambda name: _delete_one(requests, name), names) if error is not None]


def _delete_one(requests: Requests, name: str) -> StoreError | None:
    try:
        requests.send("delete_object", {"Key": requests.address.key(name)})
    except RequestFailed as failure:
        return _error(requests, name, failure)
    return None


def _error_of(requests: Requests, keys: dict[str, str], entry: dict[str, Any]) -> StoreError | None:
    """Return what an answer to a batch says of one key; where it says nothing of the reason the object is looked up."""
    code, message = str(entry.get("Code", "")), " ".join(str(entry.get("Message", "")).split())[:300]
    status = _REFUSED if code != "InternalError" else 0
    failure = RequestFailed(f"{code}: {message}" if message else code or "no reason", code=code, status=status)
    return _error(requests, keys.get(str(entry.get("Key")), ""), failure)


def _error(requests: Requests, name: str, failure: RequestFailed) -> StoreError | None:
    """Return the error for an object that was not deleted; None where it is not there."""
    if failure.code == "NoSuchKey" or (name and not failure.certain and _is_gone(requests, name)):
        return None
    return store_error(f"cannot delete {requests.address.location(name)}", failure, requests.address)


def _is_gone(requests: Requests, name: str) -> bool:
    try:
        head(requests, name)
    except RequestFailed as failure:
        return failure.missing
    return False
