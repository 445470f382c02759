"""Small objects that never change, read once: manifests, proofs, pins and acceptances."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, TypeVar, cast

from dumpty.errors import DumptyError, ManifestError, MissingFile, StoreError
from dumpty.repository import manifest
from dumpty.repository.protocol.layout import (
    ACCEPTED,
    MANIFEST,
    PROOF,
    belongs_to,
    expiry,
    folder_name,
    split_name,
)
from dumpty.repository.verification import MAX_PROOFS, decode_proof, decode_remark, superfluous
from dumpty.types import NO_ANNOTATIONS, Annotations, LocalStore, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dumpty.repository.cache import Key, SmallObjectCache
    from dumpty.repository.protocol.layout import Entry
    from dumpty.types import Found, Proof, Store

__all__ = ["SmallObjects", "as_manifest_error", "lasting_pins", "read_all"]

T = TypeVar("T")
_UNREADABLE_PIN = "its pin cannot be read"
_FRESH_SECONDS = 60.0
"""How long what was read in the store itself is as good as read again, while the object is the same."""
_REQUESTS = 16
"""How many objects are asked for at once, of a place that is far away."""


class SmallObjects:
    """What manifests, and what lies beside them, of one store say, as far as they were read before.

    Those of a place that is no directory of this machine are remembered by the next process, too.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._values: dict[Key, object] = {}
        self._read_at: dict[Key, float] = {}
        """When what the store itself said was read, by ``time.monotonic``."""
        self._cache = None if isinstance(store, LocalStore) else _cache_of(store)
        self._cached: dict[Key, bytes] = {}
        self._fetched: dict[Key, bytes | DumptyError] = {}
        self._new: list[tuple[Key, bytes]] = []
        self._read_before = False
        """Whether anything was known before the last look, that may have been removed since."""

    def prefetch(self, entries: Iterable[Entry]) -> None:
        """Read all that is small of these entries at once, where each call takes long."""
        self._read_before = bool(self._values)
        if self._cache is None:
            return
        keys = [(f.name, f.tag) for entry in entries for f in _small_objects(entry)]
        missing = [key for key in keys if key not in self._values]
        self._cached = self._cache.read(missing) if missing else {}
        missing = [key for key in missing if key not in self._cached]
        if len(missing) > 1:
            self._fetched = dict(zip(missing, _read_together(self._store, missing), strict=True))

    def remember(self, entries: Iterable[Entry] | None = None) -> None:
        """Leave what was read to the next process; given all entries that there are, forget what is not of them."""
        new, self._new = self._new, []
        self._cached, self._fetched = {}, {}
        if self._cache is not None and new:
            self._cache.write(new)
        if entries is not None and (self._read_before or self._cache is not None):
            keys = {(f.name, f.tag) for entry in entries for f in _small_objects(entry)}
            self._values = {key: value for key, value in list(self._values.items()) if key in keys}
            self._read_at = {key: at for key, at in list(self._read_at.items()) if key in keys}
            if self._cache is not None:
                self._cache.keep_only(keys)

    def record(self, found: Found) -> Record:
        """Return what a manifest says.

        Raises:
            MissingFile: it was removed meanwhile.
            ManifestError, StoreError: it cannot be read.
        """
        return self._value(found, lambda data: self._decode_record(found.name, data))

    def fresh_record(self, name: str) -> Record:
        """Return what a manifest says in the store itself, whatever another process has read; the errors are the same.

        What this process has read there just now is not read again while the object is the same.
        """
        if any(key[0] == name and time.monotonic() - at < _FRESH_SECONDS for key, at in list(self._read_at.items())):
            found = self._store.stat(name)
            if isinstance(record := self._values.get((name, found.tag)), Record):
                return record
        return self._decode_record(name, self._store.get(name))

    def was_read_since(self, found: Found | None, moment: float) -> bool:
        """Return whether an object was read in the store itself, and not before ``moment`` (``time.monotonic``)."""
        return found is not None and self._read_at.get((found.name, found.tag), float("-inf")) >= moment

    def name_of(self, record_id: str) -> str:
        """Return the name of the manifest of a backup, where one was read before, and no more than one; else ""."""
        values = list(self._values.items())
        records = ((name, value) for (name, _), value in values if isinstance(value, Record))
        names = {name for name, record in records if record.id == record_id}
        return names.pop() if len(names) == 1 else ""

    def annotations(self, record: Record, entry: Entry) -> Annotations:
        """Return what lies beside a backup; a pin that cannot be read counts as one, any other as none."""
        pins = lasting_pins(entry)
        if not pins and not entry.notes:
            return NO_ANNOTATIONS
        errors: list[ManifestError] = []
        proofs = [proof for _, proof in self._proofs(record, entry, errors)]
        pin_errors: list[ManifestError] = []
        texts = [self._read(found, record, decode_remark, "pin", pin_errors) for found in pins]
        pinned = next(filter(None, texts), _UNREADABLE_PIN if pin_errors else "")
        remarks = _notes(entry, ACCEPTED)
        accepted = [self._read(found, record, decode_remark, "acceptance", errors) for found in remarks]
        return Annotations(
            proofs=tuple(proofs),
            pinned=pinned,
            accepted=next(filter(None, accepted), ""),
            unreadable=(*errors, *pin_errors),
        )

    def superfluous(self, record: Record, entry: Entry) -> list[str]:
        """Return the names of proofs that say nothing any more, where there are many."""
        if len(entry.notes) <= MAX_PROOFS:
            return []
        proofs = self._proofs(record, entry, [])
        return [proofs[position][0] for position in superfluous([proof for _, proof in proofs])]

    def _proofs(self, record: Record, entry: Entry, errors: list[ManifestError]) -> list[tuple[str, Proof]]:
        """Return the proofs of a backup, oldest first, with their names."""
        proofs = [
            (found.name, proof)
            for found in _notes(entry, PROOF)
            if (proof := self._read(found, record, decode_proof, "proof", errors)) is not None
        ]
        return sorted(proofs, key=lambda item: (item[1].at, item[0]))

    def _read(
        self,
        found: Found,
        record: Record,
        decode: Callable[[bytes, str, str], T],
        kind: str,
        errors: list[ManifestError],
    ) -> T | None:
        label = f"the {kind} {self._store.locate(found.name)}"
        try:
            return self._value(found, lambda data: decode(data, record.id, label))
        except MissingFile:
            return None  # taken away meanwhile
        except (ManifestError, StoreError) as error:
            errors.append(as_manifest_error(error))
            return None

    def _value(self, found: Found, decode: Callable[[bytes], T]) -> T:
        key = (found.name, found.tag)
        if key not in self._values and key in self._cached:
            with contextlib.suppress(ManifestError):  # this machine's copy is damaged: what counts is what lies there
                self._values[key] = decode(self._cached.pop(key))
        if key not in self._values:
            data = self._fetched.pop(key, None) or self._store.get(found.name)
            if isinstance(data, DumptyError):
                raise data
            self._values[key] = decode(data)
            self._read_at[key] = time.monotonic()
            if self._cache is not None:
                self._new.append((key, data))
        return cast("T", self._values[key])

    def _decode_record(self, name: str, data: bytes) -> Record:
        label = _Label(self._store, name)
        record = manifest.decode(data, label)
        stem = name.removesuffix(MANIFEST)
        for entry in record.objects:
            if (split_name(entry.name) or ("",))[0] != stem:
                raise ManifestError(f"{label} is damaged: it belongs to {entry.name}")
        if not belongs_to(stem, record.started, record.id):
            raise ManifestError(f"{label} is damaged: it is that of backup {record.id} of {record.started:%Y-%m-%d %X}")
        if stem.partition("/")[0] != folder_name(record.database, record.identity):
            raise ManifestError(
                f"{label} is damaged: it is that of {record.database}, in the folder of another database"
            )
        return record


class _Label:
    """The name of a manifest in messages: of thousands that are read, none may need it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name

    def __str__(self) -> str:
        return f"the manifest {self._store.locate(self._name)}"


def read_all(objects: SmallObjects, entries: Iterable[Entry]) -> tuple[list[tuple[Record, Entry]], list[ManifestError]]:
    """Return the backups of which a listing shows a manifest, oldest first, and an error for each unreadable one."""
    records: list[tuple[Record, Entry]] = []
    errors: list[ManifestError] = []
    for entry in entries:
        if entry.manifest is None:
            continue
        try:
            records.append((objects.record(entry.manifest), entry))
        except MissingFile:
            continue  # removed by somebody else meanwhile
        except (ManifestError, StoreError) as error:
            errors.append(as_manifest_error(error))
    records.sort(key=lambda item: (item[0].started, item[0].id))
    return records, errors


def as_manifest_error(error: ManifestError | StoreError) -> ManifestError:
    """Return the error of a file that cannot be read as one of what it would have said."""
    return error if isinstance(error, ManifestError) else ManifestError(str(error))


def _cache_of(store: Store) -> SmallObjectCache:
    from dumpty.repository.cache import SmallObjectCache  # SQLite: not for a repository on this machine

    return SmallObjectCache(store.locate(""))


def _small_objects(entry: Entry) -> list[Found]:
    """Return what is read of a backup that is listed."""
    manifests = [entry.manifest] if entry.manifest else []
    return [*manifests, *lasting_pins(entry), *_notes(entry, PROOF), *_notes(entry, ACCEPTED)]


def lasting_pins(entry: Entry) -> list[Found]:
    """Return the pins of an entry that hold until somebody takes them away."""
    return [found for found in entry.pins if expiry(found.name) is None]


def _notes(entry: Entry, kind: str) -> list[Found]:
    """Return the annotations of a kind, in the order of their names, which is that of the time."""
    notes = (found for found in entry.notes if found.name.startswith(entry.stem + kind))
    return sorted(notes, key=lambda found: found.name)


def _read_together(store: Store, keys: Sequence[Key]) -> list[bytes | DumptyError]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(min(_REQUESTS, len(keys)), thread_name_prefix="dumpty-read")
    try:
        return list(pool.map(lambda key: _read_or_error(store, key[0]), keys))
    finally:
        pool.shutdown(cancel_futures=True)


def _read_or_error(store: Store, name: str) -> bytes | DumptyError:
    try:
        return store.get(name)
    except (MissingFile, StoreError) as error:
        return error
