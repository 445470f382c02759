"""One backup on its way into a repository: its objects, and then the manifest that names them, which is the commit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from dumpty.encryption.header import require_encrypted
from dumpty.errors import IntegrityError, ManifestError, MissingFile
from dumpty.process.call import commit_point
from dumpty.process.interruption import current_interruption
from dumpty.repository import manifest
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.layout import MANIFEST
from dumpty.repository.protocol.single import committed_attempts

if TYPE_CHECKING:
    from types import TracebackType

    from dumpty.types import Record, Store, Upload

__all__ = ["PlainTransaction"]


class PlainTransaction:
    """A backup under a stem of its own; the contract is ``dumpty.types.Transaction``. A context manager."""

    def __init__(self, store: Store, stem: str) -> None:
        self._store = store
        self._attempt = Attempt(store, stem)
        self._uploads: dict[str, Upload] = {}
        self._completed: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._stack.push(self._attempt)  # already here: no interrupt shall come between it and what ends it
        self._interruption = current_interruption()

    def __enter__(self) -> Self:
        self._attempt.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def name(self, ending: str) -> str:
        return self._attempt.stem + ending

    def upload(self, ending: str, expected: int | None = None) -> Upload:
        upload = self._attempt.upload(ending, expected)
        self._stack.callback(upload.abort)
        self._uploads[ending] = upload
        return upload

    def complete(self, ending: str) -> None:
        self._uploads[ending].commit()
        self._completed.add(ending)

    def claim_id(self, record_id: str) -> Record | None:
        for stem in committed_attempts(self._store, self._attempt.stem):
            record = self._whole(stem + MANIFEST)
            if record is not None and record.id == record_id:
                return record
        return None

    def _whole(self, name: str) -> Record | None:
        """Return the record of a manifest whose data is all there; None where it is not, or cannot be read."""
        try:
            record = manifest.decode(self._store.get(name), f"the manifest {self._store.locate(name)}")
            return record if all(self._store.stat(o.name).size == o.size for o in record.objects) else None
        except (MissingFile, ManifestError):
            return None

    def commit(self, record: Record) -> Record:
        """Commit; an interrupt that a plugin swallowed is raised again, and nothing is committed.

        The commit point of a call that can be cancelled comes when all data is uploaded, right before the manifest.
        """
        self._interruption.check()
        sizes = {entry.name.removeprefix(self._attempt.stem): entry.size for entry in record.objects}
        if set(sizes) != set(self._uploads):
            names = sorted(entry.name for entry in record.objects)
            raise IntegrityError(f"a manifest of {names} does not name what was uploaded: {sorted(self._uploads)}")
        data = manifest.encode(record)
        decoded = manifest.decode(data, f"the manifest of backup {record.id}")
        if decoded != record or (record.signatures and manifest.statement(decoded) != manifest.statement(record)):
            raise ManifestError(f"the manifest of backup {record.id} would not say what is known of it")
        for ending in self._uploads.keys() - self._completed:
            self.complete(ending)
        self._require_encrypted(record)
        self._interruption.check()
        commit_point()
        self._attempt.publish(data, sizes)
        return record

    def _require_encrypted(self, record: Record) -> None:
        """See that what lies in the store now begins as what is encrypted for all whom the record says, and no others.

        Raises:
            IntegrityError: it does not.
        """
        for entry in record.objects:
            kinds = [kind for stage in entry.stages for kind in stage.recipient_kinds]
            if kinds:
                with contextlib.closing(self._store.open(entry.name)) as stream:
                    require_encrypted(stream, kinds, f"the stored file {self._store.locate(entry.name)}")
