"""Class margins: the distribution of each column in each class, from both answers.

Answer A counts every bin of a class; the class means of the scores say more precisely how far a class is shifted.
A class's distribution is the geometric mean of its own counted one and that of all classes, tilted exponentially
until its scores have the means that were measured (the distribution nearest to it in relative entropy: Csiszár
1975). The classes together then keep the distribution of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.steps.scores.moments import ScoreMoments, posterior_mean

Array = NDArray[np.float64]

OWN = 0.5  # weight of a class's counted distribution in the geometric mean
ROUNDS = 4  # of tilting the classes, and bringing their sum back
STEPS = 40  # of Newton's method for one tilt
LONGEST = 0.5  # of one of these steps, in each coordinate
RIDGE = 1e-3  # keeps a tilt finite where a mean is at the edge of what is possible
LEAST = 1e-9  # share of a bin


def class_margins(
    counted: Array, masses: Array, values: Array, blocks: Sequence[slice], columns: Array, moments: ScoreMoments
) -> Array:
    """(C, G) distributions of each class on the merged bins.

    Parameters
    ----------
    counted : (C, G) from answer A.
    masses : (C,) patients.
    values : (G, K) mean of each score in each merged bin.
    blocks : of the merged bins, one for each column.
    columns : (K,) which column each score is of.
    """
    share = masses / masses.sum()
    pooled = share @ counted
    means = _class_means(moments, share)
    out = np.empty_like(counted)
    for column, block in enumerate(blocks):
        scores = values[block][:, columns == column]
        target = pooled[block] @ scores + means[:, columns == column]
        base = np.maximum(pooled[block], LEAST) ** (1 - OWN) * np.maximum(counted[:, block], LEAST) ** OWN
        out[:, block] = _raked(base, pooled[block], share, scores, target)
    return out


def _class_means(moments: ScoreMoments, share: Array) -> Array:
    """(C, K) how far each class's mean is from that of all, as far as it is not noise."""
    apart = moments.means - share @ moments.means
    return np.stack(
        [
            posterior_mean(row, float(std) * max(1 - float(part), 1e-2) ** 0.5)
            for row, std, part in zip(apart, moments.means_std, share, strict=True)
        ]
    )


def _raked(base: Array, pooled: Array, share: Array, scores: Array, target: Array) -> Array:
    """Each row of `base` (C, m) tilted to its target (C, k), while the rows together stay `pooled`."""
    out = base / base.sum(axis=1, keepdims=True)
    for _ in range(ROUNDS):
        out = np.stack([_tilted(row, scores, goal) for row, goal in zip(out, target, strict=True)])
        out = out * (np.maximum(pooled, LEAST) / np.maximum(share @ out, LEAST))
        out /= out.sum(axis=1, keepdims=True)
    return np.asarray(out)


def _tilted(base: Array, scores: Array, target: Array) -> Array:
    """The distribution (m,) proportional to base exp(scores a) whose scores have means `target`."""
    a = np.zeros(scores.shape[1])
    p = base / base.sum()
    for _ in range(STEPS if len(a) else 0):
        mean = p @ scores
        spread = (scores - mean).T @ ((scores - mean) * p[:, None]) + RIDGE * np.eye(len(a))
        a += np.clip(np.linalg.solve(spread, target - mean - RIDGE * a), -LONGEST, LONGEST)
        p = base * np.exp(scores @ a - (scores @ a).max())
        p = p / p.sum()
    return np.asarray(p)
