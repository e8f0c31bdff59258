"""Posteriors under a prior that is learned from all measurements together."""

from __future__ import annotations

import numpy as np
import pytest

from cohortmix.core.steps.distributions.mixing import posteriors

RNG = np.random.default_rng(0)
SCALES = np.array([0.1, 1.0, 5.0])


def log_density(x: np.ndarray) -> np.ndarray:
    """(n, 3) of normal distributions of these scales."""
    return np.asarray(-0.5 * (x[:, None] / SCALES) ** 2 - np.log(SCALES))


def test_the_weights_are_those_of_the_components_that_were_drawn_from() -> None:
    of = RNG.choice(3, size=20_000, p=[0.6, 0.1, 0.3])
    found = posteriors(log_density(RNG.normal(0, SCALES[of])))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found.mean(axis=0), [0.6, 0.1, 0.3], atol=0.02)


def test_what_others_measured_counts() -> None:
    """The negation of a prior that is the same whatever was measured."""
    one = log_density(np.array([0.5]))
    near = posteriors(np.concatenate([one, log_density(RNG.normal(0, 0.1, 200))]))[0]
    far = posteriors(np.concatenate([one, log_density(RNG.normal(0, 5.0, 200))]))[0]
    assert far[2] > near[2] + 0.3


def test_a_count_is_as_many_measurements() -> None:
    x, count = RNG.normal(0, 1, 8), RNG.integers(1, 6, 8)
    every = posteriors(log_density(np.repeat(x, count)))
    first = np.cumsum(count) - count
    np.testing.assert_allclose(posteriors(log_density(x), count), every[first])


def test_pseudo_counts_keep_what_few_measurements_rule_out() -> None:
    few = log_density(np.zeros(4))
    assert posteriors(few, pseudo_count=5.0)[:, 2].min() > 2 * posteriors(few)[:, 2].max()


@pytest.mark.parametrize("n", [0, 1])
def test_none_or_one_measurement(n: int) -> None:
    found = posteriors(np.full((n, 3), -1e300))
    assert found.shape == (n, 3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("nothing", [np.nan, -np.inf])
def test_what_is_no_number_spoils_nothing_else(nothing: float) -> None:
    known = log_density(RNG.normal(0, 1, 50))
    odd = np.array([[nothing, 0.0, nothing], [nothing] * 3])
    found = posteriors(np.concatenate([known, odd]))
    assert np.isfinite(found).all()
    assert found[50].tolist() == [0, 1, 0]
    np.testing.assert_allclose(found[:50], posteriors(known), atol=0.05)
