"""Prior: how strong the coupling of a pair is beforehand, learned from the noised correlations of all pairs.

Most pairs of columns hardly go together, some do closely. So a coupling is taken to be normal of mean 0, with a
variance from a few SCALES, whose weights are learned from all pairs (`distributions/mixing.py`; Andrews, Mallows
1974; Stephens 2017). What stands out from the noise is then drawn back a little, and what does not, almost wholly.
Released values only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.steps.distributions.mixing import posteriors

Array = NDArray[np.float64]

SCALES = 12  # standard deviations of couplings in the mixture, evenly apart on a log scale
SMALLEST = 0.1  # of them, in standard deviations of the noise: below, a coupling is as good as none
LARGEST = 1.0  # of them, in units of a correlation
PSEUDO_COUNT = 1.0  # pairs that each scale has beforehand, so that none is ruled out by a few
PLACES = 1000  # absolute correlations at which the variance is worked out; it is interpolated between them


def prior_variance(second: Array, pairs: NDArray[np.bool_], std: float) -> Array:
    """Variance of each coupling beforehand, given what was measured of it.

    Parameters
    ----------
    second : (K, K) noised correlations of scores, symmetric.
    pairs : (K, K) true for those that were measured: of two columns.
    std : standard deviation of their noise, above 0.

    Returns
    -------
    (K, K) array, the posterior mean of the variance. It draws back somewhat less than the posterior mean of the
    coupling would: models lose more by a dependence that is too weak than by noise in one that is hardly there.
    """
    measured = np.abs(second)
    top = float(measured[pairs].max(initial=0)) or std
    scale2 = np.geomspace(SMALLEST * std, max(LARGEST, std), SCALES) ** 2
    place = top * np.linspace(0, 1, PLACES) ** 2  # closer together where most correlations are
    once = measured[pairs & np.tri(len(second), k=-1, dtype=bool)]
    nearest = np.rint(np.sqrt(once / top) * (PLACES - 1)).astype(int)
    count = np.bincount(nearest, minlength=PLACES)
    variance = scale2 + std**2
    log_density = -0.5 * (place[:, None] ** 2 / variance + np.log(variance))
    share = posteriors(log_density, count, PSEUDO_COUNT)
    return np.asarray(np.interp(measured, place, share @ scale2))
