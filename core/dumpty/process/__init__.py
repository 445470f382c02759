"""How is the operating system used? Child processes, accounts, private directories, silent connections, interrupts.

What plugins need of it stands here: child processes with streamed output, and secrets kept off their command lines.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dumpty.process import account as account
    from dumpty.process.child import BLOCK as BLOCK
    from dumpty.process.child import Child as Child
    from dumpty.process.command import find_program as find_program
    from dumpty.process.command import run as run
    from dumpty.process.remote_child import RemoteChild as RemoteChild
    from dumpty.process.usage import processors as processors
    from dumpty.redaction import masks as masks
    from dumpty.redaction import redact as redact

_HOME = {
    "BLOCK": "dumpty.process.child",
    "Child": "dumpty.process.child",
    "RemoteChild": "dumpty.process.remote_child",
    "find_program": "dumpty.process.command",
    "masks": "dumpty.redaction",
    "processors": "dumpty.process.usage",
    "redact": "dumpty.redaction",
    "run": "dumpty.process.command",
}

__all__ = ["account", *sorted(_HOME)]  # noqa: PLE0604 - names of strings, computed


def __getattr__(name: str) -> Any:
    # PEP 562: who only watches a connection needs no child processes.
    if name == "account":
        return importlib.import_module("dumpty.process.account")
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'dumpty.process' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
