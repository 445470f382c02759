"""Which account it is, and with what: the URL before the environment, a key or a token before what signs in."""

from __future__ import annotations

import pytest
from support.azure_server import KEY

from dumpty_plugins.objectstore.account import find_account
from dumpty_plugins.objectstore.address import parse_address
from dumpty_plugins.objectstore.failures import RequestFailed

OTHER = f"AccountName=other;AccountKey={KEY};EndpointSuffix=core.example.org"


def found(url):
    account = find_account(parse_address(url))
    return account.url, type(account.credential).__name__


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_KEY")


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("az://backups?account=shops", {}, ("https://shops.blob.core.windows.net", "DefaultAzureCredential")),
        (
            "az://backups",
            {"AZURE_STORAGE_ACCOUNT": "shops", "AZURE_STORAGE_KEY": KEY},
            ("https://shops.blob.core.windows.net", "AzureNamedKeyCredential"),
        ),
        (
            "az://backups?account=shops",
            {"AZURE_STORAGE_ACCOUNT": "other", "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"},
            ("https://shops.blob.core.windows.net", "AzureSasCredential"),
        ),
        (
            "az://backups",
            {"AZURE_STORAGE_CONNECTION_STRING": OTHER},
            ("https://other.blob.core.example.org", "AzureNamedKeyCredential"),
        ),
        # A connection string is one account's, and its key is shown to no other.
        (
            "az://backups?account=shops",
            {"AZURE_STORAGE_CONNECTION_STRING": OTHER},
            ("https://shops.blob.core.windows.net", "DefaultAzureCredential"),
        ),
        (
            "az://backups?endpoint=https://shops.blob.core.example.org",
            {"AZURE_STORAGE_ACCOUNT": "other", "AZURE_STORAGE_CONNECTION_STRING": OTHER},
            ("https://shops.blob.core.example.org", "DefaultAzureCredential"),
        ),
    ],
)
def test_an_account_is_found_with_its_credential(monkeypatch, url, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert found(url) == expected


def test_the_key_signs_for_the_account_that_the_endpoint_tells(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "other")
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)
    account = find_account(parse_address("az://backups?endpoint=https://shops.blob.core.example.org"))
    assert account.credential.named_key.name == "shops"


def test_no_account_is_named():
    with pytest.raises(RequestFailed, match="account=NAME"):
        found("az://backups")
