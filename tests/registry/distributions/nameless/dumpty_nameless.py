"""Implements a hook, but not describe."""

from __future__ import annotations

from dumpty import hookimpl


@hookimpl
def verify():
    return None
