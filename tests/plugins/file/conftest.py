"""Stores in directories of their own."""

from __future__ import annotations

import subprocess

import pytest
from support.toys import open_directory


@pytest.fixture
def top(tmp_path):
    """The directory of a store."""
    return tmp_path / "backups"


@pytest.fixture
def store(top):
    """A store in an empty directory."""
    return open_directory(top)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB; None where none can be mounted."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:  # not permitted here
        yield None
        return
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
