"""How a suite says that a rule is broken: the rule, what was seen, what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RuleBroken", "comes_from", "difference", "refused", "require", "shown"]

_SHOWN = 200


class RuleBroken(AssertionError):
    """A plugin breaks a rule of the contract. The text is one line: the rule, what was seen, what to do."""


def require(condition: object, rule: str, remedy: str, observed: str = "") -> None:
    """Raise ``RuleBroken`` unless ``condition``."""
    __tracebackhide__ = True
    if not condition:
        raise RuleBroken(_text(rule, remedy, observed))


@contextlib.contextmanager
def refused(
    kinds: type[BaseException] | tuple[type[BaseException], ...], rule: str, remedy: str
) -> Iterator[list[str]]:
    """Require that the block raises one of ``kinds``; the list then holds the error's text."""
    __tracebackhide__ = True
    texts: list[str] = []
    try:
        yield texts
    except RuleBroken:
        raise
    except kinds as error:
        texts.append(str(error))
        return
    except Exception as error:
        raise RuleBroken(_text(rule, remedy, f"it raised {shown(error)}")) from error
    raise RuleBroken(_text(rule, remedy, "it raised nothing"))


def comes_from(error: BaseException | None, origin: BaseException) -> bool:
    """Return whether ``error`` is ``origin``, or was caused by it."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        if error is origin:
            return True
        visited.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def shown(value: object) -> str:
    """Return ``value`` for a message: an error with its type, anything else as Python writes it, shortened."""
    text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def difference(before: object, after: object) -> str:
    """Return where ``after`` differs from ``before``, for a message; "" where it does not."""
    if before == after:
        return ""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=repr):
            if key not in after:
                return f"{shown(key)} is gone"
            if key not in before:
                return f"{shown(key)} is new"
            if before[key] != after[key]:
                return f"at {shown(key)}, {difference(before[key], after[key])}"
    if isinstance(before, Sequence) and isinstance(after, Sequence) and type(before) is type(after):
        at = next(
            (i for i, (b, a) in enumerate(zip(before, after, strict=False)) if b != a), min(len(before), len(after))
        )
        return f"at {at} of {len(before)}, {shown(before[at : at + 20])} became {shown(after[at : at + 20])}"
    return f"{shown(before)} became {shown(after)}"


def _text(rule: str, remedy: str, observed: str) -> str:
    observation = f" Here {observed.rstrip('.')}." if observed else ""
    return f"{rule}{observation} {remedy}".strip()
