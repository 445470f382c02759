"""``check``: runs the suite of an installed plugin and says, rule by rule, what it keeps.

pytest runs in a process of its own; nothing here imports it, so that its absence is one clear error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dumpty.errors import DependencyError, PluginError
from dumpty.redaction import redact
from dumpty.registry.host import Host
from dumpty.url import parse_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.types import Kind

__all__ = ["RuleVerdict", "State", "Verdict", "check"]

State = Literal["kept", "broken", "unproved"]

_FILE = """
from dumpty.testing.checked import suite_for
TestPlugin = suite_for({name!r}, {kind!r})
"""
_TAIL = 5


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    """What became of one rule. ``reason``: how it is broken, or why it could not be proved here."""

    test: str
    rule: str
    state: State
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of all rules.

    ``remaining_databases``: the databases, and the places in a store, that the check made and that are yours to remove.
    """

    plugin: str
    kind: Kind
    rules: tuple[RuleVerdict, ...]
    remaining_databases: tuple[str, ...] = ()

    def of(self, state: State) -> list[RuleVerdict]:
        """Return the rules in one state."""
        return [rule for rule in self.rules if rule.state == state]

    @property
    def kept(self) -> bool:
        """Whether some rule was proved, and none is broken."""
        return bool(self.of("kept")) and not self.of("broken")

    def __str__(self) -> str:
        marks = {"kept": "ok      ", "broken": "BROKEN  ", "unproved": "unproved"}
        lines = [f"{self.plugin} ({self.kind})"]
        for rule in self.rules:
            lines.append(f"  {marks[rule.state]}  {rule.rule}")
            if rule.reason:
                lines.append(f"            {rule.reason}")
        lines += [f"  left behind, yours to remove: {url}" for url in self.remaining_databases]
        counts = ", ".join(f"{len(self.of(state))} {state}" for state in marks)  # type: ignore[arg-type]
        return "\n".join([*lines, counts])


def check(
    plugin_name: str, kind: Kind, source: str | None = None, target: str | None = None, *, timeout: float = 1800.0
) -> Verdict:
    """Run the suite of an installed plugin.

    Args:
        plugin_name: its name, as ``dumpty plugins`` lists it.
        kind: driver, compressor, cipher, verifier, store, notifier or transport.
        source: for a driver, the URL of a small database with content, which nobody changes meanwhile. It is only read,
            and dumped for every rule.
        target: for a driver, the URL of a database that does not exist; the check makes others, beside it, with eight
            digits of its own and ``_1``, ``_2`` and so on behind its name, and leaves them. For a store, the URL of any
            place that may be written to: the check works in a folder of its own there (``dumpty-check-…``), and removes
            it. Of a store that brings a layout of its own it removes the backups, and says what it leaves.
        timeout: seconds after which the check is given up.

    Returns:
        The verdict. Without URLs, the rules of a driver or store that need them are ``unproved``.

    Raises:
        DependencyError: pytest is not installed.
        PluginNotFound, PluginConflict, PluginLoadError: there is no such plugin, or it cannot be loaded.
        PluginError: the check itself came to no end.
    """
    if importlib.util.find_spec("pytest") is None:
        raise DependencyError('checking a plugin needs pytest: pip install "dumpty[testing]"')
    plugin = Host().named(kind, plugin_name)
    secrets = [s for url in (source, target) if url and "://" in url for s in parse_url(url).secrets]
    with tempfile.TemporaryDirectory(prefix="dumpty-") as directory:
        entries, remaining_databases = _run(
            Path(directory), plugin_name, kind, {"SOURCE": source, "TARGET": target}, timeout
        )
    rules = [
        RuleVerdict(test=test, rule=entries_of_test[0]["rule"], state=state, reason=redact(reason, secrets))
        for test, entries_of_test in _by_test(entries).items()
        for state, reason in [_state_of(entries_of_test)]
    ]
    return Verdict(plugin=str(plugin), kind=kind, rules=tuple(rules), remaining_databases=remaining_databases)


def _run(
    directory: Path, name: str, kind: str, urls: dict[str, str | None], timeout: float
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    file, verdict, remaining_file = directory / "test_plugin.py", directory / "verdict.json", directory / "left"
    file.write_text(_FILE.format(name=name, kind=kind), encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "dumpty.testing.record"]
    # A dump of the source for every rule, and none is needed once its rule is kept.
    argv += ["-o", "tmp_path_retention_policy=failed"]
    argv += ["-c", os.devnull, "--rootdir", str(directory), "--basetemp", str(directory / "tmp")]
    argv += [f"--dumpty-verdict={verdict}", str(file)]
    # URLs hold passwords: they go by the environment, which only this user can read.
    url_variables = {f"DUMPTY_CHECK_{key}": url for key, url in urls.items() if url}
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS" and not k.startswith("DUMPTY_CHECK_")}
    run = uuid.uuid4().hex[:8]
    environment |= {**url_variables, "DUMPTY_CHECK_LEFT": str(remaining_file), "DUMPTY_CHECK_RUN": run}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    left = f"; what has {run} in its name there is the check's, and yours to remove" if urls["TARGET"] else ""
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    try:
        process = subprocess.run(  # noqa: S603 - this Python
            argv, env=environment, capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        running = Path(f"{verdict}.running")
        at = f"; it was at {running.read_text(encoding='utf-8')}" if running.exists() else ""
        raise PluginError(f"the check of {name} did not end within {timeout:g} seconds{at}{left}") from error
    if not verdict.exists():
        tail = " | ".join((process.stdout + process.stderr).strip().splitlines()[-_TAIL:])
        raise PluginError(f"the check of {name} ended with status {process.returncode} and no verdict: {tail}{left}")
    remaining = remaining_file.read_text(encoding="utf-8").split("\n") if remaining_file.exists() else []
    return json.loads(verdict.read_text(encoding="utf-8")), tuple(filter(None, remaining))


def _by_test(entries: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    entries_by_test: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        entries_by_test.setdefault(entry["test"], []).append(entry)
    return entries_by_test


def _state_of(entries: Sequence[dict[str, Any]]) -> tuple[State, str]:
    failed = [e["reason"] for e in entries if e["outcome"] == "failed"]
    if failed:
        return "broken", failed[0]
    skipped = [e["reason"].removeprefix("not proved here: ") for e in entries if e["outcome"] == "skipped"]
    return ("unproved", skipped[0]) if skipped else ("kept", "")
