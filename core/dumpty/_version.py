"""The version, as the installed distribution's metadata say it."""

from __future__ import annotations

from importlib_metadata import PackageNotFoundError, distribution

from dumpty.distribution_metadata import metadata_field

try:
    __version__ = metadata_field(distribution("dumpty").read_text, "Version") or "unknown"
except PackageNotFoundError:  # sources on the path, not installed: that must not keep a backup from being proved
    __version__ = "unknown"
