"""Shrinkage: nearer to the truth than what was seen, and nothing where only noise was seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.gaussian.shrinkage import class_covariances, clean, operator_norm, shrink, unseen

Array = NDArray[np.float64]


def covariance(size: int) -> Array:
    directions = np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))[0]
    return np.asarray((directions * np.where(np.arange(size) < 3, 20, 0.5)) @ directions.T)


def noise(size: int, s: float, seed: int) -> Array:
    """Symmetric, with entries of standard deviation s, sqrt(2) s on the diagonal."""
    drawn = np.random.default_rng(seed).normal(size=(size, size)) * s / np.sqrt(2)
    return np.asarray(drawn + drawn.T)


def test_the_noise_of_a_symmetric_matrix_has_the_operator_norm() -> None:
    largest = [np.linalg.eigvalsh(noise(200, 0.3, seed))[-1] for seed in range(5)]
    assert np.mean(largest) == pytest.approx(operator_norm(200, 0.3), rel=0.03)


@pytest.mark.parametrize("s", [0.0, 0.02, 0.3])
def test_a_cleaned_covariance_is_nearer_and_positive_definite(s: float) -> None:
    truth = covariance(100)
    noisy = truth + noise(100, s, 2)
    cleaned = clean(noisy, s)
    assert np.linalg.eigvalsh(cleaned)[0] > 0
    if s == 0:
        np.testing.assert_allclose(cleaned, truth, atol=1e-9)
    else:
        assert np.linalg.norm(cleaned - truth) < 0.8 * np.linalg.norm(noisy - truth)


def test_noise_alone_is_cleaned_to_the_identity_that_it_has() -> None:
    cleaned = clean(np.eye(150) + noise(150, 0.2, 3), 0.2)
    assert np.abs(cleaned - np.diag(np.diag(cleaned))).max() < 0.3  # of the noise, 0.8
    assert cleaned.diagonal().mean() == pytest.approx(1, abs=0.2)


def test_a_centroid_is_kept_as_far_as_it_is_not_noise() -> None:
    """Without noise it stays, noise alone goes to nothing, and in between it comes nearer to the truth."""
    sigma, rng = covariance(100), np.random.default_rng(4)
    truth = 0.5 * np.linalg.cholesky(sigma) @ rng.normal(size=100)
    np.testing.assert_allclose(shrink(truth, 0.0, sigma), truth, atol=1e-9)
    assert not shrink(0.9 * rng.choice([-1.0, 1.0], 100), 1.0, sigma).any()
    assert not shrink(100 * truth, 1e4, sigma).any()  # noise beyond what records differ by
    seen = truth + 0.6 * rng.normal(size=100)
    assert np.linalg.norm(shrink(seen, 0.36, sigma) - truth) < 0.8 * np.linalg.norm(seen - truth)


def test_with_a_ridge_the_discriminant_of_what_is_drawn_is_the_regularised_one() -> None:
    sigma, apart = covariance(30), np.random.default_rng(5).normal(size=30)
    found = np.linalg.solve(sigma, shrink(apart, 0.0, sigma, ridge=2.0))
    expected = np.linalg.solve(sigma + 2 * np.trace(sigma) / 30 * np.eye(30), apart)
    cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1)
    assert np.linalg.norm(shrink(apart, 0.0, sigma, ridge=0.5)) == pytest.approx(np.linalg.norm(apart))


def test_a_class_has_a_covariance_of_its_own_as_far_as_it_is_seen() -> None:
    """A large class keeps its own, a rare one is near that of all, one with almost no patients gets just that."""
    truth = np.stack([np.diag([1.0, 4, 1, 1, 1, 1]), np.diag([4.0, 1, 1, 1, 1, 1]), 9 * np.eye(6)])
    for rare, kept in ((0.5, (0.9, 1.1)), (6.0, (0.0, 0.9)), (1e6, (-1e-9, 1e-9))):
        s, share = np.array([0.01, 0.05, rare]), np.array([0.7, 0.3, 0.005 / rare])
        noisy = truth + np.stack([noise(6, each, seed) for seed, each in enumerate(s)])
        found, within = class_covariances(noisy, s, share)
        np.testing.assert_allclose(found[:2], truth[:2], atol=0.3)
        keep = np.trace(found[2] - within) / np.trace(truth[2] - within)
        assert kept[0] <= keep <= kept[1]
        assert np.linalg.eigvalsh(found).min() > 0
    np.testing.assert_allclose(found[2], within)


def test_a_class_covariance_is_hidden_by_noise_beyond_the_variance() -> None:
    hidden = unseen(np.array([0.0, 0.02, 0.25, 3.0]), 2 * np.eye(16))  # op 0, 0.16, 2, 24 of a variance of 2
    np.testing.assert_allclose(hidden, [0, 0.0064 / 1.0064, 0.5, 144 / 145])
