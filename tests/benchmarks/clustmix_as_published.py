"""ClustMix as published: Algorithm 2 of Madl et al., "Approximate, Adapt, Anonymize (3A)". NOT PRIVATE.

A baseline of `bench_utility.py`, and what `bench_attack.py` attacks. The paper's noise is calibrated for one step,
the last mean, although every step before it follows the records. Where its text can be read in several ways, this
takes the one that is kindest to it:

- Features are numbers: a category is its position among the declared values, so that Adult has D = 14 (Table 2).
- Scaling is min-max over the records (Data preprocessing), or, in `bounds="schema"`, over bounds declared before.
- Slicing at random records (after Eq. 1) is not in Algorithm 2: `slices=1` leaves it out, more put it in. Then one
  feature and the cutting records are drawn uniformly, and a class too small for a region has no centroid there.
- GMMConstrained starts from scikit-learn's spherical mixture; records then move, the likeliest first, until every
  cluster holds l_min (the paper: "adapted to ensure clusters never contain fewer", without saying how).
- KIP (Eq. 6) uses z-scores and the mean over targets: a sum would leave alpha without meaning. alpha = 1 moves
  nothing, as the formula says and one sentence of the text denies.
- The members of an adapted centroid are a partition (Theorem 2 wants each record used once), not l_min nearest
  records of each, which may overlap; the mean is over l members (line 18 has T), noise follows from l >= l_min.
- Eq. 8 has sqrt(CD), Algorithm 2 sqrt(D): the larger noise. The smallest sigma within epsilon and delta is the
  root of Eq. 8. Theorem 2's "l <= D" would leave Adult clusters of 14 records, and is not asked for.
- sigma_max and alpha are given. The paper tunes them on the records, which this does not count against it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, log, sqrt
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.dictionary.grid import bounds as bounds_of
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy import gdp
from cohortmix.core.steps.adapt import adapt
from cohortmix.core.utility.columns import read

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Records = tuple[Array, Indices]


@dataclass(frozen=True)
class ClustMix:
    """Parameters of Algorithm 2.

    Attributes
    ----------
    sigma_max : largest standard deviation of the noise, in units of a feature's range.
    epsilon, delta : what is claimed; delta is 1/N by default.
    alpha, steps : of Eq. 6; Adam steps.
    bounds : where the scaling to [0, 1] comes from.
    slices : regions into which the records are cut at random; 1 is Algorithm 2 as it is printed.
    """

    sigma_max: float
    epsilon: float = 1.0
    delta: float | None = None
    alpha: float = 0.5
    steps: int = 100
    bounds: Literal["records", "schema"] = "records"
    slices: int = 1

    def claimed_mu(self, patients: int) -> float:
        """The mu at which Eq. 8 gives epsilon and delta."""
        return gdp.mu_of(self.epsilon, self._delta(patients))

    def spread(self, patients: int, classes: int, features: int) -> float:
        """l sigma, the same for every cluster: l_min is spread / sigma_max, sigma is spread / l."""
        return spread(self.epsilon, self._delta(patients), classes, features)

    def least(self, patients: int, classes: int, features: int) -> int:
        """l_min, the smallest mixture whose noise does not exceed sigma_max."""
        return ceil(self.spread(patients, classes, features) / self.sigma_max)

    def _delta(self, patients: int) -> float:
        return self.delta or 1 / patients


@dataclass(frozen=True, eq=False)
class Mixed:
    """The centroids before the noise of line 17: means (K, D) in [0, 1], labels (K,), and sigma (K,) of Eq. 8."""

    means: Array
    labels: Indices
    sigma: Array

    def noised(self, rng: np.random.Generator) -> Array:
        """What is released (with the labels), shape (K, D)."""
        return self.means + self.sigma[:, None] * rng.standard_normal(self.means.shape)


def mix(records: Records, schema: Schema, parameters: ClustMix, seed: int) -> Mixed:
    """Algorithm 2 up to the noise.

    Parameters
    ----------
    records : real ones, as `numbers` reads them.
    seed : of slices, mixtures and minibatches, the coins of the algorithm other than its noise.
    """
    raw, y = records
    low, high = (raw.min(axis=0), raw.max(axis=0)) if parameters.bounds == "records" else ranges(schema)
    x = np.clip((raw - low) / np.where(high > low, high - low, 1), 0, 1)
    patients, classes, features = len(x), len(schema.classes), x.shape[1]
    least = parameters.least(patients, classes, features)
    rng = np.random.default_rng(seed)
    region = slices(x, parameters.slices, rng)
    parts = [_mix(x[region == r], y[region == r], classes, least, parameters, rng) for r in np.unique(region)]
    means, labels, sizes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Mixed(means, labels, parameters.spread(patients, classes, features) / sizes)


def _mix(
    x: Array, y: Indices, classes: int, least: int, parameters: ClustMix, rng: np.random.Generator
) -> tuple[Array, Indices, Indices]:
    """Lines 3 to 18 in one region: means, labels and sizes of the mixtures, without noise."""
    count = [int(np.count_nonzero(y == c)) // least for c in range(classes)]
    starts = [
        centroids(x[y == c], clusters(x[y == c], count[c], least, rng)) for c in range(classes) if count[c] > 0
    ]
    if not starts:
        return np.zeros((0, x.shape[1])), np.zeros(0, np.int64), np.zeros(0, np.int64)
    labels = np.repeat(np.arange(classes), count)
    moved = kernel_inducing_points(np.concatenate(starts), labels, x, np.eye(classes)[y], parameters, rng)
    means, sizes = [], []
    for c in np.unique(labels):
        members = x[y == c]
        assigned = constrained(cdist(members, moved[labels == c], "sqeuclidean"), least)
        means.append(centroids(members, assigned))
        sizes.append(np.bincount(assigned))
    return np.concatenate(means), labels, np.concatenate(sizes)


def numbers(table: pd.DataFrame, schema: Schema) -> Records:
    """Features (N, D) and classes (N,) as numbers; a missing category is -1, and a number is never missing."""
    values = read(table, schema)
    features = np.column_stack([values[name] for name in schema.features])
    return np.nan_to_num(features, nan=-1), values[schema.target_name].astype(np.int64)


def ranges(schema: Schema) -> tuple[Array, Array]:
    """Declared least and largest number of each feature, shape (D,)."""
    columns = [schema.columns[name] for name in schema.features]
    ends = [
        (-1 if column.missing else 0, len(column.values) - 1)
        if isinstance(column, Category)
        else bounds_of(column)
        for column in columns
    ]
    low, high = np.array(ends, dtype=np.float64).T
    return low, high


@cache
def spread(epsilon: float, delta: float, classes: int, features: int) -> float:
    """The l sigma that solves Eq. 8, delta(epsilon, sigma, l, C, D) = delta, by Nelder and Mead."""

    def excess(log_spread: NDArray[np.float64]) -> float:
        mu = sqrt(classes * features) / exp(float(log_spread[0]))
        return abs(log(max(gdp.delta_of(mu, epsilon), 1e-300)) - log(delta))

    options = {"xatol": 1e-9, "fatol": 1e-9}
    return exp(
        float(minimize(excess, [log(sqrt(classes * features))], method="Nelder-Mead", options=options).x[0])
    )


def slices(x: Array, count: int, rng: np.random.Generator) -> Indices:
    """A region for each record, shape (N,): one feature, cut at the values of `count` - 1 records."""
    feature = x[:, rng.integers(x.shape[1])]
    cuts = np.sort(rng.choice(feature, count - 1, replace=False))
    return np.searchsorted(cuts, feature, side="right")


def clusters(x: Array, count: int, least: int, rng: np.random.Generator) -> Indices:
    """GMMConstrained: a cluster for each record, at least `least` records in each."""
    model = GaussianMixture(count, covariance_type="spherical", random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct records than clusters
        model.fit(x)
    variance = model.covariances_
    cost = cdist(x, model.means_, "sqeuclidean") / (2 * variance) + x.shape[1] / 2 * np.log(variance)
    return constrained(cost - np.log(model.weights_), least)


def constrained(cost: Array, least: int) -> Indices:
    """The cheapest cluster for each record, then the cheapest moves until each holds `least`; cost is (n, k)."""
    assigned: Indices = cost.argmin(axis=1)
    size = np.bincount(assigned, minlength=cost.shape[1])
    for cluster in np.flatnonzero(size < least):
        regret = cost[:, cluster] - cost[np.arange(len(cost)), assigned]
        for record in np.argsort(regret, kind="stable"):
            if size[cluster] == least:
                break
            if size[assigned[record]] > least:
                size[assigned[record]] -= 1
                size[cluster] += 1
                assigned[record] = cluster
    return assigned


def centroids(x: Array, assigned: Indices) -> Array:
    """Eq. 7 without its noise: the mean of each cluster's records, shape (k, D)."""
    return np.stack([x[assigned == cluster].mean(axis=0) for cluster in range(assigned.max() + 1)])


def kernel_inducing_points(
    start: Array, labels: Indices, x: Array, y: Array, parameters: ClustMix, rng: np.random.Generator
) -> Array:
    """Line 11: Eq. 6 with the neural tangent kernel, on real records as its targets; shape of `start`."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    if len(start) == 1 or not scale.any():  # one point, or records that are all equal: nothing to adapt
        return start
    scale[scale == 0] = 1
    support = adapt(
        (start - mean) / scale,
        np.eye(y.shape[1])[labels],
        (x - mean) / scale,
        y,
        blocks=(),
        alpha=parameters.alpha,
        steps=parameters.steps,
        seed=int(rng.integers(2**31)),
    )
    return np.asarray(support.points * scale + mean)
