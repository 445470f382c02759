"""Two verifiers: one that forgets how long its input was, and one that has the name of a store."""

from __future__ import annotations

from dumpty import PluginInfo, hookimpl


class Verifier:
    @hookimpl
    def describe(self):
        return PluginInfo(kind="verifier", summary="a sum")

    @hookimpl
    def verify(self):
        return Sum()


class Sum:
    def __init__(self):
        self.value = 0

    def update(self, data):
        self.value = (self.value + sum(memoryview(data))) % (1 << 32)

    def hexdigest(self):
        return f"{self.value:08x}"


CROOKED, FILE = Verifier(), Verifier()
