"""What a site gains by pooling: how much higher the AUC of the pooled records is than that of its own, in words.

A difference counts only if its 95 % interval does not contain zero (`core/utility/interval.py`): a gain of .001 on
one set of held-out patients can be a loss on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from cohortmix.protocol.local.wording import count

Comparison: TypeAlias = Literal["better", "within chance", "worse"]


def gain(own_auc: float, pooled_auc: float) -> float:
    """How much better the pooled records do than a site's own, in the three decimals that are shown."""
    return round(pooled_auc, 3) - round(own_auc, 3)


def comparison(site: Mapping[str, Any]) -> Comparison | None:
    """How the pooled records compare with a site's own, from its entry in a summary; None if not measured."""
    interval = site["gain"]
    if interval is None:
        return None
    return "better" if interval["low"] > 0 else "worse" if interval["high"] < 0 else "within chance"


def shown_gain(site: Mapping[str, Any], pooled: float | None) -> tuple[str, str]:
    """A site's gain and its 95 % interval; both empty if they were not measured.

    >>> shown_gain({"own_auc": 0.7384, "gain": {"low": 0.0121, "high": 0.0559}}, 0.7724)
    ('+0.034', '0.012 to 0.056')
    >>> shown_gain({"own_auc": 0.7823, "gain": {"low": -0.021, "high": 0.0012}}, 0.7724)
    ('−0.010', '−0.021 to 0.001')
    """
    own_auc, interval = site["own_auc"], site["gain"]
    if own_auc is None or pooled is None or interval is None:
        return "", ""
    more = round(gain(own_auc, pooled), 3)
    return ("+" if more > 0 else "") + signed(more), f"{signed(interval['low'])} to {signed(interval['high'])}"


def signed(value: float) -> str:
    """Three decimals, with a minus as wide as a plus, and without a sign before zero.

    >>> signed(-0.021), signed(-0.0001), signed(0.5)
    ('−0.021', '0.000', '0.500')
    """
    text = f"{value:.3f}"
    return text.replace("-", "−") if float(text) else "0.000"


def compared(summary: Mapping[str, Any], noun: str = "site") -> str:
    """For how many sites the pooled records are better than the site's own, within chance of them, or worse.

    >>> gains = [(0.01, 0.06), (-0.01, 0.03), (-0.01, 0.02), (-0.02, 0.04)]
    >>> compared({"sites": [{"gain": {"low": low, "high": high}} for low, high in gains]})
    'better for 1 of 4 sites, within chance for 3 and worse for none'
    """
    measured = [comparison(site) for site in summary["sites"] if site["gain"] is not None]
    better, chance, worse = (measured.count(outcome) or "none" for outcome in ("better", "within chance", "worse"))
    return f"better for {better} of {count(len(measured), noun)}, within chance for {chance} and worse for {worse}"
