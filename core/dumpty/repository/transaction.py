"""The order in which a backup becomes visible, in one place for both facades.

Its objects are uploaded, and then, under the lock and the mark of ``journal``: committed, read back by their sizes, and
named by a manifest, which makes them a backup. Whatever ends it before that leaves nothing; then the manifest decides.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from dumpty.errors import IntegrityError, MissingFile
from dumpty.process.interruption import current_interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from dumpty.types import Store, Upload

__all__ = ["Publisher", "StoreTransaction"]

R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Publisher(Protocol[R_contra]):
    """Where manifests are written: one for each backup, or one for all."""

    def committing(self, *files: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lock, and the marks, under which files and the manifest that names them become visible.

        Whoever has removed the files again, before a manifest could name them, calls what this gives.
        """
        ...

    def sizes_of(self, content: R_contra) -> Mapping[str, int]:
        """Return the stored size, in bytes, of each object that the manifest of ``content`` names."""
        ...

    def publish(self, content: R_contra) -> None:
        """Write the manifest, and read it back; whatever fails, it removes the data unless a manifest names it."""
        ...


class StoreTransaction(Generic[R]):
    """One backup on its way into a store, by the names that begin with ``stem``. A context manager."""

    def __init__(self, store: Store, publisher: Publisher[R], stem: str) -> None:
        self._store = store
        self._publisher = publisher
        self._stem = stem
        self._uploads: dict[str, Upload] = {}
        self._stack = contextlib.ExitStack()
        self._interruption = current_interruption()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def name(self, ending: str) -> str:
        """Return the name of the object that ``upload(ending)`` begins."""
        return self._stem + ending

    def upload(self, ending: str, expected: int | None = None) -> Upload:  # noqa: ARG002 - this store asks for no size
        """Begin an object, to be committed with the transaction.

        Raises:
            ValueError: there is one of this ending already; the second would take its place.
        """
        name = self.name(ending)
        if name in self._uploads:
            raise ValueError(f"{name} is being uploaded already; each object of a backup has an ending of its own")
        upload = self._store.create(name)
        self._stack.callback(upload.abort)
        self._uploads[name] = upload
        return upload

    def commit(self, content: R) -> R:
        """Make the backup visible that ``content`` describes, and return ``content``.

        An interrupt that a plugin swallowed is raised again, and nothing is committed.

        Raises:
            IntegrityError: an object is not of the size that was written to it, or not one that was uploaded.
            ManifestError, StoreError: it could not be made visible. Nothing of it stays.
        """
        self._interruption.check()
        sizes = self._publisher.sizes_of(content)
        if set(sizes) != set(self._uploads):
            raise IntegrityError(
                f"a manifest of {sorted(sizes)} does not name what was uploaded, {sorted(self._uploads)}"
            )
        with self._publisher.committing(*self._uploads) as confirm_removed:
            published = False
            try:
                for name, upload in self._uploads.items():
                    upload.commit()
                    self._require_size(name, sizes[name])
                self._interruption.check()
                published = True
                self._publisher.publish(content)
            except BaseException:
                if not published:
                    with contextlib.suppress(Exception):  # the failure that led here is the one to report
                        self._delete_uploaded()
                        confirm_removed()
                raise
        return content

    def _delete_uploaded(self) -> None:
        for name in self._uploads:
            with contextlib.suppress(MissingFile):
                self._store.delete(name)

    def _require_size(self, name: str, size: int) -> None:
        stored_size = self._store.stat(name).size
        if stored_size != size:
            raise IntegrityError(
                f"{self._store.locate(name)} holds {stored_size} bytes after {size} were written to it"
            )
