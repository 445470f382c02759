"""What becomes of a request that failed: an error that says what to do."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty import MissingFile, NotPermitted, Retained, StoreError
from dumpty_plugins.buckets import failures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty_plugins.s3.address import Address

__all__ = ["MISSING", "RequestFailed", "as_store_error", "store_error"]

MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchVersion"})
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "OperationAborted"})
_DECIDED = frozenset({"PreconditionFailed", "412"})
_RETAINED = frozenset({"ObjectLocked", "ObjectLockedByRetention"})
_REFUSED = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed"})
_CREDENTIALS = {
    "InvalidAccessKeyId": "the server does not know the access key; see AWS_ACCESS_KEY_ID, or the profile",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; see AWS_SECRET_ACCESS_KEY, or the profile",
    "ExpiredToken": "the credentials have expired; renew them (aws sso login, or whatever issued them)",
    "ExpiredTokenException": "the credentials have expired; renew them (aws sso login, or whatever issued them)",
    "InvalidToken": "the session token is not valid; renew the credentials, or unset AWS_SESSION_TOKEN",
    "TokenRefreshRequired": "the credentials have expired; renew them (aws sso login, or whatever issued them)",
    "RequestTimeTooSkewed": "this machine's clock and the server's are too far apart; set the clock (NTP)",
}
_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"})


class RequestFailed(failures.RequestFailed):
    """A request that brought no success; ``code`` is S3's."""

    MISSING = MISSING
    TAKEN = _TAKEN
    UNSIGNED = frozenset(_CREDENTIALS)
    REFUSED = _REFUSED | UNSIGNED
    UNSUPPORTED = frozenset({"NotImplemented", "501", "MissingContentMD5", "InvalidArgument", "405"})

    @property
    def decided(self) -> bool:
        """Whether the name was somebody's, and no longer fought for."""
        return self.code in _DECIDED


@contextlib.contextmanager
def as_store_error(what: str, address: Address) -> Iterator[None]:
    """Raise as an error of the contract what comes up in the block; ``what`` says what cannot be done."""
    try:
        yield
    except RequestFailed as failure:
        if failure.missing:
            raise MissingFile(f"{what}: it does not exist") from failure
        raise store_error(what, failure, address) from failure
    except (KeyError, TypeError) as error:
        raise StoreError(f"{what}: the answer of {address.server} lacks what it should say ({error})") from error


def store_error(what: str, failure: RequestFailed, address: Address) -> StoreError:
    """Return the error of the contract for a request that failed."""
    code = failure.code
    if code in _CREDENTIALS:
        return NotPermitted(f"{what}: {_CREDENTIALS[code]}")
    if code in _RETAINED or (code in _REFUSED and _names_retention(failure.reason)):
        return Retained(f"{what}: the bucket keeps it until a moment of its own: {failure.reason}")
    if code in _REFUSED:
        return NotPermitted(
            f"{what}: {address.server} refuses it ({failure.reason}); allow it to the user of these credentials: "
            "`dumpty help s3` lists the rights"
        )
    return StoreError(f"{what}: {_advice(failure, address)}")


def _advice(failure: RequestFailed, address: Address) -> str:
    if failure.code == "NoSuchBucket":
        where = f" at {address.endpoint}" if address.endpoint else ""
        return f"there is no bucket {address.bucket!r}{where}; create it, or correct its name"
    if failure.code == "NoSuchUpload":
        return (
            "its parts are gone: somebody has aborted the upload, or a lifecycle rule of the bucket does so too early; "
            "back up again"
        )
    if failure.code == "InvalidObjectState":
        return (
            "it lies in an archive, which does not give it at once: have it brought back (aws s3api restore-object), "
            "and try again"
        )
    if failure.code in _REGION:
        return f"the bucket lies in another region ({failure.reason}); name that in ?region="
    return failure.reason


def _names_retention(reason: str) -> bool:
    text = reason.lower()
    return "object lock" in text or "worm" in text or "retention" in text
