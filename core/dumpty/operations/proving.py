"""Proving a backup, and writing down how that went."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.operations.verify import prove
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dumpty.registry.host import Host
    from dumpty.streaming.stored_dump import Progress
    from dumpty.types import Level, Proof, Record, Repository

__all__ = ["prove_and_record"]


def prove_and_record(
    host: Host,
    repository: Repository,
    record: Record,
    level: Level,
    *,
    on: str | None = None,
    assertions: Sequence[str] = (),
    overrides: Mapping[str, object],
    progress: Progress | None,
) -> Proof:
    """Try to prove a backup, write down how it went, and return it; the arguments are those of ``BackupManager.prove``.

    Raises:
        UnknownBackup: it was removed meanwhile.
        DumptyError: it could not be decided, and nothing is written down.
    """
    server = None if on is None else parse_url(on)
    with contextlib.ExitStack() as stack:
        if level == "restore":  # which takes as long as a restore does
            stack.enter_context(repository.reading(record))
        proof = prove(
            host,
            repository,
            record,
            level,
            on=server,
            assertions=tuple(assertions),
            overrides=overrides,
            progress=progress,
        )
    return repository.add_proof(record, proof)
