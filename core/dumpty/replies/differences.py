"""What differs between backups, as JSON values."""

from __future__ import annotations

from typing import Literal

from dumpty.replies.reply import Reply
from dumpty.replies.values import Backup, Count, Object

__all__ = ["DiffReply", "TableDifference"]


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
