"""The plugin for pytest: databases restored from backups, one for each test.

``plugin`` is what pytest imports, whoever's tests it runs; it imports nothing of this before a fixture is used.
``source`` says what is restored, ``client`` asks for it where a test runs. Databases outlive the process that asks,
which may be one of several, or crash: they are held by a process of their own (``holder``), which restores each once
(``lending``) and ends with the tests (``ending``). For tests there are ``LentDatabase``, what a fixture gives, and
``RestoreSource``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dumpty.pytest_plugin.messages import LentDatabase as LentDatabase
    from dumpty.pytest_plugin.source import RestoreSource as RestoreSource

__all__ = ["LentDatabase", "RestoreSource"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dumpty.pytest_plugin import messages

    return getattr(messages, name)
