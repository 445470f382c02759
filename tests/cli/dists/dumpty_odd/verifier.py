"""The verifier ``odd``: never used, only described."""

from __future__ import annotations

import hashlib

from dumpty import PluginInfo, hookimpl


@hookimpl
def describe():
    return PluginInfo(kind="verifier", requires="another-one>=3")


@hookimpl
def verify():
    return hashlib.md5()
