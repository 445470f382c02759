"""Drives real code through every interleaving of its store operations, with a crash at each of them.

A global state is what the store holds, what every process has seen, which faults are left, and which writes whose
answer was lost are still on their way. At every one of them all processes that go on are taken to have crashed: two
recoveries run, what the scenario promises is checked, and that life goes on.
"""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import dataclass

from repository.protocol.stepping import NO_PATIENCE, Holding, SteppedStore, apply, replay

from dumpty.errors import StoreError
from dumpty.repository.protocol import layout
from dumpty.repository.protocol.recovery import recover
from dumpty.testing.memory_store import ALL
from dumpty.types import Cap

LIMIT = 10_000_000
NONE = Cap(0)
FAULTS = {
    "error": ("raise", "StoreError"),
    "interrupt": ("raise", "KeyboardInterrupt"),
}


class Broken(AssertionError):
    """An invariant does not hold; the text has the whole history."""


@dataclass
class Explorer:
    """Every interleaving of some processes.

    ``base`` is what the store holds at first. ``invariant`` gets the results (``crashed`` for whoever has not ended) and
    what the store holds after two recoveries, and returns what is wrong, or None. ``whole`` says which data belongs to a
    manifest, by stem: endings and sizes. ``faults`` are how many errors, lost answers and interrupts may happen.
    """

    processes: list
    base: dict
    whole: dict
    invariant: object
    capabilities: Cap = ALL
    retained: frozenset = frozenset()
    retention_ends: bool = False
    """Whether what is retained can be deleted when recovery comes."""
    faults: int = 0
    reverse: bool = False
    pages: tuple = ()
    """The names at which a listing is cut: each part of it is of another moment."""
    late_pages_first: bool = False
    recovery: object = staticmethod(lambda store: recover(store, patience=NO_PATIENCE))
    alive: object = None
    apply: object = staticmethod(apply)
    store_class: type = SteppedStore
    settle: object = staticmethod(lambda objects: objects)
    """What is in the store long after, when everybody has crashed."""
    later_capabilities: Cap = NONE
    limit: int = LIMIT
    lawful: bool = True
    """Whether manifests without data, and deletions of what is not doomed, are looked for."""

    def __post_init__(self):
        names = ("capabilities", "reverse", "pages", "late_pages_first")
        self.options = {name: getattr(self, name) for name in names}
        self.later = self.options | {"capabilities": self.capabilities | self.later_capabilities}
        self.locals = []
        self.stores = []
        self.numbers = {}
        self.transitions = {}
        self.recovered = {}
        self.checked = {}
        self.living = {}

    def number(self, objects):
        key = frozenset(objects.items())
        if key not in self.numbers:
            self.numbers[key] = len(self.stores)
            self.stores.append(objects)
            if self.lawful and (why := self.half_there(objects)):
                raise Broken(why)
        return self.numbers[key]

    def transition(self, store, operation):
        key = (store, operation)
        if key not in self.transitions:
            outcomes = self.apply(self.stores[store], operation, self.retained)
            self.transitions[key] = [(token, self.number(after)) for token, after in outcomes]
        return self.transitions[key]

    def half_there(self, objects):
        """A manifest without its data, but for what is being removed."""
        going = taken(objects)
        for stem, sizes in self.whole.items():
            if objects.get(stem + layout.MANIFEST, layout.TOMBSTONE) != layout.TOMBSTONE and stem not in going:
                for ending, size in sizes.items():
                    if len(objects.get(stem + ending, b"")) != size:
                        return f"{stem} has a manifest, and no {ending}"
        return None

    def local(self, index, seen):
        local = replay(self.processes[index], index, seen, self.store_class, self.options)
        local.number = len(self.locals)
        self.locals.append(local)
        return local.number

    def child(self, index, local, token):
        if token not in local.children:
            local.children[token] = self.local(index, (*local.seen, token))
        return local.children[token]

    def successors(self, state):
        store, locals_, faults, flying = state
        for index, number in enumerate(locals_):
            local = self.locals[number]
            if local.operation is None:
                continue
            self.require_lawful(store, local.operation, locals_)
            outcomes = [(token, after, faults, flying) for token, after in self.transition(store, local.operation)]
            if faults:
                after = outcomes[0][1]
                for fault in FAULTS.values():
                    outcomes.append((fault, store, faults - 1, flying))
                    if after != store:
                        outcomes.append((fault, after, faults - 1, flying))
                if local.operation[0] in {"put", "delete"} and Cap.LOCAL not in self.capabilities:
                    outcomes.append((FAULTS["error"], store, faults - 1, (*flying, local.operation)))
            for seen, holds, left, above in outcomes:
                child = self.child(index, local, seen)
                yield holds, (*locals_[:index], child, *locals_[index + 1 :]), left, above
        for position, operation in enumerate(flying):
            (_token, after), *_ = self.transition(store, operation)
            yield after, locals_, faults, (*flying[:position], *flying[position + 1 :])

    def require_lawful(self, store, operation, locals_):
        if not self.lawful or operation[0] != "delete" or operation[1] not in self.stores[store]:
            return
        objects, parts = self.stores[store], layout.split_name(operation[1])
        if parts is None or objects.get(parts[0] + layout.MANIFEST, layout.TOMBSTONE) == layout.TOMBSTONE:
            return
        stem, ending = parts
        if (ending == layout.MANIFEST or ending in self.whole.get(stem, ())) and stem not in taken(objects):
            raise Broken(f"{operation[1]} is deleted, and nobody decided that; {self.history(locals_)}")

    def history(self, locals_):
        places = [self.locals[number] for number in locals_]
        return [(local.result if local.operation is None else local.operation, local.seen) for local in places]

    def after_crash(self, store, flying):
        """What may be there when everybody has crashed and two have recovered: a late write lands whenever it likes."""
        key = (store, flying)
        if key not in self.recovered:
            ends = set()
            # Where no put is conditional recovery waits for longer than any write is on its way.
            for landing in range(4 if flying and Cap.CREATE_NEW in self.capabilities else 1):
                retained = frozenset() if self.retention_ends else self.retained
                holding = Holding(self.settle(self.stores[store]), retained)
                for turn in range(4 if flying else 2):
                    if flying and turn == landing:
                        for operation in flying:
                            with contextlib.suppress(StoreError):
                                holding.step(operation)
                    holding.run(self.recovery, 0xF0 + turn, self.later)
                ends.add(self.number(holding.objects))
            self.recovered[key] = ends
        return self.recovered[key]

    def check(self, state):
        store, locals_, _faults, flying = state
        places = [self.locals[number] for number in locals_]
        results = tuple("crashed" if local.operation is not None else local.result for local in places)
        for end in self.after_crash(store, flying):
            if (results, end) not in self.checked:
                self.checked[results, end] = self.invariant(results, self.stores[end])
            if end not in self.living:
                self.living[end] = self.alive(self.stores[end], self.later) if self.alive else None
            if why := self.checked[results, end] or self.living[end]:
                raise Broken(f"{why}; afterwards {sorted(self.stores[end])}; {self.history(locals_)}")

    def start(self):
        locals_ = tuple(self.local(index, ()) for index in range(len(self.processes)))
        return self.number(self.base), locals_, self.faults, ()

    def run(self):
        """Look at every state, or about the first ``limit``; return how many there were.

        Raises:
            Broken: one is wrong.
        """
        first, dice = self.start(), random.Random(1)
        stack, known = [first], {first}
        while stack:
            if self.limit < LIMIT:  # not all will be looked at: then of every kind some
                position = dice.randrange(len(stack))
                stack[position], stack[-1] = stack[-1], stack[position]
            state = stack.pop()
            self.check(state)
            for new in self.successors(state):
                if new not in known:
                    known.add(new)
                    stack.append(new)
            if len(known) > self.limit:
                break
        return len(known)

    def walk(self, dice, most=400):
        """Go one random way, with long runs of one process and few switches, and look at its end."""
        state = self.start()
        for _ in range(dice.randint(1, most)):
            nexts = list(self.successors(state))
            if not nexts:
                break
            state = dice.choice(nexts)
        self.check(state)


def taken(objects):
    """Return the stems of all removals that go ahead."""
    stems = set()
    for name in objects:
        if name.startswith(layout.GO) and b'"go"' in objects[name]:
            stems |= set(stems_of(objects.get(name.replace(layout.GO, layout.DOOM), b"")))
    return stems


def stems_of(doom):
    return json.loads(doom)["stems"] if doom else ()
