"""The verifier ``sha256``: FIPS 180-4, by ``hashlib`` (OpenSSL, with the CPU's own instructions)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dumpty import PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Verifier


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="verifier", summary="SHA-256 digests, as sha256sum prints them")


@hookimpl
def verify() -> Verifier:
    """Return a fresh SHA-256."""
    return hashlib.sha256()
