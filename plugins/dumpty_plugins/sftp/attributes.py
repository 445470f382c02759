"""What SFTP tells of a file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncssh

from dumpty import Found

if TYPE_CHECKING:
    from asyncssh import SFTPAttrs


def is_regular(attributes: SFTPAttrs) -> bool:
    """Return whether it is a file, and no link to one."""
    return attributes.type == asyncssh.FILEXFER_TYPE_REGULAR


def is_folder(attributes: SFTPAttrs) -> bool:
    """Return whether it is a directory, and no link to one."""
    return attributes.type == asyncssh.FILEXFER_TYPE_DIRECTORY


def is_complete(attributes: SFTPAttrs) -> bool:
    """Return whether all is there that an object's entry needs."""
    known_type = attributes.type != asyncssh.FILEXFER_TYPE_UNKNOWN
    return known_type and attributes.size is not None and attributes.mtime is not None


def moment(seconds: int) -> datetime:
    """Return a file's time as aware UTC; the last that there is where somebody set it beyond."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def to_found(name: str, attributes: SFTPAttrs) -> Found:
    """Return what a store tells of an object.

    SFTP has no more to tell two contents of one name apart than size and time, in seconds: ``drafts`` sees to it that
    one of them changes whenever an object is replaced.
    """
    size, mtime = attributes.size or 0, attributes.mtime or 0
    return Found(name=name, size=size, tag=f"{mtime:x}-{size:x}", modified=moment(mtime))
