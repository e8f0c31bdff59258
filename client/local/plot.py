"""The figure of `evaluate --figure`: real and synthetic records beside each other, a panel for each target.

A time to an event has its Kaplan-Meier curves. A class or a number has what a model predicts of real records
against what was so, in ten groups: a model that learned from synthetic records beside one of real ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cohortmix.protocol.local.html import Html, element, join
from cohortmix.protocol.local.wording import percent

WIDTH, LEFT, SIDE = 780, 92, 430  # pixels: of the drawing; left of a panel, and its width
TOP, HEIGHT, BELOW = 46, 280, 66  # pixels: the title of a panel, its height, and the labels below it
KEY = 26  # pixels between a panel and its key
COLOURS = ("#1f5fa8", "#b9770e", "#2e7d4f", "#a32020", "#6b3fa0", "#5b6675")  # of strata; more are not told apart
LONGEST = 30  # letters of a name in a key
MOST_TICKS = 6
REAL, SYNTHETIC = "#5b6675", "#1f5fa8"
STYLE = """
text { font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1c2430; }
.title { font-weight: 650; font-size: 14px; } .soft { fill: #5b6675; font-size: 12px; }
.grid { stroke: #edf0f4; } .axis { stroke: #5b6675; fill: none; }
.ideal { stroke: #5b6675; stroke-dasharray: 2 4; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; } .synthetic { stroke-dasharray: 6 3; }
.span { stroke-width: 1.5; opacity: .5; }
"""
NOTE = "Computed from real records: not private"
LEARNED = {"trtr": "a model of real records", "tstr": "a model of synthetic records"}


@dataclass(frozen=True)
class Panel:
    """A rectangle in which values of two scales are drawn, each from its low to its high end."""

    top: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]

    def x(self, value: float) -> float:
        """Pixels of a value on the lower axis."""
        low, high = self.x_ends
        return round(LEFT + SIDE * (value - low) / (high - low), 2)

    def y(self, value: float) -> float:
        """Pixels of a value on the left axis."""
        low, high = self.y_ends
        return round(self.top + HEIGHT * (high - value) / (high - low), 2)

    def frame(self, title: str, below: str, left: str) -> Html:
        """Title, grid, axes and what they are of."""
        upright, across = _ticks(*self.x_ends), _ticks(*self.y_ends)
        x, y, foot, middle = LEFT, self.top, self.top + HEIGHT, self.top + HEIGHT / 2
        return join(
            element("text", _short(title, 2 * LONGEST), class_="title", x=x, y=y - 16),
            *(element("line", x1=self.x(v), x2=self.x(v), y1=y, y2=foot, class_="grid") for v in upright),
            *(element("line", x1=x, x2=x + SIDE, y1=self.y(v), y2=self.y(v), class_="grid") for v in across),
            *(_label(f"{v:,.6g}", self.x(v), foot + 18, "middle") for v in upright),
            *(_label(f"{v:,.6g}", x - 8, self.y(v) + 4, "end") for v in across),
            element("path", d=f"M{x} {y}V{foot}H{x + SIDE}", class_="axis"),
            _label(below, x + SIDE / 2, foot + 40, "middle"),
            _label(left, 18, middle, "middle", transform=f"rotate(-90 18 {middle})"),
        )


def draw(report: Mapping[str, Any]) -> str:
    """The text of an SVG file for the report of `core.utility.evaluate.evaluate`, which has a target or more."""
    row = TOP + HEIGHT + BELOW
    height = row * len(report["targets"]) + 34
    panels = [_of_target(target, 10 + TOP + number * row) for number, target in enumerate(report["targets"])]
    return element(
        "svg",
        element("title", "Real and synthetic records"),
        element("style", Html(STYLE)),
        element("rect", width=WIDTH, height=height, fill="#fff"),
        *panels,
        _label(NOTE, LEFT, height - 12, "start"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH,
        height=height,
        role="img",
    ) + "\n"  # fmt: skip


def _of_target(target: Mapping[str, Any], top: float) -> Html:
    if target["kind"] == "survival":
        return _curves(target, top)
    groups = target["groups"]
    if not any(groups.values()):
        return join(
            element("text", _short(target["target"], 2 * LONGEST), class_="title", x=LEFT, y=top - 16),
            _label(f"nothing to draw: {target['reason']}", LEFT, top + 8, "start"),
        )
    return _predictions(target, groups, top)


def _curves(target: Mapping[str, Any], top: float) -> Html:
    """The Kaplan-Meier curves of all records, or of each stratum."""
    panel, strata = Panel(top, (0.0, target["horizon"]), (0.0, 1.0)), target["strata"]
    drawn = [{"name": "", **target["curves"]}] if strata is None else strata["groups"][: len(COLOURS)]
    marks, key = [], []
    for place, group in enumerate(drawn):
        for side in ("real", "synthetic"):
            colour = COLOURS[place] if strata else SYNTHETIC if side == "synthetic" else REAL
            if group["curve"][side] is None:
                continue
            marks.append(_steps(panel, group["curve"][side], colour, side))
            key.append((_sample(colour, side), f"{group['name']}, {side}".removeprefix(", ")))
    title = target["target"] + (f" by {strata['column']}" if strata else "")
    more = len(strata["groups"]) - len(drawn) if strata else 0
    note = [f"largest distance {target['curves']['distance']:.3f}"] if strata is None else []
    note += [f"{more} smaller strata are not drawn"] if more else []
    return join(panel.frame(title, target["time"], "share without the event"), *marks, _key(key, top, note))


def _predictions(target: Mapping[str, Any], groups: Mapping[str, Any], top: float) -> Html:
    """What was so against what was predicted, in groups of equally many records."""
    regression = target["kind"] == "regression"
    keys = ("predicted", "real", "low", "high") if regression else ("predicted", "real")
    values = [group[key] for way in groups.values() for group in way for key in keys]
    low, high = (min(values), max(values)) if regression else (0.0, max(values))
    ends = _outward(low, high)
    panel = Panel(top, ends, ends)
    marks = [element("line", x1=panel.x(ends[0]), y1=panel.y(ends[0]), x2=panel.x(ends[1]), y2=panel.y(ends[1]),
                     class_="ideal")]  # fmt: skip
    key = []
    for way, learned in LEARNED.items():
        colour, fill = (SYNTHETIC, SYNTHETIC) if way == "tstr" else (REAL, "#fff")
        for group in groups[way]:
            x, y = panel.x(group["predicted"]), panel.y(group["real"])
            if regression:
                span = {"y1": panel.y(group["low"]), "y2": panel.y(group["high"])}
                marks.append(element("line", x1=x, x2=x, **span, stroke=colour, class_="span"))
            marks.append(element("circle", cx=x, cy=y, r=4, fill=fill, stroke=colour, stroke_width=2))
        key.append((element("circle", cx=12, cy=-4, r=4, fill=fill, stroke=colour, stroke_width=2), learned))
    if regression:
        title, left, note = target["target"], "mean of real records", ["lines: quartiles of real records"]
    else:
        rare = target["smallest"]
        what = "" if rare["class"] == target["target"] else f": {rare['class']}"
        title = f"{target['target']}{what}, {percent(rare['share'])} of the real records"
        left, note = "share of real records", []
    return join(panel.frame(title, "predicted", left), *marks, _key(key, top, [*note, "dotted: as predicted"]))


def _steps(panel: Panel, curve: Mapping[str, Sequence[float]], colour: str, side: str) -> Html:
    times, heights = curve["times"], curve["survival"]
    steps = [f"H{panel.x(time)}V{panel.y(height)}" for time, height in zip(times, heights, strict=True)]
    path = f"M{panel.x(0)} {panel.y(1)}" + "".join(steps)
    return element("path", d=path, stroke=colour, class_=f"curve {side}")


def _sample(colour: str, side: str) -> Html:
    return element("path", d="M0 -4H24", stroke=colour, class_=f"curve {side}")


def _key(entries: Sequence[tuple[Html, str]], top: float, notes: Sequence[str]) -> Html:
    """What the marks mean, to the right of a panel; and what is to be said of it."""
    left, spacing = LEFT + SIDE + 24, min(KEY, (HEIGHT - 20 * len(notes)) / max(1, len(entries)))
    items = [
        element(
            "g",
            mark,
            _label(_short(text), 32, 0, "start"),
            transform=f"translate({left} {top + 12 + at * spacing})",
        )
        for at, (mark, text) in enumerate(entries)
    ]
    foot = top + 12 + len(entries) * spacing
    return join(*items, *(_label(note, left, foot + 20 * at, "start") for at, note in enumerate(notes)))


def _label(text: str, x: float, y: float, anchor: str, **more: object) -> Html:
    return element("text", text, class_="soft", x=x, y=y, text_anchor=anchor, **more)


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from one end to the other, few enough to read."""
    step = _step(low, high)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _outward(low: float, high: float) -> tuple[float, float]:
    """Round numbers that enclose both ends, and are apart."""
    high = high if high > low else low + (abs(low) or 1)
    step = _step(low, high)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _step(low: float, high: float) -> float:
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    return next(power * digit for digit in (1, 2, 5, 10) if (high - low) / (power * digit) <= MOST_TICKS)
