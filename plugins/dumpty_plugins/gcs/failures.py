"""What becomes of a request that failed: an error that says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import NotPermitted, Retained, StoreError
from dumpty_plugins.buckets import failures

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dumpty_plugins.gcs.address import Address

__all__ = [
    "CONDITION",
    "NOTHING_SIGNS_IN",
    "NO_BUCKET",
    "NO_OBJECT",
    "RETAINED",
    "SESSION_GONE",
    "RequestFailed",
    "as_store_error",
]

CONDITION = "conditionNotMet"
RETAINED = "retentionPolicyNotMet"
# Codes of our own: Google says "notFound" of everything, and of some things nothing.
NO_OBJECT = "objectNotFound"
NO_BUCKET = "bucketNotFound"
SESSION_GONE = "sessionGone"
NOTHING_SIGNS_IN = "nothingSignsIn"
_RETAINED = frozenset({RETAINED, "objectUnderActiveHold"})
_CREDENTIALS = frozenset({"authError", "required", "401"})
_REFUSED = frozenset({"forbidden", "insufficientPermissions", "accountDisabled", "userProjectAccessDenied"})


class RequestFailed(failures.RequestFailed):
    """A request that brought no success; ``code`` is what Google calls the reason, or one of those above.

    Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes
    """

    MISSING = frozenset({NO_OBJECT})
    # What a policy keeps from being written is there.
    TAKEN = _RETAINED | {CONDITION}
    UNSIGNED = _CREDENTIALS | {NOTHING_SIGNS_IN}
    REFUSED = _REFUSED | UNSIGNED

    @property
    def decided(self) -> bool:
        """Whether it was the condition that did not hold."""
        return self.code == CONDITION


def as_store_error(what: str, address: Address) -> AbstractContextManager[None]:
    """Raise as an error of the contract what comes up in the block; ``what`` says what cannot be done."""
    return failures.translated(what, lambda failure: _store_error(what, failure, address))


def _store_error(what: str, failure: failures.RequestFailed, address: Address) -> StoreError:
    code = failure.code
    if code in _CREDENTIALS:
        return NotPermitted(
            f"{what}: {address.server} does not accept the credentials ({failure.reason}); sign in again (gcloud auth "
            "application-default login), or see GOOGLE_APPLICATION_CREDENTIALS and this machine's clock"
        )
    if code == NOTHING_SIGNS_IN:
        return NotPermitted(
            f"{what}: {failure.reason}; name a file of credentials in GOOGLE_APPLICATION_CREDENTIALS, or sign in "
            "(gcloud auth application-default login)"
        )
    if code in _RETAINED:
        return Retained(f"{what}: the bucket keeps it until a moment of its own: {failure.reason}")
    if code in _REFUSED:
        return NotPermitted(
            f"{what}: {address.server} refuses it ({failure.reason}); allow it to whoever these credentials are of: "
            "`dumpty help gcs` lists the rights"
        )
    return StoreError(f"{what}: {_advice(failure, address)}")


def _advice(failure: failures.RequestFailed, address: Address) -> str:
    if failure.code == NO_BUCKET:
        where = f" at {address.endpoint}" if address.endpoint else ""
        return f"there is no bucket {address.bucket!r}{where}; create it, or correct its name"
    if failure.code == SESSION_GONE:
        return f"the server has ended the upload ({failure.reason}), as it does after a week; back up again"
    if failure.code == "userProjectMissing":
        return f"{failure.reason}; who asks pays for this bucket: name a project of yours, ?project=NAME"
    return failure.reason
