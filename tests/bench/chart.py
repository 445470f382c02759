"""Charts as SVG, written by hand: bars of seconds, and lines over the size of the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

DUMPTY_COLOUR, OTHER_COLOUR, TEXT, GRID = "#c2571a", "#8a94a3", "#1f2430", "#dfe3e8"
LINES = {"sqlite": "#c2571a", "postgres": "#2b6cb0", "mysql": "#2f855a"}
FONT = 'font-family="Helvetica,Arial,sans-serif"'


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {FONT} fill="{TEXT}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _svg(width: int, height: float, body: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def bars(groups: Mapping[str, Sequence[tuple[str, float, bool]]], head: str) -> str:
    """Return a chart of seconds: for each group, ``(name, seconds, ours)`` from top to bottom."""
    width, left_margin, right_margin, row = 880, 290, 70, 20
    body = [_text(16, 26, head, 14, weight="bold")]
    y = 52.0
    for title, rows in groups.items():
        body.append(_text(16, y, title, 13, weight="bold"))
        y += 10
        maximum = max((seconds for _, seconds, _ in rows), default=1.0)
        for name, seconds, is_dumpty in rows:
            long = max(1.0, seconds / maximum * (width - left_margin - right_margin))
            body.append(_text(left_margin - 8, y + 13, name, 12, "end", "bold" if is_dumpty else "normal"))
            body.append(
                f'<rect x="{left_margin}" y="{y + 3:.1f}" width="{long:.1f}" height="13" fill="{DUMPTY_COLOUR if is_dumpty else OTHER_COLOUR}"/>'
            )
            body.append(_text(left_margin + long + 6, y + 13, f"{seconds:.1f} s", 12))
            y += row
        y += 24
    return _svg(width, y, body)


def growth(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], unit: Mapping[str, str]) -> str:
    """Return a chart of lines over megabytes, both axes logarithmic: panel -> line -> points."""
    width, side, gap, top = 900, 370, 80, 60
    body = [_text(16, 26, "dumpty, from 10 MB to 2 GB", 14, weight="bold")]
    for number, (title, lines) in enumerate(panels.items()):
        x0 = 60 + number * (side + gap)
        points = [p for line in lines.values() for p in line]
        low, high = min(y for _, y in points), max(y for _, y in points)
        xs = (min(x for x, _ in points), max(x for x, _ in points))
        ys = (10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))

        def px(x: float, x0: float = x0, xs: tuple[float, float] = xs) -> float:
            return x0 + math.log(x / xs[0]) / math.log(xs[1] / xs[0]) * side

        def py(y: float, ys: tuple[float, float] = ys) -> float:
            return top + side * 0.7 * (1 - math.log(y / ys[0]) / math.log(ys[1] / ys[0]))

        body.append(_text(x0, top - 12, f"{title} ({unit[title]})", 13, weight="bold"))
        step = ys[0]
        while step <= ys[1] * 1.001:
            body.append(f'<line x1="{x0}" x2="{x0 + side}" y1="{py(step):.1f}" y2="{py(step):.1f}" stroke="{GRID}"/>')
            body.append(_text(x0 - 6, py(step) + 4, f"{step:g}", 11, "end"))
            step *= 10
        sizes = sorted({x for x, _ in points})
        body += [_text(px(x), top + side * 0.7 + 16, f"{x:g}", 11, "middle") for x in sizes]
        body.append(_text(x0 + side / 2, top + side * 0.7 + 34, "MB of data", 11, "middle"))
        for name, line in lines.items():
            colour = LINES[name.split()[0]]
            dash = ' stroke-dasharray="5 4"' if "restore" in name else ""
            path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in line)
            body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
    y = top + side * 0.7 + 60
    for index, (engine, colour) in enumerate(LINES.items()):
        body.append(f'<rect x="{60 + index * 150}" y="{y - 10}" width="14" height="10" fill="{colour}"/>')
        body.append(_text(80 + index * 150, y, engine))
    body.append(_text(60 + len(LINES) * 150, y, "solid: backup; dashed: restore"))
    return _svg(width, y + 20, body)


def lines_over(measured: Sequence[tuple[float, float]], ideal: Sequence[tuple[float, float]], head: str) -> str:
    """Return a chart of what is done a second over threads at work, beside what there would be if nothing cost time."""
    width, height, left, top, bottom = 720, 380, 60, 50, 330
    right = width - 40
    most_x, most_y = max(x for x, _ in ideal), max(y for _, y in (*ideal, *measured))

    def at(point: tuple[float, float]) -> str:
        x = left + point[0] / most_x * (right - left)
        return f"{x:.1f},{bottom - point[1] / most_y * (bottom - top):.1f}"

    body = [_text(16, 26, head, 14, weight="bold")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * (bottom - top)
        body.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{GRID}"/>')
        body.append(_text(left - 6, y + 4, f"{most_y * share:.0f}", 11, "end"))
    for colour, points in ((OTHER_COLOUR, [(0, 0), *ideal]), (DUMPTY_COLOUR, [(0, 0), *measured])):
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(map(at, points))}"/>')
    for point in measured:
        x, y = at(point).split(",")
        body.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{DUMPTY_COLOUR}"/>')
        body.append(_text(float(x), float(y) + 20, f"{point[1]:.1f}", 11, "middle", "bold"))
        body.append(_text(float(x), bottom + 18, f"{point[0]:.0f}", 11, "middle"))
    body.append(_text((left + right) / 2, height - 12, "threads of workers", 12, "middle"))
    body.append(_text(right - 8, top + 4, "if nothing but waiting took time", 11, "end"))
    return _svg(width, height, body)
