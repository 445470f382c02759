"""What the rules of a repository stand on: backups written, listed and read back in one of every test's own."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from msgspec import structs

from dumpty.errors import UnknownBackup
from dumpty.testing.rules import difference, refused, require, shown
from dumpty.testing.streams import Collector, read_blocks
from dumpty.testing.suite import Suite
from dumpty.types import PluginRef, Record, StoredObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.registry.host import Host
    from dumpty.types import Kind, ListedBackup, Repository, Transaction

__all__ = ["DATA", "STARTED", "RepositoryRules"]

DATA = (b"one object of a backup",)
STARTED = datetime(2026, 11, 26, 17, 0, 0, 123456, tzinfo=UTC)
"""When the first backup of a test was begun."""


class RepositoryRules(Suite):
    """The base of the rules of a repository."""

    kind: ClassVar[Kind] = "store"
    needed_hooks: ClassVar[tuple[str, ...]] = ("describe", "open_repository")

    @pytest.fixture
    def repository_url(self) -> str:
        """The URL of the repository; to be overridden."""
        return pytest.fail("give your suite a fixture repository_url: the URL of an empty place, a new one every test")

    @pytest.fixture
    def repository(self, host: Host, repository_url: str) -> Repository:
        """The repository behind ``repository_url``."""
        return self.opened(host, repository_url)

    def opened(self, host: Host, url: str) -> Repository:
        """Open the repository behind ``url``."""
        plugin, options = self.plugin_under_test(host), self.options(host, "open_store")
        return host.open_repository(plugin, url=url, options=options)

    def write(
        self, repository: Repository, data: Sequence[bytes] = DATA, *, started: datetime = STARTED, **fields: Any
    ) -> Record:
        """Commit a backup whose objects hold ``data``; ``fields`` are those of its record that matter."""
        record_id, database = str(uuid.uuid4()), fields.pop("database", "shop")
        identity = fields.pop("identity", f"test:{database}")
        with repository.transaction(record_id=record_id, database=database, identity=identity, started=started) as tx:
            objects = self.upload(tx, data)
            record = self.record(objects, id=record_id, database=database, identity=identity, started=started, **fields)
            return tx.commit(record)

    def upload(self, tx: Transaction, data: Sequence[bytes]) -> tuple[StoredObject, ...]:
        """Upload an object of each, and return what a record says of them."""
        objects = []
        for number, content in enumerate(data):
            ending = f".p{number}.bin" if len(data) > 1 else ".bin"
            upload = tx.upload(ending, len(content))
            for start in range(0, len(content), 100_000):
                upload.write(memoryview(content)[start : start + 100_000])
            digest = hashlib.sha256(content).hexdigest()
            objects.append(
                StoredObject(
                    name=tx.name(ending), size=len(content), sha256=digest, plain_size=len(content), plain_sha256=digest
                )
            )
        return tuple(objects)

    def record(self, objects: tuple[StoredObject, ...], *, started: datetime = STARTED, **fields: Any) -> Record:
        """Return the record of a backup of these objects."""
        defaults: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "url": "dumpty-testing:///shop",
            "identity": "test:shop",
            "database": "shop",
            "driver": PluginRef(name="dumpty-testing", distribution="dumpty", version="1"),
            "format": "bytes",
            "suffix": ".bin",
            "ended": started + timedelta(seconds=1),
        }
        return Record(**defaults | fields, objects=objects, started=started)

    def content(self, repository: Repository, name: str, offset: int = 0) -> bytes:
        """Return what an object holds, from ``offset`` on."""
        reader, sink = repository.open(name, offset), Collector()
        try:
            read_blocks(reader, sink, 100_000)
        finally:
            reader.close()
        return bytes(sink.data)

    def listed(self, repository: Repository) -> dict[str, ListedBackup]:
        """Return what is listed, by id."""
        listing = repository.listing()
        problems = "; ".join(map(str, listing.problems))
        require(not problems, "Nothing in a repository is unreadable that was not damaged.", "Mend it.", problems)
        return {backup.record.id: backup for backup in listing.backups}

    def require_listed(self, repository: Repository, *records: Record) -> None:
        """Require that these backups are listed, and no other, and whole."""
        listed = self.listed(repository)
        ids = {record.id for record in records}
        rule = "listing() has every committed backup, and nothing else."
        require(listed.keys() == ids, rule, "Publish with commit() alone.", _names(listed.keys(), ids))
        states = {record_id: backup.presence for record_id, backup in listed.items() if backup.presence.state != "ok"}
        require(not states, "What was committed is there.", "Commit when it is.", shown(states))

    def require_whole(self, repository: Repository, record: Record, data: Sequence[bytes] = DATA) -> None:
        """Require that a backup is found, and its objects hold ``data``."""
        rule = "get() returns the record that was committed."
        found = repository.get(record.id)
        require(found == record, rule, "Keep every field.", _record_difference(record, found))
        for entry, content in zip(found.objects, data, strict=True):
            read_back = self.content(repository, entry.name)
            rule = "Each object of a backup holds the bytes that were uploaded."
            require(read_back == content, rule, "See where it differs.", difference(content, read_back))

    def require_unknown(self, repository: Repository, record: Record) -> None:
        """Require that a backup is not there."""
        self.listed(repository)
        with refused(UnknownBackup, "get() of a backup that is not there raises dumpty.UnknownBackup.", "Raise it."):
            repository.get(record.id)


def _names(listed: object, expected: object) -> str:
    return f"{sorted(listed)} were listed, and {sorted(expected)} committed"  # type: ignore[call-overload]


def _record_difference(before: Record, after: object) -> str:
    return (
        difference(structs.asdict(before), structs.asdict(after))
        if isinstance(after, Record)
        else f"it returned {shown(after)}"
    )
