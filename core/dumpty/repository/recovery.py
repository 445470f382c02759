"""Finishing, or taking back, what killed runs left in a store. Which files may go is said in ``catalog``.

What an upload left that was never committed, the store itself removes: ``Store.clean``.
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING

from dumpty.errors import ManifestError, MissingFile, StoreError
from dumpty.repository.journal import PENDING
from dumpty.repository.named import NamedCatalog
from dumpty.repository.names import BACKUP_FILE_NAME, MANIFEST, REMOVED
from dumpty.repository.objects import exists
from dumpty.repository.verification import PIN, PROOFS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.types import Store

__all__ = ["clean"]

_log = logging.getLogger("dumpty")
_NAMED_DATA = re.compile(r"\.[0-9a-f]{32}\.(?:db|sql|dump|tar|dir)$")


def clean(store: Store) -> None:
    """Finish or take back what killed runs of either facade left in a store.

    Raises:
        StoreError, Locked: it could not.
    """
    with store.lock("catalog"):
        is_listed = _listing_test(store)
        with contextlib.ExitStack() as stack:
            abandoned = store.clean()
            # A generator holds the store's lock until it is closed, and an error's traceback would keep it alive.
            stack.callback(getattr(abandoned, "close", lambda: None))
            for name in abandoned:
                file = name.removesuffix(PENDING)
                if file != name and is_listed(file) is False:
                    with contextlib.suppress(MissingFile):
                        store.delete(file)
        objects = list(store.list())
        # Without its manifest, a named backup that was half removed is the only trace of itself.
        has_manifest = any(entry.name == NamedCatalog.MANIFEST for entry in objects)
        for entry in objects:
            file = entry.name.removesuffix(REMOVED)
            state = is_listed(file) if file != entry.name else None
            if state is True:
                store.rename(entry.name, file)
            elif state is False and (BACKUP_FILE_NAME.match(file) or has_manifest):
                _delete_unlisted(store, entry.name)
        _clean_sidecars(store)


def _clean_sidecars(store: Store) -> None:
    """Remove the proofs and pins of backups of which nothing else is left."""
    names = {entry.name for entry in store.list()}
    sidecars = {name for name in names if name.endswith((PROOFS, PIN)) and BACKUP_FILE_NAME.match(name)}
    live_stems = {match["stem"] for name in names - sidecars if (match := BACKUP_FILE_NAME.match(name))}
    for name in sidecars:
        match = BACKUP_FILE_NAME.match(name)
        if match is not None and match["stem"] not in live_stems:
            _delete_unlisted(store, name)


def _delete_unlisted(store: Store, name: str) -> None:
    """Remove what no listing shows; what cannot be removed takes space, and keeps nobody from the next backup."""
    try:
        store.delete(name)
    except MissingFile:
        return
    except StoreError as error:
        text = "%s is of no use any more, but is still there: %s; the next backup tries again"
        _log.warning(text, store.locate(name), error, extra={"event": "left-behind"})


def _listing_test(store: Store) -> Callable[[str], bool | None]:
    """Return a function that tells whether a manifest names a file; None where that cannot be told.

    Manifests are asked for by name: what a late listing does not show yet would be taken for an orphan.
    """
    try:
        files = {e["file"] for e in NamedCatalog(store).entries()}
    except (ManifestError, StoreError):
        files = None

    def is_listed(file: str) -> bool | None:
        if match := BACKUP_FILE_NAME.match(file):
            return exists(store, match["stem"] + MANIFEST)
        if files is None or not _NAMED_DATA.search(file):
            return None
        return file in files

    return is_listed
