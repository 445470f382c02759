"""Disks that are small, and other machines that hold something: what surrounds a run under attack."""

from __future__ import annotations

import contextlib
import subprocess


@contextlib.contextmanager
def small_disk(path, options):
    """Mount a file system in memory at ``path``, made for it, as ``options`` say; None where that is not permitted."""
    path.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def holder(argv):
    """Run a command that prints ``held``, and kill it in the end with all that runs below it."""
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.read()  # ends when whoever runs below unshare is dead, too
        child.stdout.close()
