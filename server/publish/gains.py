"""What a site gains by pooling: how much higher the figure of the pooled records is than its own, in words.

A difference counts only if its 95 % interval does not contain zero (`core/utility/interval.py`): a gain of .001 on
one set of held-out patients can be a loss on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from cohortmix.protocol.local.wording import count

Comparison: TypeAlias = Literal["better", "within chance", "worse"]

MEASURES = {"auc": "AUC", "r2": "R²", "concordance": "concordance"}
"""How the figure of each kind of outcome is called, by the `measure` of a summary."""

ARTICLES = {"auc": "an", "r2": "an", "concordance": "a"}

MEANINGS = {
    "auc": "how often a model ranks a patient with the outcome above one without it: 0.5 is chance, 1 is perfect.",
    "r2": "the share of the outcome’s variance that a model explains: 0 is no better than the mean, 1 is perfect.",
    "concordance": "how often a model gives, of two patients, the one whose event came first the higher risk "
    "(Harrell’s C): 0.5 is chance, 1 is perfect.",
}
"""What they say, for the terms of a report."""


def gain(own_score: float, pooled_score: float) -> float:
    """How much better the pooled records do than a site's own, in the three decimals that are shown."""
    return round(pooled_score, 3) - round(own_score, 3)


def comparison(site: Mapping[str, Any]) -> Comparison | None:
    """How the pooled records compare with a site's own, from its entry in a summary; None if not measured."""
    interval = site["gain"]
    if interval is None:
        return None
    return "better" if interval["low"] > 0 else "worse" if interval["high"] < 0 else "within chance"


def shown_gain(site: Mapping[str, Any], pooled: float | None) -> tuple[str, str]:
    """A site's gain and its 95 % interval; both empty if they were not measured.

    >>> shown_gain({"own_score": 0.7384, "gain": {"low": 0.0121, "high": 0.0559}}, 0.7724)
    ('+0.034', '0.012 to 0.056')
    >>> shown_gain({"own_score": 0.7823, "gain": {"low": -0.021, "high": 0.0012}}, 0.7724)
    ('−0.010', '−0.021 to 0.001')
    """
    own_score, interval = site["own_score"], site["gain"]
    if own_score is None or pooled is None or interval is None:
        return "", ""
    more = round(gain(own_score, pooled), 3)
    return ("+" if more > 0 else "") + signed(more), f"{signed(interval['low'])} to {signed(interval['high'])}"


def signed(value: float, places: int = 3) -> str:
    """A number of decimals, with a minus as wide as a plus, and without a sign before zero.

    >>> signed(-0.021), signed(-0.0001), signed(0.5)
    ('−0.021', '0.000', '0.500')
    """
    text = f"{value:.{places}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{places}f}"


def compared(summary: Mapping[str, Any], noun: str = "site") -> str:
    """For how many sites the pooled records are better than the site's own, within chance of them, or worse.

    >>> gains = [(0.01, 0.06), (-0.01, 0.03), (-0.01, 0.02), (-0.02, 0.04)]
    >>> compared({"sites": [{"gain": {"low": low, "high": high}} for low, high in gains]})
    'better for 1 of 4 sites, within chance for 3 and worse for none'
    """
    measured = [comparison(site) for site in summary["sites"] if site["gain"] is not None]
    better, chance, worse = (measured.count(outcome) or "none" for outcome in ("better", "within chance", "worse"))
    return f"better for {better} of {count(len(measured), noun)}, within chance for {chance} and worse for {worse}"
