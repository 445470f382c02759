"""The pages and what else is answered, at which address."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dumpty.web.access import Access, Guard, cookie_name, session_of
from dumpty.web.forms import read_form
from dumpty.web.rendering import STATIC, asset, render

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from dumpty.web.site import Site

__all__ = ["make_app"]

_PATIENCE_SECONDS = 8.0
"""How long whoever asks for metrics waits, unless he says otherwise; Prometheus waits for 10."""


def make_app(site: Site, access: Access) -> ASGIApp:
    """Return what answers.

    Args:
        site: what there is to show.
        access: who may look.
    """
    from starlette.applications import Starlette
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.routing import Route

    from dumpty.web.api import Api
    from dumpty.web.asking import Asking
    from dumpty.web.pages import Pages

    pages, api, others, asking = Pages(site, access), Api(site), _Others(site, access), Asking(site, access)
    routes = [
        Route("/", pages.databases),
        Route("/calendar", pages.calendar),
        Route("/storage", pages.storage),
        Route("/runs", pages.runs),
        Route("/runs/{job}/{slot}", pages.run),
        Route("/databases/{key}", pages.database),
        Route("/databases/{key}/backups/{id}", pages.backup),
        Route("/tasks/{id}", pages.task),
        Route("/tasks/{id}/end", asking.end, methods=["POST"]),
        Route("/run", asking.run, methods=["POST"]),
        Route("/databases/{key}/backups/{id}/{verb}", asking.on_backup, methods=["POST"]),
        Route("/look", pages.look, methods=["POST"]),
        Route("/login", others.ask_for_token),
        Route("/login", others.take_token, methods=["POST"]),
        Route("/logout", others.end, methods=["POST"]),
        Route("/static/{name}", others.static),
        Route("/metrics", others.metrics),
        Route("/api/databases", api.databases),
        Route("/api/backups", api.backups),
        Route("/api/backups/{id}", api.backup),
        Route("/api/jobs", api.jobs),
        Route("/api/runs", api.runs),
        Route("/api/decisions", api.decisions),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})
    return Guard(GZipMiddleware(app, compresslevel=1), access, site.problem)


def _not_found(request: Request, error: Exception) -> Response:
    from starlette.responses import HTMLResponse, PlainTextResponse

    status = getattr(error, "status_code", 404)
    text = str(getattr(error, "detail", "")) or "there is nothing here"
    headers = getattr(error, "headers", None)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(render("message.html", title="Not found", text=text), status, headers)
    return PlainTextResponse(f"{text}\n", status, headers)


class _Others:
    """What is answered beside pages and values: metrics, files, and who is let in."""

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access

    def metrics(self, request: Request) -> Response:
        """Answer with what ``dumpty metrics`` prints."""
        from starlette.exceptions import HTTPException
        from starlette.responses import PlainTextResponse, Response

        from dumpty.jobs.metrics import CONTENT_TYPE

        if self._site.metrics is None:
            raise HTTPException(404, "metrics are of jobs, and a repository is shown: serve a configuration")
        found = self._site.metrics(_patience(request))
        if found is None:
            text = "nothing is known yet: a repository has given no answer so far\n"
            return PlainTextResponse(text, 503, {"Retry-After": "60"})
        return Response(found, headers={"Content-Type": CONTENT_TYPE})

    async def static(self, request: Request) -> Response:
        """Answer with a file of the pages."""
        from starlette.exceptions import HTTPException
        from starlette.responses import Response

        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        # Its address changes with it: a browser may keep it.
        return Response(asset(name), media_type=STATIC[name], headers={"Cache-Control": "max-age=31536000, immutable"})

    async def ask_for_token(self, request: Request) -> Response:
        """Answer with the form that asks for the token."""
        from starlette.responses import HTMLResponse, RedirectResponse

        if not self._access.needs_token or self._access.is_begun(session_of(request)):
            return RedirectResponse("/", 303)
        return HTMLResponse(render("login.html", error=""))

    async def take_token(self, request: Request) -> Response:
        """Let in who shows the token."""
        from starlette.responses import HTMLResponse, RedirectResponse

        if not self._access.needs_token:
            return RedirectResponse("/", 303)
        form = await read_form(request)
        right = self._access.shows_token(form.get("token", "").strip(), request.client.host if request.client else "")
        if right:
            answer = RedirectResponse("/", 303)
            is_tls = request.url.scheme == "https"
            answer.set_cookie(
                cookie_name(request), self._access.begin(), httponly=True, samesite="strict", secure=is_tls
            )
            return answer
        if right is None:
            text = "That was wrong too often. Wait five minutes, then try again."
            return HTMLResponse(render("login.html", error=text), 429, {"Retry-After": "300"})
        text = "That is not the token. It is what dumpty serve --token reads: a file, or a variable."
        return HTMLResponse(render("login.html", error=text), 403)

    async def end(self, request: Request) -> Response:
        """End the session."""
        from starlette.responses import RedirectResponse

        form, session = await read_form(request), session_of(request)
        if form.get("key") and form["key"] == self._access.form_key(session):
            self._access.end(session)
        return RedirectResponse("/login", 303)


def _patience(request: Request) -> float:
    """Return how many seconds whoever asks still waits, by what Prometheus says of itself."""
    with contextlib.suppress(ValueError):
        waits = float(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""))
        return max(0.0, min(_PATIENCE_SECONDS, waits - 1.0))
    return _PATIENCE_SECONDS
