"""What is said of a backup after it was made: pinned, proved, accepted. Each is one immutable object.

Each is put first, and only then it is asked whether the backup still stands: whoever removes it announces that first,
and only then looks what is pinned. So one of the two sees the other, whatever the order.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.errors import MissingFile, StoreError, UnknownBackup
from dumpty.repository.protocol.dooms import GOES_AHEAD, read_decision, read_dooms, withdraw
from dumpty.repository.protocol.layout import (
    ACCEPTED,
    MANIFEST,
    PIN,
    PROOF,
    expiry,
    is_commit,
    is_stem,
    new_nonce,
    parse_listing,
    time_text,
)
from dumpty.types import Cap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dumpty.types import Store

__all__ = ["ACCEPTED", "PROOF", "accept", "annotate", "pin", "unpin"]


def pin(store: Store, stem: str, content: bytes = b"", *, until: datetime | None = None) -> str:
    """Pin a backup: nobody removes it, until ``unpin`` or ``until``, by the store's clock; return the pin's name.

    A removal that has announced this backup and not yet decided is withdrawn; it may be tried again. Where no put is
    conditional that cannot be done safely, and the pin is refused.

    Raises:
        UnknownBackup: it is gone, or being removed.
        StoreError: it could not be told; the backup is not pinned.
    """
    name = f"{stem}{PIN}{new_nonce()}" + (f"-{time_text(until)}" if until else "")
    _put(store, stem, name, content, _require_not_doomed)
    return name


def unpin(store: Store, stem: str, known: Iterable[str] = ()) -> None:
    """Delete every pin of a backup, ``known`` or listed, but those that expire: these are their restores' own.

    Raises:
        StoreError: it may still be pinned.
    """
    entry = parse_listing(store.list(stem.partition("/")[0])).entries.get(stem)
    listed = {found.name for found in (entry.pins if entry else ()) if expiry(found.name) is None}
    store.delete(sorted(listed | set(known)))


def annotate(store: Store, stem: str, content: bytes) -> str:
    """Add a proof of a backup; return the object's name.

    Raises:
        UnknownBackup: it is gone.
        StoreError: it could not be said.
    """
    name = f"{stem}{PROOF}{time_text(store.now())}-{new_nonce()}"
    _put(store, stem, name, content, lambda *_: None)
    return name


def accept(store: Store, stem: str, content: bytes) -> str:
    """Say that a backup is taken as good, suspicious as it is; return the object's name.

    From then on it counts, and others may go for it. A removal that is only announced is none of its concern: by then
    it was accepted, and whoever goes by that counts as gone what others have announced.

    Raises:
        UnknownBackup: it is gone, or being removed.
        StoreError: it could not be said.
    """
    name = f"{stem}{ACCEPTED}{time_text(store.now())}-{new_nonce()}"
    _put(store, stem, name, content, _require_not_going)
    return name


def _put(store: Store, stem: str, name: str, content: bytes, check: Callable[[Store, str], None]) -> None:
    if not is_stem(stem):
        raise UnknownBackup(f"there is no backup {stem[:80]!r}")
    try:
        store.put(name, content)
        check(store, stem)
        _require_manifest(store, stem)
    except BaseException:
        with contextlib.suppress(StoreError):
            store.delete([name])
        raise


def _require_not_doomed(store: Store, stem: str) -> None:
    for me, stems in read_dooms(store).items():
        if stem in stems and not (Cap.CREATE_NEW in store.capabilities() and withdraw(store, me)):
            raise UnknownBackup(f"{store.locate(stem)} is being removed; it cannot be pinned any more")


def _require_not_going(store: Store, stem: str) -> None:
    for me, stems in read_dooms(store).items():
        if stem in stems and read_decision(store, me) == GOES_AHEAD:
            raise UnknownBackup(f"{store.locate(stem)} is being removed; it cannot be accepted any more")


def _require_manifest(store: Store, stem: str) -> None:
    try:
        committed = is_commit(store.stat(stem + MANIFEST))
    except MissingFile:
        committed = False
    if not committed:
        raise UnknownBackup(f"{store.locate(stem)} is gone; see what is listed")
