"""The figure of privacy.md: `python docs/figures.py` writes trade-off.svg beside this file.

What the trade-off function G_mu allows (Dong, Roth, Su 2022), in the form that is easiest to read: patients found
against false alarms, that is 1 - G_mu(alpha) against alpha. Left all of it, right its corner, where careful
attackers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cohortmix.core.privacy.gdp import detection_rate
from cohortmix.protocol.local.html import Html, element, join
from cohortmix.protocol.local.wording import at_most

FILE = Path(__file__).with_name("trade-off.svg")
MUS = (1.0, 0.3, 0.1)  # from the top
LIKELY = 0.05  # share of false alarms at which the bounds are written
WIDTH, HEIGHT, SIDE, TOP = 780, 440, 300, 78  # pixels: of the drawing; of a panel, and above it
POINTS = 200  # of a curve: no corner can be seen

STYLE = """
text { font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1c2430; }
.title { font-weight: 650; } .soft { fill: #5b6675; font-size: 12px; }
.grid { stroke: #edf0f4; } .axis { stroke: #5b6675; } .at { stroke: #5b6675; stroke-dasharray: 2 4; }
.curve { fill: none; stroke-linejoin: round; }
.mu0 { stroke: #0b2e59; stroke-width: 3.5; } .mu1 { stroke: #1f5fa8; stroke-width: 2.5; }
.mu2 { stroke: #4f93d2; stroke-width: 2; } .guess { stroke: #5b6675; stroke-dasharray: 5 4; }
circle.mu0, circle.mu1, circle.mu2 { fill: #fff; stroke-width: 2; } .lead { stroke: #5b6675; stroke-width: .8; }
.part { fill: #edf0f4; }
"""


class Panel(NamedTuple):
    """A square in which shares from zero to `right` (false alarms) and `top` (patients found) are drawn."""

    left: float
    right: float
    top: float

    def x(self, share: float) -> float:
        """Pixels of a share of false alarms."""
        return self.left + SIDE * share / self.right

    def y(self, share: float) -> float:
        """Pixels of a share of patients found."""
        return TOP + SIDE * (1 - share / self.top)


ALL, CORNER = Panel(54, 1.0, 1.0), Panel(404, 0.1, 0.4)


def trade_off() -> str:
    """The figure as the text of an SVG file."""
    title = "How many patients an attacker can find at most, for mu = 0.1, 0.3 and 1"
    box = f"0 0 {WIDTH} {HEIGHT}"
    drawing = element(
        "svg",
        element("title", title),
        element("style", Html(STYLE)),
        element("rect", width=WIDTH, height=HEIGHT, fill="#fff"),
        _enlarged(),
        _frame(ALL, "Any number of false alarms", (0, 0.25, 0.5, 0.75, 1), (0.25, 0.5, 0.75, 1)),
        _frame(
            CORNER,
            "Few false alarms: the corner, enlarged",
            (0, 0.02, 0.04, 0.06, 0.08, 0.1),
            (0.1, 0.2, 0.3, 0.4),
        ),
        *(_curve(panel, mu) for panel in (ALL, CORNER) for mu in reversed(MUS)),
        _names_of_all(),
        _names_of_corner(),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=box,
        width=WIDTH,
        height=HEIGHT,
        role="img",
    )
    return drawing + "\n"


def _frame(panel: Panel, title: str, alarms: Sequence[float], detected: Sequence[float]) -> Html:
    """Axes in plain words, the grid, and the line of guessing."""
    bottom, last = TOP + SIDE, panel.left + SIDE
    return join(
        _text(title, panel.left, TOP - 46, "title"),
        _text("of 100 patients in the data, found at most", panel.left, TOP - 16, "soft"),
        _text("of 100 people who are not in the data, accused", last, bottom + 40, "soft", "end"),
        *(_line(panel.left, panel.y(share), last, panel.y(share), "grid") for share in detected),
        *(_text(f"{100 * share:.0f}", panel.left - 8, panel.y(share), "soft", "end") for share in detected),
        *(_text(f"{100 * share:.0f}", panel.x(share), bottom + 16, "soft", "middle") for share in alarms),
        _line(panel.left, bottom, last, bottom, "axis"),
        _line(panel.left, bottom, last, panel.y(min(panel.right, panel.top)), "guess"),
    )


def _curve(panel: Panel, mu: float) -> Html:
    """Cubes of the grid, since the curve is steep at its start."""
    shares = [panel.right * (at / POINTS) ** 3 for at in range(POINTS + 1)]
    points = " ".join(f"{panel.x(a):.1f},{panel.y(detection_rate(mu, a)):.1f}" for a in shares)
    return element("polyline", points=points, class_=f"curve mu{MUS.index(mu)}")


def _names_of_all() -> Html:
    """Names beside the curves; where two are close, below them at the ends of short lines."""
    marks = [_text(_name(MUS[0]), ALL.x(0.18), ALL.y(detection_rate(MUS[0], 0.22)), "", "end")]
    for mu, alarms, down in ((MUS[1], 0.5, 0.36), (MUS[2], 0.64, 0.25), (0.0, 0.78, 0.14)):
        x = ALL.x(alarms)
        marks.append(_line(x, ALL.y(detection_rate(mu, alarms)), x, ALL.y(down) - 10, "lead"))
        marks.append(_text(_name(mu), x, ALL.y(down), "", "middle"))
    return join(*marks)


def _enlarged() -> Html:
    """The part of the left panel that the right one shows."""
    width, height = ALL.x(CORNER.right) - ALL.left, TOP + SIDE - ALL.y(CORNER.top)
    return element("rect", x=ALL.left, y=ALL.y(CORNER.top), width=width, height=height, class_="part")


def _names_of_corner() -> Html:
    """Names at the curves' ends, and what is found at 5 % false alarms."""
    x, marks = CORNER.x(LIKELY), [_line(CORNER.x(LIKELY), TOP, CORNER.x(LIKELY), TOP + SIDE, "at")]
    for at, mu in enumerate(MUS):
        y, bound = CORNER.y(detection_rate(mu, LIKELY)), at_most(detection_rate(mu, LIKELY))
        below = mu == MUS[-1]  # no room above it
        marks.append(element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, class_=f"mu{at}"))
        marks.append(_text(bound, x + 8, y + 20) if below else _text(bound, x - 8, y - 12, "", "end"))
    for mu in (*MUS, 0.0):
        marks.append(_text(_name(mu), CORNER.left + SIDE + 6, CORNER.y(detection_rate(mu, CORNER.right))))
    return join(*marks)


def _name(mu: float) -> str:
    return f"µ = {mu:g}" if mu else "guessing"


def _text(text: str, x: float, y: float, kind: str = "", anchor: str = "start") -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y + 4.5:.1f}", class_=kind, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


if __name__ == "__main__":
    FILE.write_text(trade_off(), encoding="utf-8")
