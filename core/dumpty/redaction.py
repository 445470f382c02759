"""Keeps secrets out of texts: URLs, messages, command lines, and whole exception chains."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"

SECRET_KEY = re.compile(
    r"pass|pwd|secret|token|credential|signature|private|(api|access|auth|account)_?key|^(key|auth|sig)$", re.IGNORECASE
)
"""Names of URL parameters and options whose values are secrets."""

_SHORT = 4

# Texts of built-in exceptions that stand beside their args: str() of an ImportError is its msg, whatever its args say.
_SLOTS = ("msg", "name", "path", "filename", "filename2", "strerror", "object", "reason", "text", "value", "code")


def forms(secret: str) -> tuple[str, ...]:
    """Return the spellings in which ``secret`` may turn up: plain, percent-encoded, and as a Python literal."""
    encoded = secret.encode("utf-8", "surrogatepass")
    spellings = (secret, quote(encoded, safe=""), quote(encoded), quote_plus(encoded), repr(secret)[1:-1])
    return tuple(sorted({s for s in spellings if s}, key=len, reverse=True))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every secret replaced by ``***``.

    A secret shorter than four characters is replaced only where it stands as a word of its own: anywhere else,
    the holes would spell it out.
    """
    for spelling in sorted({s for secret in secrets for s in forms(secret)}, key=len, reverse=True):
        if len(spelling) < _SHORT:
            text = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", MASK, text)
        else:
            text = text.replace(spelling, MASK)
    return text


def redact_exception(error: BaseException, secrets: Iterable[str]) -> None:
    """Replace every secret in the texts of ``error`` and of all that it was caused by, in place."""
    secrets = [s for s in secrets if s]
    if not secrets:
        return
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(_redact_value(a, secrets) for a in one.args)
        for name in {*vars(one), *_SLOTS}:
            value = getattr(one, name, None)
            if isinstance(value, (str, bytes, tuple, list, dict)):
                with contextlib.suppress(AttributeError, TypeError):  # a read-only one that args do not decide
                    setattr(one, name, _redact_value(value, secrets))
        queue += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _redact_value(value: object, secrets: list[str]) -> object:
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, bytes):
        return redact(value.decode("utf-8", "surrogateescape"), secrets).encode("utf-8", "surrogateescape")
    if isinstance(value, list):
        return [_redact_value(v, secrets) for v in value]
    if isinstance(value, tuple):
        return tuple(_redact_value(v, secrets) for v in value)
    if isinstance(value, dict):
        return {_redact_value(k, secrets): _redact_value(v, secrets) for k, v in value.items()}
    return value
