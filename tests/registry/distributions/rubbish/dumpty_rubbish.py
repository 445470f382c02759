"""Describes itself with a dict."""

from __future__ import annotations

from dumpty import hookimpl


@hookimpl
def describe():
    return {"kind": "driver"}
