"""Masks the secrets in what plugins return: in every field, before anything of it is stored, shown or compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from dumpty.redaction import MASK, names_secret, redact, redact_name, redact_value
from dumpty.types import Evidence, Inspection, ObjectEvidence, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Mask", "known"]

_DIGITS = re.compile(r"[0-9a-fA-F]{16,}")


@dataclass(frozen=True, kw_only=True)
class Mask:
    """The secrets of one call of a hook: those of its URL, and the values of its options that are secrets.

    ``shown`` is what may be seen of the URL.
    """

    secrets: tuple[str, ...]
    shown: str = ""

    @classmethod
    def of(cls, arguments: Iterable[object]) -> Mask:
        """Return the mask for a call with these arguments, of which databases and options hold secrets."""
        secrets: list[str] = []
        shown: list[str] = []
        for one in arguments:
            if isinstance(one, Source):
                secrets += [*one.secrets, one.password or ""]
                shown.append(one.url)
            elif isinstance(one, Mapping):
                secrets += [str(value) for name, value in one.items() if value and names_secret(str(name))]
        return cls(secrets=tuple(dict.fromkeys(filter(None, secrets))), shown=" ".join(shown))

    def returned(self, result: object) -> object:
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

    def inspection(self, seen: Inspection) -> Inspection:
        """Return what was found at a URL without secrets."""
        return replace(
            seen,
            identity=self._name(seen.identity),
            name=self._name(seen.name),
            versions=cast("Mapping[str, str]", redact_value(seen.versions, self._name)),
            notes=self._texts(seen.notes),
            lacks=self._texts(seen.lacks),
            evidence=None if seen.evidence is None else self.evidence(seen.evidence),
        )

    def _object(self, one: ObjectEvidence) -> ObjectEvidence:
        return replace(one, path=self._name(one.path), fingerprint=one.fingerprint and self._digest(one.fingerprint))

    def _digest(self, text: str) -> str:
        # A few digits of a digest may be somebody's password by chance: only the whole of it could give one away.
        digits = text.rpartition(":")[2]
        by_chance = _DIGITS.fullmatch(digits) and digits not in self.secrets
        return text if by_chance else self._name(text)

    def _texts(self, notes: Iterable[str]) -> tuple[str, ...]:
        return tuple(redact(note, self.secrets) for note in notes)

    def _name(self, text: str) -> str:
        return redact_name(text, self.secrets, self.shown)


def known(evidence: Evidence) -> Evidence:
    """Return ``evidence`` as drivers may rely on it: a list of roles, one of which has the password in it, is none."""
    whole = {key: value for key, value in evidence.properties.items() if not _masked(value)}
    return replace(evidence, properties=whole)


def _masked(value: object) -> bool:
    if isinstance(value, str):
        return MASK in value
    if isinstance(value, Mapping):
        return any(map(_masked, (*value, *value.values())))
    return isinstance(value, (list, tuple)) and any(map(_masked, value))
