"""The conformance kit: the contract of the hooks, as tests that a plugin's author runs.

Subclass one suite, name the plugin, supply what only the author can know, and run pytest
(``pip install "dumpty[testing]"``)::

    import dumpty_brotli
    from dumpty.testing import CompressorSuite

    class TestBrotli(CompressorSuite):
        plugin = dumpty_brotli
        detects_corruption = False  # the format carries no checksum

Every test is one rule: its docstring says the rule, and a failure says what was seen and what to do. What a plugin
cannot do is said by a flag of the class, never by its name. ``dumpty.testing.check.check`` runs the same suites
against an installed plugin and returns a verdict.

The suites are ``driver``, ``store``, ``compressor``, ``cipher``, ``verifier``, ``notifier`` and ``transport``, and
``repository`` for a store that brings a layout of its own; rules that they inherit stand in ``suite``, ``sources``,
``restoring``, ``tables``, ``row_rules``, ``parts``, ``listing``, ``proving``, ``secrecy``, ``traces``, ``facade``,
``places``, ``objects``, ``capabilities``, ``sharing``, ``stage``, ``damage``, ``backups``, ``transactions`` and
``keeping``, what a notifier sends to in ``recipients``, and where a transport leads to in ``ways``; ``check``,
``checked`` and ``record`` run them. ``MemoryStore`` is a store in memory that lacks whatever a test wants it to lack.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dumpty.testing.cipher import CipherSuite as CipherSuite
    from dumpty.testing.compressor import CompressorSuite as CompressorSuite
    from dumpty.testing.driver import DriverSuite as DriverSuite
    from dumpty.testing.memory_store import MemoryStore as MemoryStore
    from dumpty.testing.notifier import NotifierSuite as NotifierSuite
    from dumpty.testing.proving import SQL_QUESTIONS as SQL_QUESTIONS
    from dumpty.testing.recipients import Behaviour as Behaviour
    from dumpty.testing.recipients import Recipient as Recipient
    from dumpty.testing.repository import RepositorySuite as RepositorySuite
    from dumpty.testing.rules import RuleBroken as RuleBroken
    from dumpty.testing.store import StoreSuite as StoreSuite
    from dumpty.testing.transport import TransportSuite as TransportSuite
    from dumpty.testing.verifier import VerifierSuite as VerifierSuite
    from dumpty.testing.ways import ReachablePlace as ReachablePlace

__all__ = [
    "SQL_QUESTIONS",
    "Behaviour",
    "CipherSuite",
    "CompressorSuite",
    "DriverSuite",
    "MemoryStore",
    "NotifierSuite",
    "ReachablePlace",
    "Recipient",
    "RepositorySuite",
    "RuleBroken",
    "StoreSuite",
    "TransportSuite",
    "VerifierSuite",
]

_HOME = {
    "Behaviour": "recipients",
    "CipherSuite": "cipher",
    "CompressorSuite": "compressor",
    "DriverSuite": "driver",
    "MemoryStore": "memory_store",
    "NotifierSuite": "notifier",
    "ReachablePlace": "ways",
    "Recipient": "recipients",
    "RepositorySuite": "repository",
    "RuleBroken": "rules",
    "SQL_QUESTIONS": "proving",
    "StoreSuite": "store",
    "TransportSuite": "transport",
    "VerifierSuite": "verifier",
}


def __getattr__(name: str) -> Any:
    # Lazily, so that dumpty.testing.check can say what to install where pytest is missing.
    if name not in _HOME:
        raise AttributeError(f"module 'dumpty.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dumpty.testing.{_HOME[name]}"), name)
