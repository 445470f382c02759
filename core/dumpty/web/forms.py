"""What a form of a page has sent."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["read_form"]

_LONGEST = 8192


async def read_form(request: Request) -> dict[str, str]:
    """Return what a form holds; nothing where it is longer than any of ours."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace"), max_num_fields=20).items()}
