"""Log density: exact without noise, its base under noise alone, and never anything where the base has nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.steps.distributions.log_density import Shares, fit

CELLS = 12
BASE = np.full(CELLS, 1 / CELLS)
TILTED = np.exp(np.linspace(-2, 2, CELLS)) / np.exp(np.linspace(-2, 2, CELLS)).sum()
PRIOR = [np.eye(CELLS) / tau**2 for tau in (3.0, 1.0, 0.3, 0.05)]
RUNS = np.eye(CELLS)


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.abs(a - b).sum() / 2)


def seen(truth: NDArray[np.float64], std: float, seed: int) -> Shares:
    return Shares.of(truth + std * np.random.default_rng(seed).standard_normal(CELLS), std)


def test_clear_shares_are_found_and_noise_leaves_the_base() -> None:
    np.testing.assert_allclose(fit(seen(TILTED, 1e-6, 0), BASE, RUNS, PRIOR), TILTED, atol=1e-4)
    hidden = [distance(fit(seen(BASE, 0.1, seed), BASE, RUNS, PRIOR), BASE) for seed in range(20)]
    counted = [distance(seen(BASE, 0.1, seed).x, BASE) for seed in range(20)]
    assert np.mean(hidden) < 0.2 * np.mean(counted)


def test_it_is_a_distribution_and_nothing_where_the_base_has_nothing() -> None:
    base = np.where(np.arange(CELLS) < 3, 0, BASE)
    found = fit(seen(BASE, 0.02, 1), base, RUNS, PRIOR)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert (found[:3] == 0).all()
    assert (found[3:] > 0).all()


def test_a_difference_is_a_factor() -> None:
    """Where hardly anybody is, the same noise adds hardly anything; with an additive filter it adds as much."""
    base = np.append(np.full(CELLS - 1, (1 - 1e-4) / (CELLS - 1)), 1e-4)
    last = [fit(seen(base, 0.03, seed), base, RUNS, PRIOR)[-1] for seed in range(30)]
    assert np.mean(last) < 1e-3
    assert np.mean(np.maximum([seen(base, 0.03, seed).x[-1] for seed in range(30)], 0)) > 1e-2


def test_runs_move_together() -> None:
    runs = np.repeat(np.eye(3), CELLS // 3, axis=1)
    found = fit(seen(TILTED, 1e-4, 0), BASE, runs, [np.eye(3) / tau**2 for tau in (3.0, 0.3)])
    for run in runs:
        assert np.ptp(found[run == 1]) < 1e-12
        assert found[run == 1].sum() == pytest.approx(TILTED[run == 1].sum(), abs=1e-2)


def test_coarse_bins_say_more_of_a_sum_than_its_cells() -> None:
    coarse = np.repeat(np.arange(3), CELLS // 3).tolist()
    both, alone = (Shares.of(BASE, 0.01, bins, 0.7).by_covariance(np.eye(CELLS)) for bins in (coarse, None))
    first = np.arange(CELLS) < CELLS // 3
    assert first @ both @ first < 0.01**2 < first @ alone @ first
    assert np.diag(alone) == pytest.approx((0.01 / 0.7) ** 2)


def test_means_of_functions_are_one_more_measurement() -> None:
    """Weighted least squares of both, solved otherwise; all is known better than before."""
    rng = np.random.default_rng(4)
    shares, functions = seen(TILTED, 0.05, 2), rng.standard_normal((2, CELLS))
    means, std = functions @ TILTED + np.array([1e-3, -2e-3]), np.array([1e-3, 2e-3])
    both = shares.with_means(functions, means, std)
    root = np.diag(np.sqrt(shares.own))
    design = np.concatenate([root, functions / std[:, None]])
    expected = np.linalg.lstsq(design, np.append(root @ shares.x, means / std), rcond=None)[0]
    np.testing.assert_allclose(both.x, expected, atol=1e-9)
    assert (both.std < shares.std).all()
    np.testing.assert_allclose(functions @ both.x, means, atol=3 * std.max())
    assert np.abs(functions @ shares.x - means).max() > 10 * std.max()


def test_no_function_says_nothing() -> None:
    shares = seen(TILTED, 0.05, 2)
    both = shares.with_means(np.zeros((0, CELLS)), np.zeros(0), np.zeros(0))
    np.testing.assert_array_equal(both.x, shares.x)
    np.testing.assert_array_equal(both.rows, shares.rows)


def test_what_is_never_formed_is_what_it_would_be() -> None:
    """Precision, covariance and standard deviations, against the matrices themselves; of some cells alone, too."""
    rng = np.random.default_rng(6)
    coarse, functions = np.repeat(np.arange(3), CELLS // 3).tolist(), rng.standard_normal((2, CELLS))
    whole = Shares.of(BASE, 0.01, coarse, 0.4).with_means(functions, functions @ BASE, np.array([1e-3, 1e-5]))
    some = np.arange(CELLS) % 4 != 1
    for shares in (whole, whole.where(some), Shares.of(BASE, 0.01)):
        unit = np.eye(len(shares.x))
        precision = np.diag(shares.own) + shares.rows.T @ shares.rows
        np.testing.assert_allclose(shares.by_precision(unit), precision, rtol=1e-12)
        np.testing.assert_allclose(shares.by_precision(shares.x), precision @ shares.x, rtol=1e-9)
        covariance = np.linalg.inv(precision)
        np.testing.assert_allclose(shares.by_covariance(unit), covariance, atol=1e-10)
        np.testing.assert_allclose(shares.std, np.sqrt(np.diag(covariance)), rtol=1e-7)


def test_a_mean_far_more_exact_than_its_cells_leaves_every_deviation_positive() -> None:
    shares = Shares.of(BASE, 1.0).with_means(np.eye(CELLS)[:1], np.array([0.1]), np.zeros(1))
    assert shares.x[0] == pytest.approx(0.1)
    assert 0 < shares.std[0] <= 2e-8
