"""Which storage account it is, and what lets us in: as the ecosystem's own tools find it out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dumpty_plugins.objectstore.failures import RequestFailed

if TYPE_CHECKING:
    from dumpty_plugins.objectstore.address import Address

__all__ = ["Account", "find_account"]

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_ACCOUNTS = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
_KEYS = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")
_TOKENS = ("AZURE_STORAGE_SAS_TOKEN",)
_UNUSABLE = 400


class Account(Struct, frozen=True, kw_only=True):
    """The URL of an account's blob service, and a credential that the library takes."""

    url: str
    credential: Any


def find_account(address: Address) -> Account:
    """Return the account that a URL, or the environment, names, with its credential.

    What the URL says goes before the environment; a key or a SAS token before the chain of ``DefaultAzureCredential``:
    a service principal in the environment, workload and managed identity, ``az login``.

    Raises:
        RequestFailed: no account is named, or what is said of it makes no sense.
    """
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential

    said = _connection_string()
    name = address.account or _account_of(address.endpoint) or said.get("accountname", "") or _environment(*_ACCOUNTS)
    # A connection string is one account's: what it holds is shown to no other.
    own = said if not name or said.get("accountname", name) == name else {}
    if not address.endpoint and not own.get("blobendpoint") and not name:
        raise RequestFailed(
            "no storage account is named: write ?account=NAME, or set AZURE_STORAGE_ACCOUNT", status=_UNUSABLE
        )
    suffix = own.get("endpointsuffix", "core.windows.net")
    url = address.endpoint or own.get("blobendpoint", "").rstrip("/") or f"https://{name}.blob.{suffix}"
    if url.startswith("http://") and not address.endpoint:
        raise RequestFailed(
            f"{_CONNECTION} names a server of plain HTTP; where the network is trusted, say so: ?endpoint={url}",
            status=_UNUSABLE,
        )
    key = own.get("accountkey", "") or _environment(*_KEYS)
    token = own.get("sharedaccesssignature", "") or _environment(*_TOKENS)
    if key:
        account = name or url.partition("://")[2].partition(".")[0]
        return Account(url=url, credential=AzureNamedKeyCredential(account, key))
    if token:
        return Account(url=url, credential=AzureSasCredential(token.lstrip("?")))
    if url.startswith("http://"):
        raise RequestFailed(
            f"what signs in is not sent over plain HTTP: give {address.server} a key (AZURE_STORAGE_KEY) or a SAS "
            "token (AZURE_STORAGE_SAS_TOKEN), or write https://",
            status=_UNUSABLE,
        )
    from azure.identity import DefaultAzureCredential

    return Account(url=url, credential=DefaultAzureCredential())


def _environment(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


def _account_of(endpoint: str) -> str:
    """Return the account that an endpoint tells: in its name, as Azure's do, or its path, as emulators' do."""
    host, _, path = endpoint.partition("://")[2].partition("/")
    account, blob, _ = host.partition(".blob.")
    return path or (account if blob else "")


def _connection_string() -> dict[str, str]:
    text = _environment(_CONNECTION)
    pairs = (pair.partition("=") for pair in text.split(";") if pair.strip())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}
