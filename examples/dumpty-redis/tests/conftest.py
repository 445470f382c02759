"""A private redis-server, once per run: a socket in a temporary directory, nothing on disk, ended with the tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

INSTALL = "apt-get install -y redis-server"


class Server:
    def __init__(self, *settings: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail(f"no redis-server on the PATH; install it: {INSTALL}", pytrace=False)
        self.directory = Path(tempfile.mkdtemp(prefix="drd", dir="/tmp"))  # short: a socket's path has 108 bytes
        self.socket = str(self.directory / "s")
        argv = [program, "--port", "0", "--unixsocket", self.socket, "--dir", self.directory, "--save", "", *settings]
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - before any thread
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.client(0).ping()
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail("redis-server did not start", pytrace=False)
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def client(self, number: int) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.socket, db=number, protocol=2)

    def url(self, number: object, user: str = "", socket: str = "") -> str:
        return f"redis://{user and user + '@'}/{number}?unix_socket_path={socket or self.socket}"

    def grow(self, number: int, mebibytes: int) -> bool:
        """Fill a database with random values of half a MiB each."""
        with contextlib.closing(self.client(number)) as client:
            for i in range(2 * mebibytes):
                client.set(f"large {i}", os.urandom(1 << 19))
        return True

    def content(self, number: int) -> dict[bytes, tuple]:
        """Everything in a database, by the type's own commands."""
        with contextlib.closing(self.client(number)) as client:
            return {key: (client.pexpiretime(key), client.type(key), _value(client, key)) for key in client.scan_iter()}


def _value(client: redis.Redis, key: bytes) -> object:
    kind = client.type(key)
    if kind == b"string":
        return client.get(key)
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind == b"set":
        return client.smembers(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1, withscores=True)
    if kind == b"hash":
        return client.hgetall(key)
    groups = client.xinfo_groups(key)
    return (
        client.xrange(key),
        groups,
        [client.xpending(key, g["name"]) for g in groups],
        client.xinfo_stream(key)["last-generated-id"],
    )


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@pytest.fixture(scope="session")
def started() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(started: Server) -> Server:
    """The server, empty."""
    with contextlib.closing(started.client(0)) as client:
        client.flushall()
    return started


@pytest.fixture
def filled(server: Server) -> Server:
    """The server, with every type in database 0."""
    with contextlib.closing(server.client(0)) as client:
        client.set(b"\x00bin\r\n$3\xff", b"\x00\xff\r\n*1")
        client.set("number", 17)
        client.set("", "the empty key")
        client.set("mortal", "x", px=3_600_000)
        client.rpush("list", *range(300), "x" * 10_000)
        client.sadd("set", *range(1000))
        client.sadd("words", "a", b"\xff")
        client.zadd("zset", {"a": 1.5, "b": float("inf"), "c": -0.1})
        client.zadd("large zset", {f"m{i}": i / 3 for i in range(500)})
        client.hset("hash", mapping={"f": "v", b"\x00": b"\xff"})
        client.expire("hash", 7200)
        client.hset("large hash", mapping={f"f{i}": "v" * i for i in range(300)})
        client.setbit("bits", 1000, 1)
        client.pfadd("sketch", *range(500))
        for i in range(5):
            client.xadd("stream", {"i": i}, id=f"{i + 1}-0")
        client.xgroup_create("stream", "readers", id="0")
        client.xreadgroup("readers", "one", {"stream": ">"}, count=3)
    return server
