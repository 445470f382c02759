"""A server that speaks the JSON API of Google Cloud Storage: a stand-in, which says of itself why."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import hostile_proxy
from support.hostile_proxy import Trouble
from support.ports import free_port

_numbers = itertools.count()


def refusal(status: int, reason: str, message: str = "made by the test") -> Trouble:
    """Return what answers as Google does when it refuses."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message, "domain": "global"}]}
    body = json.dumps({"error": error}).encode()
    return Trouble(refuse=(status, ""), rewrite=lambda _: body, headers={"Content-Type": "application/json"})


class Google:
    """A server at ``port``, a proxy before it, and buckets to be made."""

    def __init__(self, port: int, proxy: hostile_proxy.Proxy) -> None:
        self.port = port
        self.proxy = proxy

    @property
    def endpoint(self) -> str:
        """The server itself, past the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def control(self, **wanted: object) -> dict:
        """Tell the server what it is to be like, and return what it holds."""
        request = urllib.request.Request(f"{self.endpoint}/control", json.dumps(wanted).encode(), method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    @contextlib.contextmanager
    def being(self, **wanted: object) -> Iterator[None]:
        """Let the server be like that in the block."""
        usual = {
            "keeps": 0,
            "checks_at_begin": True,
            "tokens": [],
            "retention": 0,
            "held": [],
            "autoclass": False,
            "scheme": "http",
            "page": 1000,
            "rate": 0,
            "append_only": False,
        }
        self.control(**wanted)
        try:
            yield
        finally:
            self.control(**usual)

    def new_bucket(self) -> str:
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.control(buckets=[name])
        return name

    def url(self, bucket: str, prefix: str = "", *, direct: bool = False, **parameters: object) -> str:
        """Return the URL of a repository in a bucket, through the proxy or past it."""
        port = self.port if direct else self.proxy.port
        extra = "".join(f"&{key}={value}" for key, value in parameters.items())
        return f"gs://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}{extra}"

    def objects(self, bucket: str) -> dict[str, dict]:
        """Return what the server knows of each object in a bucket that is no marker."""
        held = self.control()["objects"][bucket]
        return {name: resource for name, resource in held.items() if "~" not in name}


@pytest.fixture
def google_credentials(monkeypatch, tmp_path) -> None:
    """Nothing of this machine's own; and the server is soon asked again."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr("dumpty_plugins.buckets.asking._PAUSES", (0.1, 0.2, 0.4))


@pytest.fixture(scope="session")
def google_server() -> Iterator[Google]:
    """The stand-in, with a proxy before it."""
    with google() as server:
        yield server


@contextlib.contextmanager
def google() -> Iterator[Google]:
    """Run the stand-in in the block."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("google_program.py")), str(port)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            _wait_until_it_listens(process, port)
            with hostile_proxy.before("127.0.0.1", port) as proxy:
                yield Google(port, proxy)
        finally:
            process.kill()


def _wait_until_it_listens(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    pytest.fail(f"{process.args} does not listen", pytrace=False)
