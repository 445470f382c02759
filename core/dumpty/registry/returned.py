"""What comes back from plugins: of the promised types, with values that make sense, and fit for a manifest.

Here alone core asks that. Whatever is wrong is a ``PluginError`` that says who returned it from which hook, in which
field, and what was found there; so whoever uses evidence, an inspection or a scratch need not ask again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn, cast

from msgspec import Struct

from dumpty.errors import DumptyError, PluginError
from dumpty.redaction import MASK, redact
from dumpty.registry.fields import Broken, JSONCheck, require
from dumpty.registry.plugin import describe_error
from dumpty.types import Evidence, Identity, Inspection, KeyPair, ObjectEvidence, Recipient, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from dumpty.registry.masking import Mask
    from dumpty.registry.plugin import Plugin

__all__ = ["REPOSITORY", "STORE", "TRANSPORT", "Boundary", "DatabasesOf", "Expected", "collected"]

_MAX_SHOWN = 60
_MAX_FIELD = 100
_MAX_COUNT = 2**63 - 1
"""Of rows and bytes: what every reader of a manifest can hold."""

_ROW_VALUES = frozenset({str, int, float, bytes, type(None)})
_HEXADECIMAL = re.compile("[0-9a-fA-F]+")

_TEXT, _TRUTH = "a str", "True or False"
_TEXTS = "a tuple of str"
_OF_THIS_SERVER = "what source.replace(database=NAME) has there"
_COUNT = "None or a whole number from 0 to 2**63 - 1"


class DatabasesOf(Struct, frozen=True):
    """What ``databases`` is to return: an iterable of other databases of ``source``'s server, each once."""

    source: Source


STORE = (
    *("capabilities", "put", "upload", "get", "open", "stat"),
    *("list", "delete", "now", "locate", "sweep"),
)
"""The methods of a store."""
REPOSITORY = (
    *("open", "local_path", "locate", "workspace", "transaction", "listing", "candidates", "get", "look_up"),
    *("reading", "clear", "add_proof", "pin", "unpin", "remove"),
)
"""Those of a repository without which it is none."""
TRANSPORT = ("place", "environment", "command", "dial", "advise", "shared")
"""Those of a transport, and its attributes."""
Expected = type | tuple[str, ...] | DatabasesOf
"""What a hook is to return: a value of a type, an object with the methods of these names, or databases."""


def collected(result: object, expected: Expected) -> object:
    """Return what a hook returned; of databases a tuple: a generator is run once, and fails while it is run."""
    if not isinstance(expected, DatabasesOf) or isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        return result
    return tuple(result)


class Boundary(Struct, frozen=True, kw_only=True):
    """One hook of one plugin, over which something comes back; ``mask`` has the secrets of the call."""

    plugin: Plugin
    hook: str
    mask: Mask

    def check_result(self, result: object, expected: Expected) -> None:
        """Check what the hook returned, ``collected``: of a type, an object with methods, or databases.

        Raises:
            PluginError: it is something else, or a field of it is wrong.
        """
        if isinstance(expected, DatabasesOf):
            valid, promised = isinstance(result, tuple), "an iterable of dumpty.Source"
        elif isinstance(expected, type):
            valid, promised = isinstance(result, expected), expected.__name__
        else:
            valid = all(hasattr(result, name) for name in expected)
            promised = f"an object with {', '.join(expected)}"
        if not valid:
            self._refuse(f"returned {type(result).__name__} from {self.hook}, not {promised}")
        if isinstance(result, Evidence):
            self.check("Evidence", lambda: _check_evidence(result, ""))
        elif isinstance(result, Inspection):
            self.check("Inspection", lambda: _check_inspection(result))
        elif isinstance(result, KeyPair):
            self.check("KeyPair", lambda: _check_key_pair(result))
        elif isinstance(expected, DatabasesOf):
            self.check(
                "list of databases", lambda: _check_databases(cast("tuple[object, ...]", result), expected.source)
            )

    def check(self, noun: str, look: Callable[[], None]) -> None:
        """Let ``look`` check a ``noun`` that the hook returned, and say whose it is where something is wrong."""
        article = "an" if noun[0] in "AEIOU" else "a"
        try:
            look()
        except Broken as error:
            field = self._shortened(error.field, _MAX_FIELD)
            self._refuse(
                f"returned {article} {noun} from {self.hook} whose {field} is {self._shown(error.value)}, "
                f"not {error.promised}"
            )
        except DumptyError:
            raise
        except Exception as error:  # noqa: BLE001 - a mapping that is closed, a property that fails
            text = self._shortened(describe_error(error), _MAX_FIELD)
            self._refuse(f"returned {article} {noun} from {self.hook} that cannot be looked at ({text})")

    def check_scratch(self, scratch: object) -> None:
        """Check a scratch database before it is used: where to restore to, and what can be asked of it."""

        def look() -> None:
            target = getattr(scratch, "target", None)
            require(isinstance(target, Source), "target", target, "a dumpty.Source")
            for method in ("check", "ask"):
                require(callable(getattr(scratch, method, None)), method, getattr(scratch, method, None), "a method")
            _check_versions(getattr(scratch, "versions", None), "versions")
            _check_texts(getattr(scratch, "notes", ()), "notes")
            rehearsal = getattr(scratch, "rehearsal", "")
            require(isinstance(rehearsal, str), "rehearsal", rehearsal, "a str")

        self.check("Scratch", look)

    def check_texts(self, noun: str, field: str, value: object) -> None:
        """Check that a field is a tuple of texts."""
        self.check(noun, lambda: _check_texts(value, field))

    def check_environment(self, value: object) -> None:
        """Check the variables that lead to a scratch database."""
        known = {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value
        self.check("Scratch", lambda: _check_versions(known, "environment()"))

    def check_rows(self, value: object) -> None:
        """Check what a scratch database answered."""

        def look() -> None:
            if not isinstance(value, (list, tuple)):
                raise Broken("ask()", value, "a list of rows")
            for number, row in enumerate(value):
                require(isinstance(row, (list, tuple)), f"ask()[{number}]", row, "a row, which is a tuple")

        self.check("Scratch", look)

    def check_table_rows(self, rows: object) -> None:
        """Check what is said of a table's rows before they are read: columns, and which of them tell rows apart."""

        def look() -> None:
            columns, key = (getattr(rows, name, None) for name in ("columns", "key"))
            _check_texts(columns, "columns")
            _check_texts(key, "key")
            for field, names in (("columns", columns), ("key", key)):
                repeated = len(set(names)) < len(names)  # type: ignore[arg-type]  # they are tuples
                require(not repeated, field, names, "a tuple of names, each once")
            require(set(key) <= set(columns), "key", key, "some of the columns")  # type: ignore[arg-type]
            require(hasattr(rows, "__iter__"), "__iter__", None, "a method")

        self.check("TableRows", look)

    def check_row(self, row: object, size: int) -> None:
        """Check one row of a table of ``size`` columns."""
        if type(row) is tuple and len(row) == size and _ROW_VALUES.issuperset(map(type, row)):
            return
        promised = f"a tuple of {size} values: str, int, float, bytes or None"
        self.check("TableRows", lambda: require(None, "row", row, promised))

    def check_digest(self, value: object) -> None:
        """Check what a verifier says, before it is written into a manifest or compared with one."""
        self.check("Verifier", lambda: _check_digest(value))

    def check_written(self, number: object, size: int) -> None:
        """Check what ``write`` of a writer returned for ``size`` bytes."""
        promised = f"{size}, the number of bytes that it was given"
        self.check("Writer", lambda: require(type(number) is int and number == size, "write()", number, promised))

    def check_read(self, data: object, size: int) -> None:
        """Check what ``read(size)`` of a reader returned."""

        def look() -> None:
            require(isinstance(data, bytes), "read()", data, "bytes")
            valid = size < 0 or len(data) <= size  # type: ignore[arg-type]
            require(valid, f"read({size})", len(data), f"{size} bytes at most")  # type: ignore[arg-type]

        self.check("Reader", look)

    def _refuse(self, text: str) -> NoReturn:
        name = str(self.plugin)
        raise PluginError(f"{name} {text}: taken as a failure", plugin=name, hook=self.hook) from None

    def _shown(self, value: object) -> str:
        kind = type(value).__name__
        if value is None or isinstance(value, (str, bytes, bool, int, float)):
            try:
                text = repr(value)
            except ValueError:  # more digits than Python will write
                return f"an {kind} of very many digits"
            return self._shortened(text, _MAX_SHOWN)
        return f"of the type {kind}"  # which may hold others, or itself, and be very large

    def _shortened(self, text: str, size: int) -> str:
        # First the secrets: of one that was cut, what is left would not be known.
        text = " ".join(redact(text, self.mask.secrets).split())
        return text if len(text) <= size else text[:size] + "…"


def _check_evidence(evidence: Evidence, prefix: str) -> None:
    field = f"{prefix}objects"
    require(isinstance(evidence.objects, tuple), field, evidence.objects, "a tuple of dumpty.ObjectEvidence")
    _check_objects(evidence.objects, field)
    require(
        evidence.snapshot is None or isinstance(evidence.snapshot, str),
        f"{prefix}snapshot",
        evidence.snapshot,
        "None or a str",
    )
    require(isinstance(evidence.consistent, bool), f"{prefix}consistent", evidence.consistent, _TRUTH)
    _check_versions(evidence.versions, f"{prefix}versions")
    _check_texts(evidence.notes, f"{prefix}notes")
    require(isinstance(evidence.properties, Mapping), f"{prefix}properties", evidence.properties, "a mapping")
    JSONCheck().check(evidence.properties, f"{prefix}properties")


def _check_objects(objects: Iterable[ObjectEvidence], field: str) -> None:
    positions: dict[str, int] = {}
    for number, entry in enumerate(objects):
        name = f"{field}[{number}]"
        require(isinstance(entry, ObjectEvidence), name, entry, "a dumpty.ObjectEvidence")
        path, digest = entry.path, entry.fingerprint
        require(isinstance(path, str) and path, f"{name}.path", path, "a str that names something")
        first = positions.setdefault(path, number)
        require(first == number, f"{name}.path", path, f"a name of its own: {field}[{first}] has it, too")
        _check_count(entry.rows, f"{name}.rows")
        # Two that are empty would pass for equal contents.
        valid = digest is None or (isinstance(digest, str) and digest)
        require(valid, f"{name}.fingerprint", digest, "None or a str that is not empty")
        root = entry.part_of
        valid = root is None or (isinstance(root, str) and root)
        require(valid, f"{name}.part_of", root, "None or a str that names a table")


def _check_inspection(inspection: Inspection) -> None:
    for field in ("exists", "empty"):
        value = getattr(inspection, field)
        require(isinstance(value, bool), field, value, _TRUTH)
    require(inspection.exists or inspection.empty, "empty", False, "True, as it is of what does not exist")
    _check_count(inspection.estimated_bytes, "estimated_bytes")
    for field in ("identity", "name"):
        value = getattr(inspection, field)
        require(isinstance(value, str), field, value, _TEXT)
    _check_versions(inspection.versions, "versions")
    _check_texts(inspection.notes, "notes")
    _check_texts(inspection.lacks, "lacks")
    evidence = inspection.evidence
    if evidence is not None:
        require(isinstance(evidence, Evidence), "evidence", evidence, "None or a dumpty.Evidence")
        _check_evidence(evidence, "evidence.")


def _check_databases(sources: tuple[object, ...], server: Source) -> None:
    positions: dict[str, int] = {}
    for number, entry in enumerate(sources):
        field = f"[{number}]"
        if not isinstance(entry, Source):
            raise Broken(field, entry, "a dumpty.Source")
        name = entry.database
        if not isinstance(name, str) or not name:
            raise Broken(f"{field}.database", name, "a str that names a database")
        first = positions.setdefault(name, number)
        require(first == number, f"{field}.database", name, f"a name of its own: [{first}] has it, too")
        promised = server.replace(database=name)
        for part in (*(part for part in Source.__struct_fields__ if part != "url"), "url"):  # made of the others
            value = getattr(entry, part)
            shown = MASK if part in {"password", "secrets"} else value
            require(value == getattr(promised, part), f"{field}.{part}", shown, _OF_THIS_SERVER)


def _check_key_pair(pair: KeyPair) -> None:
    for field, kind in (("recipient", Recipient), ("identity", Identity)):
        key = getattr(pair, field)
        require(isinstance(key, kind), field, key, f"a dumpty.{kind.__name__}")
        require(key.kind == "X25519", f"{field}.kind", key.kind, "'X25519'")
    require(pair.recipient.text.startswith("age1"), "recipient.text", pair.recipient.text, "a key, age1…")
    # Never shown, whatever it is.
    require(pair.identity.text.startswith("AGE-SECRET-KEY-1"), "identity.text", None, "a key, AGE-SECRET-KEY-1…")


def _check_count(value: object, field: str) -> None:
    valid = value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT)
    require(valid, field, value, _COUNT)


def _check_texts(value: object, field: str) -> None:
    if not isinstance(value, tuple):
        raise Broken(field, value, _TEXTS)
    for number, text in enumerate(value):
        require(isinstance(text, str), f"{field}[{number}]", text, _TEXT)


def _check_versions(value: object, field: str) -> None:
    if not isinstance(value, Mapping):
        raise Broken(field, value, "a mapping of str to str")
    for key, version in value.items():
        require(isinstance(key, str), f"key in {field}", key, _TEXT)
        require(isinstance(version, str), f"{field}[{key!r}]", version, _TEXT)


def _check_digest(value: object) -> None:
    valid = isinstance(value, str) and _HEXADECIMAL.fullmatch(value)
    require(valid, "hexdigest()", value, "a str of hexadecimal digits")
