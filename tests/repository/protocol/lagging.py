"""A store with a clock whose listings may lag: they show some of what was deleted lately, and lack some that is new.

Time goes by in steps of eight hours. Listings lag by less than that: what was written two steps ago is shown, what was
written in this step or the one before may be. A day is three steps.

What a listing may show beside the objects is kept among them, under names that no listing has: ``@NAME`` is when an
object was written, ``~NAME`` what was deleted, and when.
"""

from __future__ import annotations

import itertools
from datetime import timedelta

from repository.protocol.stepping import EPOCH, OK, SteppedStore, apply

from dumpty.types import Found

STEP = timedelta(hours=8)
CLOCK = "@"
ALL_SUBSETS = 3
"""Of more names than so many only none, all, every single one and all but one are left out or shown."""


def moment(objects, name=""):
    return objects.get(CLOCK + name, -10 if name else 0)


def apply_lagging(objects, operation, retained=frozenset(), *, strong=False):
    """Return what can come of an operation, as ``apply`` does."""
    now = moment(objects)
    if operation[0] == "now":
        return [(("ok", now), objects)]
    if operation[0] == "tick":
        return [(OK, aged({**objects, CLOCK: now + 1}))]
    if operation[0] == "list":
        return [(("ok", shown), objects) for shown in listings(objects, operation[1], strong=strong)]
    results = []
    for token, after in apply(objects, operation, retained):
        name = operation[1]
        if token == OK and operation[0] == "put":
            after = {n: d for n, d in {**after, CLOCK + name: now}.items() if n != "~" + name}
        elif token == OK and operation[0] == "delete" and name in objects:
            ghost = (len(objects[name]), moment(objects, name), now)
            after = {**{n: d for n, d in after.items() if n != CLOCK + name}, "~" + name: ghost}
        results.append((token, after))
    return results


def aged(objects):
    """Forget what no listing can be wrong about any more, and how old is what is old."""
    now = moment(objects)
    return {
        n: d
        for n, d in objects.items()
        if n == CLOCK or not ((n[0] == "~" and now - d[2] > 1) or (n[0] == CLOCK and now - d > 6))
    }


def listings(objects, folder, *, strong):
    now = moment(objects)
    names = {n: (len(d), moment(objects, n)) for n, d in objects.items() if n[0] not in "@~" and n.startswith(folder)}
    ghosts = {n[1:]: d[:2] for n, d in objects.items() if n[0] == "~" and n[1:].startswith(folder)}
    unsure = sorted({n for n, (_size, written) in names.items() if now - written <= 1} | ghosts.keys())
    for wrong in [()] if strong else subsets(unsure):
        shown = {n: v for n, v in names.items() if n not in wrong} | {n: ghosts[n] for n in wrong if n in ghosts}
        yield frozenset((n, *v) for n, v in shown.items())


def subsets(names):
    if len(names) <= ALL_SUBSETS:
        return itertools.chain.from_iterable(itertools.combinations(names, k) for k in range(len(names) + 1))
    return [(), tuple(names), *((n,) for n in names), *(tuple(m for m in names if m != n) for n in names)]


class LaggingStore(SteppedStore):
    """The contract, with a clock."""

    def now(self):
        return EPOCH + STEP * self._step(("now", ""))

    def list(self, folder=""):
        return [
            Found(name=n, size=size, tag="", modified=EPOCH + STEP * written)
            for n, size, written in sorted(self._step(("list", folder)))
        ]


def passing(steps):
    """Time goes by."""

    def process(store):
        for _ in range(steps):
            store._step(("tick", ""))
        return "passed"

    return process
