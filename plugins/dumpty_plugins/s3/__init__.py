"""The store ``s3``: a bucket of Amazon S3, or of any server that speaks its protocol.

An object ``FOLDER/NAME`` is the key ``PREFIX/FOLDER/NAME``. What is small is put in one request, what is large in parts
(a multipart upload), several at once, each with a checksum that the server checks and whose answer is compared. That a
name is nobody's is for the server to decide (``If-None-Match: *``), and whether it does is found out before anything
relies on it (``probing``).

Requests are botocore's: its chain of credentials, its signatures, its retries. Each runs in a thread of its own that
can be left behind, so that a server that does not answer keeps nobody (``requests``).

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
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
    return PluginInfo(
        kind="store", summary="Amazon S3, and servers that speak its protocol", schemes=("s3",), requires="dumpty[s3]"
    )


@hookimpl
def open_store(url: str) -> Store:
    """Open ``s3://BUCKET[/PREFIX][?PARAMETERS]``; nothing is asked of the server yet.

    Raises:
        MalformedURL: it is no such URL, or has a parameter that there is not.
        ImportError: botocore is not installed.
    """
    import botocore  # noqa: F401 - whether it is there is said now, and not in the midst of a backup

    from dumpty_plugins.s3.address import parse_address
    from dumpty_plugins.s3.store import S3Store

    return S3Store(parse_address(url))
