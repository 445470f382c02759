"""The one manifest of named backups, ``backup_manifest.json``: read and checked, and written all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dumpty.errors import ManifestError, MissingFile
from dumpty.repository import manifest, sealed
from dumpty.repository.named_marks import is_data_name
from dumpty.repository.names import NAMED_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dumpty.types import Store

__all__ = ["NamedManifest", "files_of"]


def files_of(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the data that entries name."""
    return [entry["file"] for entry in entries]


class NamedManifest:
    """The manifest in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> list[dict[str, Any]] | None:
        """Return its entries; None where it is missing.

        Raises:
            ManifestError: it is damaged, or written by a newer dumpty.
            StoreError: it cannot be read.
        """
        label = f"the manifest {self._store.locate(NAMED_MANIFEST)}"
        try:
            data = self._store.get(NAMED_MANIFEST)
        except MissingFile:
            return None
        entries = sealed.unseal(data, label).get("backups")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ManifestError(f"{label} is damaged: it lists no backups")
        for entry in entries:
            manifest.check_entry(entry, label)
            if not is_data_name(entry["file"]):
                raise ManifestError(f"{label} is damaged: {entry['file']!r} is no name that dumpty gives to a backup")
        if len(set(files_of(entries))) < len(entries):
            raise ManifestError(f"{label} is damaged: it names a file twice")
        return entries

    def write(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """Write it, and read it back; return its size in bytes.

        Raises:
            ManifestError: it reads back otherwise.
            StoreError: it cannot be written, or read.
        """
        data = sealed.seal({"backups": list(entries)})
        self._store.put(NAMED_MANIFEST, data, new=False)
        if self._store.get(NAMED_MANIFEST) != data:
            raise ManifestError(f"{self._store.locate(NAMED_MANIFEST)} reads back otherwise than it was written")
        return len(data)
