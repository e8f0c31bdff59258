"""Smooth: the distribution of one feature on its fine cells, from counts that are mostly noise.

Of a number or date the log density is smooth, as smooth as its counts say (`log_density`; second differences:
Good, Gaskins 1971), but for atoms, values that many patients share. Beyond the last cells that stand out from the
noise its tails fall by a power. Whatever still stands out from all this is taken as it was counted.

The values of a category have no order; those that do not stand out from the noise are shrunk together.
"""

from __future__ import annotations

from math import exp, log, pi, sqrt

import numpy as np
import scipy  # loads `special` and `optimize` at their first use: they take a while
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells
from cohortmix.core.steps.distributions.log_density import Shares, fit
from cohortmix.core.steps.distributions.mixing import posteriors
from cohortmix.core.steps.distributions.simplex import Array, simplex

HEAVY = 4.0  # standard deviations above which a value of a category is taken as it was counted
LIGHTEST = 1e-2  # of the means of the exponential distributions of the prior of the others, in standard deviations
EXPONENTIALS = 10  # of these
ROUGHNESS = tuple(10.0**k for k in range(-1, 6))  # precisions of a second difference of the log density
RIDGE = 1e-3  # precision of the log density itself, so that a constant slope costs something
ATOM = 3.0  # standard deviations by which a cell stands out from a smooth density
ATOM_SPREAD = 25.0  # variance of the log of an atom's mass beforehand
PEAK = 3.5  # standard deviations by which a cell stands out from those beside it
SHORTEST = 1e-3  # of a cell, as a share of the average one
SIDE = 2  # of these on either side
MOST = 1e3  # times as wide as these together that a cell is taken for, at most
ROUNDS = 4  # in which atoms are looked for; among those of a round none is less than half of the largest
TAIL = 6.0  # exponent of the power by which a tail falls (Pareto): between a normal and a log-normal one
FASTEST = 0.002  # of a tail's length, within which what is before it is at least: an atom has no length
REACH = 3.0  # standard deviations of a tail's own noise, below which its shape is not known
CLEAR = 4.0  # standard deviations by which a cell differs that is taken as it was counted
LOG_ROOT_2_PI = log(2 * pi) / 2


def smooth(counts: Array, cells: Cells, std: float, fine: float = 1.0) -> Array:
    """A distribution on the fine cells of a feature.

    Parameters
    ----------
    counts : (m,) unbiased noised shares of the fine cells; with coarse bins, least squares of both.
    cells : the feature.
    std : standard deviation of the noise of a share of weight 1.
    fine : weight of a fine cell.

    Returns
    -------
    (m,) array, non-negative, of sum one.
    """
    if isinstance(cells.column, Category):
        return simplex(_shrink_light(counts, std / fine))
    if cells.coarse is None:
        return simplex(counts)
    values = cells.size - (cells.missing >= 0)
    absent = min(max(float(counts[values:].sum()), 0.0), 1.0)
    if absent == 1:
        return np.append(np.zeros(values), 1.0)
    scale = 1 - absent
    shares = Shares.of(counts[:values] / scale, std / scale, cells.coarse[:values], fine)
    width, noise = cells.widths[:values], shares.std
    smoothed = _with_atoms(shares, width / width.sum(), noise)
    tailed = _falling(smoothed, shares, cells.lengths)
    found = standing_out(tailed, shares.x, CLEAR * noise)
    return np.append(found * scale, [absent] * (cells.missing >= 0))


def standing_out(p: Array, counted: Array, noise: Array) -> Array:
    """`p` (m,), but cells that were counted otherwise by more than `noise`, as they were counted; of sum one."""
    return simplex(np.where(np.abs(counted - p) > noise, counted, p))


def _with_atoms(shares: Shares, base: Array, std: Array) -> Array:
    """A smooth density and atoms; an atom's cell has a term of its own beside that of the density.

    A cell of one point, such as an exact zero, has no length: it is an atom, and counts as a short cell.
    """
    m = len(base)
    bend = np.diff(np.eye(m), 2, axis=0)
    atom = peaks(shares.x, base, std) | (base < SHORTEST / m)
    base = np.maximum(base, SHORTEST / m)
    for _ in range(ROUNDS):
        runs = np.concatenate([np.eye(m), np.eye(m)[atom]])
        p = fit(shares, base, runs, [_precision(roughness * bend.T @ bend, atom) for roughness in ROUGHNESS])
        off = np.where(atom, 0, np.abs(shares.x - p) / std)
        if off.max() <= ATOM:
            break
        atom |= (off > ATOM) & (off >= off.max() / 2)
    return p


def peaks(x: Array, width: Array, std: Array) -> NDArray[np.bool_]:
    """(m,) cells that hold clearly more than the two before and the two after them say; at an end, one side."""
    pad = np.zeros(SIDE)
    mass, length = (np.concatenate([pad, values, pad]) for values in (x, width))
    noise2 = np.concatenate([pad, std**2, pad])
    out = np.ones(len(x), dtype=bool)
    for first in (0, SIDE + 1):
        beside = [slice(first + k, first + k + len(x)) for k in range(SIDE)]
        total = np.sum([length[part] for part in beside], axis=0)
        share = np.minimum(width / np.maximum(total, np.finfo(np.float64).tiny), MOST)
        excess = x - share * np.maximum(np.sum([mass[part] for part in beside], axis=0), 0)
        out &= excess > PEAK * np.sqrt(std**2 + share**2 * np.sum([noise2[part] for part in beside], axis=0))
    return out


def _precision(bending: Array, atom: NDArray[np.bool_]) -> Array:
    """Of the log density and of the atoms beside it."""
    m, k = len(bending), int(atom.sum())
    out = np.zeros((m + k, m + k))
    out[:m, :m] = bending + RIDGE * np.eye(m)
    out[m:, m:] = np.eye(k) / ATOM_SPREAD
    return out


def _falling(p: Array, shares: Shares, length: Array) -> Array:
    """`p` (m,), with tails that fall by a power where together they are within the reach of their noise.

    A tail keeps its mass T. How fast it falls is what the cells before it say: where T is the mass of a length l
    before the cut and of a length L beyond it, exp(l u) + exp(-L u) = 2 for a rate of u.

    Parameters
    ----------
    length : (m,) of each cell, in the units of the column.
    """
    out, covariance = p.copy(), shares.by_covariance(np.eye(len(p)))
    for order in (np.arange(len(p))[::-1], np.arange(len(p))):  # from either end inwards
        noise = np.sqrt(np.cumsum(np.cumsum(covariance[np.ix_(order, order)], axis=0), axis=1).diagonal())
        clear = np.cumsum(shares.x[order]) > REACH * noise
        cut = int(clear.argmax()) if clear.any() else 0
        tail, body = order[:cut][::-1], order[cut:]  # both from the cut on
        mass, before = float(out[tail].sum()), np.cumsum(out[body])
        if cut < 2 or not 0 < mass < before[-1]:
            continue
        last = int(np.searchsorted(before, mass))
        part = 1 - (before[last] - mass) / out[body[last]]
        ends = np.concatenate([[0.0], np.cumsum(length[tail])])
        near = float(length[body[:last]].sum()) + part * float(length[body[last]])
        near = max(near, FASTEST * float(ends[-1]))
        rate = _rate(near, float(ends[-1]))
        scale = log(2) / max(rate, 1e-300) / (1 - 2 ** (-1 / TAIL))  # within ln 2 / rate before the cut is as much
        shape = -np.diff((1 + ends / scale) ** -TAIL) if rate else length[tail]
        out[tail] = mass * shape / shape.sum()
    return out


def _rate(near: float, far: float) -> float:
    """u > 0 of exp(near u) + exp(-far u) = 2: the same mass is within both lengths; 0 where it does not fall."""
    if far <= near * (1 + 1e-6):
        return 0.0

    lowest = log(far / near) / (far + near)
    return float(
        scipy.optimize.brentq(lambda u: exp(near * u) + exp(-far * u) - 2, lowest, 1.0001 * log(2) / near)
    )


def _shrink_light(counts: Array, std: float) -> Array:
    """Counts whose light values, not far above the noise, are posterior means under one prior, learned from them.

    The prior is a mixture of exponential distributions, from far below the noise to HEAVY times as much, whose
    weights are learned (`mixing`): many values that hardly anybody has, and heads. Under an exponential one of
    mean m the posterior of N(x, std^2) is a normal distribution of mean x - std^2 / m, cut off at 0. The posterior
    means are scaled to the total that was counted.
    """
    light = counts <= HEAVY * std
    if not light.any():
        return counts
    total = max(float(counts[light].sum()), std / sqrt(light.sum()))
    x, means = counts[light][:, None] / std, np.geomspace(LIGHTEST, HEAVY, EXPONENTIALS)
    z = x - 1 / means
    log_evidence = scipy.special.log_ndtr(z) - np.log(means) + 0.5 / means**2 - x / means
    share = posteriors(log_evidence)
    posterior = (share * (z + np.exp(-(z**2) / 2 - LOG_ROOT_2_PI - scipy.special.log_ndtr(z)))).sum(axis=1)
    out = counts.copy()
    out[light] = posterior * total / posterior.sum()
    return out
