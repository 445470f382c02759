"""A repository as the facade has it: opened, listed, and watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dumpty.operations.listing import Lister
from dumpty.operations.observation import Observers
from dumpty.repository.opening import open_repository

if TYPE_CHECKING:
    from dumpty.registry.host import Host
    from dumpty.types import Repository

__all__ = ["Place", "open_place"]


class Place(NamedTuple):
    """A repository, its backups as people see them, and those who are told of what happens in it."""

    repository: Repository
    lister: Lister
    observers: Observers


def open_place(host: Host, url: str) -> Place:
    """Open the repository behind a URL, or in a directory, creating it where it does not exist.

    Raises:
        DumptyError: it cannot be opened, or no plugin can.
    """
    repository = open_repository(host, url)
    return Place(repository, Lister(repository), Observers(host, url))
