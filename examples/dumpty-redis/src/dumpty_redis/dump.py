"""Reading every key of one database, of one moment.

Redis has no snapshot for readers. What it has is ``CLIENT PAUSE … WRITE``: writers wait, readers go on, nothing
expires. So the keys are read into a file while writers wait, and compressed and stored when they go on. The pause is
asked for in short terms: should this process die, writers go on within seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import redis

from dumpty import Evidence, IntegrityError, ObjectEvidence, SourceError, send_file
from dumpty_redis import resp
from dumpty_redis.connection import connected, error_text, redis_errors, server_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from dumpty import Sink, Source

_SCAN = 500
_PIECE = 4 << 20
_TERM = 3.0
_MOMENTS = "read key by key while others may write (consistency=none): it is not of one moment"
_ABSOLUTE_EXPIRY = 7  # the major version that has PEXPIRETIME


def write_dump(source: Source, sink: Sink, *, paused: float | None) -> Evidence:
    """Read the database into a file, then send the file.

    Args:
        source: the database.
        sink: where the dump goes.
        paused: how many seconds writers may be made to wait; None does not make them wait.

    Raises:
        SourceError: it cannot be read, or not in that time.
        IntegrityError: somebody wrote in spite of the pause.
    """
    spool = sink.workspace() / "dump.resp"
    with connected(source) as client, redis_errors(source):
        version = server_version(client)
        with spool.open("xb") as file, Pause(client, paused, source) as pause, _KeysRead(spool) as keys_read:
            if client.exists(resp.MARK):
                raise SourceError(f"{source.url} is being restored into: it holds the key {resp.MARK.decode()}")
            kinds = _read_keys(client, file, keys_read, pause, absolute=int(version.split(".")[0]) >= _ABSOLUTE_EXPIRY)
            pause.require_kept()
            file.write(resp.command(b"PING", resp.END + b"%d" % kinds.total()))
    send_file(path=str(spool), sink=sink)
    return Evidence(
        objects=evidence_of(kinds),
        consistent=paused is not None,
        versions={"redis": version},
        properties={"memory": keys_read.memory},
        notes=() if paused is not None else (_MOMENTS,),
    )


def evidence_of(kinds: Counter[str]) -> tuple[ObjectEvidence, ...]:
    """Return the evidence: how many keys there are of each type."""
    return tuple(ObjectEvidence(path=kind, rows=number) for kind, number in sorted(kinds.items()))


def scan(client: redis.Redis) -> Iterator[list[bytes]]:
    """Yield the keys in groups; a key may come more than once."""
    cursor: Any = 0
    while True:
        cursor, keys = client.execute_command("SCAN", cursor, "COUNT", _SCAN)
        yield keys
        if int(cursor) == 0:
            return


def _read_keys(
    client: redis.Redis, file: BinaryIO, keys_read: _KeysRead, pause: Pause, *, absolute: bool
) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for keys in scan(client):
        for group in _groups(client, keys_read, keys_read.add(keys)):
            pause.extend()
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command("TIME")
            for key in group:
                pipeline.execute_command("DUMP", key)
                pipeline.execute_command("PEXPIRETIME" if absolute else "PTTL", key)
                pipeline.execute_command("TYPE", key)
            server_time, *answers = pipeline.execute()
            for key, value, expiry, kind in zip(group, answers[0::3], answers[1::3], answers[2::3], strict=True):
                if value is None:  # expired, or deleted since, where nobody waits
                    continue
                if expiry > 0 and not absolute:
                    expiry += int(server_time[0]) * 1000 + int(server_time[1]) // 1000  # noqa: PLW2901 - the same, as a moment
                file.write(resp.command(b"RESTORE", key, b"%d" % max(expiry, 0), value, b"ABSTTL"))
                kinds[kind.decode() if isinstance(kind, bytes) else str(kind)] += 1
    return kinds


def _groups(client: redis.Redis, keys_read: _KeysRead, keys: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the keys in groups whose values fit into memory together; one value is the least."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("MEMORY USAGE", key)
    group: list[bytes] = []
    size = 0
    for key, used in zip(keys, pipeline.execute() if keys else [], strict=True):
        keys_read.memory += used or 0
        if group and size + (used or 0) > _PIECE:
            yield group
            group, size = [], 0
        group.append(key)
        size += used or 0
    if group:
        yield group


class Pause:
    """Writers wait within this block, no longer than ``seconds``; with None, nobody does."""

    def __init__(self, client: redis.Redis, seconds: float | None, source: Source) -> None:
        self._client = client
        self._seconds = seconds
        self._source = source
        self._until = 0.0
        self._deadline = 0.0
        self._writes_before: tuple[int, int] = (0, 0)

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._deadline = time.monotonic() + self._seconds
            try:
                self.extend()
            except redis.ResponseError as error:
                raise SourceError(
                    f"{self._source.url} does not let writers be paused ({error_text(error)}); Redis 6.2 and "
                    "the right to CLIENT PAUSE are needed, or -o consistency=none for a dump of many moments"
                ) from error
            self._writes_before = self._writes()
        return self

    def __exit__(self, *_: object) -> None:
        if self._seconds is not None:
            with contextlib.suppress(redis.RedisError):  # it ends by itself, in a moment
                self._client.execute_command("CLIENT UNPAUSE")

    def extend(self) -> None:
        """Hold writers for another short term."""
        now = time.monotonic()
        if self._seconds is None or now < self._until - _TERM / 2:
            return
        if now > self._deadline:
            raise SourceError(
                f"{self._source.url} could not be read within {self._seconds:g} s, and writers were made to wait no "
                "longer; allow more with -o pause=SECONDS, or take -o consistency=none"
            )
        if self._until and now > self._until:
            raise self._written_to()
        self._client.execute_command("CLIENT PAUSE", int(_TERM * 1000), "WRITE")
        self._until = now + _TERM

    def require_kept(self) -> None:
        """Raise if anybody wrote, or could have written."""
        if self._seconds is None:
            return
        saved, dirty = self._writes()
        quiet = dirty == self._writes_before[1] if saved == self._writes_before[0] else dirty == 0
        if not quiet or time.monotonic() > self._until:
            raise self._written_to()

    def _written_to(self) -> IntegrityError:
        return IntegrityError(f"{self._source.url} was written to although writers were paused: take the backup again")

    def _writes(self) -> tuple[int, int]:
        info = self._client.info("persistence")
        return int(info["rdb_last_save_time"]), int(info["rdb_changes_since_last_save"])


class _KeysRead:
    """Tells new keys from those that SCAN has yielded before, on disk: memory does not grow with their number.

    ``memory`` is what the keys take up in the server, in bytes.
    """

    def __init__(self, spool: Path) -> None:
        self._path = spool.with_suffix(".seen")
        self.memory = 0

    def __enter__(self) -> Self:
        self._database = sqlite3.connect(self._path, isolation_level=None)
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._path.unlink()

    def add(self, keys: list[bytes]) -> list[bytes]:
        self._database.execute("BEGIN")
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        new_keys = [k for k in keys if self._database.execute(insert, (hashlib.sha256(k).digest()[:16],)).rowcount]
        self._database.execute("COMMIT")
        return new_keys
