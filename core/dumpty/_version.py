"""The version, as the installed distribution's metadata say it."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("dumpty")
