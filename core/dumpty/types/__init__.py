"""What crosses the boundary between dumpty and its plugins: frozen dataclasses and protocols.

Dataclasses may gain fields, with defaults. Protocols never gain a required method.
"""

from __future__ import annotations

from dumpty.types.databases import Evidence, Inspection, ObjectEvidence, Scratch, Source
from dumpty.types.plugins import SUFFIX, Format, Kind, Option, Options, OptionValue, PluginInfo, Verb
from dumpty.types.stores import DirectoryUpload, LocalStore, Store, StoredObject, Upload
from dumpty.types.streams import Buffer, ByteSink, Dump, Reader, Sink, Verifier, Writer

__all__ = [
    "SUFFIX",
    "Buffer",
    "ByteSink",
    "DirectoryUpload",
    "Dump",
    "Evidence",
    "Format",
    "Inspection",
    "Kind",
    "LocalStore",
    "ObjectEvidence",
    "Option",
    "OptionValue",
    "Options",
    "PluginInfo",
    "Reader",
    "Scratch",
    "Sink",
    "Source",
    "Store",
    "StoredObject",
    "Upload",
    "Verb",
    "Verifier",
    "Writer",
]
