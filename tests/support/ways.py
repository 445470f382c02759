"""Ways to servers: an ssh URL that leads to the tests' own sshd, and what processes of a kind are running."""

from __future__ import annotations

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
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
    return found


def running(*words: str) -> list[str]:
    """Return the command lines of processes that have all these words in them."""
    return [line for line in command_lines().values() if all(word in line for word in words)]


def gone(*words: str) -> bool:
    """Wait until no process has all these words in its command line; False where one stays."""
    end = time.monotonic() + 60
    while running(*words) and time.monotonic() < end:
        time.sleep(0.02)
    return not running(*words)


def eventually(condition) -> bool:
    """Wait until something is true, if only for a moment; False where it does not become so."""
    end = time.monotonic() + 60
    while not (found := bool(condition())) and time.monotonic() < end:
        time.sleep(0.02)
    return found
