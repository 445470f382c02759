"""Takes what is asked for on a page, of who has shown the token, and sends back to where it can be followed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from dumpty.errors import DumptyError, Locked
from dumpty.web.access import session_of
from dumpty.web.forms import read_form
from dumpty.web.rendering import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from dumpty.jobs.protection import Protected
    from dumpty.operations.result import Backup
    from dumpty.web.access import Access
    from dumpty.web.site import Site
    from dumpty.web.tasks import Order

__all__ = ["Asking"]

_PATIENCE_SECONDS = 5.0


class Asking:
    """Begins what is asked for.

    Args:
        site: what there is.
        access: who may ask: whoever is in a session, by a form of that very session.
    """

    def __init__(self, site: Site, access: Access) -> None:
        self._site, self._access = site, access

    async def run(self, request: Request) -> Response:
        """Begin the run of a job."""
        from starlette.concurrency import run_in_threadpool

        form = await read_form(request)
        if (refusal := self._refusal(request, form)) is not None:
            return refusal
        return await run_in_threadpool(self._begin, lambda: self._site.actions.run(form.get("job", "")))

    async def on_backup(self, request: Request) -> Response:
        """Begin what is to be done with one backup."""
        from starlette.concurrency import run_in_threadpool

        form = await read_form(request)
        if (refusal := self._refusal(request, form)) is not None:
            return refusal
        path = {name: str(request.path_params[name]) for name in ("key", "id", "verb")}
        return await run_in_threadpool(self._begin, lambda: self._order(path, form))

    async def end(self, request: Request) -> Response:
        """Ask what was asked for to end."""
        from starlette.responses import RedirectResponse

        form = await read_form(request)
        if (refusal := self._refusal(request, form)) is not None:
            return refusal
        task_id = str(request.path_params["id"])
        self._site.tasks.end(task_id)
        return RedirectResponse(f"/tasks/{quote(task_id, safe='')}", 303)

    def _refusal(self, request: Request, form: dict[str, str]) -> Response | None:
        """Return the answer to who may not ask; None for who may."""
        key = self._access.form_key(session_of(request))
        if key and form.get("key") == key:
            return None
        text = "Only who has shown the token may ask for this, on a page that is open: dumpty serve --token."
        return _message("Not allowed", text, 403)

    def _order(self, path: dict[str, str], form: dict[str, str]) -> Order:
        from starlette.exceptions import HTTPException

        database, backup = self._found(path)
        actions, verb = self._site.actions, path["verb"]
        if verb == "drill":
            return actions.drill(database, backup)
        if verb == "restore":
            return actions.restore(database, backup, form.get("name", "").strip())
        if verb == "pin":
            return actions.pin(database, backup, form.get("reason", ""))
        if verb == "unpin":
            return actions.unpin(database, backup)
        if verb == "accept":
            return actions.accept(database, backup, form.get("reason", ""))
        raise HTTPException(404)

    def _found(self, path: dict[str, str]) -> tuple[Protected, Backup]:
        """Return the database and the backup that an address names.

        Raises:
            HTTPException: they are not there.
        """
        from starlette.exceptions import HTTPException

        protection = self._site.protection(_PATIENCE_SECONDS, "visited")
        for database in protection.databases if protection is not None else ():
            for backup in database.backups if database.key == path["key"] else ():
                if backup.id == path["id"]:
                    return database, backup
        raise HTTPException(404, "there is no such backup any more")

    def _begin(self, order: Callable[[], Order]) -> Response:
        from starlette.responses import RedirectResponse

        try:
            task = self._site.tasks.begin(order())
        except Locked as error:
            return _message("Not now", str(error), 409)
        except DumptyError as error:
            return _message("That cannot be done", self._site.redacted(str(error)), 400)
        return RedirectResponse(f"/tasks/{task.id}", 303)


def _message(title: str, text: str, code: int) -> Response:
    from starlette.responses import HTMLResponse

    return HTMLResponse(render("message.html", title=title, text=text), code)
