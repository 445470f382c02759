"""BLAKE3 verifier for dumpty: a whole plugin in two hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Verifier


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="verifier", summary="BLAKE3 digests, as b3sum prints them", requires="dumpty-blake3")


@hookimpl
def verify() -> Verifier:
    """Return a fresh BLAKE3."""
    from blake3 import blake3

    digest: Verifier = blake3()
    return digest
