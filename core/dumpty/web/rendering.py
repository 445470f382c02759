"""Templates, filled: every value is escaped, and no character of it moves a cursor or turns the writing round."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from typing import TYPE_CHECKING, Any

from dumpty.redaction import plain
from dumpty.web import text
from dumpty.web.days import gaps_in, weeks
from dumpty.web.details import outcome

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["STATIC", "asset", "render", "version"]

STATIC = {"icon.svg": "image/svg+xml", "page.css": "text/css", "page.js": "text/javascript"}
"""What is served as it is, with its type."""


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dumpty.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("ago", "count", "duration", "iso", "moment", "size", "until")
    environment.filters |= {name: getattr(text, name) for name in names}
    environment.filters |= {"weeks": weeks, "gaps_in": gaps_in, "outcome": outcome, "new_name": text.new_name}
    environment.globals |= {"words": text.WORDS, "version": version()}
    return environment


def _shown(value: Any) -> Any:
    """Return what a template shows for a value."""
    if value is None:
        return ""
    # Markup is a str, and what a template has made itself.
    return plain(value) if type(value) is str else value


def render(name: str, **values: Any) -> str:
    """Return a template, filled."""
    return _environment().get_template(name).render(**values)


@functools.cache
def asset(name: str) -> bytes:
    """Return a file of ``STATIC``."""
    return (importlib.resources.files("dumpty.web") / "static" / name).read_bytes()


@functools.cache
def version() -> str:
    """Return what the files of ``STATIC`` are known by: another one whenever one of them changes."""
    return hashlib.sha256(b"".join(map(asset, sorted(STATIC)))).hexdigest()[:12]
