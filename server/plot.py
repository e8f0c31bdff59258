"""The plots of a report, as inline SVG: a row for each site, drawn for paper as well as for the screen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cohortmix.server.html import Html, element, join

WIDTH, LEFT, RIGHT = 720, 178, 40  # of the drawing, and left and right of the axis
HEAD, ROW, FOOT = 50, 28, 46  # heights: above the first row, of each row, below the last one
MOST_TICKS = 7
LONGEST_NAME = 16

Scale = Callable[[float], float]


def auc_plot(summary: Mapping[str, Any]) -> Html:
    """Own-data models of the sites as dots, against the lines of pooled synthetic and of all real records.

    Parameters
    ----------
    summary : as `publish.summarise` makes it, with every figure measured but perhaps a site's own.
    """
    sites, pooled, ceiling = summary["sites"], summary["pooled"]["auc"], summary["ceiling_auc"]
    figures = [site["own_auc"] for site in sites if site["own_auc"] is not None] + [pooled, ceiling]
    ticks = _ticks(min(figures) - 0.01, max(figures))
    x = _linear(ticks[0], ticks[-1])
    bottom = _row(len(sites)) - ROW / 2
    rows = [_auc_row(site, _row(at), x, pooled) for at, site in enumerate(sites)]
    return _drawing(
        f"AUC of each site's own model against {pooled:.3f} for the pooled synthetic records",
        len(sites),
        _axis([(x(tick), f"{tick:.2f}") for tick in ticks], bottom, "AUC on held-out patients of all sites"),
        _reference(x(ceiling), 14, bottom, f"all real records together {ceiling:.3f}", "ceiling"),
        _reference(x(pooled), 34, bottom, f"pooled synthetic records {pooled:.3f}", "pooled"),
        *rows,
    )


def patients_plot(summary: Mapping[str, Any], noise_std: Mapping[str, float]) -> Html:
    """Patients of the sites as dots, and the noise of one of their counts, on a logarithmic axis.

    Parameters
    ----------
    summary : as `publish.summarise` makes it.
    noise_std : standard deviation of the noise of one released count, in patients, by site.
    """
    sites = summary["sites"]
    shown = [float(site["n"]) for site in sites] + [_shown(noise) for noise in noise_std.values()]
    low, high = math.log10(min(shown)) - 0.3, math.log10(max(shown)) + 0.1  # room for a text and for a dot
    of_log = _linear(low, high)
    ticks = [
        (of_log(math.log10(tick)), f"{tick:,}")
        for tick in (digit * 10**power for power in range(math.ceil(high)) for digit in (1, 3))
        if low < math.log10(tick) < high
    ]
    bottom = _row(len(sites)) - ROW / 2
    rows = [_patients_row(site, _row(at), of_log, noise_std) for at, site in enumerate(sites)]
    return _drawing(
        "Patients of each site and the noise of one count",
        len(sites),
        _axis(ticks, bottom, "patients"),
        _key(),
        *rows,
    )


def gain(own: float, pooled: float) -> float:
    """By how much the pooled records do better than a site's own, in the three places that are shown."""
    return round(pooled, 3) - round(own, 3)


def _auc_row(site: Mapping[str, Any], y: float, x: Scale, pooled: float) -> Html:
    own, label = site["own_auc"], _site_label(site, y)
    if own is None:
        return join(label, _text("not measured", LEFT, y, "value"))
    gains = gain(own, pooled) > 0
    arm = _line(x(own), y, x(pooled), y, "gain") if gains else Html("")
    dot = element("circle", cx=_px(x(own)), cy=_px(y), r=5, class_="dot full" if gains else "dot")
    beside = (x(own) - 10, "end") if gains else (x(own) + 10, "start")
    return join(label, arm, dot, _text(f"{own:.3f}", beside[0], y, "value", beside[1]))


def _patients_row(site: Mapping[str, Any], y: float, of_log: Scale, noise_std: Mapping[str, float]) -> Html:
    noise, at_patients = noise_std.get(site["name"]), of_log(math.log10(site["n"]))
    dot = element("circle", cx=_px(at_patients), cy=_px(y), r=5, class_="dot full")
    if noise is None:
        return join(_site_label(site, y), dot)
    at_noise = of_log(math.log10(_shown(noise)))
    return join(
        _site_label(site, y),
        _line(at_noise, y, at_patients, y, "gain"),
        _line(at_noise, y - 7, at_noise, y + 7, "noise"),
        _text(f"±{noise:,.0f}", at_noise - 7, y, "value", "end"),
        dot,
    )


def _key() -> Html:
    """What the marks of `patients_plot` mean."""
    return join(
        element("circle", cx=LEFT + 6, cy=20, r=5, class_="dot full"),
        _text("patients", LEFT + 18, 20, "key"),
        _line(LEFT + 102, 13, LEFT + 102, 27, "noise"),
        _text("noise of one count, one standard deviation", LEFT + 112, 20, "key"),
    )


def _drawing(title: str, rows: int, *marks: Html) -> Html:
    height = HEAD + rows * ROW + FOOT
    box = f"0 0 {WIDTH} {height}"
    return element("svg", element("title", title), *marks, viewBox=box, role="img", aria_label=title)


def _axis(ticks: Sequence[tuple[float, str]], bottom: float, label: str) -> Html:
    lines = [_line(x, HEAD - 6, x, bottom, "grid") for x, _ in ticks]
    names = [_text(name, x, bottom + 14, "tick", "middle") for x, name in ticks]
    return join(*lines, *names, _text(label, WIDTH - RIGHT, bottom + 32, "tick", "end"))


def _reference(x: float, top: float, bottom: float, label: str, kind: str) -> Html:
    return join(_line(x, top - 8, x, bottom, kind), _text(label, x - 8, top, f"{kind} name", "end"))


def _site_label(site: Mapping[str, Any], y: float) -> Html:
    name = str(site["name"])
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return join(_text(short, 0, y, "site"), _text(f"{site['n']:,}", LEFT - 20, y, "value", "end"))


def _shown(noise: float) -> float:
    """Less than one patient is drawn as one: the axis is logarithmic."""
    return max(1.0, noise)


def _text(text: str, x: float, y: float, kind: str, anchor: str = "start") -> Html:
    # Centred by a shift of a third of the letters' size: not every renderer knows `dominant-baseline`.
    return element("text", text, x=_px(x), y=_px(y + 4.5), class_=kind, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return element("line", x1=_px(x1), y1=_px(y1), x2=_px(x2), y2=_px(y2), class_=kind)


def _row(at: int) -> float:
    return HEAD + (at + 0.5) * ROW


def _linear(low: float, high: float) -> Scale:
    return lambda value: LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, few enough to read."""
    for step in (0.01, 0.02, 0.05, 0.1, 0.2):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < MOST_TICKS:
            break
    return [round(number * step, 2) for number in range(first, max(last, first + 1) + 1)]


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
