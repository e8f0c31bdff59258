"""A statistic that is learned: which of two neighbours was released? And what its errors say of epsilon."""

from __future__ import annotations

from math import log

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from cohortmix.core.audit.lower_bound import LowerBound, lower_bound

LEARNING = 0.4  # of the runs grow the statistic, the others count


def learned_bound(null: NDArray[np.float64], alternative: NDArray[np.float64], claimed: float) -> LowerBound:
    """A forest that tells two kinds of release apart, grown on the first runs; bounded on the others."""
    first = int(len(null) * LEARNING)
    forest = RandomForestClassifier(500, random_state=0)
    forest.fit(np.concatenate([null[:first], alternative[:first]]), np.repeat([0, 1], first))
    one, other = (forest.predict_proba(side[first:])[:, 1] for side in (null, alternative))
    return lower_bound(one, other, claimed)


def summary(x: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Number, mean, deviation and ends of the released rows of each class, shape (C (1 + 4 D),)."""
    parts = []
    for c in range(classes):
        rows = x[labels == c] if (labels == c).any() else np.zeros((1, x.shape[1]))
        parts += [
            [np.count_nonzero(labels == c)],
            rows.mean(axis=0),
            rows.std(axis=0),
            rows.min(axis=0),
            rows.max(axis=0),
        ]
    return np.concatenate(parts)


def epsilon_bound(bound: LowerBound, delta: float) -> float:
    """An epsilon that the mechanism cannot be below at delta: 1 - FNR <= e^epsilon FPR + delta, and reversed.

    The sum of both inequalities says the same of the mean of FPR and FNR in the place of each.
    """
    ratios = ((1 - delta - bound.fnr) / bound.fpr, (1 - delta - bound.fpr) / bound.fnr)
    return max(0.0, *(log(ratio) for ratio in ratios if ratio > 0))
