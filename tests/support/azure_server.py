"""A server that speaks Azure's blob protocol: Azurite, its maker's own emulator."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import hostile_proxy
from support.places import memory
from support.ports import free_port

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own account and key, which everybody knows."""
_TOP = Path(__file__).parents[2]
_numbers = itertools.count()


class Azure:
    """A server at ``port``, a proxy before it, and containers to be made."""

    def __init__(self, port: int, proxy: hostile_proxy.Proxy) -> None:
        self.port = port
        self.proxy = proxy
        self._client = None

    @property
    def client(self):
        """What asks the server itself, past the proxy."""
        if self._client is None:
            from azure.core.credentials import AzureNamedKeyCredential
            from azure.storage.blob import BlobServiceClient

            self._client = BlobServiceClient(self.endpoint, AzureNamedKeyCredential(ACCOUNT, KEY))
        return self._client

    @property
    def endpoint(self) -> str:
        """The server itself, past the proxy."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def new_container(self) -> str:
        name = f"container-{os.getpid()}-{next(_numbers)}"
        self.client.create_container(name)
        return name

    def url(self, container: str, prefix: str = "", *, direct: bool = False, **parameters: object) -> str:
        """Return the URL of a repository in a container, through the proxy or past it."""
        port = self.port if direct else self.proxy.port
        extra = "".join(f"&{key}={value}" for key, value in parameters.items())
        return f"az://{container}/{prefix}?endpoint=http://127.0.0.1:{port}/{ACCOUNT}{extra}"

    def blobs(self, container: str) -> list[str]:
        """Return the name of every blob in a container that is no marker."""
        names = (blob.name for blob in self.client.get_container_client(container).list_blobs())
        return [name for name in names if "~" not in name]

    def properties(self, container: str, name: str):
        """Return what the server knows of a blob."""
        return self.client.get_blob_client(container, name).get_blob_properties()

    def waiting(self, container: str) -> list[str]:
        """Return the names under which blocks wait to be joined, and nothing else is."""
        listed = self.client.get_container_client(container).list_blobs(include=["uncommittedblobs"])
        return [blob.name for blob in listed if "~" not in blob.name and blob.name not in self.blobs(container)]


@pytest.fixture
def azure_credentials(monkeypatch, tmp_path) -> None:
    """What the server of the tests lets in, and nothing of this machine's own; it is soon asked again."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "MSI_", "IDENTITY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("dumpty_plugins.buckets.asking._PAUSES", (0.1, 0.2, 0.4))


@pytest.fixture(scope="session")
def azure_server() -> Iterator[Azure]:
    """Azurite, with a proxy before it."""
    with azurite() as server:
        yield server


@contextlib.contextmanager
def azurite(*more: str) -> Iterator[Azure]:
    """Run Azurite in the block, with ``more`` options."""
    program = _program()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="dumpty-azurite-", dir=memory()) as top:
        options = ("--silent", "--skipApiVersionCheck", "--blobHost", "127.0.0.1", "--blobPort", str(port), *more)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([program, *options, "--location", top], cwd=top, **quiet) as process:
            try:
                _wait_until_it_listens(process, port)
                with hostile_proxy.before("127.0.0.1", port) as proxy:
                    yield Azure(port, proxy)
            finally:
                process.kill()


def _program() -> str:
    script = _TOP / "tests" / "support" / "fetch_azurite.sh"
    found = subprocess.run(["sh", script, sys.executable], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.fail(found.stderr.strip(), pytrace=False)
    return found.stdout.strip()


def _wait_until_it_listens(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    pytest.fail(
        f"{process.args[0]} does not listen; remove its directory, and sh tests/run.sh fetches it anew", pytrace=False
    )
