"""Concordance: of two records of which one had its event while the other was followed, which had the higher risk.

Harrell's C is the share of such pairs that a model ranks rightly (Harrell 1982). All of it in time n log(n)^2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.utility.kaplan_meier import FollowUp


def concordance(followed: FollowUp, risk: NDArray[np.float64], pair: NDArray[np.float64]) -> float | None:
    """The share of concordant pairs, equal risks counting half; a pair counts by `pair` of the one with the event.

    All pairs in time n log(n)^2, and by the product of the weights of their records.
    """
    group = _groups(followed)
    later = _behind(group, followed.weight)
    lower = _later_and_lower(group, risk, followed.weight)
    higher = _later_and_lower(group, -risk, followed.weight)
    counts = followed.event * pair * followed.weight
    total = float(counts @ later)
    return float(counts @ (lower + later - higher)) / (2 * total) if total > 0 else None


def pairs_of_each(
    followed: FollowUp, risk: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) the concordant pairs of each record, and all pairs of which it is one: first or last to be followed.

    Every pair counts for both of its records, so their sums are twice those of `concordance`. Weights are those of
    the records.
    """
    group, weight = _groups(followed), followed.weight
    had = weight * followed.event
    later, earlier = _behind(group, weight), _behind(-group, had)
    first = (_later_and_lower(group, risk, weight) - _later_and_lower(group, -risk, weight) + later) / 2
    last = (_later_and_lower(-group, -risk, had) - _later_and_lower(-group, risk, had) + earlier) / 2
    return weight * (first * followed.event + last), weight * (later * followed.event + earlier)


def _groups(followed: FollowUp) -> NDArray[np.int64]:
    """(n,) the place of each record in time; at one time, events come before censorings."""
    return np.asarray(np.unique(followed.time, return_inverse=True)[1] * 2 + ~followed.event)


def _behind(group: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) for each record, the weight of all those of later groups."""
    place = np.unique(group, return_inverse=True)[1]
    in_group = np.bincount(place, weight)
    return np.asarray((in_group[::-1].cumsum()[::-1] - in_group)[place])


def _later_and_lower(
    group: NDArray[np.int64], risk: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) for each record, the weight of those of a later group with a lower risk, as a merge sort counts."""
    order = np.lexsort((risk, group))  # of one group, none stands behind another of higher risk
    rank, weight = np.unique(risk, return_inverse=True)[1][order], weight[order]
    place, half = np.arange(len(order)), 1
    found = np.zeros(len(order))
    while half < len(order):
        block, right = place // (2 * half), (place // half) % 2 == 1
        key = np.lexsort((right, rank, block))  # of one rank, the left ones come first: they are not lower
        passed = np.cumsum((weight * right)[key])
        first = np.searchsorted(block, block)  # blocks are in order, and so are they by the key
        passed = passed - np.append(0.0, passed)[first]
        left = ~right[key]
        found[key[left]] += passed[left]
        half *= 2
    return found[np.argsort(order)]
