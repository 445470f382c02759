"""What ``run`` and ``runs`` have in common: a run of a job, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty.cli import json_runs
    from dumpty.jobs.outcomes import JobRun

__all__ = ["as_json"]


def as_json(run: JobRun) -> json_runs.JobRun:
    """Return a run as it is printed under ``--json``."""
    import msgspec

    from dumpty.cli import json_runs

    return msgspec.convert(run, json_runs.JobRun, from_attributes=True)
