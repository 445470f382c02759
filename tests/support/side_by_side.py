"""Runs the whole suite in processes side by side: most tests wait for a server, and leave a core to others.

The tests of one file stay together, for they share what is slow to make. Those of the fault harness that count into
one ledger stay together, too, with the reckoning; those that wait for stalled servers, which share nothing and take
longest, are dealt out one by one, in the end, so that no process waits long for another.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_FAULTS = "tests/faults/"
_STALLS = "tests/faults/test_stalls.py"
_UNCOUNTED = "tests/faults/test_crashes.py"


class Scheduling(LoadScopeScheduling):
    """Deals tests out to processes; what has most tests comes first."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file == _STALLS:
            return nodeid
        return _FAULTS if file.startswith(_FAULTS) and file != _UNCOUNTED else file
