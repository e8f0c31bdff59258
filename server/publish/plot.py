"""The plots of a report: a row for each site, with marks on a common axis.

A row is ordinary markup, and only its marks are SVG, at places in per cent of the width. So letters keep their
size on a narrow screen and on paper, and a name of any length can be read in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cohortmix.protocol.local.html import Html, element, join
from cohortmix.protocol.local.wording import percent
from cohortmix.server.publish.gains import MEASURES, comparison, signed

MOST_TICKS = 7
SHARES = (1.0, 0.75, 0.5, 0.25)  # on the left axis of a curve
MARGIN = 2.0  # per cent of the width, to the left and right of the axis: room for half a dot

LOWEST = {"auc": 0.0, "r2": -math.inf, "concordance": 0.0}
"""What no figure of a measure is below: the ends of intervals are drawn within that."""

NOISY = {
    False: "count of a pair of values",
    True: "count of one value, from a site that is reduced to class centroids",
}
"""By whether a site is reduced, the kind of count whose noise is drawn: that of its last release."""

ONE_VALUE = "count of one value"

Scale = Callable[[float], float]
"""From a value to its place, in per cent of the width."""


def score_plot(summary: Mapping[str, Any]) -> Html:
    """The figure of each site's own model as a dot, beside lines for pooled synthetic and for all real records.

    Through each dot runs the 95 % interval of its distance from the line of the pooled records: where the interval
    reaches that line, the difference is within chance.

    Parameters
    ----------
    summary : as `publish.summarise` makes it, with every figure measured, except perhaps those of a site.
    """
    sites, pooled, ceiling = summary["sites"], summary["pooled"]["score"], summary["ceiling_score"]
    spans = {site["name"]: _span(site, pooled, LOWEST[summary["measure"]]) for site in sites}
    measure = MEASURES[summary["measure"]]
    figures = [end for span in spans.values() for end in span] + [pooled, ceiling]
    ticks = _ticks(min(figures) - 0.01, max(figures))
    x = _linear(ticks[0], ticks[-1])
    behind = join(
        *(_upright(x(tick), "grid") for tick in ticks),
        _upright(x(ceiling), "ceiling"),
        _upright(x(pooled), "pooled"),
    )
    rows = [
        _row(site, join(behind, _own(site, spans[site["name"]], x)), _figure(site["own_score"])) for site in sites
    ]
    return _plot(
        f"{measure} of each site's own model against {signed(pooled)} for the pooled synthetic records",
        _key(
            (_dot("dot full"), "own records, worse than the pooled ones by more than chance"),
            (_dot("dot"), "own records, otherwise"),
            (_upright(50, "pooled"), f"pooled synthetic records: {signed(pooled)}"),
            (_upright(50, "ceiling"), f"all real records together: {signed(ceiling)}"),
        ),
        rows,
        [(x(tick), signed(tick, 2)) for tick in ticks],
        f"{measure} on held-out patients of all sites",
    )


def noise_plot(summary: Mapping[str, Any], noise_std: Mapping[str, float], by_scores: bool = False) -> Html:
    """The noise of one released count of each site as a share of its patients: a short bar is a clear picture.

    Parameters
    ----------
    summary : as `publish.summarise` makes it.
    noise_std : by site, the standard deviation of the noise of one released count, in patients.
    by_scores : whether that is a count of one value at each of them, since no pairs were counted.
    """
    shares = {site["name"]: noise_std[site["name"]] / site["n"] for site in summary["sites"]}
    ticks = _shares(max(shares.values()))
    x = _linear(0, ticks[-1])
    behind = join(*(_upright(x(tick), "grid") for tick in ticks))

    def marks(site: Mapping[str, Any]) -> Html:
        end, kind = x(shares[site["name"]]), _kind(site["reduced"])
        bar = element("line", x1=_place(x(0)), y1="50%", x2=_place(end), y2="50%", class_=f"bar {kind}")
        return join(behind, bar, _upright(end, f"noise {kind}"))

    rows = [_row(site, marks(site), percent(shares[site["name"]])) for site in summary["sites"]]
    places = 0 if ticks[1] >= 0.01 else 1
    return _plot(
        "Noise of one released count as a share of the site's patients",
        _key(
            *(
                (_upright(50, f"noise {_kind(reduced)}"), ONE_VALUE if by_scores and not reduced else text)
                for reduced, text in NOISY.items()
                if any(site["reduced"] == reduced for site in summary["sites"])
            )
        ),
        rows,
        [(x(tick), percent(tick, places)) for tick in ticks],
        "noise of one count, as a share of the site’s patients",
    )


def curve_plot(title: str, times: Sequence[float], heights: Sequence[float], label: str) -> Html:
    """A step function of the time, (T,), from 1 at time 0 on: a share, `label` being what the times are.

    The line is in an SVG of its own, which is stretched to its place; letters are not.
    """
    ticks = _ticks(0, times[-1], math.floor(math.log10(times[-1])) - 1)
    x, y = _linear(ticks[0], ticks[-1]), _linear(1.0, 0.0)
    steps = "".join(f"H{x(time):.2f}V{y(share):.2f}" for time, share in zip(times, heights, strict=True))
    line = element("path", d=f"M{x(0):.2f} {y(1):.2f}{steps}", class_="curve", vector_effect="non-scaling-stroke")
    shares = join(
        *(
            element("line", x1="0", x2="100%", y1=_place(y(share)), y2=_place(y(share)), class_="grid")
            for share in SHARES
        ),
        *(element("text", percent(share, 0), x="0", y=_place(y(share)), dy="1.1em") for share in SHARES),
    )
    behind = element("svg", *(_upright(x(tick), "grid") for tick in ticks), shares)
    stretched = element("svg", line, viewBox="0 0 100 100", preserveAspectRatio="none")
    row = element("div", element("div", behind, stretched, class_="track"), class_="row wide")
    return _plot(title, Html(""), [row], [(x(tick), f"{tick:,.6g}") for tick in ticks], label, "row axis wide")


def _kind(reduced: bool) -> str:
    return "columns" if reduced else "pairs"


def _span(site: Mapping[str, Any], pooled: float, lowest: float) -> tuple[float, ...]:
    """Where a site's row has marks: its own figure and the ends of its interval; empty if not measured."""
    own_score, interval = site["own_score"], site["gain"]
    if own_score is None:
        return ()
    ends = () if interval is None else (pooled - interval["high"], pooled - interval["low"])
    return (own_score, *(min(1.0, max(lowest, end)) for end in ends))


def _own(site: Mapping[str, Any], span: Sequence[float], x: Scale) -> Html:
    if not span:
        return Html("")
    own_score, *ends = span
    line = element("line", x1=_place(x(ends[0])), y1="50%", x2=_place(x(ends[1])), y2="50%", class_="span")
    dot = _dot("dot full" if comparison(site) == "better" else "dot", x(own_score))
    return join(line if ends else Html(""), dot)


def _plot(
    title: str,
    key: Html,
    rows: Sequence[Html],
    ticks: Sequence[tuple[float, str]],
    label: str,
    kind: str = "row axis",
) -> Html:
    names = [element("text", name, x=_place(x), y=12, text_anchor=_anchor(x)) for x, name in ticks]
    axis = element("div", _track(join(*names)), element("p", label), class_=kind)
    return element("div", key, *rows, axis, class_="plot", role="img", aria_label=title)


def _row(site: Mapping[str, Any], marks: Html, value: str) -> Html:
    return element(
        "div",
        element("span", str(site["name"]), class_="name"),
        element("span", f"{site['n']:,}", class_="n"),
        _track(marks),
        element("span", value, class_="value"),
        class_="row",
    )


def _key(*entries: tuple[Html, str]) -> Html:
    """What the marks mean."""
    items = [element("li", element("svg", mark, class_="mark"), text) for mark, text in entries]
    return element("ul", *items, class_="key")


def _track(marks: Html) -> Html:
    return element("div", element("svg", marks), class_="track")


def _dot(kind: str, x: float = 50) -> Html:
    return element("circle", cx=_place(x), cy="50%", r=5, class_=kind)


def _upright(x: float, kind: str) -> Html:
    return element("line", x1=_place(x), y1="0", x2=_place(x), y2="100%", class_=kind)


def _anchor(x: float) -> str:
    """How a name is aligned with its tick, so that the outermost names stay within the plot."""
    return "start" if x <= MARGIN else "end" if x >= 100 - MARGIN else "middle"


def _figure(score: float | None) -> str:
    return "not measured" if score is None else signed(score)


def _linear(low: float, high: float) -> Scale:
    return lambda value: MARGIN + (value - low) / (high - low) * (100 - 2 * MARGIN)


def _ticks(low: float, high: float, least: int = -2) -> list[float]:
    """Round numbers from at most `low` to at least `high`, few enough to read, 10^least apart or more."""
    for step in (digit * 10.0**power for power in range(least, 400) for digit in (1, 2, 5)):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < MOST_TICKS:
            break
    return [round(number * step, max(0, -least)) for number in range(first, max(last, first + 1) + 1)]


def _shares(most: float) -> list[float]:
    """Round shares from 0 to at least `most`, few enough to read."""
    step = next(
        digit * 10.0**power
        for power in range(-3, 6)
        for digit in (1, 2, 5)
        if most <= (MOST_TICKS - 1) * digit * 10.0**power
    )
    return [number * step for number in range(max(1, math.ceil(most / step)) + 1)]


def _place(percent: float) -> str:
    return f"{percent:.2f}".rstrip("0").rstrip(".") + "%"
