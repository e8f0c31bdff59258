"""Smooth: the distribution of one feature on its fine cells, from counts that are mostly noise.

Between runs of cells the noised counts are taken as they are. Within a run cells are halved again and again, and
what a half has beyond its share of the width is kept as far as it stands out from its noise: a non-negative
garrote (Breiman 1995) on an unbalanced Haar basis. A flat stretch stays flat, an atom stays an atom. The values of
a category have no order; those that do not stand out are shrunk together.
"""

from __future__ import annotations

from math import sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cohortmix.core.data.encoding import Cells
from cohortmix.core.data.schema import Category

Array: TypeAlias = NDArray[np.float64]

GARROTE = 1.5  # standard deviations below which a difference between two halves counts as noise
HEAVY = 4.0  # standard deviations above which a value of a category is taken as it was counted


def smooth(counts: Array, cells: Cells, std: float) -> Array:
    """A distribution on the fine cells of a feature.

    Parameters
    ----------
    counts : (m,) unbiased noised shares of the fine cells, for a number with runs their least squares.
    cells : the feature.
    std : standard deviation of the noise of a fine cell, as it was measured.

    Returns
    -------
    (m,) array, non-negative, of sum one.
    """
    if isinstance(cells.column, Category):
        return simplex(_shrink_light(counts, std))
    if cells.coarse is None:
        return simplex(counts)
    runs, width = np.asarray(cells.coarse), cells.widths
    out = np.empty_like(counts)
    for run, mass in enumerate(simplex(np.bincount(runs, counts).astype(np.float64))):
        inside = runs == run
        out[inside] = _halve(counts[inside], width[inside], mass, std)
    return out


def simplex(x: Array, floor: float = 0.0) -> Array:
    """Euclidean projection of a vector on {p >= floor, sum p = 1} (Held, Wolfe, Crowder 1974)."""
    total = 1 - floor * len(x)
    down = np.sort(x - floor)[::-1]
    excess = (np.cumsum(down) - total) / np.arange(1, len(x) + 1)
    return np.asarray(np.maximum(x - floor - excess[np.flatnonzero(down > excess)[-1]], 0) + floor)


def _halve(counts: Array, width: Array, mass: float, std: float) -> Array:
    """`mass` spread over neighbouring cells."""
    if len(counts) == 1:
        return np.array([mass])
    middle = len(counts) // 2
    share = width[:middle].sum() / width.sum()
    beyond = counts[:middle].sum() * (1 - share) - counts[middle:].sum() * share
    noise2 = std**2 * (middle * (1 - share) ** 2 + (len(counts) - middle) * share**2)
    threshold2 = GARROTE**2 * noise2
    kept = beyond - threshold2 / beyond if beyond**2 > threshold2 else 0.0
    left = min(max(mass * share + kept, 0.0), mass)
    halves = (
        _halve(counts[:middle], width[:middle], left, std),
        _halve(counts[middle:], width[middle:], mass - left, std),
    )
    return np.concatenate(halves)


def _shrink_light(counts: Array, std: float) -> Array:
    """Values not far above the noise: posterior means under an exponential prior with their own mean.

    The posterior of N(x, std^2) with that prior is a normal distribution of mean x - std^2 / mean, cut off at 0.
    """
    light = counts <= HEAVY * std
    if not light.any():
        return counts
    total = max(float(counts[light].sum()), std / sqrt(light.sum()))
    mean = max(total / light.sum(), std / 20)
    z = counts[light] / std - std / mean
    posterior = std * (z + np.exp(norm.logpdf(z) - norm.logcdf(z)))
    out = counts.copy()
    out[light] = posterior * total / posterior.sum()
    return out
