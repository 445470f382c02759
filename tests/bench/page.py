"""How long the page takes to answer: ``python tests/bench/page.py [BACKUPS]``, of 10,000 backups unless another number is given.

Each address is asked twenty times in a row, over a connection of its own, as a browser would, uncompressed; then all of
them again while the repository is being looked at. Milliseconds: the median, and the longest.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.history import age

from dumpty import BackupManager

ROUNDS = 20
DATABASES = 5


def main(number: int) -> None:
    """Make a repository of so many backups, and ask."""
    with tempfile.TemporaryDirectory(prefix="dumpty-page-") as directory:
        os.chdir(directory)
        _make(Path(directory), number)
        argv = [sys.executable, "-m", "dumpty", "serve", "--only-page", "--port", "0"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as served:
            port = int(re.search(r"page at http://127\.0\.0\.1:(\d+)/,", served.stderr.readline())[1])
            first = _milliseconds(port, "/")
            print(f"{number:,} backups; the first page, which waits for the first look: {first:.0f} ms")
            addresses = _addresses(port)
            _measure(port, addresses, "idle")
            looking = threading.Event()
            busy = threading.Thread(target=_look_again, args=(port, looking))
            busy.start()
            _measure(port, addresses, "while it is looked")
            looking.set()
            busy.join()
            served.terminate()


def _make(directory: Path, number: int) -> None:
    text = f'[defaults]\nrepository = "{directory}/backups"\nschedule = "0 * * * *"\nkeep = {{ daily = 30 }}\n'
    for name in range(DATABASES):
        with contextlib.closing(sqlite3.connect(f"{name}.db")) as connection, connection:
            for table in range(20):
                connection.execute(f"CREATE TABLE t{table} (x)")
        text += f'[jobs.job{name}]\nsource = "sqlite:///{directory}/{name}.db"\n'
    Path("dumpty.toml").write_text(text)
    Path("dumpty.toml").chmod(0o600)
    subprocess.run([sys.executable, "-m", "dumpty", "run", "--quiet"], check=True)
    now = datetime.now(UTC)
    for backup in BackupManager("backups").list_backups():
        for hours in range(1, number // DATABASES):
            proof = "restore" if hours % 168 == 1 else None
            age("backups", backup, now - timedelta(hours=hours), proof=proof)


def _addresses(port: int) -> dict[str, str]:
    page = _ask(port, "/")
    database = re.search(r'href="(/databases/[0-9a-f]+)"', page)[1]
    backup = re.search(r'href="(/databases/[0-9a-f]+/backups/[^"]+)"', _ask(port, database))[1]
    return {
        "databases": "/",
        "calendar": "/calendar",
        "runs": "/runs",
        "storage": "/storage",
        "one database": database,
        "its last page": f"{database}?page=999",
        "one backup": backup,
        "/api/databases": "/api/databases",
    }


def _measure(port: int, addresses: dict[str, str], when: str) -> None:
    print(f"\n{when:22} median  longest")
    for name, address in addresses.items():
        taken = [_milliseconds(port, address) for _ in range(ROUNDS)]
        print(f"{name:20} {statistics.median(taken):8.0f} {max(taken):8.0f}")


def _milliseconds(port: int, address: str) -> float:
    began = time.perf_counter()
    _ask(port, address)
    return (time.perf_counter() - began) * 1000


def _ask(port: int, address: str, method: str = "GET") -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request(method, address, headers={"Accept": "text/html"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status in {200, 303}, (address, answer.status)
    return text


def _look_again(port: int, over: threading.Event) -> None:
    while not over.is_set():
        _ask(port, "/look", "POST")


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 10_000)
