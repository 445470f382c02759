"""The pages: what each shows, from one look at what is protected."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dumpty.web import details
from dumpty.web.access import session_of
from dumpty.web.commands import commands_of
from dumpty.web.days import days_of
from dumpty.web.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from dumpty.jobs.protection import Protected, Protection
    from dumpty.jobs.run_log import LoggedRun
    from dumpty.web.access import Access
    from dumpty.web.site import How, Site

__all__ = ["Pages"]

T = TypeVar("T")

_PATIENCE_SECONDS = 5.0
"""How long a page waits for the first look; then it says that it is looked."""
_RENEWAL_SECONDS = 15.0
_ON_A_PAGE = 100
_CALENDAR_DAYS = 31


class _Part(NamedTuple):
    """Some of many: those of one page, which page that is, and how many there are."""

    entries: Sequence[Any]
    number: int
    pages: int
    total: int
    query: str


class Pages:
    """Answers with pages.

    Args:
        site: what there is to show.
        access: who may look.
    """

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access

    # -- what is protected -----------------------------------------------------------------------------------------

    def databases(self, request: Request) -> Response:
        """Answer with every database, and how it stands."""
        protection = self._protection(request)
        if protection is None:
            return self._not_yet(request)
        wanted, status = request.query_params.get("q", "").strip(), request.query_params.get("status", "")
        chosen = [d for d in protection.databases if _matches(d, wanted) and status in {"", d.status}]
        # What somebody should look at comes first; else they stay in the order of their names.
        chosen.sort(key=lambda database: details.RANKS[database.status])
        counts = {word: sum(d.status == word for d in protection.databases) for word in details.RANKS}
        part = _part(chosen, request)
        return self._page(
            request,
            "databases.html",
            title="Databases",
            protection=protection,
            part=part,
            wanted=wanted,
            status=status,
            counts={word: number for word, number in counts.items() if number},
            problems=list(details.problems_of(protection)),
            running=[health.job.name for health in protection.jobs if health.running],
            live=any(health.running for health in protection.jobs),
        )

    def calendar(self, request: Request) -> Response:
        """Answer with the last days of every database."""
        protection = self._protection(request)
        if protection is None:
            return self._not_yet(request)
        failed = details.failures(self._runs(request) or ())
        part = _part(protection.databases, request)
        rows = [(d, days_of(d, details.failures_of(d, failed), protection.at, _CALENDAR_DAYS)) for d in part.entries]
        return self._page(request, "calendar.html", title="Calendar", protection=protection, rows=rows, part=part)

    def storage(self, request: Request) -> Response:
        """Answer with how much the backups of each database take, and what the next prune would remove."""
        protection = self._protection(request)
        if protection is None:
            return self._not_yet(request)
        largest = sorted(protection.databases, key=lambda database: database.size_bytes, reverse=True)
        going = [(job, decision) for job, decisions in protection.going.items() for decision in decisions]
        return self._page(
            request,
            "storage.html",
            title="Storage",
            protection=protection,
            part=_part(largest, request),
            total=sum(database.size_bytes for database in largest),
            most=max((database.size_bytes for database in largest), default=0),
            going=going[:_ON_A_PAGE],
            going_total=len(going),
            going_bytes=sum(d.backup.size_bytes for _, d in going if d.backup.state != "lost"),
            pages_of_backups={b.id: d.key for d in protection.databases for b in d.backups} if going else {},
        )

    def database(self, request: Request) -> Response:
        """Answer with all that is known of one database."""
        protection = self._protection(request)
        if protection is None:
            return self._not_yet(request)
        database = _find(protection, request.path_params["key"])
        failed = details.failures_of(database, details.failures(self._runs(request) or ()))
        days = days_of(database, failed, protection.at, 365)
        return self._page(
            request,
            "database.html",
            title=database.database,
            protection=protection,
            database=database,
            part=_part(database.backups[::-1], request),
            days=days,
            charts=details.charts(database),
        )

    def backup(self, request: Request) -> Response:
        """Answer with all that is known of one backup, and how to restore it."""
        from starlette.exceptions import HTTPException

        protection = self._protection(request)
        if protection is None:
            return self._not_yet(request)
        database = _find(protection, request.path_params["key"])
        backup = next((b for b in database.backups if b.id == request.path_params["id"]), None)
        if backup is None:
            raise HTTPException(404, "there is no such backup any more")
        return self._page(
            request,
            "backup.html",
            title=f"Backup {backup.id[:8]} of {database.database}",
            protection=protection,
            database=database,
            backup=backup,
            facts=details.facts(backup),
            commands=commands_of(database, backup),
            unrestorable=self._site.actions.why_not_restored(database, backup) if self._access.needs_token else "",
            tables=_part(backup.evidence.objects, request),
        )

    # -- runs ------------------------------------------------------------------------------------------------------

    def runs(self, request: Request) -> Response:
        """Answer with the latest runs."""
        runs = self._runs(request)
        if runs is None:
            return self._not_yet(request)
        wanted = request.query_params.get("q", "").strip()
        chosen = [run for run in runs if wanted.lower() in run.stored.job.lower()]
        return self._page(
            request,
            "runs.html",
            title="Runs",
            part=_part(chosen, request),
            wanted=wanted,
            messages=self._site.messages.of()[-_ON_A_PAGE:][::-1],
            tasks=self._site.tasks.latest(),
            at_work=self._site.activity.at_work()[:_ON_A_PAGE],
            waiting=self._site.activity.waiting,
            jobs=self._site.actions.jobs,
            live=self._site.serves or any(run.stored.running for run in chosen) or self._is_at_work(),
        )

    def run(self, request: Request) -> Response:
        """Answer with what came of one run."""
        from starlette.exceptions import HTTPException

        job, slot = request.path_params["job"], request.path_params["slot"]
        runs, protection = self._runs(request), self._protection(request)
        if runs is None or protection is None:
            return self._not_yet(request)
        run = next((r for r in runs if (r.stored.job, r.stored.slot) == (job, slot)), None)
        if run is None:
            raise HTTPException(404, "that run is not among the latest")
        return self._page(
            request,
            "run.html",
            title=f"Run {slot} of {job}",
            run=run,
            messages=self._site.messages.of(job) if run.stored.running else [],
            pages_of_backups={b.id: d.key for d in protection.databases for b in d.backups},
            live=run.stored.running,
        )

    def task(self, request: Request) -> Response:
        """Answer with how far it is with what was asked for on a page."""
        from starlette.exceptions import HTTPException

        found = next((task for task in self._site.tasks.latest() if task.id == request.path_params["id"]), None)
        if found is None:
            raise HTTPException(404, "that is not among what was asked for last")
        return self._page(request, "task.html", title=found.what, task=found, live=found.outcome == "running")

    def _is_at_work(self) -> bool:
        return any(task.outcome == "running" for task in self._site.tasks.latest())

    # -- what they have in common ----------------------------------------------------------------------------------

    async def look(self, request: Request) -> Response:
        """Look anew, and go back to where that was asked."""
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import RedirectResponse

        await run_in_threadpool(self._site.protection, _RENEWAL_SECONDS, "now")
        await run_in_threadpool(self._site.runs, _RENEWAL_SECONDS, "now")
        to = request.query_params.get("to", "/")
        return RedirectResponse(to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/", 303)

    def _protection(self, request: Request) -> Protection | None:
        return self._site.protection(_PATIENCE_SECONDS, _how(request))

    def _runs(self, request: Request) -> tuple[LoggedRun, ...] | None:
        return self._site.runs(_PATIENCE_SECONDS, _how(request))

    def _not_yet(self, request: Request) -> Response:
        text = "The repositories are being looked at. They have given no answer so far: wait, or see what dumpty says."
        return self._page(request, "waiting.html", 503, title="Looking", text=text, live=True)

    def _page(self, request: Request, template: str, code: int = 200, **values: Any) -> Response:
        from starlette.responses import HTMLResponse

        session = session_of(request)
        common = {
            "site": self._site,
            "now": datetime.now(UTC),
            "path": request.url.path,
            "form_key": self._access.form_key(session),
            "live": False,
            "static_page": False,
        }
        return HTMLResponse(render(template, **{**common, **values}), code)


def _how(request: Request) -> How:
    """Return whether somebody visits a page, or an open one renews itself (https://www.w3.org/TR/fetch-metadata/)."""
    return "renewed" if request.headers.get("sec-fetch-dest") == "empty" else "visited"


def _matches(database: Protected, wanted: str) -> bool:
    names = (database.database, database.source, database.job.name if database.job else "")
    return any(wanted.lower() in name.lower() for name in names)


def _find(protection: Protection, key: str) -> Protected:
    from starlette.exceptions import HTTPException

    found = next((database for database in protection.databases if database.key == key), None)
    if found is None:
        raise HTTPException(404, "there is no such database any more")
    return found


def _part(entries: Sequence[T], request: Request) -> _Part:
    """Return those of a page that ``?page=`` names, or of the nearest there is."""
    from urllib.parse import urlencode

    pages = max(1, math.ceil(len(entries) / _ON_A_PAGE))
    asked = request.query_params.get("page", "1")
    number = min(max(1, int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1), pages)  # noqa: PLR2004 - what an int is read from
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "page" and value]
    start = (number - 1) * _ON_A_PAGE
    return _Part(entries[start : start + _ON_A_PAGE], number, pages, len(entries), urlencode(others))
