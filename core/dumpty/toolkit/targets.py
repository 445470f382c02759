"""Targets of a restore that hold something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty.errors import TargetNotEmpty

if TYPE_CHECKING:
    from dumpty.types import Source

__all__ = ["refuse_full_target"]


def refuse_full_target(*, target: Source | str, empty: bool, overwrite: bool, content: str = "") -> None:
    """Refuse to restore into a target that holds anything, unless somebody insists.

    Call it before the work, and again under the lock of the swap: the target may have been filled meanwhile::

        refuse_full_target(target=target, empty=not list_tables(connection), overwrite=overwrite)

    Args:
        target: its URL, or what else the message is to call it (a path, "the database shop on db:5432").
        empty: whether it holds nothing that a restore could harm; of an ``Inspection``, its field ``empty``.
        overwrite: whether what it holds is to be replaced.
        content: names something that it holds, where that is known.

    Raises:
        TargetNotEmpty: it is not empty, and ``overwrite`` is False; the text says how to insist.
    """
    if not empty and not overwrite:
        name = target if isinstance(target, str) else target.url
        raise TargetNotEmpty(
            f"{name} is not empty{f' (it holds {content})' if content else ''}, so nothing was restored; to replace"
            " what it holds, insist: --overwrite (overwrite=True)"
        )
