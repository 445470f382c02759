"""One attempt to put a backup (or a copy of one) into a store: its manifest is the commit."""

from __future__ import annotations

import contextlib
import json
import os
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

from dumpty.errors import Exists, IntegrityError, MissingFile, StoreError
from dumpty.process.interruption import see_through
from dumpty.repository.protocol.beats import BEAT_SECONDS, Beats
from dumpty.repository.protocol.layout import BEAT, INTENT, MANIFEST, TOMBSTONE, data_name, is_stem, new_nonce
from dumpty.repository.protocol.process_identity import active, process_identity
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from dumpty.types import Store, Upload

__all__ = ["Abandoned", "Attempt", "not_durable"]

not_durable: set[str] = set()
"""Stems of which this process has said that they are committed, but may not stay: nobody is to rely on them."""


class Abandoned(StoreError):
    """The attempt was taken for dead, or another one of the same backup came first: it can never commit."""


class _State(Enum):
    """What becomes of the manifest, as far as this process knows."""

    NOT_PUT = auto()
    IN_DOUBT = auto()
    COMMITTED = auto()
    FORBIDDEN = auto()


class Attempt:
    """A block that uploads data and publishes it, all of it or none.

    ::

        with Attempt(store, new_stem(folder, started, backup_id)) as attempt:
            upload = attempt.upload(".sql.gz", expected)
            ...
            upload.commit()
            attempt.publish(manifest, {".sql.gz": size})

    Left without ``publish``, what it uploaded is removed. Ended at any moment, recovery removes it.

    Args:
        store: where to.
        stem: its own, new; of ``new_stem``.
        beat_seconds: how often to say that it lives; None for never.

    Raises:
        Exists: the stem was used before.
        StoreError: the intent could not be put.
    """

    def __init__(self, store: Store, stem: str, *, beat_seconds: float | None = BEAT_SECONDS) -> None:
        if not is_stem(stem):
            raise ValueError(f"{stem[:80]!r} is no stem")
        self.stem = stem
        self._store = store
        self.beats = Beats(store, stem + BEAT, beat_seconds)
        self._uploads: dict[str, str] = {}
        self._state = _State.NOT_PUT
        self._manifest = b""
        self._nonce = new_nonce()
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        content = {"version": 1, "nonce": self._nonce, **process_identity()}
        active.add(self._nonce)
        try:
            self._store.put(self.stem + INTENT, json.dumps(content).encode())
            self.beats.start()
        except Exists:  # another attempt's
            active.discard(self._nonce)
            raise
        except BaseException:
            active.discard(self._nonce)
            self.beats.stop()
            with contextlib.suppress(StoreError):
                self._forget()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            see_through(self._end)
        finally:
            if os.getpid() == self._pid:
                active.discard(self._nonce)

    def _end(self) -> None:
        """Remove what is not to stay. Harmless twice."""
        if os.getpid() != self._pid:  # a forked child unwinds its copy of the block: the attempt is its parent's
            return
        self.beats.stop()
        # What failed is what is to be reported; what stays behind is recovery's.
        with contextlib.suppress(StoreError):
            self._settle()
            self._forget()

    def upload(self, ending: str, expected: int | None = None) -> Upload:
        """Begin an object of data; the caller commits or aborts it.

        Args:
            ending: of its name: ``.sql.gz``, ``.p1.sql.zst``.
            expected: about its size in bytes.

        Raises:
            ValueError: the ending is used, or cannot be that of data.
            StoreError: the store does not take it.
        """
        name = data_name(self.stem, ending)
        if ending in self._uploads:
            raise ValueError(f"{name} was uploaded before; a name is used once")
        self._uploads[ending] = name
        return self._store.upload(name, expected)

    def publish(self, manifest: bytes, sizes: Mapping[str, int]) -> None:
        """Commit.

        Args:
            manifest: its content.
            sizes: bytes of every object by its ending.

        Raises:
            ValueError: a manifest, or its data, is none.
            IntegrityError: the store does not hold what was uploaded.
            StoreError: it is not committed, or it cannot be told whether it is.
        """
        if (
            len(manifest) <= len(TOMBSTONE)
            or not sizes
            or not sizes.keys() <= self._uploads.keys()
            or self._state is not _State.NOT_PUT
        ):
            raise ValueError("publish once, a manifest that is longer than a tombstone, and what was uploaded")
        self._require_data(sizes)
        self._manifest, self._state = manifest, _State.IN_DOUBT
        failure: StoreError | None = None
        try:
            self._store.put(self.stem + MANIFEST, manifest)
        except StoreError as error:  # it may have been written, or will be: only what is read back tells
            failure = error
        self._resolve()
        if self._state is not _State.COMMITTED:
            lost = failure is not None and not isinstance(failure, Exists)
            why = f"its manifest could not be written: {failure}" if lost else "it was taken for abandoned"
            kind = StoreError if lost else Abandoned
            raise kind(f"{self._where()} is not committed: {why}; back up again") from failure
        if failure is not None and not isinstance(failure, Exists) and Cap.LOCAL in self._store.capabilities():
            # Whoever has seen it may have removed others for its sake, so it stays; but it was not flushed to the disk.
            not_durable.add(self.stem)
            raise StoreError(
                f"{self._where()} is listed, but a power failure may take it: its manifest was not written durably: "
                f"{failure}; back up again"
            ) from failure
        try:
            self._require_data(sizes)
        except IntegrityError:
            self._forbid()
            raise
        self._require_intent()

    def _resolve(self) -> None:
        """Find out whether the manifest is committed, and see to it that it will not be later if it is not now."""
        found = self._read_manifest()
        capabilities = self._store.capabilities()
        if found is None and self._is_alone():
            self._state = _State.FORBIDDEN
            return
        if found is None and Cap.CREATE_NEW in capabilities:
            # The put may still be on its way: what takes its place forbids it.
            with contextlib.suppress(Exists):
                self._store.put(self.stem + MANIFEST, TOMBSTONE)
                self._state = _State.FORBIDDEN
                return
            found = self._read_manifest()
        if found is None:
            # Where no put is conditional nothing forbids it: recovery will see what has come of it.
            raise StoreError(f"it cannot be told whether {self._where()} is committed; see whether it is listed")
        if found not in {TOMBSTONE, self._manifest}:
            raise StoreError(f"{self._where()} has the manifest of somebody else; nothing of it is touched")
        self._state = _State.FORBIDDEN if found == TOMBSTONE else _State.COMMITTED

    def _read_manifest(self) -> bytes | None:
        try:
            return self._store.get(self.stem + MANIFEST)
        except MissingFile:
            return None

    def _require_data(self, sizes: Mapping[str, int]) -> None:
        for ending, size in sizes.items():
            where = self._store.locate(self._uploads[ending])
            try:
                found = self._store.stat(self._uploads[ending]).size
            except MissingFile as error:
                raise IntegrityError(f"{where} is gone before the backup was complete; back up again") from error
            if found != size:
                raise IntegrityError(f"{where} has {found} bytes, and {size} were written; back up again")

    def _require_intent(self) -> None:
        # While it is there nobody took the attempt for dead and was done with it. Without it there may have been a
        # tombstone, gone after its days, and whoever saw it may yet delete the data.
        try:
            self._store.stat(self.stem + INTENT)
        except MissingFile:
            not_durable.add(self.stem)
            text = "was taken for abandoned while it was committed; see whether it is listed, or back up again"
            raise StoreError(f"{self._where()} {text}") from None

    def _forbid(self) -> None:
        """Put a tombstone in the place of the attempt's own manifest: its data is gone, and nobody was told of it."""
        with contextlib.suppress(StoreError):
            self._store.put(self.stem + MANIFEST, TOMBSTONE, new=False)
            self._state = _State.FORBIDDEN

    def _settle(self) -> None:
        """Remove the data of an attempt that is not committed, and never will be."""
        if self._state is _State.IN_DOUBT:
            self._resolve()
        if self._state is _State.COMMITTED:
            return
        if self._uploads and self._state is _State.NOT_PUT and not self._is_alone():
            # An upload that was given up may yet appear: by a tombstone recovery knows that it is to go.
            with contextlib.suppress(Exists):
                self._store.put(self.stem + MANIFEST, TOMBSTONE)
            self._state = _State.FORBIDDEN
        self._store.delete(self._uploads.values())

    def _forget(self) -> None:
        self._store.delete([*self.beats.names(), self.stem + INTENT])

    def _is_alone(self) -> bool:
        """Return whether this is this machine's own disk, where nothing is on its way any more once it has failed."""
        return Cap.LOCAL | Cap.STRONG_LIST in self._store.capabilities()

    def _where(self) -> str:
        return self._store.locate(self.stem)
