"""Servers that speak S3: moto, which knows what S3 means, and rclone's, which ignores what it is asked to refuse."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from support import hostile_proxy
from support.places import memory
from support.ports import free_port

KEY, SECRET = "dumptys-access-key", "dumptys-secret-key"
PAGE = 100
"""How many objects a page of moto's listings has in the tests: Amazon's have 1,000, which take moto half a minute."""
_PROGRAMS = Path(sys.executable).parent
_numbers = itertools.count()


class S3:
    """A server at ``port``, a proxy before it, and buckets to be made."""

    def __init__(self, port: int, proxy: hostile_proxy.Proxy) -> None:
        self.port = port
        self.proxy = proxy
        self._client = None

    @property
    def client(self):
        """What asks the server itself, past the proxy."""
        if self._client is None:
            import botocore.session
            from botocore.config import Config

            self._client = botocore.session.Session().create_client(
                "s3",
                region_name="us-east-1",
                endpoint_url=self.endpoint,
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
                config=Config(s3={"addressing_style": "path"}),
            )
        return self._client

    def new_bucket(self, **settings: object) -> str:
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.client.create_bucket(Bucket=name, **settings)
        return name

    def url(self, bucket: str, prefix: str = "", *, direct: bool = False, **parameters: object) -> str:
        """Return the URL of a repository in a bucket, through the proxy or past it."""
        port = self.port if direct else self.proxy.port
        extra = "".join(f"&{key}={value}" for key, value in parameters.items())
        return f"s3://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}{extra}"

    @property
    def endpoint(self) -> str:
        """The server itself, past the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def remove_bucket(self, bucket: str) -> None:
        """Remove a bucket with all that is in it."""
        for entry in self.client.list_objects_v2(Bucket=bucket).get("Contents", ()):
            self.client.delete_object(Bucket=bucket, Key=entry["Key"])
        self.client.delete_bucket(Bucket=bucket)

    def keys(self, bucket: str) -> list[str]:
        """Return every key in a bucket that is no marker."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = (entry["Key"] for page in pages for entry in page.get("Contents", ()))
        return [key for key in keys if "~" not in key]

    def holds(self, bucket: str, key: str) -> bool:
        """Return whether a key that was listed is there: rclone lists some that it has deleted, and has no more.

        That is so where several wrote the same key at once: none of its files is left then, and nothing can be read.
        """
        from botocore.exceptions import ClientError

        try:
            self.client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            return False
        return True

    def parts(self, bucket: str, key: str) -> list[int]:
        """Return the numbers of the parts that an unfinished upload has."""
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        [upload_id] = [upload["UploadId"] for upload in uploads if upload["Key"] == key]
        parts = self.client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id).get("Parts", ())
        return [part["PartNumber"] for part in parts]

    def unfinished(self, bucket: str) -> list[str]:
        """Return the keys of uploads that were begun and not ended."""
        return [u["Key"] for u in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


@pytest.fixture
def s3_credentials(monkeypatch, tmp_path) -> None:
    """What the servers of the tests let in, and nothing of this machine's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3]:
    """moto, the oracle of what S3 means."""
    with moto(page=PAGE) as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3]:
    """`rclone serve s3`: objects are files, and conditions are ignored."""
    with rclone() as server:
        yield server


def moto(page: int = 1_000) -> contextlib.AbstractContextManager[S3]:
    """Run moto's server in the block; ``page`` is how many objects a page of its listings has."""
    program = Path(__file__).with_name("moto_program.py")
    settings = {"MOTO_S3_DEFAULT_MAX_KEYS": str(page)}
    return _running(lambda port: [sys.executable, str(program), "-H", "127.0.0.1", "-p", str(port)], settings)


@contextlib.contextmanager
def rclone() -> Iterator[S3]:
    """Run rclone's server in the block."""
    options = ("--auth-key", f"{KEY},{SECRET}", "--config", os.devnull, "--vfs-cache-mode", "off")
    command = [str(_PROGRAMS / "rclone"), "serve", "s3", *options]
    with (
        tempfile.TemporaryDirectory(prefix="dumpty-rclone-", dir=memory()) as top,
        _running(lambda port: [*command, "--addr", f"127.0.0.1:{port}", top]) as server,
    ):
        yield server


@contextlib.contextmanager
def _running(command, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[S3]:
    port = free_port()
    environment = {**os.environ, **settings, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command(port), env=environment, **quiet) as process:
        try:
            _wait_until_it_listens(process, port)
            with hostile_proxy.before("127.0.0.1", port) as proxy:
                yield S3(port, proxy)
        finally:
            process.kill()


def _wait_until_it_listens(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    pytest.fail(f"{process.args[0]} does not listen; it comes with: pip install -e '.[test]'", pytrace=False)
