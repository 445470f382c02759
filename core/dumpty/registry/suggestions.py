"""What to suggest where a name is not known: one that is much like it, or the plugin that is known to answer it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "known_plugin"]

_MIN_SIMILARITY = 0.7
"""Of 1: a letter or two that are wrong, missing or exchanged, not another word."""

# Never a package by its mere name: whoever registers the names of mistyped schemes would get to run code.
_PUBLISHED_PLUGINS = {
    "driver": {"duckdb": "dumpty-duckdb", "redis": "dumpty-redis", "rediss": "dumpty-redis"},
    "compressor": {"brotli": "dumpty-brotli"},
    "verifier": {"blake3": "dumpty-blake3"},
}


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return the sentence that suggests what is most like ``name``; "" where nothing is."""
    matches = difflib.get_close_matches(name.lower(), sorted(set(candidates)), n=1, cutoff=_MIN_SIMILARITY)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def known_plugin(kind: str, name: str) -> str:
    """Return the sentence that says which plugin of a kind is known to answer a scheme or name; "" where none is."""
    package = _PUBLISHED_PLUGINS.get(kind, {}).get(name.lower())
    if package is None:
        return ""
    return f" The plugin {package} is for it, in dumpty's source: pip install ./examples/{package}"
