"""The same as the pages, as JSON: the objects that the verbs print under ``--json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from dumpty.jobs.protection import Protection
    from dumpty.operations.result import Backup
    from dumpty.replies.verbs import Reply
    from dumpty.web.site import Site

__all__ = ["Api"]

_PATIENCE_SECONDS = 8.0


class Api:
    """Answers with JSON: the object of ``dumpty report``, ``list``, ``show``, ``check``, ``runs`` and ``prune``.

    Args:
        site: what there is to show.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def databases(self, request: Request) -> Response:
        """Answer with every database, and how it stands: ``report``."""
        from dumpty.replies.jobs import protected_as_json
        from dumpty.replies.verbs import ReportReply

        del request
        protection = self._protection()
        return _answer(
            ReportReply(
                at=protection.at,
                repositories=list(protection.repositories),
                databases=[protected_as_json(database) for database in protection.databases],
                warnings=list(protection.unreadable),
            )
        )

    def backups(self, request: Request) -> Response:
        """Answer with every backup, oldest first: ``list``; of one database where ``?database=`` names it."""
        from dumpty.replies.backups import as_json
        from dumpty.replies.verbs import ListReply

        protection = self._protection()
        wanted = request.query_params.get("database")
        chosen = [b for b in _backups(protection) if wanted in {None, b.database_name}]
        return _answer(ListReply(backups=list(map(as_json, chosen)), warnings=list(protection.unreadable)))

    def backup(self, request: Request) -> Response:
        """Answer with all that is known of one backup: ``show``."""
        from starlette.exceptions import HTTPException

        from dumpty.replies.backups import with_details
        from dumpty.replies.verbs import ShowReply

        wanted = request.path_params["id"]
        found = next((backup for backup in _backups(self._protection()) if backup.id == wanted), None)
        if found is None:
            raise HTTPException(404, "there is no such backup")
        return _answer(ShowReply(backups=[with_details(found)]))

    def jobs(self, request: Request) -> Response:
        """Answer with how each job is: ``check``."""
        from dumpty.errors import StoreError
        from dumpty.replies.jobs import health_as_json
        from dumpty.replies.verbs import CheckReply

        del request
        protection = self._protection()
        jobs = [health_as_json(health.job, health, None, protection.at, str) for health in protection.jobs]
        jobs += [
            health_as_json(unknown.job, None, StoreError(unknown.error), protection.at, str)
            for unknown in protection.unknown
        ]
        return _answer(CheckReply(jobs=sorted(jobs, key=lambda job: job.job), warnings=list(protection.unreadable)))

    def runs(self, request: Request) -> Response:
        """Answer with the latest runs: ``runs``; of one job where ``?job=`` names it."""
        from starlette.exceptions import HTTPException

        from dumpty.replies.jobs import stored_run_as_json
        from dumpty.replies.verbs import RunsReply

        found = self._site.runs(_PATIENCE_SECONDS, "visited")
        if found is None:
            raise HTTPException(503, _NOTHING_YET, {"Retry-After": "60"})
        wanted = request.query_params.get("job")
        chosen = [run for run in found if wanted in {None, run.stored.job}]
        runs = [stored_run_as_json(run.repository, run.stored, run.result) for run in chosen]
        return _answer(RunsReply(runs=runs, warnings=[run.error for run in chosen if run.error]))

    def decisions(self, request: Request) -> Response:
        """Answer with what the next prune of each job would remove, and why: ``prune --dry-run``."""
        from dumpty.replies.backups import decision_as_json
        from dumpty.replies.verbs import PruneReply

        del request
        protection = self._protection()
        going = [decision for decisions in protection.going.values() for decision in decisions]
        decisions = [decision_as_json(decision, False) for decision in going]
        zones = {str(h.job.rules.zone) for h in protection.jobs if h.job.rules is not None}
        return _answer(
            PruneReply(decisions=decisions, removed=[], dry_run=True, timezone=", ".join(sorted(zones)) or "UTC")
        )

    def _protection(self) -> Protection:
        """Return what is known.

        Raises:
            HTTPException: nothing is yet.
        """
        from starlette.exceptions import HTTPException

        found = self._site.protection(_PATIENCE_SECONDS, "visited")
        if found is None:
            raise HTTPException(503, _NOTHING_YET, {"Retry-After": "60"})
        return found


_NOTHING_YET = "nothing is known yet: a repository has given no answer so far"


def _backups(protection: Protection) -> Iterable[Backup]:
    """Return every backup once, oldest first: two jobs may have the same database."""
    every = {(backup.id, backup.file_path): backup for d in protection.databases for backup in d.backups}
    return sorted(every.values(), key=lambda backup: (backup.timestamp, backup.id))


def _answer(reply: Reply) -> Response:
    import msgspec
    from starlette.responses import Response

    # As the command line does: a name may hold bytes that are no text.
    return Response(json.dumps(msgspec.to_builtins(reply)), media_type="application/json")
