"""The figure of `bench_losses.py`: where the area under the ROC curve goes, step by step and over epsilon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, isnan, log10
from textwrap import wrap

from cohortmix.protocol.local.html import Html, element, join

Lines = Mapping[str, Sequence[float]]  # name of a line: its heights; NaN leaves a gap
COLOURS = ("#1b4f72", "#b9770e")  # of the lines, in their order
LEFT, LADDER, GAP, CURVE = 60, 520, 40, 320  # widths: labels of an axis, a ladder, between both, a curve
TOP, HEIGHT, BELOW = 46, 180, 62  # heights: a title, a panel, the labels below it
INSET = 36  # of the first and the last point from the sides of a panel
TICK = 0.05  # between two lines of the grid
LETTERS = 15  # in a line of a label
AXIS = "epsilon (dotted: exact answers)"
STYLE = """
text { font: 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1c2430; }
.title { font-weight: 650; font-size: 14px; } .soft { fill: #5b6675; }
.grid { stroke: #edf0f4; } .frame { stroke: #5b6675; fill: none; }
"""


@dataclass(frozen=True)
class Panel:
    """A rectangle in which values from `low` to `high` are drawn over `places` from 0 to 1."""

    left: float
    top: float
    width: float
    low: float
    high: float

    def x(self, place: float) -> float:
        """Pixels of a place."""
        return self.left + INSET + place * (self.width - 2 * INSET)

    def y(self, value: float) -> float:
        """Pixels of a value."""
        return self.top + HEIGHT * (self.high - value) / (self.high - self.low)


def draw(
    ladders: Mapping[str, Lines],
    curves: Mapping[str, Lines],
    steps: Sequence[str],
    epsilons: Sequence[float],
    exact: int,
) -> str:
    """A row of two panels for each data set.

    Parameters
    ----------
    ladders : by the name of the data set; the heights of a line are those of the steps.
    curves : by the name of the data set; the heights of a line are those at each epsilon.
    exact : the step with exact answers, which a dotted line marks beside the curve.

    Returns
    -------
    str
        The text of an SVG file.
    """
    width, height = LEFT + LADDER + GAP + CURVE + 10, 30 + len(ladders) * (TOP + HEIGHT + BELOW)
    rows = [
        _row(name, 30 + number * (TOP + HEIGHT + BELOW), ladders[name], curves[name], steps, epsilons, exact)
        for number, name in enumerate(ladders)
    ]
    title = "Area under the ROC curve on held-out patients, step by step and over epsilon"
    return svg(title, STYLE, width, height, _key(next(iter(ladders.values()))), *rows)


def svg(title: str, style: str, width: int, height: int, *marks: Html) -> str:
    """The text of an SVG file of so many pixels, on white."""
    drawing = element(
        "svg",
        element("title", title),
        element("style", Html(style)),
        element("rect", width=width, height=height, fill="#fff"),
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
    )
    return drawing + "\n"


def _row(
    name: str,
    top: float,
    ladder: Lines,
    curve: Lines,
    steps: Sequence[str],
    epsilons: Sequence[float],
    exact: int,
) -> Html:
    values = [value for lines in (ladder, curve) for line in lines.values() for value in line if not isnan(value)]
    low = TICK * floor((min(values, default=0.5) - 0.01) / TICK)
    high = TICK * (floor((max(values, default=1.0) + 0.02) / TICK) + 1)
    left = Panel(LEFT, top + TOP, LADDER, low, high)
    right = Panel(LEFT + LADDER + GAP, top + TOP, CURVE, low, high)
    places = [step / (len(steps) - 1) for step in range(len(steps))]
    first, last = log10(epsilons[0]), log10(epsilons[-1])
    along = [(log10(epsilon) - first) / (last - first) for epsilon in epsilons]
    marks = [
        text(name, left.left, top + TOP - 12, "title"),
        *(_frame(panel) for panel in (left, right)),
        *(_scale(left, low + TICK * tick) for tick in range(round((high - low) / TICK) + 1)),
        *(_label(left, place, step) for place, step in zip(places, steps, strict=True)),
        *(_label(right, place, f"{epsilon:g}") for place, epsilon in zip(along, epsilons, strict=True)),
        text(AXIS, right.left + CURVE / 2, right.top + HEIGHT + 36, "soft", "middle"),
    ]
    for colour, line in zip(COLOURS, ladder.values(), strict=True):
        marks += [_line(left, places, line, colour), *_figures(left, places, line)]
        marks += [_dotted(right, line[exact], colour)]
    for colour, line in zip(COLOURS, curve.values(), strict=True):
        marks += [_line(right, along, line, colour)]
    return join(*marks)


def _line(panel: Panel, places: Sequence[float], line: Sequence[float], colour: str) -> Html:
    """Points, joined where neighbours are there."""
    points = [(panel.x(place), panel.y(value)) for place, value in zip(places, line, strict=True)]
    joined = [
        element("path", d=f"M{x:.1f} {y:.1f}L{x2:.1f} {y2:.1f}", stroke=colour, stroke_width=2)
        for (x, y), (x2, y2) in pairwise(points)
        if not isnan(y + y2)
    ]
    dots = [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, fill=colour) for x, y in points if not isnan(y)]
    return join(*joined, *dots)


def _figures(panel: Panel, places: Sequence[float], line: Sequence[float]) -> list[Html]:
    return [
        text(f"{value:.3f}".removeprefix("0"), panel.x(place), panel.y(value) - 9, "", "middle")
        for place, value in zip(places, line, strict=True)
        if not isnan(value)
    ]


def _dotted(panel: Panel, value: float, colour: str) -> Html:
    if isnan(value):
        return join()
    path = f"M{panel.left:.1f} {panel.y(value):.1f}h{panel.width:.1f}"
    return element("path", d=path, stroke=colour, stroke_dasharray="2 4")


def _frame(panel: Panel) -> Html:
    return element("rect", x=panel.left, y=panel.top, width=panel.width, height=HEIGHT, class_="frame")


def _scale(panel: Panel, value: float) -> Html:
    """A line of the grid through both panels, and what it stands for."""
    y = panel.y(value)
    across = element("path", d=f"M{panel.left} {y:.1f}h{LADDER}m{GAP} 0h{CURVE}", class_="grid")
    return join(across, text(f"{value:.2f}", panel.left - 8, y + 4, "soft", "end"))


def _label(panel: Panel, place: float, label: str) -> Html:
    """Words below a panel, in as many lines as they need."""
    lines = wrap(label, LETTERS)
    below = panel.top + HEIGHT + 16
    return join(
        *(text(words, panel.x(place), below + 13 * line, "soft", "middle") for line, words in enumerate(lines))
    )


def _key(lines: Lines) -> Html:
    marks = [text("AUC on held-out patients:", LEFT, 24)]
    for number, (colour, name) in enumerate(zip(COLOURS, lines, strict=True)):
        x = LEFT + 170 + 140 * number
        marks += [element("circle", cx=x, cy=20, r=3.5, fill=colour), text(name, x + 10, 24)]
    return join(*marks)


def text(words: str, x: float, y: float, kind: str = "", anchor: str = "start") -> Html:
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", class_=kind, text_anchor=anchor)
