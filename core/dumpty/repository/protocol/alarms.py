"""What was told of a job, and to whom: each alarm at least once, and hardly ever twice, whoever tells, dies or is slow.

::

    .alarms/JOB/CHANNEL.claim-NONCE       somebody is about to tell
    .alarms/JOB/CHANNEL.told-TIME-NONCE   what was told: which others it replaces, and what it knows

Whoever tells puts a claim, only then looks for those of others, and only then at what was told. Of two that do so at
the same moment each may see the other, and then both give way. What was told is put once its recipient has taken it:
whoever is killed before leaves it to the next one, who tells it again. A claim that is old counts no more; where its
owner lives after all both tell, and what both put is taken together.

A note of what was told names all that it replaces, other notes and claims that are over, its own among them: where
they cannot be deleted, or whoever would do so is killed, none of them comes back, or keeps anybody from telling.
"""

from __future__ import annotations

import contextlib
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Self

from dumpty.errors import MissingFile, StoreError
from dumpty.repository.protocol.layout import new_nonce, time_text
from dumpty.repository.protocol.process_identity import active, is_over, process_identity
from dumpty.repository.protocol.run_slots import is_job_name
from dumpty.types import Cap

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from dumpty.types import Found, Store

__all__ = ["ALARMS_FOLDER", "Telling", "claim_telling", "read_told"]

ALARMS_FOLDER = ".alarms"

_SILENCE = timedelta(minutes=10)
"""Much longer than it takes to tell a recipient, or to give up."""

_ATTEMPTS = 5
_MOST_BYTES = 16 * 1024 * 1024
_CHANNEL = re.compile(r"[0-9a-f]{8,64}")
_NAME = re.compile(rf"\{ALARMS_FOLDER}/[^/]+/(?P<channel>{_CHANNEL.pattern})\.(?P<kind>claim|told)-[A-Za-z0-9-]+")


class _Told(NamedTuple):
    """What a look showed: the contents of notes that no other replaces, all names that are over, and other claims."""

    contents: tuple[bytes, ...]
    names: tuple[str, ...]
    claims: tuple[Found, ...]


class Telling:
    """A claim to tell a channel of a job, of ``claim_telling``: a block that ends with ``finish``, where it was told.

    ``known`` is what those who told before have put, each with what it knew: more than one where several told at once.
    """

    def __init__(self, store: Store, base: str, name: str, nonce: str) -> None:
        self._store, self._base, self._name, self._nonce = store, base, name, nonce
        self._names: tuple[str, ...] = ()
        self.known: tuple[bytes, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(StoreError):
                self._store.delete([self._name])
        finally:
            active.discard(self._nonce)

    def look(self, silence: timedelta) -> bool:
        """See what was told before, and return whether nobody else is at it; who has given up is cleared away."""
        others = [claim for claim in _look(self._store, self._base).claims if claim.name != self._name]
        if any(_is_alive(self._store, claim, silence) for claim in others):
            return False
        # Whose claim was gone before we came to it has told: that is seen by a look that begins afterwards, and by no
        # other, for no listing is a snapshot.
        told = _look(self._store, self._base)
        self.known = told.contents
        self._names = (*told.names, *(claim.name for claim in others), self._name)
        if others:
            with contextlib.suppress(StoreError):
                self._store.delete([claim.name for claim in others])
        return True

    def finish(self, content: bytes) -> None:
        """Write down what was told, in the place of all that is known.

        Raises:
            StoreError: it cannot be said whether that stands.
        """
        header = json.dumps({"version": 1, "replaces": self._names}).encode()
        self._store.put(f"{self._base}.told-{time_text(self._store.now())}-{new_nonce()}", header + b"\n" + content)
        with contextlib.suppress(StoreError):  # it replaces them, whether they are there or not
            self._store.delete([name for name in self._names if name != self._name])


def claim_telling(store: Store, job: str, channel: str, *, silence: timedelta = _SILENCE) -> Telling | None:
    """Claim to tell a channel of a job; return None where somebody else is at it.

    Args:
        store: where it is written down.
        job: its name in plain letters.
        channel: 8 to 64 hexadecimal digits that stand for a recipient.
        silence: how old another one's claim may be that counts.

    Raises:
        ValueError: a name cannot be part of an object's.
        StoreError: it cannot be told.
    """
    base, nonce = _base(job, channel), new_nonce()
    name = f"{base}.claim-{nonce}"
    active.add(nonce)
    telling = Telling(store, base, name, nonce)
    with contextlib.ExitStack() as stack:
        stack.push(telling)
        store.put(name, json.dumps({"version": 1, "nonce": nonce, **process_identity()}).encode())
        if not telling.look(silence):
            return None
        stack.pop_all()
    return telling


def read_told(store: Store, job: str, channel: str) -> tuple[bytes, ...]:
    """Return what those who told a channel of a job have put: none, one, or what several put at once.

    Raises:
        ValueError: a name cannot be part of an object's.
        StoreError: it cannot be read.
    """
    return _look(store, _base(job, channel)).contents


def _base(job: str, channel: str) -> str:
    if not is_job_name(job) or not _CHANNEL.fullmatch(channel):
        raise ValueError(f"{job[:80]!r} and {channel[:80]!r} cannot name what is told of a job, and to whom")
    return f"{ALARMS_FOLDER}/{job}/{channel}"


def _look(store: Store, base: str) -> _Told:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(MissingFile):  # replaced meanwhile: whoever did has put another
            return _looked(store, base)
    raise StoreError(f"{store.locate(base)}: what was told changes as fast as it is read; try again")


def _looked(store: Store, base: str) -> _Told:
    folder, _, channel = base.rpartition("/")
    claims: list[Found] = []
    notes: list[Found] = []
    for found in store.list(folder):
        match = _NAME.fullmatch(found.name)
        if match is not None and match["channel"] == channel:
            (claims if match["kind"] == "claim" else notes).append(found)
    replaced: set[str] = set()
    contents = []
    # Of those that replace others each names all that were there: the newest first, few are to be read.
    for found in sorted(notes, key=_age, reverse=True):
        if found.name in replaced:
            continue
        replaces, content = _read_note(store, found)
        replaced.update(replaces)
        contents.append((found.name, content))
    standing = tuple(content for name, content in contents if content and name not in replaced)
    over = [found.name for found in claims if found.name in replaced]
    live = tuple(found for found in claims if found.name not in replaced)
    return _Told(standing, (*(found.name for found in notes), *over), live)


def _age(found: Found) -> tuple[datetime, str]:
    return found.modified, found.name


def _read_note(store: Store, found: Found) -> tuple[list[str], bytes]:
    """Return which notes one replaces, and what it says; of one that nobody can read neither."""
    if found.size > _MOST_BYTES:
        raise StoreError(f"{store.locate(found.name)} has {found.size:,} bytes, which is more than is told of a job")
    header, _, content = store.get(found.name).partition(b"\n")
    try:
        replaces = json.loads(header)["replaces"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return [], b""
    if not isinstance(replaces, list) or not all(isinstance(name, str) for name in replaces):
        return [], b""
    return replaces, content


def _is_alive(store: Store, claim: Found, silence: timedelta) -> bool:
    # One from the future is of a clock that was wrong, and would count for years.
    if abs(store.now() - claim.modified) >= silence:
        return False
    if Cap.LOCAL not in store.capabilities():
        return True
    try:
        return not is_over(json.loads(store.get(claim.name)))
    except MissingFile:
        return False
    except (ValueError, RecursionError):
        return True
