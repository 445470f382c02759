"""What workers do first that are started for a run: Dask imports this module in each, before all else."""

from __future__ import annotations

import signal

__all__ = ["dask_setup"]


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to whoever gives the work: a terminal sends it to all its processes, and each would end at once."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
