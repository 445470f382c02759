"""What crosses the boundary between dumpty and its plugins: frozen structs and protocols.

Structs are msgspec's: made by keywords, compared by their fields, and changed only as a new one,
``msgspec.structs.replace(evidence, notes=())``. A listing makes tens of thousands of them, and a dataclass takes many
times as long, as does its class, which every command waits for. They may gain fields, with defaults. Protocols never
gain a required method.
"""

from __future__ import annotations

from dumpty.types.databases import Evidence, Inspection, ListedDatabase, ObjectEvidence, Scratch, Source
from dumpty.types.events import Event, EventBackup, EventVerb
from dumpty.types.keys import (
    RECIPIENT_KINDS,
    Identity,
    IdentityKind,
    KeyPair,
    Recipient,
    RecipientKind,
    SigningKey,
    VerificationKey,
)
from dumpty.types.notifications import Message, Notice, NoticeEvent, NoticeKind, Notifier, Severity
from dumpty.types.plugins import SUFFIX, Addressing, Format, Kind, Option, Options, OptionValue, PluginInfo, Verb
from dumpty.types.progress import Phase, Progress, ProgressCallback
from dumpty.types.records import (
    LEVELS,
    NO_ANNOTATIONS,
    PRESENT,
    Annotations,
    Level,
    PluginRef,
    Presence,
    Proof,
    Proved,
    Record,
    SealedPart,
    Section,
    Signature,
    StageRecord,
    State,
    StoredObject,
)
from dumpty.types.repositories import (
    Candidate,
    ListedBackup,
    ObjectSource,
    Removal,
    Repository,
    RepositoryListing,
    Transaction,
)
from dumpty.types.runs import RunClaim, StoredRun, TellingClaim
from dumpty.types.shrinking import ShrinkRules
from dumpty.types.stores import (
    Cap,
    DirectoryUpload,
    Found,
    LocalStore,
    Store,
    Upload,
    check_object_name,
    is_object_name,
)
from dumpty.types.streams import Buffer, ByteSink, Dump, Reader, Sink, Verifier, Writer
from dumpty.types.transports import Endpoint, SharedConnection, Transport

__all__ = [
    "LEVELS",
    "NO_ANNOTATIONS",
    "PRESENT",
    "RECIPIENT_KINDS",
    "SUFFIX",
    "Addressing",
    "Annotations",
    "Buffer",
    "ByteSink",
    "Candidate",
    "Cap",
    "DirectoryUpload",
    "Dump",
    "Endpoint",
    "Event",
    "EventBackup",
    "EventVerb",
    "Evidence",
    "Format",
    "Found",
    "Identity",
    "IdentityKind",
    "Inspection",
    "KeyPair",
    "Kind",
    "Level",
    "ListedBackup",
    "ListedDatabase",
    "LocalStore",
    "Message",
    "Notice",
    "NoticeEvent",
    "NoticeKind",
    "Notifier",
    "ObjectEvidence",
    "ObjectSource",
    "Option",
    "OptionValue",
    "Options",
    "Phase",
    "PluginInfo",
    "PluginRef",
    "Presence",
    "Progress",
    "ProgressCallback",
    "Proof",
    "Proved",
    "Reader",
    "Recipient",
    "RecipientKind",
    "Record",
    "Removal",
    "Repository",
    "RepositoryListing",
    "RunClaim",
    "Scratch",
    "SealedPart",
    "Section",
    "Severity",
    "SharedConnection",
    "ShrinkRules",
    "Signature",
    "SigningKey",
    "Sink",
    "Source",
    "StageRecord",
    "State",
    "Store",
    "StoredObject",
    "StoredRun",
    "TellingClaim",
    "Transaction",
    "Transport",
    "Upload",
    "Verb",
    "VerificationKey",
    "Verifier",
    "Writer",
    "check_object_name",
    "is_object_name",
]
