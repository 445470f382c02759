"""Signing what is known of a backup, and seeing that somebody did whom the caller named."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.errors import ManifestError, SignatureError, UnknownBackup
from dumpty.repository.manifest import statement
from dumpty.signing.keys import described, read_signing_key, read_verification_keys
from dumpty.signing.wire import fingerprint
from dumpty.types import Proved, Signature

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from dumpty.signing.signer import Signer
    from dumpty.types import ListedBackup, Proof, Record, Repository, SigningKey, Transaction, VerificationKey

__all__ = ["commit_signed", "get_signed", "read_requirement", "read_signer", "require_signature", "with_signer"]

_UNCHECKED = "who made it: the signature that it carries was not compared with a key of yours (--require-signature)"


def read_signer(sign_with: str | os.PathLike[str] | SigningKey | None) -> Signer | None:
    """Return what signs with this key; None for None.

    Raises:
        OptionError: it is no key that signs.
        DependencyError: the library that signs is not installed.
    """
    if sign_with is None:
        return None
    from dumpty.signing.signer import Signer

    return Signer(read_signing_key(sign_with))


def read_requirement(
    keys: Iterable[str | os.PathLike[str] | VerificationKey] | None,
) -> tuple[VerificationKey, ...]:
    """Return the keys one of which must have signed; none where no signature is required.

    Raises:
        TypeError: they are one.
        OptionError: one is none, or a signature is required of none.
        DependencyError: the library that checks signatures is not installed.
    """
    found = read_verification_keys(keys)
    if found:
        from dumpty.signing.signer import require_library

        require_library()
    return found


def signed(record: Record, signer: Signer) -> Record:
    """Return ``record``, which is as a repository is given it, with a signature.

    Raises:
        SignatureError: what was signed does not bear the signature.
    """
    signature = Signature(key=signer.key.data, data=signer.sign(statement(record)))
    record = replace(record, signatures=(*record.signatures, signature))
    require_signature(record, [signer.key])
    return record


def commit_signed(transaction: Transaction, record: Record, signer: Signer | None) -> Record:
    """Commit ``record``, signed where there is somebody to sign it, and return what the repository says it has.

    Raises:
        SignatureError: what was committed does not bear the signature.
        DumptyError: it could not be committed.
    """
    if signer is None:
        return transaction.commit(record)
    committed = transaction.commit(signed(record, signer))
    # A repository says what its manifest holds: one that keeps no signatures is found out here.
    require_signature(committed, [signer.key])
    return committed


def require_signature(record: Record, keys: Sequence[VerificationKey]) -> VerificationKey:
    """See that one of ``keys`` has signed all that ``record`` says, and return that key.

    ``record`` is as its manifest has it: where it is encrypted, nothing of it was opened. All that a restore goes by
    stands in it, or is compared with a digest that does.

    Raises:
        SignatureError: none has.
        DependencyError: the library that checks signatures is not installed.
    """
    from dumpty.signing.signer import is_signature

    known = {key.data: key for key in keys}
    claims = [signature for signature in record.signatures if signature.key in known]
    expected = statement(record) if claims else b""
    for signature in claims:
        if is_signature(signature.data, signature.key, expected):
            return known[signature.key]
    raise SignatureError(_refusal(record, claims, keys))


def with_signer(proof: Proof, record: Record, signer: VerificationKey | None) -> Proof:
    """Return ``proof`` with what is known of who made the backup: ``signer``, or None where nobody was required."""
    if signer is not None:
        step = Proved(what=f"what its manifest says is signed by {described(signer)}")
        return replace(proof, proved=(step, *proof.proved))
    if record.signatures and proof.ok:
        return replace(proof, not_proved=(*proof.not_proved, _UNCHECKED))
    return proof


def get_signed(
    repository: Repository, backup_id: str, keys: Sequence[VerificationKey]
) -> tuple[Record, VerificationKey]:
    """Return the backup of this whole id that one of ``keys`` has signed, and that key.

    Where it lies there more than once, another than that which the repository finds may be the right one: whoever may
    only add to it could put one before it, and nobody could restore it any more.

    Raises:
        UnknownBackup: there is none.
        SignatureError: none of them is signed so.
    """
    record = repository.get(backup_id)
    try:
        return record, require_signature(record, keys)
    except SignatureError:
        for other in _others(repository, record):
            with contextlib.suppress(SignatureError):
                return other, require_signature(other, keys)
        raise


def _others(repository: Repository, record: Record) -> list[Record]:
    """Return the backups of the same id, the whole ones first."""
    found: list[ListedBackup] = []
    for candidate in repository.candidates():
        if record.id.startswith(candidate.id_start):
            with contextlib.suppress(UnknownBackup, ManifestError):
                found.append(candidate.load())
    found.sort(key=lambda listed: listed.presence.state != "ok")
    return [listed.record for listed in found if listed.record.id == record.id and listed.record != record]


def _refusal(record: Record, claims: Sequence[Signature], keys: Sequence[VerificationKey]) -> str:
    """Return why a backup is refused, and what that may mean."""
    said = f"{record.file}, said to be taken {record.started:%Y-%m-%d %X}Z"
    backup = f"backup {record.id} of {record.database} ({said})"
    if claims:
        key = next(key for key in keys if key.data == claims[0].key)
        return (
            f"{backup} is not what {described(key)} signed: it was altered, or its signature is of another one; do not "
            "use it"
        )
    required = " or ".join(map(described, keys))
    if record.signatures:
        others = ", ".join(sorted({fingerprint(signature.key) for signature in record.signatures}))
        return f"{backup} is signed, as it says, by {others}, and a signature of {required} is required"
    return f"{backup} is not signed, and a signature of {required} is required"
