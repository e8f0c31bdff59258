"""DPMix (Lee, Kim, Lee, Suh 2019): each record is the mean of some that are drawn at random, with noise."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pandas as pd
from graphical_models import Domain
from record_vectors import Vectors

MIXED = (4, 8, 16, 32, 64, 128, 256, 512, 1024)  # how many records a mean may have
LEAST = 1.0  # noise of a mean in its sensitivities: with less, sampling hardly protects
ORDERS = [1.1, 1.25, 1.5, *range(2, 65), 80, 96, 128, 192, 256]  # of the Renyi divergences
STEPS = 30  # halvings of the interval in which the noise lies


def dpmix(table: pd.DataFrame, domain: Domain, epsilon: float, delta: float, seed: int) -> pd.DataFrame:
    """As many means as there are records; their labels and values are drawn by the mixed shares.

    Guarantee
    ---------
    (epsilon, delta) for a record replaced. Two vectors differ by at most 1 in each of A numbers and sqrt(2) in
    each of B blocks, so that a mean of m moves by at most sqrt(A + 2 B) / m. n means, each of m records drawn
    without replacement, are composed by Renyi divergences (Wang, Balle, Kasiviswanathan 2019). Public: domain, n.
    """
    vectors, rng, n = Vectors.of(domain), np.random.default_rng(seed), len(table)
    mixed, multiplier = mixing(n, epsilon, delta)
    x = vectors.encode(table)
    means = np.stack([x[rng.choice(n, size=mixed, replace=False)].mean(axis=0) for _ in range(n)])
    sensitivity = sqrt(len(vectors.numbers) + 2 * len(vectors.values)) / mixed
    return vectors.decode(means + multiplier * sensitivity * rng.standard_normal(means.shape), rng)


def mixing(n: int, epsilon: float, delta: float) -> tuple[int, float]:
    """The fewest records of a mean with which its noise is at least its sensitivity, and that noise."""
    for mixed in MIXED:
        if 2 * mixed < n:
            chosen = mixed
            if _spent(n, mixed, LEAST, delta) > epsilon:  # less is spent with more noise
                break
    return chosen, _multiplier(n, chosen, epsilon, delta)


def _multiplier(n: int, mixed: int, epsilon: float, delta: float) -> float:
    low, high = 0.05, 2_000.0
    for _ in range(STEPS):
        middle = sqrt(low * high)
        low, high = (low, middle) if _spent(n, mixed, middle, delta) <= epsilon else (middle, high)
    return high


def _spent(n: int, mixed: int, multiplier: float, delta: float) -> float:
    from dp_accounting import GaussianDpEvent, NeighboringRelation, SampledWithoutReplacementDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(ORDERS, NeighboringRelation.REPLACE_ONE)
    accountant.compose(SampledWithoutReplacementDpEvent(n, mixed, GaussianDpEvent(multiplier)), n)
    return float(accountant.get_epsilon(delta))
