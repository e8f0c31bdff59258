"""Smooth: the distribution of one feature on its fine cells, from counts that are mostly noise.

The noised counts of the coarse bins are taken as they are. Within a coarse bin the fine cells are halved again and
again, and what a half holds beyond its share of the width is kept as far as it stands out from its noise: a
non-negative garrote (Breiman 1995) on an unbalanced Haar basis. A flat stretch stays flat, and a value that many
patients share keeps its peak. The values of a category have no order; those that do not stand out from the noise
are shrunk together.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy.stats import norm

from cohortmix.core.data.encoding import Cells
from cohortmix.core.data.schema import Category
from cohortmix.core.steps.simplex import Array, simplex

GARROTE = 1.5  # standard deviations below which a difference between two halves counts as noise
HEAVY = 4.0  # standard deviations above which a value of a category is taken as it was counted


def smooth(counts: Array, cells: Cells, std: float) -> Array:
    """A distribution on the fine cells of a feature.

    Parameters
    ----------
    counts : (m,) unbiased noised shares of the fine cells; with coarse bins, least squares of both.
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
    coarse, width = np.asarray(cells.coarse), cells.widths
    out = np.empty_like(counts)
    for number, mass in enumerate(simplex(np.bincount(coarse, counts).astype(np.float64))):
        inside = coarse == number
        out[inside] = _halve(counts[inside], width[inside], mass, std)
    return out


def _halve(counts: Array, width: Array, mass: float, std: float) -> Array:
    """`mass`, spread over neighbouring cells."""
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
    """Counts whose light values, not far above the noise, are posterior means under one exponential prior.

    The mean of the prior is that of the light values. The posterior of N(x, std^2) is then a normal distribution
    of mean x - std^2 / mean, cut off at 0; the posterior means are scaled to the total that was counted.
    """
    light = counts <= HEAVY * std
    if not light.any():
        return counts
    total = max(float(counts[light].sum()), std / sqrt(light.sum()))
    mean = max(total / light.sum(), std / 20)  # a divisor below: not nearer to zero than this
    z = counts[light] / std - std / mean
    posterior = std * (z + np.exp(norm.logpdf(z) - norm.logcdf(z)))
    out = counts.copy()
    out[light] = posterior * total / posterior.sum()
    return out
