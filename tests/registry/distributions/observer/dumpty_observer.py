"""Watches every backup; has no kind of its own."""

from __future__ import annotations

import pluggy

calls = []


@pluggy.HookimplMarker("dumpty")(wrapper=True)
def backup(source, format):
    calls.append((source.url, format))
    return (yield)
