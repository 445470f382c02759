"""The store ``gcs``: a bucket of Google Cloud Storage.

An object ``FOLDER/NAME`` is the object ``PREFIX/FOLDER/NAME``. What is small is put in one request, with a CRC-32C
that the service checks; what is large goes through a resumable session, chunk by chunk, and is an object once the last
one is there. That a name is nobody's is for the service to decide (``ifGenerationMatch=0``), for sessions, too, and
whether it does is found out before anything relies on it (``probing``).

Requests are those of the JSON API; who they are from, google-auth says: Google's own chain of credentials. Each runs in
a thread of its own that can be left behind, so that a server that does not answer keeps nobody (``asking``).

Source: https://cloud.google.com/storage/docs/json_api/v1 and
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dumpty import PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Store

__all__ = ["describe", "open_store"]


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="store", summary="Google Cloud Storage", schemes=("gs",), requires="dumpty[gcs]")


@hookimpl
def open_store(url: str) -> Store:
    """Open ``gs://BUCKET[/PREFIX][?PARAMETERS]``; nothing is asked of the server yet.

    Raises:
        MalformedURL: it is no such URL, or has a parameter that there is not.
        ImportError: google-auth, requests or google-crc32c is not installed.
    """
    # Whether they are there is said now, and not in the midst of a backup.
    import google.auth  # noqa: F401
    import google_crc32c  # noqa: F401
    import requests  # noqa: F401

    from dumpty_plugins.gcs.address import parse_address
    from dumpty_plugins.gcs.store import GoogleStore

    return GoogleStore(parse_address(url))
