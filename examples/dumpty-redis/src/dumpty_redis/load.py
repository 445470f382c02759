"""Loading a dump into an unused number, and exchanging it with the target in one step (``SWAPDB``)."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

import redis

from dumpty import Evidence, IntegrityError, ObjectEvidence, SourceError, commit_point, refuse_full_target
from dumpty_redis import resp
from dumpty_redis.connection import connected, databases, error_text, number_of, redis_errors, server_version
from dumpty_redis.dump import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Dump, Source

_PIECE = 4 << 20
_MARK_SECONDS = 3600
_SHAPE = (5, b"RESTORE", b"ABSTTL")

# All or nothing: a script runs alone. The numbers are exchanged, then the old content, now in the scratch number, goes.
_SWAP = """
local scratch, target, token, overwrite = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('SELECT', target)
if overwrite ~= '1' and redis.call('DBSIZE') > 0 then return 'full' end
redis.call('SELECT', scratch)
if redis.call('GET', KEYS[1]) ~= token then return 'lost' end
redis.call('DEL', KEYS[1])
redis.call('SWAPDB', scratch, target)
redis.call('FLUSHDB', 'ASYNC')
return 'done'
"""


def load_dump(target: Source, dump: Dump, *, overwrite: bool) -> Evidence:
    """Load, count, exchange.

    Raises:
        TargetNotEmpty: the target holds keys, and ``overwrite`` is False.
        IntegrityError: the dump is damaged, or other keys came of it than were dumped.
        SourceError: the server refused, or has no number to spare.
    """
    with connected(target) as client, redis_errors(target):
        refuse_full_target(target=target, empty=not client.execute_command("DBSIZE"), overwrite=overwrite)
        _require_room(client, target, dump)
        with _scratch(client, target) as (number, scratch, token):
            expiries = _load(scratch, dump)
            kinds = _count(scratch)
            _require_same(dump, kinds, expiries)
            arguments = (str(number), str(number_of(target)), token, "1" if overwrite else "0")
            commit_point()
            answer = scratch.eval(_SWAP, 1, resp.MARK, *arguments)
            refuse_full_target(target=target, empty=answer != b"full", overwrite=False)
            if answer != b"done":
                raise IntegrityError(f"somebody emptied the number {number} that was being restored into; try again")
        return _evidence(dump, kinds, {"redis": server_version(client)})


def _evidence(dump: Dump, loaded: Counter[str], versions: dict[str, str]) -> Evidence:
    """Return what was loaded, by the kinds of the dump; without a number where keys of a kind have expired."""
    dumped = {o.path: o.rows or 0 for o in dump.evidence.objects}
    expired = {kind for kind, number in dumped.items() if loaded[kind] < number}
    return Evidence(
        objects=tuple(
            ObjectEvidence(path=kind, rows=None if kind in expired else loaded[kind])
            for kind in sorted({*dumped, *loaded})
        ),
        versions=versions,
        notes=tuple(f"{dumped[kind] - loaded[kind]} keys of type {kind} have expired" for kind in sorted(expired)),
    )


def _require_room(client: redis.Redis, target: Source, dump: Dump) -> None:
    info = client.info("memory")
    limit, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    needed = max(dump.size, int(dump.evidence.properties.get("memory", 0)))
    # With noeviction a lack of room is an error, and nothing is lost; any other policy would drop keys of others.
    if limit and info.get("maxmemory_policy") != "noeviction" and used + needed > limit:
        raise SourceError(
            f"{target.url} has room for {max(limit - used, 0)} bytes before it evicts keys, too little to load "
            f"{needed} beside the old content; raise maxmemory"
        )


@contextlib.contextmanager
def _scratch(client: redis.Redis, target: Source) -> Iterator[tuple[int, redis.Redis, str]]:
    """Yield an unused number, a connection to it, and the mark that makes it ours; what is left in it goes."""
    token = secrets.token_hex(16)
    for number in reversed(range(databases(client))):
        if number == number_of(target):
            continue
        with connected(target, number) as scratch, redis_errors(target):
            if not _claim(scratch, token):
                continue
            try:
                yield number, scratch, token
            finally:
                with contextlib.suppress(Exception):
                    _clear(target, number, token)
            return
    raise SourceError(f"{target.url} has no empty database to load into beside the target; empty one, or add one")


def _claim(scratch: redis.Redis, token: str) -> bool:
    if scratch.execute_command("DBSIZE") or not scratch.set(resp.MARK, token, nx=True, ex=_MARK_SECONDS):
        return False
    if scratch.execute_command("DBSIZE") == 1:
        return True
    scratch.delete(resp.MARK)  # somebody else began to use it in that moment
    return False


def _clear(target: Source, number: int, token: str) -> None:
    # A connection of its own: the other may be lost. Only what still bears our mark is ours to remove.
    with connected(target, number) as scratch:
        if scratch.get(resp.MARK) == token.encode():
            scratch.execute_command("FLUSHDB", "ASYNC")


def _load(client: redis.Redis, dump: Dump) -> list[int]:
    """Send every command of the dump, to its verified end; return the moments at which keys expire."""
    expiries: list[int] = []
    keys, size, complete = 0, 0, False
    pipeline = client.pipeline(transaction=False)
    with contextlib.closing(dump.open()) as stream:
        for arguments in resp.commands(stream):
            if complete:
                raise IntegrityError("the dump goes on behind its end")
            if len(arguments) == 2 and arguments[0] == b"PING" and arguments[1] == resp.END + b"%d" % keys:  # noqa: PLR2004
                complete = True
                continue
            if (
                (len(arguments), arguments[0], arguments[-1]) != _SHAPE
                or not arguments[2].isdigit()
                or arguments[1] == resp.MARK
            ):
                raise IntegrityError(f"the dump holds {arguments[0][:20]!r} where a RESTORE, or its end, should be")
            if arguments[2] != b"0":
                expiries.append(int(arguments[2]))
            pipeline.execute_command(*arguments)
            keys += 1
            size += sum(map(len, arguments))
            if size > _PIECE:
                _send(pipeline)
                size = 0
    if not complete:
        raise IntegrityError("the dump lacks its end: it is truncated")
    _send(pipeline)
    return expiries


def _send(pipeline: redis.client.Pipeline) -> None:
    try:
        pipeline.execute()
    except redis.ResponseError as error:
        text = error_text(error)
        if "Bad data format" in text or "checksum" in text:
            # A newer server's dump on an older one says the same as damage does.
            raise IntegrityError(
                f"a value does not load ({text}): the dump is from a newer Redis, or damaged"
            ) from error
        raise


def _count(client: redis.Redis) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for keys in scan(client):
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            if key != resp.MARK:
                pipeline.execute_command("TYPE", key)
        kinds.update(k.decode() if isinstance(k, bytes) else str(k) for k in pipeline.execute())
    kinds.pop("none", None)  # expired between the two questions
    return kinds


def _require_same(dump: Dump, loaded: Counter[str], expiries: list[int]) -> None:
    expected = Counter({o.path: o.rows or 0 for o in dump.evidence.objects})
    expired = sum(moment <= time.time() * 1000 for moment in expiries)
    for kind in sorted(expected | loaded):
        if loaded[kind] > expected[kind]:
            raise IntegrityError(f"{loaded[kind]} keys of type {kind} came of the dump of {expected[kind]}")
    missing = expected - loaded
    if missing.total() > expired:
        kind, number = missing.most_common(1)[0]
        raise IntegrityError(f"{number} keys of type {kind} did not come of the dump; {expired} have expired since")
