"""Who may look: whoever reaches this machine's own address, or shows the token; and what no other page may do."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from dumpty.redaction import one_line
from dumpty.web.headers import SAFE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Access", "Guard", "cookie_name", "session_of"]

_LOCAL_NAMES = {"", "localhost", "localhost."}
_IDLE_SECONDS = 12 * 3600.0
_LONGEST_SECONDS = 7 * 86_400.0
_MOST_SESSIONS = 1000
_WRONG_GUESSES = 10
"""So many in so many seconds, and an address is not listened to until they are over."""
_GUESS_SECONDS = 300.0
_MOST_ADDRESSES = 4096
_MOST_WRONG = 100
"""So many wrong ones of all addresses in that time, and only one guess a second is listened to."""
_OPEN_TO_ALL = "/static/"
_LOGIN = "/login"


class _Session:
    def __init__(self) -> None:
        self.began = self.seen = time.monotonic()
        self.form_key = secrets.token_urlsafe(32)

    @property
    def is_over(self) -> bool:
        now = time.monotonic()
        return now - self.seen > _IDLE_SECONDS or now - self.began > _LONGEST_SECONDS


class Access:
    """Knows the token, who has shown it, and who guesses.

    Args:
        token: what whoever asks must show; None for nothing.
        local_name: by what name this machine alone is to reach it, "" where others may.
    """

    def __init__(self, token: str | None, local_name: str) -> None:
        self._token = token
        self._local_name = local_name.lower()
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._all_wrong: deque[float] = deque(maxlen=_MOST_WRONG)
        self._heard = float("-inf")

    @property
    def needs_token(self) -> bool:
        """Whether a token is asked for."""
        return self._token is not None

    def shows_token(self, shown: str, address: str) -> bool | None:
        """Return whether what somebody shows is the token; None where that address has guessed too often."""
        if self._token is None:
            return True
        with self._lock:
            now = time.monotonic()
            wrong = [at for at in self._wrong.pop(address, []) if now - at < _GUESS_SECONDS]
            if len(wrong) >= _WRONG_GUESSES or self._is_too_much(now):
                self._wrong[address] = wrong
                return None
            self._heard = now
            right = hmac.compare_digest(shown.encode("utf-8", "replace"), self._token.encode())
            if not right:
                wrong.append(now)
                self._all_wrong.append(now)
            if wrong:
                self._wrong[address] = wrong
            while len(self._wrong) > _MOST_ADDRESSES:
                self._wrong.popitem(last=False)
            return right

    def _is_too_much(self, now: float) -> bool:
        """Return whether so many have guessed, from wherever, that this is not listened to."""
        crowded = len(self._all_wrong) == _MOST_WRONG and now - self._all_wrong[0] < _GUESS_SECONDS
        return crowded and now - self._heard < 1.0

    def begin(self) -> str:
        """Begin a session of somebody who has shown the token, and return its name."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[name] = _Session()
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return name

    def end(self, name: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(name, None)

    def is_begun(self, name: str) -> bool:
        """Return whether a session goes on; it does for another while then."""
        with self._lock:
            session = self._sessions.get(name)
            if session is None:
                return False
            if session.is_over:
                del self._sessions[name]
                return False
            session.seen = time.monotonic()
            return True

    def form_key(self, name: str) -> str:
        """Return what the forms of a session carry, so that no other page can send them; "" where there is none."""
        with self._lock:
            session = self._sessions.get(name)
            return "" if session is None else session.form_key

    def refused_name(self, host: str) -> str:
        """Return by what name it should have been asked, "" where ``host`` is right.

        A page in this machine's browser whose own name was made to mean this machine would else read all of it.
        """
        if self._token is not None or not self._local_name or self._is_local(host):
            return ""
        return self._local_name

    def _is_local(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        return name.lower() in {*_LOCAL_NAMES, self._local_name}


def cookie_name(asked: HTTPConnection) -> str:
    """Return the name of the cookie that holds a session: browsers give the same ones to all ports of a host."""
    server = asked.scope.get("server")
    return f"dumpty-{server[1] if server else 0}"


def session_of(asked: HTTPConnection) -> str:
    """Return the name of the session that whoever asks says to be in; "" for none."""
    return asked.cookies.get(cookie_name(asked), "")


class Guard:
    """Lets through who may look, and puts on every answer the headers that keep a browser from being misled.

    Args:
        app: what is behind it.
        access: who may.
        problem: is told of what nobody foresaw, which then is the answer, too.
    """

    def __init__(self, app: ASGIApp, access: Access, problem: Callable[[str], None]) -> None:
        self._app, self._access, self._problem = app, access, problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] != "http":
            return
        from starlette.requests import HTTPConnection
        from starlette.responses import PlainTextResponse

        begun = False

        async def send_safely(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in SAFE_HEADERS if header[0] not in present),
                ]
            await send(message)

        asked = HTTPConnection(scope)
        try:
            await (self._refusal(asked) or self._app)(scope, receive, send_safely)
        except Exception as error:  # noqa: BLE001 - jobs are run, whatever a page does
            self._problem(
                f"the page {asked.scope['path']} could not be made: {type(error).__name__}: {one_line(error)}"
            )
            if not begun:
                answer = PlainTextResponse("something went wrong that nobody foresaw: see what dumpty says\n", 500)
                await answer(scope, receive, send_safely)

    def _refusal(self, asked: HTTPConnection) -> ASGIApp | None:
        """Return the answer to who may not look; None for who may."""
        from starlette.responses import PlainTextResponse

        if name := self._access.refused_name(asked.headers.get("host", "")):
            return PlainTextResponse(f"ask for {name} or localhost, or serve it with a token\n", 421)
        path = str(asked.scope["path"])  # not that of asked.url, which is made of what whoever asks calls this machine
        if asked.scope["method"] not in {"GET", "HEAD"} and not _is_from_here(asked):
            return PlainTextResponse("this was sent by another page: open this one and try again\n", 403)
        is_open = not self._access.needs_token or path == _LOGIN or path.startswith(_OPEN_TO_ALL)
        if is_open or self._access.is_begun(session_of(asked)):
            return None
        return self._without_session(asked)

    def _without_session(self, asked: HTTPConnection) -> ASGIApp | None:
        """Return the answer to who has shown no token before; None for who does now."""
        from starlette.responses import PlainTextResponse, RedirectResponse

        scheme, _, shown = asked.headers.get("authorization", "").partition(" ")
        right: bool | None = False
        if shown:
            address = asked.client.host if asked.client else ""
            right = self._access.shows_token(shown.strip(), address) if scheme.lower() == "bearer" else False
        if right:
            return None
        if right is None:
            return PlainTextResponse("too many wrong tokens: wait\n", 429, {"Retry-After": f"{_GUESS_SECONDS:.0f}"})
        if not shown and _is_for_people(asked):
            return RedirectResponse("/login", 303)
        text = "show the token: Authorization: Bearer ...\n"
        return PlainTextResponse(text, 401, {"WWW-Authenticate": 'Bearer realm="dumpty"'})


def _is_for_people(asked: HTTPConnection) -> bool:
    path = str(asked.scope["path"])
    return "text/html" in asked.headers.get("accept", "") and path != "/metrics" and not path.startswith("/api/")


def _is_from_here(asked: HTTPConnection) -> bool:
    """Return whether a browser says that what it sends comes from a page of this very server."""
    site = asked.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = asked.headers.get("origin")
    return origin is None or origin.partition("://")[2] == asked.headers.get("host")
