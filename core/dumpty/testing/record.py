"""A pytest plugin that writes what became of each rule into a JSON file: ``-p dumpty.testing.record``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dumpty.testing.rules import RuleBroken

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Recorder"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file."""
    parser.addoption("--dumpty-verdict", metavar="FILE", help="write the verdict of dumpty's suites into FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Record where a file was named."""
    file = config.getoption("--dumpty-verdict")
    if file:
        config.pluginmanager.register(Recorder(file))


class Recorder:
    """Collects one entry for each test, and writes them at the end."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._entries: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test runs: where it comes to no end, nothing else tells."""
        with open(self._file + ".running", "w", encoding="utf-8") as file:
            file.write(nodeid.rpartition("::")[2])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a phase of a test ended; the worst counts."""
        report = yield
        rule = (item.function.__doc__ or item.name).partition("\n")[0].strip()
        entry = self._entries.setdefault(
            item.nodeid,
            {
                "suite": item.cls.__name__ if item.cls else "",
                "test": item.originalname,
                "rule": rule,
                "outcome": "passed",
                "reason": "",
            },
        )
        if report.outcome != "passed" and entry["outcome"] != "failed":
            entry |= {"outcome": report.outcome, "reason": _reason(call)}
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        with open(self._file, "w", encoding="utf-8") as file:
            json.dump(list(self._entries.values()), file)


def _reason(call: pytest.CallInfo[None]) -> str:
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, pytest.skip.Exception):
        return str(error.msg)
    text = " ".join(str(error).split())
    return text if isinstance(error, RuleBroken) else f"{type(error).__name__}: {text}"
