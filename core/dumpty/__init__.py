"""dumpty: backups that go back together.

Two facades, ``DatabaseBackup`` and ``BackupManager``, compose plugins; ``hookimpl`` and the types here are all
that a plugin needs. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dumpty.hookspecs import hookimpl

if TYPE_CHECKING:
    from dumpty._version import __version__ as __version__
    from dumpty.backup import BackupFormat as BackupFormat
    from dumpty.backup import BackupMetadata as BackupMetadata
    from dumpty.backup import DatabaseBackup as DatabaseBackup
    from dumpty.backup_manager import Backup as Backup
    from dumpty.backup_manager import BackupManager as BackupManager
    from dumpty.backup_manager import BackupResult as BackupResult
    from dumpty.backup_manager import backup_database as backup_database
    from dumpty.encryption.header import require_encrypted as require_encrypted
    from dumpty.errors import Cancelled as Cancelled
    from dumpty.errors import CommandError as CommandError
    from dumpty.errors import ConfigurationError as ConfigurationError
    from dumpty.errors import DependencyError as DependencyError
    from dumpty.errors import DumptyError as DumptyError
    from dumpty.errors import Exists as Exists
    from dumpty.errors import FormatNotSupported as FormatNotSupported
    from dumpty.errors import IdentityError as IdentityError
    from dumpty.errors import IntegrityError as IntegrityError
    from dumpty.errors import InvalidName as InvalidName
    from dumpty.errors import Locked as Locked
    from dumpty.errors import ManifestError as ManifestError
    from dumpty.errors import MissingFile as MissingFile
    from dumpty.errors import NotificationError as NotificationError
    from dumpty.errors import NotPermitted as NotPermitted
    from dumpty.errors import NotProvable as NotProvable
    from dumpty.errors import OptionError as OptionError
    from dumpty.errors import OtherDatabase as OtherDatabase
    from dumpty.errors import Pinned as Pinned
    from dumpty.errors import PluginConflict as PluginConflict
    from dumpty.errors import PluginError as PluginError
    from dumpty.errors import PluginLoadError as PluginLoadError
    from dumpty.errors import PluginNotFound as PluginNotFound
    from dumpty.errors import RestoreNotSupported as RestoreNotSupported
    from dumpty.errors import Retained as Retained
    from dumpty.errors import SignatureError as SignatureError
    from dumpty.errors import SourceError as SourceError
    from dumpty.errors import StoreError as StoreError
    from dumpty.errors import TargetNotEmpty as TargetNotEmpty
    from dumpty.errors import TransportError as TransportError
    from dumpty.errors import UnknownBackup as UnknownBackup
    from dumpty.operations.copying import CopyOutcome as CopyOutcome
    from dumpty.operations.differences import Diff as Diff
    from dumpty.operations.key_check import KeyCheck as KeyCheck
    from dumpty.operations.proving import Verification as Verification
    from dumpty.operations.result import Listing as Listing
    from dumpty.operations.result import Pruning as Pruning
    from dumpty.operations.row_changes import RowDifference as RowDifference
    from dumpty.operations.row_differences import RowDiff as RowDiff
    from dumpty.operations.scratches import Trial as Trial
    from dumpty.process.call import commit_point as commit_point
    from dumpty.process.call import pause as pause
    from dumpty.process.call import raise_if_cancelled as raise_if_cancelled
    from dumpty.process.cancellation import Cancellation as Cancellation
    from dumpty.process.interruption import Unfinished as Unfinished
    from dumpty.process.owned_directory import OwnedDirectory as OwnedDirectory
    from dumpty.process.owned_directory import lock_if_free as lock_if_free
    from dumpty.process.owned_directory import open_owned_directory as open_owned_directory
    from dumpty.process.owned_directory import open_regular as open_regular
    from dumpty.process.peer import Peer as Peer
    from dumpty.process.peer import given_up as given_up
    from dumpty.registry.host import Host as Host
    from dumpty.registry.plugin import Plugin as Plugin
    from dumpty.repository.retention import Decision as Decision
    from dumpty.repository.retention import Rules as Rules
    from dumpty.repository.retention import Subject as Subject
    from dumpty.repository.verification import VerificationStatus as VerificationStatus
    from dumpty.streaming.framed import FramedReader as FramedReader
    from dumpty.streaming.transforming import TransformingReader as TransformingReader
    from dumpty.streaming.transforming import TransformingWriter as TransformingWriter
    from dumpty.streaming.worker import Worker as Worker
    from dumpty.streaming.worker import run_abandonable as run_abandonable
    from dumpty.streaming.worker import run_in_worker as run_in_worker
    from dumpty.streaming.worker import run_together as run_together
    from dumpty.toolkit.evidence import Comparison as Comparison
    from dumpty.toolkit.evidence import Difference as Difference
    from dumpty.toolkit.evidence import compare_evidence as compare_evidence
    from dumpty.toolkit.evidence import require_same_evidence as require_same_evidence
    from dumpty.toolkit.files import require_file as require_file
    from dumpty.toolkit.files import save_dump as save_dump
    from dumpty.toolkit.files import send_file as send_file
    from dumpty.toolkit.globbing import database_files as database_files
    from dumpty.toolkit.http import post_http as post_http
    from dumpty.toolkit.http import require_http_url as require_http_url
    from dumpty.toolkit.messages import message_json as message_json
    from dumpty.toolkit.parts import parts_by_section as parts_by_section
    from dumpty.toolkit.relaying import relay_command as relay_command
    from dumpty.toolkit.replacement import Replacement as Replacement
    from dumpty.toolkit.sources import database_file as database_file
    from dumpty.toolkit.sources import refuse_unknown_parameters as refuse_unknown_parameters
    from dumpty.toolkit.targets import refuse_full_target as refuse_full_target
    from dumpty.toolkit.ways import Hop as Hop
    from dumpty.toolkit.ways import parse_hop as parse_hop
    from dumpty.types import Addressing as Addressing
    from dumpty.types import Annotations as Annotations
    from dumpty.types import Buffer as Buffer
    from dumpty.types import ByteSink as ByteSink
    from dumpty.types import Candidate as Candidate
    from dumpty.types import Cap as Cap
    from dumpty.types import DirectoryUpload as DirectoryUpload
    from dumpty.types import Dump as Dump
    from dumpty.types import DumpPart as DumpPart
    from dumpty.types import Endpoint as Endpoint
    from dumpty.types import Event as Event
    from dumpty.types import EventBackup as EventBackup
    from dumpty.types import EventVerb as EventVerb
    from dumpty.types import Evidence as Evidence
    from dumpty.types import Format as Format
    from dumpty.types import Found as Found
    from dumpty.types import Identity as Identity
    from dumpty.types import IdentityKind as IdentityKind
    from dumpty.types import Inspection as Inspection
    from dumpty.types import KeyPair as KeyPair
    from dumpty.types import Kind as Kind
    from dumpty.types import Level as Level
    from dumpty.types import ListedBackup as ListedBackup
    from dumpty.types import ListedDatabase as ListedDatabase
    from dumpty.types import LocalStore as LocalStore
    from dumpty.types import Message as Message
    from dumpty.types import Notice as Notice
    from dumpty.types import NoticeEvent as NoticeEvent
    from dumpty.types import NoticeKind as NoticeKind
    from dumpty.types import Notifier as Notifier
    from dumpty.types import ObjectEvidence as ObjectEvidence
    from dumpty.types import ObjectSource as ObjectSource
    from dumpty.types import Option as Option
    from dumpty.types import Options as Options
    from dumpty.types import OptionValue as OptionValue
    from dumpty.types import PartSink as PartSink
    from dumpty.types import Phase as Phase
    from dumpty.types import PluginInfo as PluginInfo
    from dumpty.types import PluginRef as PluginRef
    from dumpty.types import Presence as Presence
    from dumpty.types import Progress as Progress
    from dumpty.types import ProgressCallback as ProgressCallback
    from dumpty.types import Proof as Proof
    from dumpty.types import Proved as Proved
    from dumpty.types import Reader as Reader
    from dumpty.types import Recipient as Recipient
    from dumpty.types import RecipientKind as RecipientKind
    from dumpty.types import Record as Record
    from dumpty.types import Remote as Remote
    from dumpty.types import Removal as Removal
    from dumpty.types import Repository as Repository
    from dumpty.types import RepositoryListing as RepositoryListing
    from dumpty.types import RowValue as RowValue
    from dumpty.types import RunClaim as RunClaim
    from dumpty.types import Scratch as Scratch
    from dumpty.types import SealedPart as SealedPart
    from dumpty.types import Section as Section
    from dumpty.types import Severity as Severity
    from dumpty.types import SharedConnection as SharedConnection
    from dumpty.types import ShrinkRules as ShrinkRules
    from dumpty.types import Signature as Signature
    from dumpty.types import SigningKey as SigningKey
    from dumpty.types import Sink as Sink
    from dumpty.types import Source as Source
    from dumpty.types import StageRecord as StageRecord
    from dumpty.types import State as State
    from dumpty.types import Store as Store
    from dumpty.types import StoredObject as StoredObject
    from dumpty.types import StoredRun as StoredRun
    from dumpty.types import TableContent as TableContent
    from dumpty.types import TableRows as TableRows
    from dumpty.types import TellingClaim as TellingClaim
    from dumpty.types import Transaction as Transaction
    from dumpty.types import Transport as Transport
    from dumpty.types import Upload as Upload
    from dumpty.types import Verb as Verb
    from dumpty.types import VerificationKey as VerificationKey
    from dumpty.types import Verifier as Verifier
    from dumpty.types import Writer as Writer
    from dumpty.types import check_object_name as check_object_name
    from dumpty.types import is_object_name as is_object_name
    from dumpty.url import MalformedURL as MalformedURL

_EXPORTS = {
    "dumpty._version": ("__version__",),
    "dumpty.streaming.worker": ("Worker", "run_abandonable", "run_in_worker", "run_together"),
    "dumpty.backup": ("BackupFormat", "BackupMetadata", "DatabaseBackup"),
    "dumpty.backup_manager": ("Backup", "BackupManager", "BackupResult", "backup_database"),
    "dumpty.encryption.header": ("require_encrypted",),
    "dumpty.errors": (
        *("Cancelled", "CommandError", "ConfigurationError", "DependencyError", "DumptyError", "IdentityError"),
        *("IntegrityError", "InvalidName", "Locked", "ManifestError", "Exists", "FormatNotSupported", "MissingFile"),
        *("NotPermitted", "NotificationError", "Retained", "NotProvable", "OptionError", "OtherDatabase", "Pinned"),
        *("PluginConflict", "PluginError", "PluginLoadError", "PluginNotFound", "RestoreNotSupported"),
        *("SignatureError", "SourceError", "StoreError", "TargetNotEmpty", "TransportError", "UnknownBackup"),
    ),
    "dumpty.repository.retention": ("Decision", "Rules", "Subject"),
    "dumpty.operations.result": ("Listing", "Pruning"),
    "dumpty.operations.copying": ("CopyOutcome",),
    "dumpty.operations.differences": ("Diff",),
    "dumpty.operations.row_differences": ("RowDiff",),
    "dumpty.operations.row_changes": ("RowDifference",),
    "dumpty.operations.key_check": ("KeyCheck",),
    "dumpty.operations.proving": ("Verification",),
    "dumpty.operations.scratches": ("Trial",),
    "dumpty.repository.verification": ("VerificationStatus",),
    "dumpty.streaming.framed": ("FramedReader",),
    "dumpty.streaming.transforming": ("TransformingReader", "TransformingWriter"),
    "dumpty.process.owned_directory": ("OwnedDirectory", "lock_if_free", "open_owned_directory", "open_regular"),
    "dumpty.process.call": ("commit_point", "pause", "raise_if_cancelled"),
    "dumpty.process.cancellation": ("Cancellation",),
    "dumpty.process.interruption": ("Unfinished",),
    "dumpty.process.peer": ("Peer", "given_up"),
    "dumpty.registry.host": ("Host",),
    "dumpty.registry.plugin": ("Plugin",),
    "dumpty.toolkit.evidence": ("Comparison", "Difference", "compare_evidence", "require_same_evidence"),
    "dumpty.toolkit.files": ("require_file", "save_dump", "send_file"),
    "dumpty.toolkit.globbing": ("database_files",),
    "dumpty.toolkit.http": ("post_http", "require_http_url"),
    "dumpty.toolkit.messages": ("message_json",),
    "dumpty.toolkit.parts": ("parts_by_section",),
    "dumpty.toolkit.replacement": ("Replacement",),
    "dumpty.toolkit.sources": ("database_file", "refuse_unknown_parameters"),
    "dumpty.toolkit.relaying": ("relay_command",),
    "dumpty.toolkit.targets": ("refuse_full_target",),
    "dumpty.toolkit.ways": ("Hop", "parse_hop"),
    "dumpty.url": ("MalformedURL",),
    "dumpty.types": (
        "Addressing",
        "Annotations",
        "Buffer",
        "ByteSink",
        "Candidate",
        "Cap",
        "DirectoryUpload",
        "Dump",
        "DumpPart",
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
        "PartSink",
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
        "RowValue",
        "RunClaim",
        "Scratch",
        "SealedPart",
        "Section",
        "Severity",
        "Remote",
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
        "TableContent",
        "TableRows",
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
    ),
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["hookimpl", *sorted(_HOME)]  # noqa: PLE0604 - names of strings, computed


def __getattr__(name: str) -> Any:
    # PEP 562: `import dumpty` stays light; a name brings in its module when it is first used.
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'dumpty' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
