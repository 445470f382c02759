"""``python -m dumpty``: the same as the command ``dumpty``."""

from __future__ import annotations

import sys

from dumpty.cli import program

if __name__ == "__main__":
    sys.exit(program())
