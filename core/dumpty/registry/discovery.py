"""Entry points of the installed distributions, whatever is wrong with some of them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dumpty.distribution_metadata import metadata_field
from dumpty.registry.plugin import Plugin, State, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class EntryPoint(Struct, frozen=True, kw_only=True):
    """One entry point; ``load`` imports what it names, and is None where ``error`` says why there is none."""

    name: str
    distribution: str
    version: str
    load: Callable[[], object] | None = None
    error: str = ""

    def plugin(self, *, state: State = "ok", error: str = "") -> Plugin:
        """Return the plugin that it announces, not loaded."""
        return Plugin(name=self.name, distribution=self.distribution, version=self.version, state=state, error=error)


def entry_points(group: str) -> Iterator[EntryPoint]:
    """Yield the entry points of a group, each once: a distribution's second copy, further down sys.path, is none.

    One without a ``load`` stands for a distribution whose entry points cannot be read.
    """
    import importlib_metadata

    reported: set[tuple[str, str]] = set()
    for distribution in importlib_metadata.distributions():
        if group not in _raw_entry_points(distribution):
            continue  # before its metadata are read: most distributions are not for us
        name, version = _name_and_version(distribution)
        try:
            points = [point for point in distribution.entry_points if point.group == group]
        except Exception as error:  # noqa: BLE001 - what a stranger's metadata may hold breaks no other plugin
            text = f"the entry points of {name} {version} cannot be read: {describe_error(error)}; reinstall it"
            yield EntryPoint(name=name, distribution=name, version=version, error=text)
            continue
        for point in points:
            if (name, point.name) not in reported:
                reported.add((name, point.name))
                yield EntryPoint(name=point.name, distribution=name, version=version, load=point.load)


def path_state() -> tuple[tuple[str, int], ...]:
    """Return what tells whether something was installed or removed: each directory of sys.path, and when it changed."""
    return tuple((path, _modified_at(path)) for path in sys.path)


def _modified_at(path: str) -> int:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0


def _name_and_version(distribution: Any) -> tuple[str, str]:
    try:
        name, version = (metadata_field(distribution.read_text, field) for field in ("Name", "Version"))
    except Exception:  # noqa: BLE001 - metadata that is missing or damaged is no reason to break
        name, version = "", ""
    return name or "an unnamed distribution", version


def _raw_entry_points(distribution: Any) -> str:
    try:
        return str(distribution.read_text("entry_points.txt"))
    except Exception:  # noqa: BLE001 - not even text
        return ""
