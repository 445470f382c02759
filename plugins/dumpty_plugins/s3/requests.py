"""Requests to one bucket's server, each of which ends within a bounded time, whatever the server does."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, Any

from dumpty_plugins.buckets.per_process import PerProcess
from dumpty_plugins.buckets.waiting import Waiting, clock
from dumpty_plugins.s3.failures import RequestFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dumpty_plugins.s3.address import Address

__all__ = ["Requests", "close_body"]

_ATTEMPTS = 4
"""How often a request is sent, at most: again after 429, 5xx and lost connections, never after a refusal."""
_TOO_MANY = 429
_CONNECTIONS = 32
_CONNECT_SECONDS = 10.0


class Requests:
    """Sends requests. May be used from several threads.

    Args:
        address: where to.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._client = PerProcess(lambda: _new_client(address))
        self._waiting = Waiting(address.server, address.timeout * _ATTEMPTS, RequestFailed, "dumpty-s3")

    def send(
        self,
        operation: str,
        parameters: Mapping[str, object],
        *,
        size: int = 0,
        over: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Send a request about the bucket, again where it may help, and return the answer.

        Args:
            operation: botocore's name for it: ``put_object``.
            parameters: what it takes, the bucket apart.
            size: how many bytes it moves.
            over: tells, asked again and again, whether nobody waits any more.

        Raises:
            RequestFailed: there was no answer, or it was no success.
        """
        work = functools.partial(self._answer, operation, parameters)
        return self._waiting.wait(work, size=size, over=over, discard=close_body)

    def wait(self, work: Callable[[], Any], *, size: int = 0) -> Any:
        """Return what ``work`` returns, which waits for the server, or leave it behind when the time is over.

        Raises:
            RequestFailed: ``work`` has raised it, or the time is over.
        """
        return self._waiting.wait(work, size=size)

    def send_at_last(self, operation: str, parameters: Mapping[str, object]) -> None:
        """Send a request that cleans up, although the server may have been given up, and wait for a moment only.

        Raises:
            RequestFailed: it is not known to have succeeded.
        """
        self._waiting.wait_at_last(lambda: self._answer(operation, parameters))

    def now(self, ask: Callable[[], object]) -> datetime:
        """Return the server's time; ``ask`` sends it a request where it has said nothing of late.

        Raises:
            RequestFailed: that failed, or the server tells no time.
        """
        return self._waiting.now(ask)

    def _answer(self, operation: str, parameters: Mapping[str, object]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004
        from botocore.parsers import ResponseParserError

        begun = clock()
        try:
            answer = getattr(self._client.get(), operation)(Bucket=self.address.bucket, **parameters)
        except ClientError as error:
            self._note_time(error.response.get("ResponseMetadata", {}), begun)
            raise _refusal(operation, error.response) from error
        except (HTTPClientError, ConnectionError) as error:
            raise RequestFailed(_connection_reason(error, self.address)) from error
        except ResponseParserError as error:
            raise RequestFailed(f"the answer of {self.address.server} makes no sense") from error
        except (BotoCoreError, OSError, ValueError) as error:
            raise RequestFailed(_own_reason(error), status=_status_of(error)) from error
        self._note_time(answer["ResponseMetadata"], begun)
        return answer

    def _note_time(self, metadata: dict[str, Any], begun: float) -> None:
        self._waiting.note_time(metadata.get("HTTPHeaders", {}).get("date"), begun)


def close_body(answer: dict[str, Any]) -> None:
    """Close the connection that the rest of an answer would have come over, which nobody reads."""
    if (body := answer.get("Body")) is not None:
        body.close()


@functools.cache
def _loader(data_path: str | None) -> Any:
    """Return what reads botocore's description of S3, a tenth of a second's work, and keeps it for the next client."""
    import botocore.loaders

    return botocore.loaders.create_loader(data_path)


def _new_client(address: Address) -> Any:
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session(profile=address.profile or None)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_time)
    addressing = address.addressing or ("path" if address.endpoint else "auto")
    config = Config(
        connect_timeout=min(_CONNECT_SECONDS, address.timeout),
        read_timeout=address.timeout,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        s3={"addressing_style": addressing},
        # Every request with data carries a checksum of our own making, in a header that no server stumbles over.
        request_checksum_calculation="when_required",
        user_agent_extra="dumpty",
        tcp_keepalive=True,
    )
    region = address.region or session.get_config_variable("region") or "us-east-1"
    client = session.create_client("s3", region_name=region, endpoint_url=address.endpoint or None, config=config)
    client.meta.events.register("needs-retry.s3", _pause_if_too_many)
    return client


def _parse_time(text: str) -> datetime:
    """Return the time that an answer tells: where it is ISO 8601, as in listings, thirty times as fast as botocore's.

    Raises:
        ValueError: it is no time.
    """
    from datetime import datetime

    from botocore.utils import parse_timestamp

    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return parse_timestamp(text)  # type: ignore[no-any-return]
    return time if time.tzinfo else parse_timestamp(text)


def _pause_if_too_many(response: tuple[Any, object] | None, attempts: int, **_: object) -> float | None:
    """Return when to send a request again that was one too many: botocore knows codes of Amazon's for it, no status."""
    too_many = response is not None and response[0].status_code == _TOO_MANY
    return random.uniform(0, 2**attempts) if too_many and attempts < _ATTEMPTS else None  # noqa: S311 - no secret


def _refusal(operation: str, response: dict[str, Any]) -> RequestFailed:
    error, metadata = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), int(metadata.get("HTTPStatusCode", 0))
    if code == "404" and operation != "head_object":
        code = ""  # S3 says what it is that is missing: this is a proxy's, or a wrong address
    message = " ".join(str(error.get("Message", "")).split())[:300]
    region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
    code_text = code or f"HTTP status {status}"
    reason = f"{code_text}: {message}" if message and message != code else code_text
    return RequestFailed(
        reason + (f"; it is {region}" if region and status in {301, 400} else ""), code=code, status=status
    )


def _connection_reason(error: Exception, address: Address) -> str:
    from botocore import exceptions

    server = address.server
    if isinstance(error, exceptions.SSLError):
        return f"{server} has no certificate that is trusted here ({_one_line(error)}); see AWS_CA_BUNDLE"
    if isinstance(error, (exceptions.ReadTimeoutError, exceptions.ConnectTimeoutError)):
        return f"{server} gave no answer within {address.timeout:g} s; see the network, or allow more: ?timeout="
    if isinstance(error, exceptions.EndpointConnectionError):
        return f"{server} cannot be reached; see its address (?endpoint=), the region, and the network"
    return f"the connection to {server} broke off: {_one_line(error)}"


def _own_reason(error: Exception) -> str:
    from botocore import exceptions

    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        return (
            "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of "
            "~/.aws (?profile=NAME, AWS_PROFILE)"
        )
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{_one_line(error)}; see ~/.aws/config, ?profile= and AWS_PROFILE"
    return _one_line(error)


def _status_of(error: Exception) -> int:
    """Return 400 for what was never sent, or was refused on this side; 0 where it cannot be told."""
    from botocore import exceptions

    unsent = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.ProfileNotFound,
        exceptions.ParamValidationError,
        exceptions.CredentialRetrievalError,
    )
    return 400 if isinstance(error, unsent) else 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
