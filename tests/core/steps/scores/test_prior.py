"""The prior of couplings is learned: what stands out from noise is kept, what does not is drawn back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.steps.scores.prior import prior_variance

K = 60
APART = ~np.eye(K, dtype=bool)


def symmetric(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.tril(values, -1) + np.tril(values, -1).T


def kept(second: NDArray[np.float64], std: float) -> NDArray[np.float64]:
    """The share of each correlation that is not drawn back."""
    variance = prior_variance(second, APART, std)
    return np.asarray(variance / (variance + std**2))


def few_go_together(seed: int, std: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlations of which a tenth are not 0, and the same with noise."""
    rng = np.random.default_rng(seed)
    real = symmetric(rng.normal(0, 0.4, (K, K)) * (rng.random((K, K)) < 0.1))
    return real, real + symmetric(rng.normal(0, std, (K, K)))


@pytest.mark.parametrize("std", [0.02, 0.05, 0.1])
def test_it_errs_less_than_one_variance_for_all_and_than_none(std: float) -> None:
    real, noised = few_go_together(0, std)
    learned = np.mean((kept(noised, std) * noised - real) ** 2)
    one = np.mean(real**2)  # the best single variance; nobody would know it
    same = np.mean((one / (one + std**2) * noised - real) ** 2)
    assert learned < 0.95 * same < 0.95 * np.mean((noised - real) ** 2)


def test_much_noise_is_still_mostly_drawn_back() -> None:
    """What is drawn back is less than would err least: where noise hides nearly all, one variance errs less."""
    real, noised = few_go_together(0, 0.3)
    assert np.mean((kept(noised, 0.3) * noised - real) ** 2) < 0.25 * np.mean((noised - real) ** 2)


def test_where_all_go_together_alike_it_is_no_worse_than_the_best_single_variance() -> None:
    """Negation of the above: there, learning several has nothing to win."""
    rng = np.random.default_rng(1)
    real = symmetric(rng.normal(0, 0.2, (K, K)))
    noised = real + symmetric(rng.normal(0, 0.1, (K, K)))
    learned = np.mean((kept(noised, 0.1) * noised - real) ** 2)
    same = np.mean((0.8 * noised - real) ** 2)
    assert same * 0.98 < learned < same * 1.05


def test_noise_alone_is_drawn_back_and_what_stands_out_is_not() -> None:
    rng = np.random.default_rng(2)
    noise = symmetric(rng.normal(0, 0.1, (K, K)))
    noise[1, 0] = noise[0, 1] = 0.9
    share = kept(noise, 0.1)
    assert share[1, 0] > 0.9
    assert np.median(share[APART]) < 0.2


def test_what_was_not_measured_counts_for_nothing() -> None:
    _, noised = few_go_together(3, 0.1)
    within = np.zeros((K, K), dtype=bool)
    within[:5, :5] = True
    other = np.where(within, 7.0, noised)
    np.testing.assert_array_equal(
        prior_variance(other, APART & ~within, 0.1)[~within], prior_variance(noised, APART & ~within, 0.1)[~within]
    )


@pytest.mark.parametrize("size", [1, 2])
def test_a_pair_or_none_has_a_variance(size: int) -> None:
    second = np.full((size, size), 0.2)
    variance = prior_variance(second, ~np.eye(size, dtype=bool), 0.1)
    assert np.isfinite(variance).all()
    assert (variance > 0).all()


def test_nothing_at_all_was_measured() -> None:
    assert (prior_variance(np.zeros((4, 4)), ~np.eye(4, dtype=bool), 0.1) > 0).all()
