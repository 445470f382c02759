"""The store ``objectstore``: a container of Azure Blob Storage.

An object ``FOLDER/NAME`` is the blob ``PREFIX/FOLDER/NAME``. What is small is put in one request, what is large in
blocks that a last request joins, several at once, each with an MD5 that the service checks. That a name is nobody's is
for the service to decide (``If-None-Match: *``), also when blocks are joined, and whether it does is found out before
anything relies on it (``probing``).

Requests are the service's own library's: its chain of credentials, its signatures, its errors. Each runs in a thread of
its own that can be left behind, so that a server that does not answer keeps nobody (``requests``).

Source: https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from dumpty import PluginInfo, hookimpl

if TYPE_CHECKING:
    from dumpty import Store

__all__ = ["describe", "open_store"]


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="store", summary="Azure Blob Storage", schemes=("az",), requires="dumpty[objectstore]")


@hookimpl
def open_store(url: str) -> Store:
    """Open ``az://CONTAINER[/PREFIX][?PARAMETERS]``; nothing is asked of the server yet.

    Raises:
        MalformedURL: it is no such URL, or has a parameter that there is not.
        ImportError: azure-storage-blob or azure-identity is not installed.
    """
    # Whether they are there is said now, and not in the midst of a backup; the second is only loaded where it signs in.
    import azure.storage.blob  # noqa: F401

    if importlib.util.find_spec("azure.identity") is None:
        raise ModuleNotFoundError("No module named 'azure.identity'", name="azure.identity")

    from dumpty_plugins.objectstore.address import parse_address
    from dumpty_plugins.objectstore.store import ObjectStore

    return ObjectStore(parse_address(url))
