"""Clean virtual environments, with what is installed into them and nothing of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "VIRTUAL_ENV", "DUMPTY"))}


def run(*argv: object, cwd: Path) -> str:
    """Run a program as a stranger to this environment would; a failure is an assertion. Return what it printed."""
    process = subprocess.run(
        [str(a) for a in argv], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, f"{argv}\n{process.stdout}\n{process.stderr}"
    return process.stdout


class CleanEnvironment:
    """A virtual environment in ``top/venv``, without pip, which takes longest to install: that of this one serves it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.programs = top / "venv/bin"
        venv.create(top / "venv")

    def install(self, *requirements: object) -> None:
        """Install packages; Python compiles those modules that are imported, and no others."""
        self._pip("install", "--no-compile", *requirements)

    def wheels(self, *sources: object) -> Path:
        """Build wheels of directories with sources, with what is installed; return the directory that they are in."""
        self._pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", self.top / "dist", *sources)
        return self.top / "dist"

    def _pip(self, verb: str, *arguments: object) -> None:
        pip = (sys.executable, "-m", "pip", "--python", self.programs / "python", "--disable-pip-version-check")
        run(*pip, verb, "--quiet", *arguments, cwd=self.top)
