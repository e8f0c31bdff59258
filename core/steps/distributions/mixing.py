"""Mixing: which component of a prior each of many measurements comes from, with weights learned from all of them.

Empirical Bayes (Robbins 1956): the weights are those under which everything that was measured together is
likeliest, found by EM (Laird 1978; Dempster, Laird, Rubin 1977). Released values only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EM_STEPS = 300
IMPOSSIBLE = -1e300


def posteriors(log_evidence: Array, count: NDArray[Any] | None = None, pseudo_count: float = 0.0) -> Array:
    """Probability of each component, given each measurement.

    Parameters
    ----------
    log_evidence : (n, k) log density of each measurement under each component, up to a constant of its own. One
        that is no number rules its component out, or where none is a number says nothing: the weights are those of
        all, which one of them must not spoil.
    count : (n,) how often each was made; by default once.
    pseudo_count : measurements that each component has beforehand, so that none is ruled out by a few.

    Returns
    -------
    (n, k) array, each row of sum one.
    """
    n, k = log_evidence.shape
    count = np.ones(n) if count is None else count
    log_evidence = np.nan_to_num(log_evidence, nan=IMPOSSIBLE, neginf=IMPOSSIBLE)
    density = np.exp(log_evidence - log_evidence.max(axis=1, keepdims=True))
    weight = np.full(k, 1 / k)
    share = density
    for _ in range(EM_STEPS if n else 0):
        share = density * weight
        share /= share.sum(axis=1, keepdims=True)
        weight = (count @ share + pseudo_count) / (count.sum() + k * pseudo_count)
    return np.asarray(share)
