"""Makes the picture of the page in the README, ``page.png``: ``python tests/bench/page_picture.py`` needs Chromium.

The databases are made up, their backups are not: each was made, and given the times of a hundred days.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import sync_playwright
from support.history import age

from dumpty import BackupManager

DATABASES = {"accounts": 300, "blog": 700, "crm": 4200, "ledger": 120, "shop": 9000, "wiki": 1500}
DAYS = 100


def main() -> None:
    """Make the databases, their past, and the picture."""
    with tempfile.TemporaryDirectory(prefix="dumpty-page-") as directory:
        os.chdir(directory)
        _make_databases(Path(directory))
        _run()
        _make_past()
        Path("ledger.db").unlink()
        _run("ledger")
        _take(Path(__file__).with_name("page.png"))


def _make_databases(directory: Path) -> None:
    text = f'[defaults]\nrepository = "{directory}/backups"\ncopies = ["{directory}/vault"]\nschedule = "30 2 * * *"\n'
    for name, rows in DATABASES.items():
        with contextlib.closing(sqlite3.connect(f"{name}.db")) as connection, connection:
            connection.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT)")
            values = ((random.randbytes(20).hex(),) for _ in range(rows))
            connection.executemany("INSERT INTO entries (text) VALUES (?)", values)
        text += f'[jobs.{name}]\nsource = "sqlite:///{directory}/{name}.db"\n'
    Path("dumpty.toml").write_text(text)
    Path("dumpty.toml").chmod(0o600)


def _run(*jobs: str) -> None:
    subprocess.run([sys.executable, "-m", "dumpty", "run", "--quiet", *jobs], check=False, stderr=subprocess.DEVNULL)


def _make_past() -> None:
    now = datetime.now(UTC)
    for backup in BackupManager("backups").list_backups():
        for days in range(1, DAYS):
            when = (now - timedelta(days=days)).replace(hour=2, minute=30)
            proof = "restore" if days % 7 == hash(backup.database_name) % 7 else None
            age("backups", backup, when, grown=1 - days / DAYS / 2, proof=proof)


def _take(path: Path) -> None:
    argv = [sys.executable, "-m", "dumpty", "serve", "--only-page", "--port", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as served, sync_playwright() as playwright:
        url = re.search(r"page at (http://\S+)/,", served.stderr.readline())[1]
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1180, "height": 640})
        page.goto(url)
        page.screenshot(path=path)
        browser.close()
        served.terminate()


if __name__ == "__main__":
    main()
