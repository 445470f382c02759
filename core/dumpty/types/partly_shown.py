"""Structs of which not everything is shown where they are printed."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["PartlyShown"]


class PartlyShown(Struct, frozen=True, kw_only=True):
    """Shows, printed by Python, what ``__rich_repr__`` says, as rich does: nothing else may."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
