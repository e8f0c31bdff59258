"""DP-EM (Park, Foulds, Chaudhuri, Welling 2017): a mixture whose sums get noise in each of a few iterations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
import pandas as pd
from graphical_models import Domain
from record_vectors import Array, Codes, Vectors, drawn, gaussian_mu

ITERATIONS = 10
MOST, LEAST = 10, 2  # components
SURE = 4  # a component has as many standard deviations of noise as this
FLOOR = 0.05**2  # of a variance, of numbers in [0, 1]


@dataclass(frozen=True)
class Mixture:
    """K components of independent columns: `shares` (K,), `means` and `variances` (K, A), `values` (K, widths)."""

    shares: Array
    means: Array
    variances: Array
    values: Array


def dpem(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """A mixture with diagonal covariances over numbers and values, the target among them; its records.

    Guarantee
    ---------
    mu-GDP, and so (epsilon, delta), for a record replaced. In each iteration a record adds r [1, x, x^2, values]
    to the sums, with responsibilities r of norm <= 1, so a vector of norm <= sqrt(1 + 2 A + B) without negative
    numbers: two of them are at most sqrt(2) times that apart. The iterations are Gaussian mechanisms, and mu^2
    adds up. Public: domain, n, which say how many components there are.
    """
    vectors, rng, n = Vectors.of(domain), np.random.default_rng(seed), len(table)
    x = vectors.encode(table)
    bound = sqrt(1 + 2 * len(vectors.numbers) + len(vectors.values))
    sigma = sqrt(2 * ITERATIONS) * bound / gaussian_mu(epsilon, delta)
    components = int(np.clip(n / (SURE * sigma), LEAST, MOST))
    mixture = _start(vectors, components, rng)
    for _ in range(ITERATIONS):
        sums = _sums(x, _responsibilities(x, mixture, vectors), len(vectors.numbers))
        mixture = _fitted(sums + sigma * rng.standard_normal(sums.shape), n, vectors)
    return _records(mixture, vectors, n, rng)


def _start(vectors: Vectors, components: int, rng: np.random.Generator) -> Mixture:
    """Without a look at records: means at random, and shares of values near to even."""
    means = 0.25 + 0.5 * rng.random((components, len(vectors.numbers)))
    blocks = [rng.dirichlet(np.full(size, 5.0), size=components) for size in vectors.values.values()]
    return Mixture(np.full(components, 1 / components), means, np.full_like(means, 0.1), np.hstack(blocks))


def _responsibilities(x: Array, mixture: Mixture, vectors: Vectors) -> Array:
    """(n, K) with rows that sum to 1."""
    numbers, values = np.split(x, [len(vectors.numbers)], axis=1)
    log = np.log(mixture.shares) + values @ np.log(mixture.values).T
    for k, (mean, variance) in enumerate(zip(mixture.means, mixture.variances, strict=True)):
        log[:, k] -= 0.5 * ((numbers - mean) ** 2 / variance + np.log(variance)).sum(axis=1)
    weights = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _sums(x: Array, responsibilities: Array, numbers: int) -> Array:
    """(K, 1 + A + A + widths): what a record adds, weighted."""
    terms = np.hstack([np.ones((len(x), 1)), x[:, :numbers], x[:, :numbers] ** 2, x[:, numbers:]])
    return np.asarray(responsibilities.T @ terms)


def _fitted(sums: Array, n: int, vectors: Vectors) -> Mixture:
    """The mixture of noised sums; what no records can have is moved to what they can."""
    a = len(vectors.numbers)
    masses = np.maximum(sums[:, 0], 0.01 * n / len(sums))
    first, second, values = np.split(sums[:, 1:] / masses[:, None], [a, 2 * a], axis=1)
    means = np.clip(first, 0, 1)
    variances = np.clip(second - means**2, FLOOR, 0.25)
    blocks = np.split(values, (vectors.starts - a)[1:-1], axis=1)
    shares = [np.maximum(block, 1e-3) for block in blocks]
    return Mixture(
        masses / masses.sum(),
        means,
        variances,
        np.hstack([block / block.sum(axis=1, keepdims=True) for block in shares]),
    )


def _records(mixture: Mixture, vectors: Vectors, n: int, rng: np.random.Generator) -> pd.DataFrame:
    component: Codes = rng.choice(len(mixture.shares), size=n, p=mixture.shares)
    numbers = mixture.means[component]
    numbers = numbers + np.sqrt(mixture.variances[component]) * rng.standard_normal(numbers.shape)
    starts = vectors.starts - len(vectors.numbers)
    chosen = mixture.values[component]
    values = [drawn(chosen[:, a:b], rng) for a, b in pairwise(starts)]
    return vectors.join(np.clip(numbers, 0, 1 - 1e-9), np.stack(values, axis=1))
