"""The figure of `bench_speed.py`: CPU seconds over rows and over columns, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from loss_figure import STYLE, svg, text

from cohortmix.protocol.local.html import Html, element, join

COLOURS = ("#1b4f72", "#1b4f72", "#e69f00", "#b05c92", "#d55e00", "#009e73")  # of the lines, in their order
DASHED = 1  # the number of the line that is dashed, with hollow points: it has the colour of the one before
LEFT, WIDTH, GAP, RIGHT = 62, 318, 40, 20  # widths: labels of an axis, a panel, between both, beside the last
TOP, HEIGHT, BELOW = 78, 290, 50  # heights: the key, a panel, the labels below it
INSET = 24  # of the first and the last point from the sides of a panel
KEYS_IN_ROW, KEY_WIDTH = 3, 250
WITHIN = (2, 5)  # lines of the grid between powers of ten


@dataclass(frozen=True)
class Point:
    """What was measured at a size; if it was stopped, after so many seconds."""

    size: int
    seconds: float
    stopped: bool = False


Lines = Mapping[str, Sequence[Point]]  # by method, from small to large


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis: `low` lies at pixel `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixels of a value."""
        along = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.start + along * (self.end - self.start)


def draw(panels: Mapping[str, Lines]) -> str:
    """A panel for each axis, which the mapping names; all have the same lines and the same height of a second.

    Returns
    -------
    str
        The text of an SVG file; 800 pixels wide where there are two panels.

    Raises
    ------
    ValueError
        If there is no point.
    """
    seconds = [point.seconds for lines in panels.values() for line in lines.values() for point in line]
    low, high = 10 ** floor(log10(min(seconds))), 10 ** ceil(log10(max(seconds) * 1.01))
    y = Scale(low, high, TOP + HEIGHT, TOP)
    width = LEFT + len(panels) * (WIDTH + GAP) - GAP + RIGHT
    height = TOP + HEIGHT + BELOW
    drawn = [
        _panel(LEFT + number * (WIDTH + GAP), axis, lines, y, first=number == 0)
        for number, (axis, lines) in enumerate(panels.items())
    ]
    title = f"CPU seconds of a release and its records, over {' and over '.join(panels)}"
    return svg(title, STYLE, width, height, _key(list(next(iter(panels.values())))), *drawn)


def _panel(left: float, axis: str, lines: Lines, y: Scale, first: bool) -> Html:
    sizes = sorted({point.size for line in lines.values() for point in line})
    x = Scale(sizes[0], max(sizes[-1], sizes[0] + 1), left + INSET, left + WIDTH - INSET)
    bottom = TOP + HEIGHT
    marks = [_grid(left, y, first)]
    marks += [element("rect", x=left, y=TOP, width=WIDTH, height=HEIGHT, class_="frame")]
    marks += [text(f"{size:,}", x.at(size), bottom + 17, "soft", "middle") for size in sizes]
    marks += [text(axis, left + WIDTH / 2, bottom + 38, "", "middle")]
    for number, line in enumerate(lines.values()):
        marks += [_line(x, y, line, COLOURS[number], number == DASHED)]
    return join(*marks)


def _grid(left: float, y: Scale, labelled: bool) -> Html:
    """Lines across at powers of ten, with what they stand for, and some between."""
    marks = []
    for power in range(round(log10(y.low)), round(log10(y.high)) + 1):
        for factor in (1, *WITHIN):
            value = factor * 10.0**power
            if value > y.high:
                continue
            at = y.at(value)
            colour = "#c9d0d9" if factor == 1 else "#edf0f4"
            marks.append(element("path", d=f"M{left} {at:.1f}h{WIDTH}", stroke=colour))
            if labelled and factor == 1:
                marks.append(text(f"{value:,g}", left - 8, at + 4, "soft", "end"))
    if labelled:
        middle = TOP + HEIGHT / 2
        turned = {"transform": f"rotate(-90 16 {middle})", "text_anchor": "middle"}
        marks.append(element("text", "CPU seconds", x=16, y=middle, **turned))
    return join(*marks)


def _line(x: Scale, y: Scale, line: Sequence[Point], colour: str, dashed: bool) -> Html:
    """Points joined by a line; one that was stopped is an arrow upwards, reached by a dotted line."""
    marks = []
    for point, following in pairwise(line):
        places = (x.at(point.size), y.at(point.seconds), x.at(following.size), y.at(following.seconds))
        path = "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*places)
        dashes = {"stroke_dasharray": "2 4" if following.stopped else "6 4"} if dashed or following.stopped else {}
        marks.append(element("path", d=path, stroke=colour, stroke_width=2, fill="none", **dashes))
    return join(
        *marks, *(_mark(x.at(point.size), y.at(point.seconds), point.stopped, colour, dashed) for point in line)
    )


def _mark(x: float, y: float, stopped: bool, colour: str, hollow: bool) -> Html:
    if not stopped:
        fill = "#fff" if hollow else colour
        return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, fill=fill, stroke=colour, stroke_width=1.5)
    arrow = f"M{x - 5:.1f} {y:.1f}h10l-5 -9z"
    return element("path", d=arrow, fill="#fff", stroke=colour, stroke_width=1.5, class_="stopped")


def _key(names: Sequence[str]) -> Html:
    marks = []
    for number, name in enumerate(names):
        left = LEFT + KEY_WIDTH * (number % KEYS_IN_ROW)
        top = 18 + 19 * (number // KEYS_IN_ROW)
        dashes = {"stroke_dasharray": "6 4"} if number == DASHED else {}
        marks.append(
            element("path", d=f"M{left} {top}h22", stroke=COLOURS[number], stroke_width=2, fill="none", **dashes)
        )
        marks.append(text(name, left + 28, top + 4))
    below = 18 + 19 * -(-len(names) // KEYS_IN_ROW)
    marks.append(element("path", d=f"M{LEFT + 6} {below + 4}h10l-5 -9z", fill="#fff", stroke="#5b6675"))
    return join(*marks, text("stopped after so many CPU seconds", LEFT + 28, below + 4, "soft"))
