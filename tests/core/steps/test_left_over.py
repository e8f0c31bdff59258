"""Left over: what a mixture cannot say is kept where it stands out from the noise, and noise is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cohortmix.core.steps.approximate import Mixture, Moments
from cohortmix.core.steps.left_over import left_over

SIZES = (2, 2, 3)
PATIENTS = 1000.0
APART = np.repeat(np.arange(3), SIZES)[:, None] != np.repeat(np.arange(3), SIZES)
INDEPENDENT = Mixture(
    weights=np.array([PATIENTS]), means=np.array([[0.5, 0.5, 0.5, 0.5, 0.2, 0.3, 0.5]]), labels=np.ones((1, 1))
)


def tables(lift: float) -> NDArray[np.float64]:
    """(1, G, G) patients: the first two columns go together by `lift`, the third with neither."""
    pairs = np.outer(INDEPENDENT.means[0], INDEPENDENT.means[0]) * APART
    pairs[:2, 2:4] += lift * np.array([[1, -1], [-1, 1]])
    pairs[2:4, :2] = pairs[:2, 2:4].T
    return np.asarray(pairs[None] * PATIENTS)


def moments(pairs: NDArray[np.float64], s_b: float, known: NDArray[np.float64] | None = None) -> Moments:
    return Moments(
        pairs=pairs,
        s_b=s_b,
        margins=INDEPENDENT.means * PATIENTS,
        margins_std=np.full(7, s_b),
        masses=np.array([PATIENTS]),
        sizes=SIZES,
        known=known,
    )


def test_without_noise_all_of_it_is_kept() -> None:
    found = left_over(moments(tables(0.1), 1e-6), INDEPENDENT)
    np.testing.assert_allclose(found, tables(0.1) / PATIENTS - tables(0.0) / PATIENTS, atol=1e-9)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))


def test_within_the_noise_hardly_anything_is() -> None:
    rng, kept, seen = np.random.default_rng(0), [], []
    for _ in range(200):
        noise = np.triu(rng.standard_normal((7, 7)), 1) * 20
        found = left_over(moments(tables(0.0) + (noise + noise.T) * APART, 20.0), INDEPENDENT)
        kept.append((found**2).sum())
        seen.append(((noise / PATIENTS) ** 2).sum() * 2)
    assert np.mean(kept) < 0.35 * np.mean(seen)


def test_what_stands_out_is_kept_of_the_columns_that_it_is_about() -> None:
    found = left_over(moments(tables(0.1), 20.0), INDEPENDENT)
    assert found[0, 0, 2] == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(found[0, 4:], 0, atol=1e-12)
    assert not found[0][~APART].any()


def test_columns_with_unknown_values_are_left_as_they_are() -> None:
    """Their tables are of fewer patients, and their sums would move."""
    known = np.ones((1, 3, 3))
    known[0, 0, 1] = known[0, 1, 0] = 0.9
    assert not left_over(moments(tables(0.1), 1e-6, known), INDEPENDENT).any()
