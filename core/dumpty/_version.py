"""The version, as the installed distribution's metadata say it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("dumpty")
except PackageNotFoundError:  # sources on the path, not installed: that must not keep a backup from being proved
    __version__ = "unknown"
