"""What becomes of a request that failed: an error that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import NotPermitted, Retained, StoreError
from dumpty_plugins.buckets import failures

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dumpty_plugins.objectstore.address import Address

__all__ = ["RequestFailed", "as_store_error"]

_RETAINED = frozenset({"BlobImmutableDueToPolicy", "ContainerImmutableStorageWithVersioningEnabled"})
_CREDENTIALS = {
    "AuthenticationFailed": "the server does not accept the credentials; see AZURE_STORAGE_KEY and "
    "AZURE_STORAGE_SAS_TOKEN, whether they are this account's, whether they have expired, and this machine's clock",
    "NoKey": "what is given as the account's key is none; see AZURE_STORAGE_KEY",
    "InvalidAuthenticationInfo": "the server does not accept the credentials; sign in again (az login), or renew them",
    "NoAuthenticationInformation": "the server wants credentials; see `dumpty help objectstore`",
    "AuthorizationProtocolMismatch": "the SAS token is for https:// alone; leave http:// out of ?endpoint=",
    "AuthorizationSourceIPMismatch": "the SAS token is not for this machine's address",
}
_REFUSED = frozenset(
    {
        "AuthorizationFailure",
        "AuthorizationPermissionMismatch",
        "AuthorizationServiceMismatch",
        "AuthorizationResourceTypeMismatch",
        "InsufficientAccountPermissions",
        "AccountIsDisabled",
        "PublicAccessNotPermitted",
        "KeyBasedAuthenticationNotPermitted",
        "AccessDenied",
        "403",
        "401",
    }
)
_NOTHING_SIGNS_IN = "NothingSignsIn"


class RequestFailed(failures.RequestFailed):
    """A request that brought no success; ``code`` is Azure's."""

    MISSING = frozenset({"BlobNotFound"})
    # What a policy keeps from being written is there.
    TAKEN = _RETAINED | frozenset({"BlobAlreadyExists", "ConditionNotMet", "UnauthorizedBlobOverwrite"})
    UNSIGNED = frozenset({*_CREDENTIALS, _NOTHING_SIGNS_IN})
    REFUSED = _REFUSED | UNSIGNED


def as_store_error(what: str, address: Address) -> AbstractContextManager[None]:
    """Raise as an error of the contract what comes up in the block; ``what`` says what cannot be done."""
    return failures.translated(what, lambda failure: _store_error(what, failure, address))


def _store_error(what: str, failure: failures.RequestFailed, address: Address) -> StoreError:
    """Return the error of the contract for a request that failed."""
    code = failure.code
    if code in _CREDENTIALS:
        return NotPermitted(f"{what}: {_CREDENTIALS[code]}")
    if code == _NOTHING_SIGNS_IN:
        return NotPermitted(
            f"{what}: {failure.reason}; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or sign in (az login)"
        )
    if code in _RETAINED:
        return Retained(f"{what}: the container keeps it until a moment of its own: {failure.reason}")
    if code in _REFUSED:
        return NotPermitted(
            f"{what}: {address.server} refuses it ({failure.reason}); allow it to whoever these credentials are of: "
            "`dumpty help objectstore` lists the rights"
        )
    return StoreError(f"{what}: {_advice(failure, address)}")


def _advice(failure: failures.RequestFailed, address: Address) -> str:
    if failure.code == "ContainerNotFound":
        where = f" at {address.endpoint}" if address.endpoint else f" in {address.account}" if address.account else ""
        return f"there is no container {address.container!r}{where}; create it, or correct its name"
    if failure.code == "ContainerBeingDeleted":
        return f"the container {address.container!r} is being deleted; create it anew, or name another"
    if failure.code == "InvalidBlockList":
        return "its blocks are gone: somebody else wrote under this name, or they waited for over a week; back up again"
    if failure.code == "BlobArchived":
        return (
            "it lies in the archive tier, which does not give it at once: have it brought back (az storage blob "
            "set-tier), and try again"
        )
    return failure.reason
