"""A store that hands over every operation as a step of its own, and processes that are replayed over it.

A process is a function of a store. It is replayed with the results it has seen, by a store that returns them in order
and raises ``Pending`` at the next operation: that is the process's next step. Code that cleans up while ``Pending``
unwinds meets the same exception at its next operation. A process that is never stepped again has crashed there.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dumpty.errors import Exists, MissingFile, Retained, StoreError
from dumpty.repository.protocol import alarms, attempt, layout, reader_pin, runs
from dumpty.repository.protocol.recovery import Patience
from dumpty.testing.memory_store import ALL
from dumpty.types import Cap, Found

EPOCH = datetime(2026, 11, 26, 17, tzinfo=UTC)
ZERO = timedelta(0)
DAY = timedelta(days=1)
NO_PATIENCE = Patience(silence=ZERO, lagging_silence=ZERO, unconditional_silence=ZERO, late_doom=ZERO)
"""Whoever recovers takes everybody for dead, the living too."""

IDENTIFYING = (alarms, attempt, reader_pin, runs)
"""Modules that write down which process it is."""

OK = ("ok", None)
ERRORS = {
    "Exists": Exists,
    "MissingFile": MissingFile,
    "Retained": Retained,
    "StoreError": StoreError,
    "KeyboardInterrupt": KeyboardInterrupt,
}


class Pending(BaseException):
    """The next operation of a process."""

    def __init__(self, operation):
        super().__init__(operation)
        self.operation = operation


def visible(objects, folder, begin="", end="~"):
    return frozenset((n, len(d)) for n, d in objects.items() if n.startswith(folder) and begin <= n < end)


def apply(objects, operation, retained=frozenset()):
    """Return what can come of an operation: its result, and what the store holds after it."""
    verb, name, *rest = operation
    if verb == "put":
        data, new = rest
        if new and name in objects:
            return [(("raise", "Exists"), objects)]
        return [(OK, {**objects, name: data})]
    if verb == "get":
        return [(("ok", objects[name]) if name in objects else ("raise", "MissingFile"), objects)]
    if verb == "stat":
        return [(("ok", len(objects[name])) if name in objects else ("raise", "MissingFile"), objects)]
    if verb == "list":
        return [(("ok", visible(objects, name, *rest)), objects)]
    assert verb == "delete", operation
    if name in objects and name in retained:
        return [(("raise", "Retained"), objects)]
    return [(OK, {n: d for n, d in objects.items() if n != name})]


class SteppedStore:
    """The contract, each operation of which is one call of ``step``."""

    def __init__(self, step, capabilities=ALL, *, reverse=False, pages=(), late_pages_first=False):
        self._step = step
        self._capabilities = capabilities
        self._reverse = reverse
        self._pages = pages
        self._late_pages_first = late_pages_first

    def capabilities(self):
        return self._capabilities

    def put(self, name, data, *, new=True):
        if new and Cap.CREATE_NEW not in self._capabilities:
            # A server that ignores the condition, asked by a client that looks first.
            with contextlib.suppress(MissingFile):
                self.stat(name)
                raise Exists(name)
            new = False
        self._step(("put", name, bytes(data), new))

    def upload(self, name, expected=None):
        return SteppedUpload(self, name)

    def get(self, name):
        return self._step(("get", name))

    def stat(self, name):
        return self._found(name, self._step(("stat", name)))

    def list(self, folder=""):
        # No snapshot: each page is read when it is needed, and all before anything else is done. A directory is in no
        # order, so what is late in the alphabet may be read first.
        pages = list(itertools.pairwise(["", *self._pages, "~"]))
        steps = [self._step(("list", folder, *page)) for page in (reversed(pages) if self._late_pages_first else pages)]
        return [self._found(*pair) for page in steps for pair in sorted(page)]

    def now(self):
        return EPOCH

    def delete(self, names):
        refused = None
        for name in sorted(names, reverse=self._reverse):
            try:
                self._step(("delete", name))
            except StoreError as error:
                refused = error
        if refused is not None:
            raise refused

    def locate(self, name):
        return name

    def sweep(self, older):
        pass

    def _found(self, name, size):
        return Found(name=name, size=size, tag="", modified=EPOCH)


class SteppedUpload:
    def __init__(self, store, name):
        self._store, self._name, self._data = store, name, b""

    def write(self, data):
        self._data += data
        return len(data)

    def commit(self):
        self._store._step(("put", self._name, self._data, True))

    def abort(self):
        pass


@dataclass(eq=False)
class Local:
    """One process after what it has seen: its next operation, or its result."""

    operation: tuple | None = None
    result: object = None
    seen: tuple = ()
    children: dict = field(default_factory=dict)
    number: int = 0


def raise_or_return(token):
    kind, value = token
    if kind == "raise":
        raise ERRORS[value](value)
    return value


class deterministic:
    """Within the block, nonces are numbered and begin with the process's own number; identities are all the same."""

    def __init__(self, number):
        self._number = number
        self._count = 0

    def _token_hex(self, size):
        self._count += 1
        return f"{self._number:02x}{self._count:0{2 * size - 2}x}"

    def __enter__(self):
        attempt.not_durable.clear()  # each process knows its own alone
        self._saved = layout.secrets, [module.process_identity for module in IDENTIFYING]
        layout.secrets = self
        self.token_hex = self._token_hex
        for module in IDENTIFYING:
            module.process_identity = dict

    def __exit__(self, *_):
        layout.secrets, identities = self._saved
        for module, identity in zip(IDENTIFYING, identities, strict=True):
            module.process_identity = identity


def replay(process, number, seen, store_class, options):
    """Run a process up to the operation after those whose results it has seen."""
    position = 0
    pending = None

    def step(operation):
        nonlocal position, pending
        if pending is not None:
            raise pending
        if position < len(seen):
            position += 1
            return raise_or_return(seen[position - 1])
        pending = Pending(operation)
        raise pending

    with deterministic(number):
        try:
            result = process(store_class(step, **options))
        except Pending:
            assert pending is not None
            return Local(operation=pending.operation, seen=seen)
        except KeyboardInterrupt:
            result = "interrupted"
    assert pending is None, f"something swallowed {pending!r}"
    return Local(result=result, seen=seen)


class Holding:
    """Runs a process to its end at once, over a dictionary."""

    def __init__(self, objects, retained=frozenset()):
        self.objects = objects
        self._retained = retained

    def step(self, operation):
        (token, self.objects), *_ = apply(self.objects, operation, self._retained)
        return raise_or_return(token)

    def run(self, process, number, options):
        with deterministic(number):
            return process(SteppedStore(self.step, **options))
