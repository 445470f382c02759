"""Keeps secrets out of texts: URLs, messages, command lines, and whole exception chains."""

from __future__ import annotations

import contextlib
import re
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK = "***"

SECRET_KEY = re.compile(
    r"pass|pwd|secret|token|credential|signature|private|(api|access|auth|account)_?key|^(key|auth|sig)$", re.IGNORECASE
)
"""Names of URL parameters and options whose values are secrets."""

_SHORT_SECRET = 4

_PASSWORDS_POSITION = r"(?<=:){0}(?=@)|(?:(?<=password=)|(?<=passwd=)|(?<=pwd=)){0}(?!\w)"

_MAX_DEPTH = 50
"""How deep values are looked into; what lies deeper is replaced as a whole."""


def names_secret(key: str) -> bool:
    """Return whether the value of an option or parameter called ``key`` is a secret, and not the path of its file."""
    return SECRET_KEY.search(key) is not None and not key.lower().endswith("file")


def encodings(secret: str) -> tuple[str, ...]:
    """Return the spellings in which ``secret`` may turn up: plain, percent-encoded, and as a Python literal."""
    encoded = secret.encode("utf-8", "surrogatepass")
    spellings = (secret, quote(encoded, safe=""), quote(encoded), quote_plus(encoded), repr(secret)[1:-1])
    return tuple(sorted({s for s in spellings if s}, key=len, reverse=True))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every secret replaced by ``***``.

    A secret shorter than four characters is replaced only where it stands as a word of its own, not within an address
    or a version: anywhere else, the holes would spell it out.
    """
    for spelling in _spellings(secrets):
        if len(spelling) < _SHORT_SECRET:
            text = re.sub(rf"(?<!\w)(?<!\w\.){re.escape(spelling)}(?!\w|\.\w)", MASK, text)
        else:
            text = text.replace(spelling, MASK)
    return text


def redact_name(text: str, secrets: Iterable[str], shown: str = "") -> str:
    """Return ``text``, a name or a value that programs rely on, with every secret replaced that is none by chance.

    A secret that is shorter than four characters, or that ``shown`` (what may be seen of the URL) has in the clear, is
    part of many a name: a user ``shop`` with the password ``shop`` still owns ``shop.orders``. Such a one is replaced
    only where a password stands: ``user:shop@``, ``password=shop``.
    """
    for spelling in _spellings(secrets):
        if len(spelling) < _SHORT_SECRET or spelling in shown:
            text = re.sub(_PASSWORDS_POSITION.format(re.escape(spelling)), MASK, text)
        else:
            text = text.replace(spelling, MASK)
    return text


def masks(shown: str, name: str) -> bool:
    """Return whether ``shown`` may be ``name`` with a secret replaced: a table whose name has the password in it."""
    return MASK in shown and re.fullmatch(".+".join(map(re.escape, shown.split(MASK))), name, re.DOTALL) is not None


def redact_value(value: object, mask: Callable[[str], str]) -> object:
    """Return ``value`` with ``mask`` applied to every text in it: keys and values, lists and tuples, however deep.

    What stands under the name of a secret (``password``) is replaced whatever it is.
    """
    return _Masker(mask, by_name=True).mask_value(value)


def redact_exception(error: BaseException, secrets: Iterable[str]) -> None:
    """Replace every secret in the texts of ``error`` and of all that it was caused by, in place.

    An exception may be anybody's object, which answers to any attribute: only what it really holds is looked at.
    """
    secrets = [s for s in secrets if s]
    if not secrets:
        return
    masker = _Masker(lambda text: redact(text, secrets))
    visited: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or id(current) in visited:
            continue
        visited.add(id(current))
        attributes: dict[str, object] = object.__getattribute__(current, "__dict__")
        attributes.update({name: masker.mask_value(value) for name, value in attributes.items()})
        for slot in _slots(type(current)):
            with contextlib.suppress(Exception):  # not set, read-only, or what is there raises when it is looked at
                value = slot.__get__(current, type(current))
                if isinstance(value, (str, bytes, tuple, list, dict)):
                    slot.__set__(current, masker.mask_value(value))
        queue += [_CAUSE.__get__(current), _CONTEXT.__get__(current)]
        if isinstance(current, BaseExceptionGroup):
            queue += _GROUPED.__get__(current)


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line; its type where it has no text, or fails to tell it."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a library's own __str__ is no reason to lose the error that is to be told
        text = ""
    return text or type(error).__name__


_CAUSE, _CONTEXT = vars(BaseException)["__cause__"], vars(BaseException)["__context__"]
_GROUPED = vars(BaseExceptionGroup)["exceptions"]


def _slots(kind: type) -> Iterator[types.GetSetDescriptorType | types.MemberDescriptorType]:
    """Yield what instances hold beside their dictionaries: an exception's args, the filename of an OSError."""
    for base in kind.__mro__:
        for name, descriptor in vars(base).items():
            if name != "__dict__" and isinstance(descriptor, (types.GetSetDescriptorType, types.MemberDescriptorType)):
                yield descriptor


class _Masker:
    """Applies a mask to the texts in values that hold others, and possibly themselves."""

    def __init__(self, mask: Callable[[str], str], *, by_name: bool = False) -> None:
        self._mask = mask
        self._by_name = by_name
        self._results: dict[int, tuple[object, object]] = {}  # with the value itself, so that its id stays its own

    def mask_value(self, value: object, depth: int = 0) -> object:
        try:
            return self._mask_value(value, depth)
        except Exception:
            if self._by_name:
                raise
            return MASK  # a closed mapping, a proxy of nothing: nobody can tell what is in it

    def _mask_value(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return self._mask(value)
        if isinstance(value, bytes):
            return self._mask(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if not isinstance(value, (list, tuple, Mapping)):
            return value
        if depth > _MAX_DEPTH:
            return MASK
        if id(value) not in self._results:
            self._results[id(value)] = value, MASK  # what is shown of a value inside itself
            self._results[id(value)] = value, self._mask_items(value, depth + 1)
        return self._results[id(value)][1]

    def _mask_items(self, value: list[object] | tuple[object, ...] | Mapping[object, object], depth: int) -> object:
        if isinstance(value, Mapping):
            return {self.mask_value(k, depth): self._mask_item(k, v, depth) for k, v in value.items()}
        items = [self.mask_value(v, depth) for v in value]
        if isinstance(value, list):
            return items
        # A named tuple stays one: the error's own text may be made of it.
        rebuilt: object = getattr(type(value), "_make", tuple)(items)
        return rebuilt

    def _mask_item(self, key: object, value: object, depth: int) -> object:
        text = isinstance(value, (str, bytes)) and value
        return MASK if self._by_name and text and names_secret(str(key)) else self.mask_value(value, depth)


def _spellings(secrets: Iterable[str]) -> list[str]:
    return sorted({s for secret in secrets for s in encodings(secret)}, key=len, reverse=True)


# Control characters of ISO 646 and 8859, separators, and what changes the direction of writing: they could rewrite
# a terminal's screen, or its title, from within a table's name.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object) -> str:
    """Return ``text`` as one line in which no character can move a terminal's cursor: each is shown escaped."""
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), line)
