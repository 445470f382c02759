"""One request to Google's servers, sent once over a connection that is kept."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dumpty_plugins.buckets.per_process import PerProcess
from dumpty_plugins.gcs import answers
from dumpty_plugins.gcs.failures import SESSION_GONE, RequestFailed
from dumpty_plugins.gcs.signing import Signing, is_passing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from dumpty_plugins.gcs.address import Address

__all__ = ["Answer", "Sender"]

_CONNECT_SECONDS = 30.0
"""How long to wait for a connection, and for each block that is sent to be taken."""
_CONNECTIONS = 32
_BLOCK = 1 << 16
_LARGEST = 1 << 20
"""More than the longest answer, downloads and listings apart."""
_UNAUTHORIZED = 401
_SUCCESS = range(200, 300)


class Answer(Struct, frozen=True, kw_only=True):
    """An answer that is a success, or was expected. ``headers`` know no case."""

    server: str
    status: int
    headers: Any
    content: bytes

    def document(self) -> dict[str, Any]:
        """Return the object that it holds; ``RequestFailed`` where it holds none."""
        return answers.document(self.content, self.server)


class Sender:
    """Sends requests. May be used from several threads.

    Args:
        address: of the bucket.
        note_time: gets the time that each answer tells.
    """

    def __init__(self, address: Address, note_time: Callable[[str | None], None]) -> None:
        self._address = address
        self._note_time = note_time
        self._connections = PerProcess(lambda: (_new_session(), Signing(address, _new_session())))

    def send(
        self,
        method: str,
        url: str,
        parameters: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Any] = bytes,
        expected: Collection[int] = (),
        gone: Collection[int] = (),
        about_object: bool = False,
        most: int = _LARGEST,
    ) -> Answer:
        """Send a request, and return the answer.

        Args:
            method: of HTTP.
            url: where to.
            parameters: of its query.
            headers: more of them.
            body: returns what is sent, anew each time.
            expected: which statuses beside those of success are none of a failure.
            gone: which ones say that an upload has ended.
            about_object: whether what may be missing is an object.
            most: how many bytes the answer may have.

        Raises:
            RequestFailed: there was no answer, or it was no success.
        """
        with self._errors():
            answer = self._exchange(method, url, parameters, headers or {}, body, most)
        if answer.status in gone:
            reason = answers.refusal(answer.status, answer.content, about_object=False).reason
            raise RequestFailed(reason, code=SESSION_GONE, status=answer.status)
        if answer.status not in _SUCCESS and answer.status not in expected:
            raise answers.refusal(answer.status, answer.content, about_object=about_object)
        return answer

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise as ``RequestFailed`` what keeps an answer from coming."""
        import requests
        from google.auth import exceptions

        try:
            yield
        except exceptions.RefreshError as error:
            if is_passing(error):
                raise RequestFailed(self._no_token(error), again=True) from error
            reason = f"no token is given for them: {_one_line(error)}"
            raise RequestFailed(reason, code="authError", status=_UNAUTHORIZED) from error
        except exceptions.GoogleAuthError as error:
            raise RequestFailed(self._no_token(error), again=True) from error
        except requests.exceptions.SSLError as error:
            if "certificate verify failed" not in str(error):  # the connection, and not whose it is
                raise RequestFailed(self._broken(error), again=True) from error
            raise RequestFailed(
                f"{self._address.server} has no certificate that is trusted here ({_one_line(error)}); see "
                "REQUESTS_CA_BUNDLE"
            ) from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise RequestFailed(self._broken(error), again=True) from error

    def _exchange(
        self,
        method: str,
        url: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        body: Callable[[], Any],
        most: int,
    ) -> Answer:
        session, signing = self._connections.get()
        for renewed in (False, True):
            with session.request(
                method,
                url,
                params=dict(parameters),
                headers=dict(headers),
                data=body(),
                auth=signing,
                timeout=(min(_CONNECT_SECONDS, self._address.timeout), self._address.timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                self._note_time(response.headers.get("Date"))
                content = self._read(response, most)
            if response.status_code != _UNAUTHORIZED or renewed or not signing.renew():
                break
        return Answer(
            server=self._address.server, status=response.status_code, headers=response.headers, content=content
        )

    def _read(self, response: Any, most: int) -> bytes:
        content = bytearray()
        allowed = most if response.status_code in _SUCCESS else _LARGEST
        for block in response.iter_content(_BLOCK):
            content += block
            if len(content) > allowed:
                raise RequestFailed(f"{self._address.server} answers with more than it was asked for")
        return bytes(content)

    @staticmethod
    def _no_token(error: Exception) -> str:
        return f"no token came from where Google signs in: {_one_line(error)}"

    def _broken(self, error: Exception) -> str:
        server, text = self._address.server, str(error)
        if type(error).__name__ == "ConnectTimeout" or "Failed to establish" in text or "NameResolution" in text:
            return f"{server} cannot be reached; see its address (?endpoint=), and the network"
        if type(error).__name__ == "ReadTimeout" or "timed out" in text:
            return (
                f"{server} gave no answer within {self._address.timeout:g} s; see the network, or allow more: ?timeout="
            )
        return f"the connection to {server} broke off: {_one_line(error)}"


def _new_session() -> Any:
    import requests
    from requests.adapters import HTTPAdapter

    class Session(requests.Session):
        """Looks at no redirection: it would read an answer to its end to follow none."""

        def get_redirect_target(self, resp: Any) -> None:  # noqa: ARG002 - theirs
            return None

    session = Session()
    session.auth = _unsigned  # or what ~/.netrc has for a host would take the token's place
    session.headers["User-Agent"] = "dumpty"
    session.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
    session.mount("http://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def _unsigned(request: Any) -> Any:
    return request


def _one_line(error: Exception) -> str:
    """Return an error in one line, without the address that it may tell: a session's lets its holder write."""
    text = " ".join(str(error).split())
    if untrusted := re.search(r"certificate verify failed: [^(\"']+", text):
        return untrusted[0].strip(" .")
    return re.sub(r"(with url:|https?://)\s*\S+|upload_id=\S+", "…", text)[:300] or type(error).__name__
