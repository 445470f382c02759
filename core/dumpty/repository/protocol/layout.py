"""Names of what lies in a repository, and what a listing of them says.

::

    FOLDER/TIME-ID12-NONCE.sql.gz            data: any ending that is none of these
    FOLDER/TIME-ID12-NONCE.manifest.json     the commit; or a tombstone: this attempt can never commit
    FOLDER/TIME-ID12-NONCE.intent            an attempt was begun, and .beat-N that it lives
    FOLDER/TIME-ID12-NONCE.pin-NONCE[-TIME]  not to be removed (until then); .proof-TIME-NONCE, .accepted-TIME-NONCE
    .prune/doom-ME  .prune/go-ME             what a removal means to take, and whether it may
    .runs/JOB/SLOT.claim-N  .claim-N.beat-M  .result
    .alarms/JOB/CHANNEL.claim-NONCE  .told-TIME-NONCE

``FOLDER/TIME-ID12-NONCE`` is the *stem*: new for every attempt, so that nothing that was removed ever comes back.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dumpty.repository.names import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dumpty.types import Found

__all__ = [
    "ACCEPTED",
    "BEAT",
    "DOOM",
    "GO",
    "INTENT",
    "MANIFEST",
    "NAME_LIMIT",
    "PIN",
    "PROOF",
    "PRUNE_FOLDER",
    "RUNS_FOLDER",
    "TOMBSTONE",
    "Entry",
    "Listing",
    "belongs_to",
    "data_name",
    "expiry",
    "folder_name",
    "is_commit",
    "is_stem",
    "new_key",
    "new_nonce",
    "new_stem",
    "parse_listing",
    "parse_time",
    "split_name",
    "stem_parts",
    "time_text",
]

INTENT = ".intent"
BEAT = ".beat-"
MANIFEST = ".manifest.json"
PIN = ".pin-"
PROOF = ".proof-"
ACCEPTED = ".accepted-"
PRUNE_FOLDER = ".prune"
RUNS_FOLDER = ".runs"
DOOM = ".prune/doom-"
GO = ".prune/go-"
TOMBSTONE = b"abandoned\n"
"""All that is in a tombstone. No manifest has that size, so a listing shows which is which; and one that lost its
content is no tombstone, whose data would be deleted, but a damaged manifest."""
NAME_LIMIT = 400
"""The most characters that a store's name has."""

_KINDS = (BEAT, PIN, PROOF, ACCEPTED)
_ENDING_LIMIT = 100
_FOLDER_LIMIT = 200
_TIME = r"[0-9]{8}T[0-9]{6}Z"
_STEM = rf"(?P<folder>[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,{_FOLDER_LIMIT - 1}}})/{_TIME}-[0-9a-f]{{12}}-[0-9a-f]{{8}}"
_STEM_PATTERN = re.compile(_STEM)
_NAME_PATTERN = re.compile(rf"(?P<stem>{_STEM})(?P<ending>\.[A-Za-z0-9_.-]{{1,{_ENDING_LIMIT - 1}}})")
_DOOM_PATTERN = re.compile(r"\.prune/(?P<kind>doom|go)-(?P<me>[0-9a-f]{8,32})")
_EXPIRING = re.compile(rf"\.pin-[0-9a-f]+-(?P<until>{_TIME})")
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"


def new_nonce() -> str:
    """Return eight hexadecimal digits that nobody else has."""
    return secrets.token_hex(4)


def new_key() -> str:
    """Return a UUID that nobody else has."""
    return str(uuid.UUID(secrets.token_hex(16)))


def time_text(moment: datetime) -> str:
    """Return an aware moment in UTC, as names have it: ``20261126T170000Z``."""
    # Not by strftime, which takes several times as long: a list asks for thousands.
    return f"{moment.astimezone(UTC).isoformat()[:19].replace('-', '').replace(':', '')}Z"


def parse_time(text: str) -> datetime | None:
    """Return the moment that ``time_text`` wrote, aware and in UTC; None where no calendar has it."""
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def folder_name(database: str, identity: str) -> str:
    """Return the folder of a database: its name made plain, and six digits of the hash of what identifies it."""
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug(database)}-{digest[:6]}"


def new_stem(folder: str, started: datetime, backup_id: str) -> str:
    """Return the stem of a new attempt, or copy, of a backup.

    Args:
        folder: of its database.
        started: when the backup was begun (aware).
        backup_id: its UUID.

    Raises:
        ValueError: one of them is not that.
    """
    stem = f"{folder}/{time_text(started)}-{_digits(backup_id)}-{new_nonce()}"
    if not is_stem(stem):
        raise ValueError(f"{stem[:80]!r} cannot be the name of a backup in a repository")
    return stem


def belongs_to(stem: str, started: datetime, backup_id: str) -> bool:
    """Return whether a stem is that of an attempt, or a copy, of a backup."""
    return stem.rpartition("/")[2].startswith(f"{time_text(started)}-{_digits(backup_id)}-")


def stem_parts(stem: str) -> tuple[str, datetime | None, str]:
    """Return the folder of a stem, when its backup was begun, and the beginning of the backup's id.

    The time is None where no calendar has it.
    """
    folder, _, rest = stem.partition("/")
    time, digits, _ = rest.split("-")
    return folder, parse_time(time), f"{digits[:8]}-{digits[8:]}"


def is_stem(text: object) -> bool:
    """Return whether a text has the form of a stem, and so cannot lead anywhere else."""
    return isinstance(text, str) and _STEM_PATTERN.fullmatch(text) is not None


def split_name(name: str) -> tuple[str, str] | None:
    """Return the stem and the ending of an object's name, or None where it belongs to no attempt."""
    match = _NAME_PATTERN.fullmatch(name)
    return None if match is None else (match["stem"], match["ending"])


def data_name(stem: str, ending: str) -> str:
    """Return the name of an object of data.

    Raises:
        ValueError: the ending is not one, or means something else.
    """
    name = stem + ending
    if split_name(name) != (stem, ending) or _meaning(ending) != "data":
        raise ValueError(f"{ending!r} cannot be the ending of a backup's data")
    return name


def expiry(pin: str) -> datetime | None:
    """Return until when a pin holds, from its name; None is for ever, and so is what cannot be understood."""
    parts = split_name(pin)
    match = _EXPIRING.fullmatch(parts[1]) if parts else None
    return None if match is None else parse_time(match["until"])


def is_commit(manifest: Found) -> bool:
    """Return whether a manifest is no tombstone, by its size."""
    return manifest.size != len(TOMBSTONE)


class Entry(Struct, kw_only=True):
    """What a listing shows of one stem."""

    stem: str
    intent: Found | None = None
    manifest: Found | None = None
    beats: list[Found] = field(default_factory=list)
    data: list[Found] = field(default_factory=list)
    pins: list[Found] = field(default_factory=list)
    notes: list[Found] = field(default_factory=list)
    """Annotations that are no pins."""

    @property
    def committed(self) -> bool:
        """Whether it has a manifest that is no tombstone."""
        return self.manifest is not None and is_commit(self.manifest)

    @property
    def tombstone(self) -> bool:
        """Whether it can never commit, by the size of what stands for its manifest."""
        return self.manifest is not None and not is_commit(self.manifest)

    def rest(self) -> Iterator[Found]:
        """Yield every object but data and manifest."""
        yield from (*self.beats, *self.pins, *self.notes)
        if self.intent is not None:
            yield self.intent

    def all(self) -> Iterator[Found]:
        """Yield every object."""
        yield from self.data
        if self.manifest is not None:
            yield self.manifest
        yield from self.rest()

    def pinned(self, now: datetime) -> bool:
        """Return whether a pin holds, by the store's clock."""
        return any((until := expiry(pin.name)) is None or now < until for pin in self.pins)

    def retained(self, now: datetime) -> bool:
        """Return whether the place says that it keeps the data or the manifest for now."""
        kept = [*self.data, *([self.manifest] if self.manifest else [])]
        return any(found.retained_until is not None and now < found.retained_until for found in kept)


class Listing(Struct, kw_only=True):
    """What a listing shows. Whatever is not dumpty's is in none of it."""

    entries: dict[str, Entry] = field(default_factory=dict)
    dooms: dict[str, Found] = field(default_factory=dict)
    decisions: dict[str, Found] = field(default_factory=dict)
    runs: list[Found] = field(default_factory=list)

    @property
    def committed(self) -> dict[str, Entry]:
        """The backups."""
        return {stem: entry for stem, entry in self.entries.items() if entry.committed}


def parse_listing(objects: Iterable[Found]) -> Listing:
    """Sort the objects of a store, or of one of its folders."""
    listing = Listing()
    for found in objects:
        if parts := split_name(found.name):
            stem, ending = parts
            entry = listing.entries.get(stem) or listing.entries.setdefault(stem, Entry(stem=stem))
            _sort_in(entry, _meaning(ending), found)
        elif match := _DOOM_PATTERN.fullmatch(found.name):
            (listing.dooms if match["kind"] == "doom" else listing.decisions)[match["me"]] = found
        elif found.name.startswith(RUNS_FOLDER + "/"):
            listing.runs.append(found)
    return listing


def _digits(backup_id: str) -> str:
    return backup_id.replace("-", "")[:12].lower()


def _meaning(ending: str) -> str:
    if ending in {INTENT, MANIFEST}:
        return ending
    if not ending.startswith(_KINDS):
        return "data"
    # What looks like a pin protects, and what looks like a beat is no data, whatever follows.
    return next(kind for kind in _KINDS if ending.startswith(kind))


def _sort_in(entry: Entry, meaning: str, found: Found) -> None:
    if meaning == MANIFEST:
        entry.manifest = found
    elif meaning == INTENT:
        entry.intent = found
    elif meaning == "data":
        entry.data.append(found)
    else:
        {BEAT: entry.beats, PIN: entry.pins}.get(meaning, entry.notes).append(found)
