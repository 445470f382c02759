"""The blocks of code of README and manual, each with what its source says of how it is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
README = TOP / "README.md"
MANUAL = TOP / "core" / "dumpty" / "manual"


def manual() -> list[Path]:
    """Return the manual's pages, in a fixed order."""
    return sorted(MANUAL.glob("*.md"))


PAGES = {path.stem: path for path in (README, TOP / "CONTRIBUTING.md", TOP / "SECURITY.md", *manual())}
"""Every page that tells people what to do, by its name."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language is the first word after the fence, the rest of that line the note."""

    page: str
    line: int
    language: str
    note: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"

    @property
    def file_name(self) -> str:
        """The name of the module that it is: what its first line says, else one of its own."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        suffix = ".pyi" if self.note == "signature" else ".py"
        return named[1] if named else f"{Path(self.page).stem.replace('-', '_')}_{self.line}{suffix}".lower()

    @property
    def commands(self) -> list[str]:
        """The commands of a ``console`` block, or the lines of a script that are no comments."""
        joined = self.text.replace("\\\n", "")
        if self.language == "console":
            return re.findall(r"(?m)^\$ (.*)$", joined)
        return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = path.read_text()
    found = []
    for match in re.finditer(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(path.name, line, match[1], match[2] or "", match[3]))
    return found
