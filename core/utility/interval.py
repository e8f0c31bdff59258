"""How sure a difference of two models is: an interval for the difference of their AUCs on the same real records.

Not private, as every figure on real records (`evaluate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054  # of the standard normal law: 95 % lie within +-Z95


@dataclass(frozen=True)
class Difference:
    """By how much the second AUC is above the first, with the bounds of a 95 % interval; all in [-1, 1]."""

    estimate: float
    low: float
    high: float

    @property
    def within_chance(self) -> bool:
        """Whether the interval holds zero: with other patients held out there could have been no difference."""
        return self.low <= 0 <= self.high


def auc_difference(
    label: NDArray[np.int64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    patients: NDArray[np.int64] | None = None,
) -> Difference | None:
    """The difference AUC(second) - AUC(first) on the same records; nothing random, the same input gives the same.

    An AUC is a mean over pairs of a member and another record. Each record has a share in it, and the shares of
    one patient vary together, so the variance of the difference is the sum over patients of their squared shares
    (DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997 for several records of a patient). The interval says
    how far the figure depends on which patients were held out. It is for these two models as they are trained:
    another run of the noise gives others.

    Parameters
    ----------
    label : (n,) class of each record, in 0..C-1.
    first, second : (n, C) scores of the two models; for C > 2 an AUC is the mean of each class against the rest.
    patients : (n,) whose each record is; by default each is another's.

    Returns
    -------
    None where no class has both members and others, so that no AUC is defined. Where a class has a single member,
    or all but one, nothing can be said of how far the figure varies, and the interval is [-1, 1].
    """
    classes = [c for c in range(first.shape[1]) if 0 < np.count_nonzero(label == c) < len(label)]
    if first.shape[1] == 2:
        classes = classes[-1:]
    if not classes:
        return None
    ranked = {c: _placements(label == c, second[:, c]) - _placements(label == c, first[:, c]) for c in classes}
    estimate = float(np.mean([ranked[c][label == c].mean() for c in classes]))
    groups = [(ranked[c], group) for c in classes for group in (label == c, label != c)]
    if min(np.count_nonzero(group) for _, group in groups) < 2:
        return Difference(estimate, -1.0, 1.0)
    shares = sum((_shares(values, group) for values, group in groups), np.zeros(len(label))) / len(classes)
    of_patients = shares if patients is None else np.bincount(patients, shares)
    half = Z95 * float(np.linalg.norm(of_patients))
    return Difference(estimate, max(-1.0, estimate - half), min(1.0, estimate + half))


def _placements(member: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each member the share of the others that it is ranked above, of each other that of the members above it.

    Ties count half. Over the members, and over the others, their mean is the AUC.
    """
    from scipy.stats import rankdata

    among_all, placed = rankdata(scores), np.empty(len(scores))
    members = np.count_nonzero(member)
    placed[member] = (among_all[member] - rankdata(scores[member])) / (len(scores) - members)
    placed[~member] = 1 - (among_all[~member] - rankdata(scores[~member])) / members
    return placed


def _shares(values: NDArray[np.float64], group: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What each record of a group of m has in the mean's error: squared and added they are its variance, S / m."""
    size = np.count_nonzero(group)
    return np.asarray(np.where(group, values - values[group].mean(), 0.0) / np.sqrt(size * (size - 1)))
