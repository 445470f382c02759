"""Ways to servers: an ssh URL that leads to the tests' own sshd, and what processes of a kind are running."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from support.sftp_server import SSHServer


def ssh_url(server: SSHServer, **settings: object) -> str:
    """Return the URL by which ``server`` is logged in to; nothing of this user's own configuration counts."""
    settings = {"identity": server.identity, "known_hosts": server.known_hosts, "config": "none"} | settings
    query = "&".join(f"{name}={quote(str(value))}" for name, value in settings.items() if value is not None)
    return f"ssh://{server.user}@127.0.0.1:{server.port}?{query}"


def command_lines() -> dict[int, str]:
    """Return the command line of every process, and of those that are a text, each argument behind a space."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # gone meanwhile
            found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return found


def running(*words: str) -> list[str]:
    """Return the command lines of processes that have all these words in them."""
    return [line for line in command_lines().values() if all(word in line for word in words)]


def gone(*words: str) -> bool:
    """Wait until no process has all these words in its command line; False, and said which, where one stays."""
    end = time.monotonic() + 60
    # Seen twice: who was started after the others were listed, and outlived them, is in no first look.
    while (left := running(*words) or running(*words)) and time.monotonic() < end:
        time.sleep(0.02)
    if left:
        subprocess.run(["ps", "-eo", "pid,ppid,pgid,sid,stat,wchan:20,etimes,args"], check=False)
        print("\n".join(left))
    return not left


def eventually(condition) -> bool:
    """Wait until something is true, if only for a moment; False where it does not become so."""
    end = time.monotonic() + 60
    while not (found := bool(condition())) and time.monotonic() < end:
        time.sleep(0.02)
    return found


class At:
    """A progress callback that does something once, when so many bytes have come."""

    def __init__(self, size, deed):
        self.size, self.deed = size, deed

    def __call__(self, progress):
        if self.deed is not None and (progress.bytes_done or 0) >= self.size:
            deed, self.deed = self.deed, None
            deed()


def signal_all(server, number):
    """Send a signal to an sshd, and to all that serve those who are logged in to it."""
    # All of them first: whose parent is gone is no longer below it.
    found = [p for p, line in command_lines().items() if line.startswith("sshd") and _is_below(p, server._process.pid)]
    assert len(found) > 1, command_lines()
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_below(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            continue
        return False  # another test's, and gone
    return False
