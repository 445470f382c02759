"""What is told of one run when it begins, and when all of it is done."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dumpty.jobs.notifying import beat

if TYPE_CHECKING:
    from dumpty.jobs.job_run import ActiveJob, Listener
    from dumpty.jobs.outcomes import JobRun
    from dumpty.jobs.watch import Watch

__all__ = ["tell_begun", "tell_ended"]

_BEGINNING_SECONDS = 12.0
"""How long the end of a run waits for its beginning to be told: longer than that may take."""


def tell_begun(job: ActiveJob, listener: Listener, watch: Watch) -> None:
    """Tell the service that waits for it, meanwhile, that a run has begun; what goes wrong stops nothing."""
    written = job.job.heartbeat
    if written is None:
        return

    def tell() -> None:
        text = f"dumpty: {job.job.name}: a run has begun"
        problem = beat(written, "start", text, listener.remember, watch.patience)
        if problem is not None:
            listener.tell(f"{job.job.name}: {problem}")

    thread = threading.Thread(target=tell, name="dumpty-heartbeat-start", daemon=True)
    with contextlib.suppress(RuntimeError):  # no room for another thread: it is not told
        thread.start()
        job.begun = thread


def tell_ended(job: ActiveJob, listener: Listener, watch: Watch) -> None:
    """Tell services and people what came of a run, after copies, proofs and removals; that is none of its backups'.

    What goes wrong becomes a warning of the run. Of one that was interrupted, or that somebody else did, nothing is
    told.
    """
    run = job.result
    if run is None or job.stop.interrupted or not _is_own(job, run):
        return
    if job.begun is not None:  # or the service would hear of it last
        job.begun.join(_BEGINNING_SECONDS)
    event = "success" if run.outcome == "ok" else "failure"
    problem = beat(job.job.heartbeat, event, _text(run), listener.remember, watch.patience)
    problems = [problem] if problem is not None else []
    unrecorded = None if job.claimed and job.settled else run
    problems += watch.look([job.job], datetime.now(UTC), ended=True, unrecorded=unrecorded)
    if problems:
        for text in problems:
            listener.tell(text if text.startswith(f"{run.job}: ") else f"{run.job}: {text}")
        outcome = "attention" if run.outcome == "ok" else run.outcome
        warnings = (*run.warnings, *(text.removeprefix(f"{run.job}: ") for text in problems))
        job.result = replace(run, outcome=outcome, warnings=warnings)


def _is_own(job: ActiveJob, run: JobRun) -> bool:
    """Return whether a run is told of here: it was done here, was not possible, or done by who should not have."""
    if job.claimed or run.outcome == "attention":
        return True
    return run.outcome != "skipped" and not job.settled and run.error_type != "Locked"


def _text(run: JobRun) -> str:
    made = sum(database.ok for database in run.databases)
    first = (
        f"dumpty: {run.job}: {run.outcome}: {made} of {len(run.databases)} databases backed up, "
        f"{sum(copy.ok for copy in run.copies)} of {len(run.copies)} copies made, {run.duration_seconds:.0f} s"
    )
    return "\n".join([first, *([run.error] if run.error else []), *run.warnings])
