"""Masks the secrets in what plugins return: in every field, before anything of it is stored, shown or compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct
from msgspec.structs import replace

from dumpty.redaction import MASK, names_secret, redact, redact_name, redact_value
from dumpty.types import Evidence, Identity, Inspection, ObjectEvidence, Source, TableContent

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Mask", "drop_masked_properties"]

_DIGITS = re.compile(r"[0-9a-fA-F]{16,}")


class Mask(Struct, frozen=True, kw_only=True):
    """The secrets of one call of a hook: those of its URL, and the values of its options that are secrets.

    ``shown`` is what may be seen of the URL.
    """

    secrets: tuple[str, ...]
    shown: str = ""

    @classmethod
    def from_arguments(cls, arguments: Iterable[object]) -> Mask:
        """Return the mask for a call with these arguments: databases, options and identities hold secrets."""
        secrets: list[str] = []
        shown: list[str] = []
        for argument in arguments:
            if isinstance(argument, Source):
                secrets += [*argument.secrets, argument.password or ""]
                shown.append(argument.url)
            elif isinstance(argument, Mapping):
                secrets += [str(value) for name, value in argument.items() if value and names_secret(str(name))]
            elif isinstance(argument, Sequence):
                secrets += [secret for item in argument if isinstance(item, Identity) for secret in item.secrets]
        return cls(secrets=tuple(dict.fromkeys(filter(None, secrets))), shown=" ".join(shown))

    def masked(self, result: object) -> object:
        """Return what a hook returned without secrets."""
        if isinstance(result, Evidence):
            return self.evidence(result)
        return self.inspection(result) if isinstance(result, Inspection) else result

    def evidence(self, evidence: Evidence) -> Evidence:
        """Return ``evidence`` without secrets."""
        return replace(
            evidence,
            objects=tuple(map(self._object, evidence.objects)),
            snapshot=None if evidence.snapshot is None else self._name(evidence.snapshot),
            versions=cast("Mapping[str, str]", redact_value(evidence.versions, self._name)),
            notes=self._texts(evidence.notes),
            properties=cast("Mapping[str, Any]", redact_value(evidence.properties, self._name)),
        )

    def inspection(self, inspection: Inspection) -> Inspection:
        """Return what was found at a URL without secrets."""
        return replace(
            inspection,
            identity=self._name(inspection.identity),
            name=self._name(inspection.name),
            versions=cast("Mapping[str, str]", redact_value(inspection.versions, self._name)),
            notes=self._texts(inspection.notes),
            lacks=self._texts(inspection.lacks),
            evidence=None if inspection.evidence is None else self.evidence(inspection.evidence),
        )

    def content(self, table: TableContent) -> TableContent:
        """Return what an object of a backup holds of a table without secrets."""
        return replace(table, path=self._name(table.path), range=self._name(table.range))

    def _object(self, evidence: ObjectEvidence) -> ObjectEvidence:
        return replace(
            evidence,
            path=self._name(evidence.path),
            fingerprint=evidence.fingerprint and self._digest(evidence.fingerprint),
            part_of=None if evidence.part_of is None else self._name(evidence.part_of),
        )

    def _digest(self, text: str) -> str:
        # A few digits of a digest may be somebody's password by chance: only the whole of it could give one away.
        digits = text.rpartition(":")[2]
        unlikely_secret = _DIGITS.fullmatch(digits) and digits not in self.secrets
        return text if unlikely_secret else self._name(text)

    def _texts(self, notes: Iterable[str]) -> tuple[str, ...]:
        return tuple(redact(note, self.secrets) for note in notes)

    def _name(self, text: str) -> str:
        return redact_name(text, self.secrets, self.shown)


def drop_masked_properties(evidence: Evidence) -> Evidence:
    """Return ``evidence`` as drivers may rely on it: a list of roles, one of which has the password in it, is none."""
    properties = {key: value for key, value in evidence.properties.items() if not _masked(value)}
    return replace(evidence, properties=properties)


def _masked(value: object) -> bool:
    if isinstance(value, str):
        return MASK in value
    if isinstance(value, Mapping):
        return any(map(_masked, (*value, *value.values())))
    return isinstance(value, (list, tuple)) and any(map(_masked, value))
