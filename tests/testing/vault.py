"""A repository that keeps every rule, dumpty's own over a store in memory: what the broken ones are made of."""

from __future__ import annotations

from dumpty import PluginInfo, hookimpl
from dumpty.repository.plain import PlainRepository
from dumpty.testing import MemoryStore


class Vault(PlainRepository):
    """dumpty's own layout, in memory."""

    def __init__(self, store):
        super().__init__(store)
        self.store = store

    def damage(self, name, how):
        """Damage an object, as a place would."""
        data = self.store.get(name)
        self.store.delete([name])
        if how != "gone":
            middle = len(data) // 2
            changed = data[:middle] if how == "cut" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            self.store.put(name, changed)


class GoodRepository:
    """``vault://USER:PASSWORD@/NAME``: what is stored under one name is one repository."""

    repository = Vault
    name = "vault"

    def __init__(self):
        self.stores = {}

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("vault",))

    @hookimpl
    def open_repository(self, url, options):
        return self.make_repository(url, options)

    def make_repository(self, url, options):
        return self.repository(self.stores.setdefault(url, MemoryStore()))
