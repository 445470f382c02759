"""Proofs and pins as they lie in a store, beside the backups that they speak of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError, ManifestError, MissingFile, StoreError, UnknownBackup
from dumpty.repository.names import MANIFEST, sidecar_name
from dumpty.repository.objects import read_object, write_object
from dumpty.repository.verification import PIN, PROOFS, append, decode_pin, decode_proofs, encode_pin, encode_proofs
from dumpty.types import Annotations

if TYPE_CHECKING:
    from collections.abc import Container

    from dumpty.repository.catalog import Catalog
    from dumpty.types import Proof, Record, Store

__all__ = ["VerificationLog"]

_UNREADABLE_PIN = "its pin cannot be read"


class VerificationLog:
    """The proofs and pins in one store."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    def read(self, record: Record, names: Container[str]) -> Annotations:
        """Return the annotations of a backup; ``names`` are those of the store's objects."""
        annotations, errors = Annotations(), list[ManifestError]()
        if sidecar_name(record.file, PROOFS) in names:
            try:
                annotations = replace(annotations, proofs=self._read_proofs(record))
            except (ManifestError, StoreError) as error:
                errors.append(_as_manifest_error(error))
        if sidecar_name(record.file, PIN) in names:
            annotations = replace(annotations, pinned=self._read_pin(record, errors))
        return replace(annotations, unreadable=tuple(errors)) if errors else annotations

    def add(self, record: Record, proof: Proof) -> Proof:
        """Write a proof down, after those that others wrote meanwhile.

        Returns:
            The proof; where it could not be written down, with the reason. That fails nothing: it was seen.

        Raises:
            UnknownBackup: the backup was removed meanwhile.
        """
        try:
            with self._catalog.locked():
                self._require_listed(record)
                proofs = append(self._read_proofs(record), proof)
                write_object(self._store, sidecar_name(record.file, PROOFS), encode_proofs(record.id, proofs))
        except UnknownBackup:
            raise
        except (DumptyError, OSError) as error:
            advice = "; remove that file, and prove the backup again" if isinstance(error, ManifestError) else ""
            return replace(proof, unrecorded=f"{error}{advice}")
        return proof

    def pin(self, record: Record, reason: str = "") -> None:
        """Protect a backup from being removed.

        Raises:
            UnknownBackup: it is gone.
            StoreError: the pin cannot be written.
        """
        with self._catalog.locked():
            self._require_listed(record)
            data = encode_pin(record.id, " ".join(reason.split()), datetime.now(UTC))
            write_object(self._store, sidecar_name(record.file, PIN), data)

    def unpin(self, record: Record) -> bool:
        """Take a backup's pin away, and return whether it had one.

        Raises:
            StoreError: it cannot be removed.
        """
        with self._catalog.locked():
            try:
                self._store.delete(sidecar_name(record.file, PIN))
            except MissingFile:
                return False
            return True

    def _read_proofs(self, record: Record) -> tuple[Proof, ...]:
        name = sidecar_name(record.file, PROOFS)
        try:
            data = read_object(self._store, name)
        except MissingFile:
            return ()
        return decode_proofs(data, record.id, f"the file of proofs {self._store.locate(name)}")

    def _read_pin(self, record: Record, errors: list[ManifestError]) -> str:
        name = sidecar_name(record.file, PIN)
        try:
            return decode_pin(read_object(self._store, name), record.id, f"the pin {self._store.locate(name)}")
        except MissingFile:
            return ""  # taken away meanwhile
        except (ManifestError, StoreError) as error:
            errors.append(_as_manifest_error(error))
            return _UNREADABLE_PIN

    def _require_listed(self, record: Record) -> None:
        if not self._catalog.exists(sidecar_name(record.file, MANIFEST)):
            raise UnknownBackup(f"backup {record.id} was removed meanwhile")


def _as_manifest_error(error: ManifestError | StoreError) -> ManifestError:
    return error if isinstance(error, ManifestError) else ManifestError(str(error))
