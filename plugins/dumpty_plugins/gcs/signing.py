"""What lets us in: as Google's own tools find it out."""

from __future__ import annotations

import functools
import threading
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dumpty_plugins.gcs.failures import NOTHING_SIGNS_IN, RequestFailed

if TYPE_CHECKING:
    from dumpty_plugins.gcs.address import Address

__all__ = ["Signing", "is_passing"]

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_DOMAIN = "googleapis.com"
_UNUSABLE = 400


class Signing:
    """Writes a token of Google's onto requests, as ``requests`` asks whatever signs; may be used by several threads.

    The chain is google-auth's: a file that ``GOOGLE_APPLICATION_CREDENTIALS`` names, what ``gcloud auth
    application-default login`` left, the machine's own account. A token is whoever holds it: so none is sent to another
    server than Google's, or over plain HTTP; such a server is asked without.

    Args:
        address: where requests go.
        session: sends what asks for tokens, of ``requests``.
    """

    def __init__(self, address: Address, session: Any) -> None:
        self._address = address
        self._session = session
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._looked = False
        self._send: Any = None

    def __call__(self, request: Any) -> Any:
        """Sign a request.

        Raises:
            RequestFailed: nothing does.
        """
        headers: dict[str, str] = {}
        with self._lock:
            if not self._looked:
                self._credentials = self._find()
                self._looked = True
            if self._credentials is not None:
                self._credentials.before_request(self._send, request.method, request.url, headers)
        request.headers.update(headers)
        return request

    def renew(self) -> bool:
        """Forget the token that the server did not accept, and return whether there was one."""
        with self._lock:
            if self._credentials is None:
                return False
            self._credentials.token = None
            return True

    def _find(self) -> Any:
        """Return the credentials; None where nobody's are for such a server."""
        import google.auth
        from google.auth import exceptions
        from google.auth.transport.requests import Request

        server = urlsplit(self._address.url)
        if server.scheme != "https":
            return None
        # Its own sessions wait for two minutes.
        self._send = functools.partial(Request(self._session), timeout=self._address.timeout)
        try:
            with warnings.catch_warnings():  # it warns that a person's own account has a quota
                warnings.simplefilter("ignore")
                credentials, _ = google.auth.default(scopes=[_SCOPE], request=self._send)
        except (exceptions.GoogleAuthError, OSError, ValueError) as error:
            if is_passing(error):
                raise
            if self._address.endpoint and not _is_of(server.hostname, _DOMAIN):
                return None
            raise RequestFailed(
                f"nothing signs in: {' '.join(str(error).split())[:300].rstrip('.')}",
                code=NOTHING_SIGNS_IN,
                status=_UNUSABLE,
            ) from error
        domain = getattr(credentials, "universe_domain", "") or _DOMAIN
        if _is_of(server.hostname, domain):
            return credentials
        if _is_of(server.hostname, _DOMAIN):
            raise RequestFailed(
                f"the credentials are for {domain}: write ?endpoint=https://storage.{domain}",
                code=NOTHING_SIGNS_IN,
                status=_UNUSABLE,
            )
        return None


def _is_of(host: str | None, domain: str) -> bool:
    return f".{host}".endswith(f".{domain}")


def is_passing(error: Exception) -> bool:
    """Return whether what google-auth raises is of the network, and says nothing of the credentials."""
    from google.auth import exceptions

    causes = (error, error.__cause__)
    return bool(getattr(error, "retryable", False)) or any(isinstance(e, exceptions.TransportError) for e in causes)
