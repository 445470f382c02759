"""``python -m dumpty``: the same as the command ``dumpty``."""

from __future__ import annotations

import sys

from dumpty.cli import main

if __name__ == "__main__":
    sys.exit(main())
