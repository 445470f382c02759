"""Processes and promises that explorations are made of."""

from __future__ import annotations

from msgspec import structs
from repository.protocol import lagging
from repository.protocol.explorer import Explorer
from repository.protocol.stepping import EPOCH, NO_PATIENCE, ZERO, Holding

from dumpty.errors import IntegrityError, Locked, MissingFile, StoreError, UnknownBackup
from dumpty.repository.protocol import annotations, layout, recovery, removal, runs
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.reader_pin import ReaderPin
from dumpty.repository.protocol.single import committed_attempts
from dumpty.testing.memory_store import ALL
from dumpty.types import Cap

ID = "0123456789ab"


def stem(letter):
    return f"shop-abcdef/2026112{'ABCDE'.index(letter)}T170000Z-{ID}-{letter.lower() * 8}"


A, B, C, D, E = map(stem, "ABCDE")
DATA, MANIFEST = b"data", b"the manifest"


def stored(*stems, endings=(".db",)):
    """What backups are in a store."""
    objects = {}
    for name in stems:
        objects.update({name + ending: DATA for ending in endings})
        objects[name + layout.MANIFEST] = MANIFEST
    return objects


def whole(objects, name, endings=(".db",)):
    return objects.get(name + layout.MANIFEST) == MANIFEST and all(objects.get(name + e) == DATA for e in endings)


# -- processes ---------------------------------------------------------------------------------------------------


def backup(name, endings=(".db",), beats=0):
    def process(store):
        try:
            with Attempt(store, name, beat_seconds=None) as attempt:
                for _ in range(beats):
                    attempt.beats.beat()
                for ending in endings:
                    upload = attempt.upload(ending)
                    upload.write(DATA)
                    upload.commit()
                attempt.publish(MANIFEST, dict.fromkeys(endings, len(DATA)))
        except (StoreError, IntegrityError):
            return "failed"
        return "done"

    return process


def single(name):
    """One of several attempts at one backup: of them one is committed."""

    def process(store):
        try:
            with Attempt(store, name, beat_seconds=None) as attempt:
                if list(committed_attempts(store, name)):
                    return "made"
                upload = attempt.upload(".db")
                upload.write(DATA)
                upload.commit()
                attempt.publish(MANIFEST, {".db": len(DATA)})
        except (StoreError, IntegrityError):
            return "failed"
        return "done"

    return process


def keep_one(*wanted):
    """Rules that want some to go, and one that is not among them to stay."""

    def decide(live):
        rest = live.keys() - set(wanted)
        return set(wanted) & live.keys() if rest else ()

    return decide


def prune(*wanted, module=removal):
    def process(store):
        try:
            done = module.remove(store, keep_one(*wanted))
        except StoreError:
            return "failed"
        return "removed" if done.removed else "retained" if done.retained else "announced" if done.announced else "kept"

    return process


def pin(name, until=None):
    def process(store):
        try:
            annotations.pin(store, name, until=until)
        except UnknownBackup:
            return "refused"
        except StoreError:
            return "failed"
        return "pinned"

    return process


def prove(name):
    def process(store):
        try:
            annotations.annotate(store, name, b"proof")
        except UnknownBackup:
            return "refused"
        except StoreError:
            return "failed"
        return "proved"

    return process


def accept(name):
    def process(store):
        try:
            annotations.accept(store, name, b"by somebody")
        except UnknownBackup:
            return "refused"
        except StoreError:
            return "failed"
        return "accepted"

    return process


def prune_for_accepted(old, suspicious):
    """Remove what is old, once the newer one, which is suspicious, is accepted: as rules do that keep one."""

    def decide(live):
        accepted = suspicious in live and any(layout.ACCEPTED in note.name for note in live[suspicious].notes)
        return {old} & live.keys() if accepted else ()

    def process(store):
        try:
            return "removed" if removal.remove(store, decide).removed else "kept"
        except StoreError:
            return "failed"

    return process


def cleaning(patience):
    def process(store):
        try:
            recovery.recover(store, patience=patience)
        except StoreError:
            return "failed"
        return "cleaned"

    return process


clean = cleaning(NO_PATIENCE)
clean_without_patience_for_tombstones = cleaning(structs.replace(NO_PATIENCE, tombstone=ZERO))
clean_in_time = cleaning(recovery.Patience())
"""As it is done: whoever gave a sign of life lately is left alone."""


def prune_twice(*wanted):
    def process(store):
        return prune(*wanted)(store), prune(*wanted)(store)

    return process


def restore(name, until):
    """A restore that says whether its data went while its pin held."""

    def process(store):
        outcome = pin(name, until=EPOCH + lagging.STEP * until)(store)
        for ending in (".db", layout.MANIFEST):
            try:
                store.stat(name + ending)
            except MissingFile:
                if outcome == "pinned" and store.now() < EPOCH + lagging.STEP * until:
                    return "lost"
        return outcome

    return process


def read(name, lifetime, renewals=1):
    """A restore that renews its pin, and says whether its data went while one of its pins held."""

    def process(store):
        lasts = lagging.STEP * lifetime
        try:
            with ReaderPin(store, name, lifetime=lasts, renew_seconds=None) as reader:
                for renewal in range(renewals + 1):
                    try:
                        if renewal:
                            reader.renew()
                        for ending in (".db", layout.MANIFEST):
                            store.stat(name + ending)
                    except (MissingFile, UnknownBackup):
                        return "lost" if store.now() < reader.until else "gone"
        except UnknownBackup:
            return "refused"
        except StoreError:
            return "failed"
        return "read"

    return process


SLOT = layout.time_text(EPOCH)
RESULT = f".runs/nightly/{SLOT}.result"


def running(asked_for=runs.ASKED_FOR):
    def process(store):
        """Claim a slot, taking everybody else for dead, and finish."""
        state = "not claimed"
        try:
            claimed = runs.claim(store, "nightly", SLOT, silence=ZERO, beat_seconds=None, asked_for=asked_for)
            if claimed is None:
                return state
            with claimed:
                state = "executed"
                claimed.beats.beat()
                return "counted" if claimed.finish(b"done") else state
        except StoreError:
            return "failed" if state == "not claimed" else "executed, and failed"

    return process


run = running()


def alone(slot):
    def process(store):
        """Claim a slot, keeping away from all others of its job, and see whether anybody else is at one."""
        try:
            claimed = runs.claim(store, "nightly", slot, beat_seconds=None, alone=True)
            if claimed is None:
                return "not claimed"
            with claimed:
                mark = f"marks/at-{slot}"
                store.put(mark, b"")
                others = [found.name for found in store.list("marks") if found.name != mark]
                store.delete([mark])
                if others:
                    return "met another"
                return "counted" if claimed.finish(b"done") else "executed"
        except (Locked, StoreError):
            return "not claimed"

    return process


SLEPT_OVER = {f".runs/nightly/{SLOT}.claim-1": b"{}", RESULT: b"{}\ndone"}
"""The claim of one who was taken for dead, and what another one finished."""


def wake_up(store):
    """Come to the end of a run whose claim is the first."""
    try:
        counts = runs.Run(store, RESULT.removesuffix(".result"), 1, beat_seconds=None).finish(b"done")
    except StoreError:
        return "failed"
    return "counted" if counts else "executed"


def not_counted_again(results, objects):
    """The first process, which was taken for dead, does not count."""
    return "a run is counted twice" if results[0] == "counted" else None


def clearing_runs(steps):
    """Recovery that keeps nothing of a run that was due so many steps ago, whoever sleeps."""
    return cleaning(structs.replace(NO_PATIENCE, run=lagging.STEP * steps, sleeping_run=ZERO))


# -- promises ----------------------------------------------------------------------------------------------------


def done_is_there(index, name, endings=(".db",)):
    def invariant(results, objects):
        return f"{name} is lost" if results[index] == "done" and not whole(objects, name, endings) else None

    return invariant


def old_is_there_until_accepted(index, old, suspicious):
    """An old backup goes for a suspicious one only where that is there, and somebody has said that it is accepted."""

    def invariant(results, objects):
        if whole(objects, old):
            return None
        if not whole(objects, suspicious):
            return f"{old} went for {suspicious}, which is gone"
        return f"{old} went for {suspicious}, which nobody accepted" if results[index] == "refused" else None

    return invariant


def pinned_is_there(index, name):
    def invariant(results, objects):
        if results[index] != "pinned":
            return None
        if not whole(objects, name):
            return f"the pinned {name} is lost"
        return None if any(other.startswith(name + layout.PIN) for other in objects) else f"the pin of {name} is gone"

    return invariant


def some_are_there(*names):
    def invariant(results, objects):
        return None if any(whole(objects, name) for name in names) else "every backup is gone"

    return invariant


def no_orphans(results, objects):
    """No data without a manifest, and no annotation without a backup."""
    for name in objects:
        parts = layout.split_name(name)
        if (
            parts
            and objects.get(parts[0] + layout.MANIFEST, layout.TOMBSTONE) == layout.TOMBSTONE
            and parts[1] != layout.MANIFEST
        ):
            return f"{name} is left, and nothing of its backup is"
    return None


def nothing_pending(results, objects):
    left = [n for n in objects if n.startswith(layout.PRUNE_FOLDER) or n.endswith(layout.INTENT) or layout.BEAT in n]
    return f"{left} is left" if left else None


def counted_once(results, objects):
    if results.count("counted") > 1:
        return "a run is counted twice"
    result = objects.get(RESULT, b"")
    if "counted" in results and not result.endswith(b"done"):
        return "the result that counts is lost"
    if not {"crashed", "failed", "executed, and failed", "interrupted"} & set(results) and not result:
        return "nobody executed the run"
    return None


def counted_at_most_once(results, objects):
    return "a run is counted twice" if results.count("counted") > 1 else None


def not_run_again(results, objects):
    """The first process found the run done, or too old to ask for."""
    return "a run is executed again" if results[0] not in {"crashed", "failed", "not claimed"} else None


def life_of_runs_goes_on(objects, options):
    later = Holding(objects)
    if RESULT not in objects and later.run(run, 0xE0, options) != "counted":
        return "the run is never executed"
    left = [name for name in later.objects if ".claim-" in name]
    return None if later.run(run, 0xE1, options) == "not claimed" else f"a run is executed again; {left}"


def both(*invariants):
    return lambda results, objects: next((why for i in invariants if (why := i(results, objects))), None)


def committed(objects):
    manifests = (name for name, data in objects.items() if name.endswith(layout.MANIFEST) and data != layout.TOMBSTONE)
    return {name.removesuffix(layout.MANIFEST) for name in manifests}


def alive(objects, options):
    """What is whole can be pinned, a new backup succeeds, and then a prune of all the others."""
    later = Holding(objects)
    for name in committed(objects):
        if later.run(pin(name), 0xE0, options) != "pinned":
            return f"{name} can never be pinned again"
    later = Holding(objects)
    if later.run(backup(D), 0xE1, options) != "done" or not whole(later.objects, D):
        return "no backup succeeds any more"
    pinned = {name.partition(layout.PIN)[0] for name in later.objects if layout.PIN in name}
    free = committed(later.objects) - pinned - {D}
    if later.run(prune(*free), 0xE2, options) != ("removed" if free else "kept"):
        return "nothing can be removed any more"
    if any(whole(later.objects, name) for name in free) or not whole(later.objects, D):
        return "the wrong ones were removed"
    return None


def explorer(*processes, invariant=None, base=None, endings=(".db",), orphans=True, pending=True, **options):
    """Return the explorer of some processes; ``orphans`` and ``pending`` are what recovery may never leave."""
    options.setdefault("alive", alive)
    promises = [invariant, no_orphans if orphans else None, nothing_pending if pending else None]
    return Explorer(
        processes=list(processes),
        base=stored(A, B) if base is None else base,
        whole={name: dict.fromkeys(endings, len(DATA)) for name in (A, B, C, D, E)},
        invariant=both(*filter(None, promises)),
        **options,
    )


def lagging_explorer(*processes, strong=False, **options):
    """As ``explorer``, with a clock, and listings that lag unless they are strong."""
    capabilities = ALL if strong else ALL & ~Cap.STRONG_LIST
    return explorer(
        *processes,
        capabilities=capabilities,
        later_capabilities=Cap.STRONG_LIST,
        apply=lambda *arguments: lagging.apply_lagging(*arguments, strong=strong),
        store_class=lagging.LaggingStore,
        settle=lambda objects: {name: data for name, data in objects.items() if name[0] not in "@~"},
        **options,
    )
