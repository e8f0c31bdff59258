"""A lower bound on mu: at most mu but for its confidence, not far below it, and exact about rare errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

from cohortmix.core.audit.lower_bound import RUNS, attainable, clopper_pearson, lower_bound, runs_needed


@pytest.mark.parametrize("errors", [0, 3, 400, 999])
def test_clopper_pearson_is_exact(errors: int) -> None:
    bound = clopper_pearson(errors, 1000, 0.025)
    assert binom.cdf(errors, 1000, bound) == pytest.approx(0.025)
    assert clopper_pearson(1000, 1000, 0.025) == 1


def gaussian(mu: float, runs: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, runs), rng.normal(mu, 1, runs)


@pytest.mark.parametrize(("rates", "level"), [((0.1, 0.5), 0.05), ((0.0, 0.4), 0.02), ((0.02, 0.03), 0.05)])
def test_errors_of_two_kinds_are_bounded_together(rates: tuple[float, float], level: float) -> None:
    """The exact chance that the bound on the mean of two unequal rates is false, over all counts of errors."""
    runs, mean = 60, sum(rates) / 2
    chances = [binom.pmf(np.arange(runs + 1), runs, rate) for rate in rates]
    of_sum = np.convolve(*chances)
    bounds = np.array([clopper_pearson(errors, 2 * runs, level) for errors in range(2 * runs + 1)])
    assert 0 < of_sum[bounds < mean].sum() <= level


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_the_bound_is_below_mu_and_not_far_below(mu: float) -> None:
    bound = lower_bound(*gaussian(mu, RUNS, 1), claimed=mu)
    assert 0.8 * mu <= bound.measured <= mu
    assert bound.measured == pytest.approx(-norm.ppf(bound.fpr) - norm.ppf(bound.fnr))
    assert not lower_bound(*gaussian(1.3 * mu, RUNS, 1), claimed=mu).holds


def test_the_bound_fails_no_more_often_than_its_confidence_says() -> None:
    """As often as it says, and not much less often: it could not be much tighter."""
    for confidence in (0.5, 0.95):
        seen = [lower_bound(*gaussian(1.0, 600, seed), 1.0, confidence).holds for seed in range(400)]
        assert 0.3 * (1 - confidence) * 400 <= seen.count(False) <= binom.ppf(0.999, 400, 1 - confidence)


def test_two_equal_laws_show_nothing_and_a_rare_leak_shows() -> None:
    one, other = gaussian(0.0, RUNS, 2)
    assert lower_bound(one, other, 0.3).measured < 0.02
    leaks = other + 50 * (np.random.default_rng(3).random(RUNS) < 0.02)
    assert not lower_bound(one, leaks, 0.3).holds


def test_the_default_draws_show_four_fifths_of_a_small_mu() -> None:
    """Of 0.3, 0.24 is shown; less than that would be seen one time in a thousand."""
    seen = [lower_bound(*gaussian(0.2995, RUNS, seed), 0.3).measured for seed in range(100)]
    assert min(seen) > 0.24
    assert np.median(seen) == pytest.approx(attainable(0.2995, RUNS), abs=0.005)
    mean, deviation = np.mean(seen), np.std(seen)
    assert norm.cdf((0.24 - mean) / deviation) < 1e-3


def test_too_few_draws_are_known_to_be_too_few() -> None:
    assert not lower_bound(*gaussian(0.3, 1000, 1), 0.3).enough
    enough = runs_needed(0.3)
    assert 1000 < enough <= RUNS
    assert attainable(0.3, enough) >= 0.24 > attainable(0.3, enough * 8 // 10)
    for null, alternative in ((5, 5), (100, 99)):
        with pytest.raises(ValueError, match="equally many draws"):
            lower_bound(np.zeros(null), np.zeros(alternative), 0.3)
