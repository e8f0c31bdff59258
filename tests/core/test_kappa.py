"""kappa and zCDP against exact convolutions: what answers of several numbers truly leak at small sigma.

Discrete Gaussian noise on integers that neighbours move by s: the likelihood ratio of an answer k is a function of
sum s_i k_i alone, log P(k) / Q(k) = sum s_i (s_i - 2 k_i) / (2 sigma^2), and the law of that sum is a convolution.
"""

import math
from functools import cache

import numpy as np
import pytest

from cohortmix.core.privacy import gdp

CASES = [(1, (1,)), (1, (1, 1)), (1, (2, 1)), (2, (1,) * 4), (2, (3, 1, 1)), (3, (1,) * 8), (5, (4, 3))]
"""sigma in steps, and by how many steps each number moves."""


@cache
def laws(sigma: int, shifts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """P and Q of the sum, on the same lattice, beyond which next to nothing is left."""
    total = np.ones(1)
    for shift in shifts:
        k = np.arange(-36 * sigma, 36 * sigma + 1)
        weights = np.exp(-(k**2) / (2 * sigma**2))
        spread = np.zeros((len(k) - 1) * shift + 1)
        spread[::shift] = weights / weights.sum()
        total = np.convolve(total, spread)
    moved = sum(shift**2 for shift in shifts)
    return np.pad(total, (0, moved)), np.pad(total, (moved, 0))


def mu_of(sigma: int, shifts: tuple[int, ...]) -> float:
    return math.hypot(*shifts) / sigma


def least_misses(sigma: int, shifts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """False alarms alpha and misses T(alpha) at the corners of the exact trade-off curve (Neyman, Pearson)."""
    p, q = laws(sigma, shifts)  # the ratio q / p grows along the lattice
    return np.cumsum(p[::-1])[::-1], np.cumsum(q) - q


@pytest.mark.parametrize(("sigma", "shifts"), CASES)
def test_the_exact_trade_off_is_that_of_mu_up_to_kappa(sigma: int, shifts: tuple[int, ...]) -> None:
    """T(alpha) >= G_mu(alpha + kappa) - kappa."""
    mu, kappa = mu_of(sigma, shifts), gdp.kappa(len(shifts), sigma)
    alpha, misses = least_misses(sigma, shifts)
    bound = np.array([gdp.trade_off(mu, min(1.0, a + kappa)) - kappa for a in alpha])
    assert np.all(misses >= bound - 1e-13)


@pytest.mark.parametrize(("sigma", "shifts"), CASES)
def test_the_exact_delta_is_that_of_mu_up_to_kappa(sigma: int, shifts: tuple[int, ...]) -> None:
    """delta(epsilon) <= delta_mu(epsilon) + (1 + e^epsilon) kappa."""
    mu, kappa = mu_of(sigma, shifts), gdp.kappa(len(shifts), sigma)
    p, q = laws(sigma, shifts)
    for epsilon in np.linspace(0, 6 * mu, 60):
        exact = float(np.maximum(p - math.exp(epsilon) * q, 0).sum())
        assert exact <= gdp.delta_of(mu, float(epsilon)) + (1 + math.exp(epsilon)) * kappa + 1e-13


@pytest.mark.parametrize("shifts", [shifts for sigma, shifts in CASES if sigma == 1])
def test_without_kappa_it_would_not_hold(shifts: tuple[int, ...]) -> None:
    """On a lattice as coarse as its noise the law is not mu-GDP, not even up to a hundredth of kappa."""
    mu, kappa = mu_of(1, shifts), gdp.kappa(len(shifts), 1) / 100
    alpha, misses = least_misses(1, shifts)
    assert any(t < gdp.trade_off(mu, min(1.0, a + kappa)) - kappa for a, t in zip(alpha, misses, strict=True))


@pytest.mark.parametrize(("sigma", "shifts"), CASES)
@pytest.mark.parametrize("order", [1.01, 1.5, 2.0, 7.0])
def test_zcdp_is_exact(sigma: int, shifts: tuple[int, ...], order: float) -> None:
    """The Renyi divergence of every order is at most rho times it; at a whole order it is just that."""
    p, q = laws(sigma, shifts)
    both = (p > 1e-290) & (q > 1e-290)
    logs = order * np.log(p[both]) + (1 - order) * np.log(q[both])
    divergence = (logs.max() + math.log(np.exp(logs - logs.max()).sum())) / (order - 1)
    rho = gdp.zcdp(mu_of(sigma, shifts))
    assert divergence <= rho * order * (1 + 1e-9)
    assert divergence >= rho * order * (1 - (1e-9 if order in (2.0, 7.0) else 0.05))
