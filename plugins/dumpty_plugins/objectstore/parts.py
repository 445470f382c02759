"""How large the blocks of a large object are."""

from __future__ import annotations

__all__ = ["MAX_PARTS", "part_size"]

MAX_PARTS = 50_000
_FIRST_SIZE = 8 << 20
_PARTS_OF_A_SIZE = 5_000
_LARGEST = 4000 << 20


def part_size(number: int, fixed: int = 0) -> int:
    """Return how many bytes the part of a number (from 1) has, all but the last.

    They double every five thousand parts, from 8 MiB on: the first five thousand hold 39 GiB, and thirty-five thousand
    5 TiB, whose length nobody knows beforehand.

    Args:
        number: the part's.
        fixed: the size of all, where they are not to grow.
    """
    return fixed or min(_LARGEST, _FIRST_SIZE << ((number - 1) // _PARTS_OF_A_SIZE))
