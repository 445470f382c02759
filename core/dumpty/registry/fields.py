"""What a field of something that a plugin returned was promised to be, and whether it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    _Container = Mapping[object, object] | list[object]

__all__ = ["Broken", "JSONCheck", "require"]

_MAX_INTEGER_BITS = 64
_MAX_DEPTH = 32
"""How deep a value in a manifest may be nested: less than ``redaction`` looks into."""

_MAX_VALUES = 1_000_000


class Broken(Exception):
    """A field is not what it was promised to be."""

    def __init__(self, field: str, value: object, promised: str) -> None:
        super().__init__(field)
        self.field, self.value, self.promised = field, value, promised


def require(condition: object, field: str, value: object, promised: str) -> None:
    """Raise ``Broken`` where ``condition`` is not true: ``field`` has ``value``, and not what was ``promised``."""
    if not condition:
        raise Broken(field, value, promised)


class JSONCheck:
    """Checks that values can be written as JSON and read again as they were."""

    def __init__(self) -> None:
        self._count = 0

    def check(self, value: object, field: str, depth: int = 0) -> None:
        """Raise ``Broken`` where a value, or one within it, cannot."""
        self._count += 1
        require(self._count <= _MAX_VALUES, field, value, f"within the first {_MAX_VALUES:,} values, all that may be")
        if value is None or isinstance(value, (str, bool)):
            return
        if isinstance(value, int):
            require(value.bit_length() <= _MAX_INTEGER_BITS, field, value, f"of {_MAX_INTEGER_BITS} bits at most")
        elif isinstance(value, float):
            require(math.isfinite(value), field, value, "a number that JSON has")
        elif isinstance(value, (Mapping, list)):
            # What contains itself is endlessly deep.
            require(depth < _MAX_DEPTH, field, value, f"within {_MAX_DEPTH} levels, all that may be nested")
            self._check_items(value, field, depth + 1)
        else:
            raise Broken(field, value, "a value that JSON has (which has lists, no tuples)")

    def _check_items(self, value: _Container, field: str, depth: int) -> None:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            if isinstance(value, Mapping):
                require(isinstance(key, str), f"key in {field}", key, "a str")
            self.check(item, f"{field}[{key!r}]", depth)
