"""How a broken plugin says which test has to catch it."""

from __future__ import annotations

from dataclasses import dataclass

ANY = ("*",)
"""Whatever else fails, for a plugin that cannot do anything."""


@dataclass(frozen=True)
class BrokenRule:
    """The ``rule`` whose test must catch the plugin, and the tests that ``may_fail_too``."""

    rule: str
    may_fail_too: frozenset[str]

    def allows(self, failed) -> bool:
        return self.may_fail_too == frozenset(ANY) or set(failed) <= {self.rule, *self.may_fail_too}


def breaks(rule: str, *may_fail_too: str):
    """Say which test catches a plugin; the decorator of every broken one."""

    def decorate(plugin: type) -> type:
        plugin.broken = BrokenRule(rule, frozenset(may_fail_too))
        return plugin

    return decorate
