"""A Prometheus that asks a program of this machine for its metrics, and judges them by rules."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from support.ports import free_port

PATIENCE = 60
INSTALL = "apt-get install prometheus"


def program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``."""
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: {INSTALL}"
    return path


def lint(text: str) -> str:
    """Return what ``promtool check metrics`` has to say of a text: nothing, where it is as it should be."""
    argv = [program("promtool"), "check", "metrics"]
    process = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    return f"{process.stdout}{process.stderr}" + (f"status {process.returncode}" if process.returncode else "")


class Prometheus:
    """A server at ``port``."""

    def __init__(self, port: int) -> None:
        self.port = port

    def _ask(self, path: str, **parameters: str) -> dict:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            reply = json.load(answer)
        assert reply["status"] == "success", reply
        return reply["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of all that an expression finds."""
        found = self._ask("query", query=expression)["result"]
        return [(entry["metric"], float(entry["value"][1])) for entry in found]

    def until(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Wait until an expression finds something, and return it."""
        ends = time.monotonic() + PATIENCE
        while not (found := self.query(expression)):
            assert time.monotonic() < ends, (expression, self._ask("targets")["activeTargets"])
            time.sleep(0.1)
        return found

    def alerts(self) -> set[tuple[str, str, str]]:
        """Return the alerts that there are: name, state, job."""
        found = self._ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["state"], a["labels"].get("backup_job", "")) for a in found}


@contextlib.contextmanager
def prometheus(directory: Path, target: str, rules: Path, *, token_file: Path | None = None) -> Iterator[Prometheus]:
    """Start a server that asks ``target`` (host:port) every other second, and end it."""
    directory.mkdir()
    authorization = f"    authorization: {{credentials_file: '{token_file}'}}\n" if token_file else ""
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}\n"
        f"rule_files: ['{rules}']\n"
        f"scrape_configs:\n  - job_name: dumpty\n{authorization}    static_configs: [{{targets: ['{target}']}}]\n"
    )
    port = free_port()
    argv = [
        program("prometheus"),
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    environment = {"PATH": os.environ["PATH"], "GOMAXPROCS": "1"}
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(argv, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            _wait(port, process, directory / "log")
            yield Prometheus(port)
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends, log.read_text()
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)
