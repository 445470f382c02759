"""Draws drill.svg, the README's picture, from a real drill: ``python tests/bench/drill_picture.py``."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dumpty.cli import demo_shop, main

PICTURE = Path(__file__).with_name("drill.svg")
DRILL = 'dumpty drill latest --assert "SELECT count(*) > 1000 FROM orders"'
COLUMNS = 112
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font: 16px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own without its fonts from elsewhere: a picture asks no server for anything."""


def lines() -> list[str]:
    """Back the demo's shop up, drill the backup, and return what the drill says, line by line."""
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        demo_shop.build("shop.db")
        _run("dumpty backup -q sqlite:///shop.db -o fingerprint=on")
        return _run(DRILL).splitlines()


def _run(command: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main(shlex.split(command)[1:])
    if status:
        raise RuntimeError(f"{command}: exit status {status}")
    return output.getvalue()


def draw(shown: list[str]) -> str:
    """Return a terminal that shows the command and what it said, as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(Text.assemble(("$ ", "bold green"), (DRILL, "bold")))
    for line in shown:
        text = Text(line)
        text.highlight_regex(r"^  proved\b|\bok\b", "green")
        text.highlight_regex(r"^  not proved\b", "yellow")
        console.print(text)
    return console.export_svg(title="dumpty drill", code_format=FORMAT, unique_id="drill")


if __name__ == "__main__":
    os.environ.pop("DUMPTY_DIR", None)
    PICTURE.write_text(draw(lines()))
