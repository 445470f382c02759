"""How something went over time, as the points of a drawing (SVG): what draws it is a template."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

__all__ = ["Chart", "Point", "Tick", "chart"]

WIDTH, HEIGHT = 440, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 8, 10, 24
_MOST_POINTS = 240
_LINES = 4


class Point(NamedTuple):
    """Where a value is drawn, and what it says."""

    x: float
    y: float
    title: str


class Tick(NamedTuple):
    """A label at an axis, and how far along that it is."""

    at: float
    text: str


class Chart(NamedTuple):
    """A drawing of ``width`` by ``height``: a line through ``points``, and labels at both axes."""

    title: str
    summary: str
    line: str
    area: str
    points: tuple[Point, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT


def chart(
    title: str,
    values: Sequence[tuple[datetime, float]],
    shown: Callable[[float], str],
    *,
    round_to: Callable[[float], float] | None = None,
) -> Chart | None:
    """Return the drawing of values over time, oldest first; None where there are not two.

    Args:
        title: what they are.
        values: when, and how much (at least 0).
        shown: writes one of them.
        round_to: returns the round number that is not less than one; None for decimal ones.
    """
    if len(values) < 2:  # noqa: PLR2004 - a line needs two ends
        return None
    thinned = _thinned(values)
    first, last = thinned[0][0], thinned[-1][0]
    span = max((last - first).total_seconds(), 1.0)
    step = (round_to or _round)(max(value for _, value in thinned) / _LINES or 1.0)
    top = step * _LINES
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def x(when: datetime) -> float:
        return round(_LEFT + (right - _LEFT) * (when - first).total_seconds() / span, 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - _TOP) * value / top, 1)

    points = tuple(Point(x(when), y(value), f"{when:%Y-%m-%d %H:%MZ}: {shown(value)}") for when, value in thinned)
    line = "M" + " L".join(f"{point.x} {point.y}" for point in points)
    least, most = min(value for _, value in values), max(value for _, value in values)
    return Chart(
        title=title,
        summary=(
            f"{title} of {len(values)} backups, {first:%Y-%m-%d} to {last:%Y-%m-%d}: from {shown(least)} to "
            f"{shown(most)}, the last {shown(values[-1][1])}"
        ),
        line=line,
        area=f"{line} L{points[-1].x} {bottom} L{points[0].x} {bottom} Z",
        points=points,
        rows=tuple(Tick(y(step * number), shown(step * number)) for number in range(_LINES + 1)),
        columns=(Tick(_LEFT, f"{first:%Y-%m-%d}"), Tick(right, f"{last:%Y-%m-%d}")),
    )


def _thinned(values: Sequence[tuple[datetime, float]]) -> list[tuple[datetime, float]]:
    """Return at most so many values that a drawing shows: of each stretch the least and the greatest, and both ends."""
    if len(values) <= _MOST_POINTS:
        return list(values)
    length = math.ceil(2 * len(values) / _MOST_POINTS)
    kept: list[tuple[datetime, float]] = []
    for start in range(0, len(values), length):
        stretch = values[start : start + length]
        ends = min(stretch, key=lambda entry: entry[1]), max(stretch, key=lambda entry: entry[1])
        kept += sorted(dict.fromkeys(ends))
    return list(dict.fromkeys([values[0], *kept, values[-1]]))


def _round(value: float) -> float:
    """Return the next of 1, 2, 2.5, 5, 10 … that is not less than a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= value * 0.999999)
