"""The figure of `bench_frontier.py`: the classifier's loss against the drift of the inducing points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10

from loss_figure import svg, text

from cohortmix.protocol.local.html import Html, element, join

Points = Sequence[tuple[float, float, float]]  # drift, loss, and the weight or limit that was given
COLOURS = {"alpha": "#1b4f72", "limit": "#b9770e"}
NAMES = {"alpha": "by the weight alpha", "limit": "by a limit on the drift (the dotted line)"}
LEFT, WIDTH, HEIGHT, GAP, TOP = 66, 340, 260, 76, 84  # of a panel, between two, and above them
NEAR = 0.9  # part of a limit, from which on it is what holds the points
LEAST = 1e-5  # drift: less is drawn here
STYLE = """
text { font: 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1c2430; }
.title { font-weight: 650; font-size: 14px; } .soft { fill: #5b6675; }
.grid { stroke: #edf0f4; } .frame { stroke: #5b6675; fill: none; }
"""


class Panel:
    """A square for one data set, with logarithms on both sides."""

    def __init__(self, left: float, lines: Mapping[str, Points]) -> None:
        drifts = [max(drift, LEAST) for points in lines.values() for drift, _, _ in points]
        losses = [loss for points in lines.values() for _, loss, _ in points]
        self.left = left
        self.low, self.high = floor(log10(min(drifts))), ceil(log10(max(drifts)))
        room = 0.12 * log10(max(losses) / min(losses)) + 0.01
        self.least, self.most = log10(min(losses)) - room, log10(max(losses)) + room

    def x(self, drift: float) -> float:
        """Pixels of a drift."""
        return self.left + WIDTH * (log10(max(drift, LEAST)) - self.low) / (self.high - self.low)

    def y(self, loss: float) -> float:
        """Pixels of a loss."""
        return TOP + HEIGHT * (self.most - log10(loss)) / (self.most - self.least)


def draw(frontiers: Mapping[str, Mapping[str, Points]]) -> str:
    """A panel for each data set, by its name; a line for "alpha" and one for "limit"; the text of an SVG file."""
    width = LEFT + len(frontiers) * (WIDTH + GAP)
    panels = [
        _panel(name, Panel(LEFT + number * (WIDTH + GAP), lines), lines)
        for number, (name, lines) in enumerate(frontiers.items())
    ]
    title = "The classifier's loss against the drift of the inducing points"
    return svg(title, STYLE, width, TOP + HEIGHT + 52, _key(), *panels)


def _panel(name: str, panel: Panel, lines: Mapping[str, Points]) -> Html:
    bottom = TOP + HEIGHT
    frame = element("rect", x=panel.left, y=TOP, width=WIDTH, height=HEIGHT, class_="frame")
    return join(
        text(name, panel.left, TOP - 30, "title"),
        text("loss of the classifier", panel.left, TOP - 12, "soft"),
        *(_tick_x(panel, 10.0**power) for power in range(panel.low, panel.high + 1)),
        *(_tick_y(panel, loss) for loss in _round_losses(panel)),
        frame,
        *(_limit(panel, value) for _, _, value in lines["limit"] if 10**panel.low < value < 10**panel.high),
        *(_line(panel, by, points) for by, points in lines.items()),
        text("drift of the points", panel.left + WIDTH, bottom + 38, "soft", "end"),
    )


def _line(panel: Panel, by: str, points: Points) -> Html:
    """Points from the smallest drift on, joined, each with what was given for it."""
    placed = [(panel.x(drift), panel.y(loss), value) for drift, loss, value in sorted(points)]
    joined = [
        element("path", d=f"M{x:.1f} {y:.1f}L{x2:.1f} {y2:.1f}", stroke=COLOURS[by], stroke_width=1.5)
        for (x, y, _), (x2, y2, _) in pairwise(placed)
    ]
    dots = [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, fill=COLOURS[by]) for x, y, _ in placed]
    above = by == "limit"
    names = [
        text(f"{value:g}", x + 6 if above else x - 6, y - 6 if above else y + 16, "", "start" if above else "end")
        for (x, y, value), (drift, _, _) in zip(placed, sorted(points), strict=True)
        if not above or drift > NEAR * value  # a slack limit has no place of its own
    ]
    return join(*joined, *dots, *names)


def _limit(panel: Panel, value: float) -> Html:
    path = f"M{panel.x(value):.1f} {TOP}v{HEIGHT}"
    return element("path", d=path, stroke=COLOURS["limit"], stroke_dasharray="2 4", stroke_width=0.8)


def _tick_x(panel: Panel, drift: float) -> Html:
    x = panel.x(drift)
    line = element("path", d=f"M{x:.1f} {TOP}v{HEIGHT}", class_="grid")
    return join(line, text(f"{drift:g}", x, TOP + HEIGHT + 18, "soft", "middle"))


def _tick_y(panel: Panel, loss: float) -> Html:
    y = panel.y(loss)
    line = element("path", d=f"M{panel.left} {y:.1f}h{WIDTH}", class_="grid")
    return join(line, text(f"{loss:g}", panel.left - 8, y + 4, "soft", "end"))


def _round_losses(panel: Panel) -> list[float]:
    """Round numbers within the panel, about evenly on its scale."""
    powers = range(floor(panel.least), ceil(panel.most) + 1)
    values = [round(step * 10.0**power, 8) for power in powers for step in (1, 1.5, 2, 3, 5, 7)]
    return [value for value in values if panel.least < log10(value) < panel.most]


def _key() -> Html:
    marks, x = [], float(LEFT)
    for by, name in NAMES.items():
        marks += [element("circle", cx=x, cy=20, r=3.5, fill=COLOURS[by]), text(name, x + 10, 24)]
        x += 170
    return join(*marks)
