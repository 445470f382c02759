"""How a broken plugin says which test has to catch it."""

from __future__ import annotations

from dataclasses import dataclass

ANY = ("*",)
"""Whatever else fails, for a plugin that cannot do anything."""


@dataclass(frozen=True)
class Broken:
    """The ``rule`` whose test must catch the plugin, and the tests that may fail ``too``."""

    rule: str
    too: frozenset[str]

    def allows(self, failed) -> bool:
        return self.too == frozenset(ANY) or set(failed) <= {self.rule, *self.too}


def breaks(rule: str, *too: str):
    """Say which test catches a plugin; the decorator of every broken one."""

    def note(plugin: type) -> type:
        plugin.broken = Broken(rule, frozenset(too))
        return plugin

    return note
