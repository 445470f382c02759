"""What a place owes to removals that sleep: whoever looked while they slept is not told a lie when they wake up."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError
from dumpty.repository.protocol.annotations import pin
from dumpty.repository.protocol.attempt import Attempt
from dumpty.repository.protocol.layout import MANIFEST, new_stem
from dumpty.testing.children import wait_stopped
from dumpty.testing.rules import require, shown
from dumpty.testing.sharing import SharingRules
from dumpty.types import Cap

if TYPE_CHECKING:
    from dumpty.types import Store

__all__ = ["SleepingRules"]

_REMOVE = """
import signal
from dumpty.repository.protocol.removal import remove
real = store.put
class Sleeper:
    def __getattr__(self, name):
        return getattr(store, name)
    def put(self, name, data, *, new=True):
        if name.startswith(".prune/go-"):
            print("ready", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        store.put(name, data, new=new)
removal = remove(Sleeper(), lambda live: [stem for stem in live if stem in arguments[1:]])
print(json.dumps(sorted(removal.removed)), flush=True)
"""
_MANIFEST = b"a manifest that is longer than a tombstone"
_DATA = b"data"


class SleepingRules(SharingRules):
    """The part of ``StoreSuite`` that stops a process in the middle of a removal."""

    def test_a_removal_that_was_stopped_removes_nothing_that_was_pinned_meanwhile(
        self, store: Store, store_url: str
    ) -> None:
        """CREATE_NEW: a removal stopped before its decision finds, when it goes on, that a pin has decided."""
        stems = self._committed(store, 3)
        with self._child(_REMOVE, store_url, *stems[:2]) as child:
            wait_stopped(child)
            self._pin(store, stems[0])
            child.send_signal(signal.SIGCONT)
            output, error = child.communicate(timeout=self.patience)
        rule = "Capability CREATE_NEW: a removal that finds others' decision is told so, and removes nothing."
        remedy = "Let the place decide: a link, If-None-Match; never look first and write then. Or do not claim it."
        require(output == "[]\n", rule, remedy, f"it removed {output.strip() or error.strip().rpartition(chr(10))[2]}")
        self._require_whole(store, stems, rule, remedy)

    def _committed(self, store: Store, number: int) -> list[str]:
        for capability in (Cap.CREATE_NEW, Cap.STRONG_LIST, Cap.DELETE):
            self.claimed(store, capability)
        stems = []
        for _ in range(number):
            stem = new_stem("shop-abcdef", store.now(), "01234567-89ab-4def-8123-456789abcdef")
            with Attempt(store, stem) as attempt:
                upload = attempt.upload(".sql")
                upload.write(_DATA)
                upload.commit()
                attempt.publish(_MANIFEST, {".sql": len(_DATA)})
            stems.append(stem)
        return stems

    def _pin(self, store: Store, stem: str) -> None:
        rule = "Capability CREATE_NEW: a pin that comes before the decision of a removal withdraws it."
        try:
            pin(store, stem)
        except DumptyError as error:
            require(False, rule, "Mend what it says.", shown(error))

    def _require_whole(self, store: Store, stems: list[str], rule: str, remedy: str) -> None:
        for stem in stems:
            for ending, content in ((MANIFEST, _MANIFEST), (".sql", _DATA)):
                found = b""
                with contextlib.suppress(DumptyError):
                    found = self.content(store, stem + ending)
                require(found == content, rule, remedy, f"{stem}{ending} holds {found!r}")
