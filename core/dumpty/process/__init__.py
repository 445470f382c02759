"""How is the operating system used? Child processes, accounts, private directories, silent connections, interrupts.

What plugins need of it stands here: child processes with streamed output, and secrets kept off their command lines.
"""

from __future__ import annotations

from dumpty.process import account
from dumpty.process.child import BLOCK, Child, kill_all
from dumpty.process.command import find_program, run
from dumpty.process.usage import processors
from dumpty.redaction import masks, redact

__all__ = ["BLOCK", "Child", "account", "find_program", "kill_all", "masks", "processors", "redact", "run"]
