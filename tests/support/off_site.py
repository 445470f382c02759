"""What tests of stores elsewhere do alike: large uploads, errors in a line, one request in trouble, dumpty as a program."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dumpty import StoreError
from support.hostile_proxy import NONE

NAME = "shop-abcdef/stem.sql.gz"
MIB = 1 << 20
DATA = os.urandom(MIB) * 21
"""More than two parts of 8 MiB."""


def upload(store, data=DATA, name=NAME) -> None:
    """Upload an object, in blocks that are no part's."""
    writer = store.upload(name)
    try:
        for start in range(0, len(data), 300_000):
            writer.write(memoryview(data)[start : start + 300_000])
        writer.commit()
    finally:
        writer.abort()


def once(condition, trouble):
    """Do ``trouble`` to the first request of which ``condition`` holds."""
    done = []

    def choose(request):
        if done or not condition(request):
            return NONE
        done.append(request)
        return trouble

    return choose


def error_of(call, *secrets: str) -> str:
    """Return the error of a call: one line, with none of the secrets in it."""
    with pytest.raises(StoreError) as caught:
        call()
    text = str(caught.value)
    for hidden in ("\n", *secrets):
        assert hidden not in text
    return text


def make_shop(path: Path, megabytes: int = 0) -> str:
    """Make a small database, or one of so many large rows; return its URL."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (a)")
        database.execute("INSERT INTO t VALUES (1), (2)")
        database.executemany("INSERT INTO t VALUES (randomblob(?))", [(MIB,)] * megabytes)
    database.close()
    return f"sqlite:///{path}"


def dumpty(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dumpty as a program of its own."""
    command = [sys.executable, "-m", "dumpty", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def wait_for(condition) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
