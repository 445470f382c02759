"""What every object under ``--json`` begins with."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from dumpty.replies import SCHEMA_VERSION
from dumpty.replies.values import Object

__all__ = ["Failure", "Reply"]

Status = Literal[0, 1, 2, 3, 4, 10, 11, 12, 129, 130, 143]

ProgramStatus = Annotated[int, Meta(ge=0, le=255)]


class Reply(Object, kw_only=True):
    """What every object begins with."""

    schema: Annotated[int, Meta(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    success: bool = True
    status: Status = 0
    error: str | None = None
    error_type: str | None = None
    warnings: list[str] = field(default_factory=list)


class Failure(Reply, kw_only=True):
    """A verb that failed and has no more to tell, or a command line that names none."""
