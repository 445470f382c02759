"""What differs between backups, as JSON values."""

from __future__ import annotations

from typing import Literal

from dumpty.replies.reply import Reply
from dumpty.replies.values import Backup, Count, Object

__all__ = ["DiffReply", "RowDiffReply", "RowDifference", "TableDifference"]


class TableDifference(Object, kw_only=True):
    """One table in which a backup and another one, or a live database, differ; rows are null where nobody counted."""

    path: str
    kind: Literal["added", "removed", "rows", "content"]
    rows_before: Count | None
    rows_after: Count | None


class DiffReply(Reply, kw_only=True):
    """``diff``: the backups that were compared; ``other_url`` is the live database, in the place of a second one.

    ``compared`` is how many tables both have, ``not_compared`` those of them whose content could not be compared,
    ``restored`` the backups that were restored to find out.
    """

    backups: list[Backup]
    other_url: str | None
    differences: list[TableDifference]
    compared: Count
    not_compared: list[str]
    restored: list[str]


class RowDifference(Object, kw_only=True):
    """One row that differs: the values of its key, long ones shortened, and the columns that changed.

    ``count`` is how many equal rows of a table without a key it stands for.
    """

    kind: Literal["removed", "added", "changed"]
    key: list[str | int | float | None]
    columns: list[str]
    count: Count


class RowDiffReply(Reply, kw_only=True):
    """``diff --rows``: the backups whose table was compared; ``other_url`` is the live database, instead of a second.

    ``key`` are the columns that tell rows apart, none where they are compared as a whole; ``columns_removed`` and
    ``columns_added`` those that only the first, or the second, has. ``rows`` are the first of those that differ.
    """

    backups: list[Backup]
    other_url: str | None
    table: str
    key: list[str]
    columns_removed: list[str]
    columns_added: list[str]
    rows_before: Count
    rows_after: Count
    removed: Count
    added: Count
    changed: Count
    rows: list[RowDifference]
    restored: list[str]
