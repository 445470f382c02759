"""Further databases with what a drill restored."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.operations.restore import load
from dumpty.operations.scratch_questions import attribute_errors
from dumpty.process.interruption import track_interruption
from dumpty.toolkit.evidence import require_same_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.registry.proxies import CheckedScratch
    from dumpty.streaming.stored_dump import StoredDump
    from dumpty.types import Evidence, Options

__all__ = ["Cloner"]


class Cloner:
    """Makes databases with what was restored into a scratch database.

    A driver that can copy it does; else the dump is loaded once more, beside it. The first such database is compared
    with what was recorded when it was backed up; those behind it are made by the same statements.

    Args:
        host: the plugins.
        driver: that of the scratch database.
        scratch: where it was restored, which nobody has changed since.
        reopen: opens the dump anew.
        options: those of the restore.
        expected: what was recorded when it was backed up.
        examine: tells what a database holds; None where its driver cannot say.
    """

    def __init__(
        self,
        host: Host,
        driver: Plugin,
        scratch: CheckedScratch,
        reopen: Callable[[], StoredDump],
        options: Options,
        expected: Evidence,
        examine: Callable[[CheckedScratch], Evidence | None],
    ) -> None:
        self._host = host
        self._driver = driver
        self._scratch = scratch
        self._reopen = reopen
        self._options = options
        self._expected = expected
        self._examine = examine
        self._compared = False

    @property
    def is_able(self) -> bool:
        """Whether the driver can do any of it."""
        return self._scratch.can_clone or self._scratch.has_others

    @contextlib.contextmanager
    def clone(self) -> Iterator[CheckedScratch]:
        """Lend such a database, which is gone behind the block.

        Raises:
            IntegrityError: it does not hold what was backed up.
            DumptyError: it cannot be made; behind the block, that it cannot be removed.
        """
        with contextlib.ExitStack() as stack:
            with attribute_errors(self._driver, "clone"):
                clone = stack.enter_context(
                    self._scratch.clone() if self._scratch.can_clone else self._scratch.another()
                )
                if not self._scratch.can_clone:
                    self._load(clone)
            if not self._compared:
                self._require_same(clone)
                self._compared = True
            holding = stack.pop_all()
        try:
            yield clone
        finally:
            with attribute_errors(self._driver, "clone"), holding:
                pass  # it is not told of what failed in the block: that is no failure of its own

    def _require_same(self, clone: CheckedScratch) -> None:
        found = self._examine(clone)
        if found is not None:
            require_same_evidence(
                expected=self._expected,
                found=found,
                subject="a copy of what was restored",
                advice="copy before anybody uses the original",
                ignore={"uncounted"},
            )

    def _load(self, clone: CheckedScratch) -> None:
        with track_interruption() as interruption, self._reopen() as dump:
            load(self._host, self._driver, clone.target, dump, overwrite=False, options=self._options)
            interruption.check()
