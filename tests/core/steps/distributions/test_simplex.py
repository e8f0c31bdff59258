"""The nearest distribution: by another way of finding it, and what it makes of class masses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core.steps.distributions.simplex import class_masses, simplex


def project_one_by_one(x: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """The nearest point of the simplex by bisection on its one multiplier."""
    low, high = x.min() - 2, x.max() + 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(x - middle, floor).sum() > 1 else (low, middle)
    return np.asarray(np.maximum(x - low, floor))


VECTORS = st.lists(st.floats(-5, 5), min_size=1, max_size=12).map(np.array)


@given(VECTORS, st.floats(0, 0.9))
def test_the_projection_is_the_nearest_distribution(x: NDArray[np.float64], share: float) -> None:
    floor = share / len(x)
    found = simplex(x, floor)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert found.min() >= floor - 1e-12
    np.testing.assert_allclose(found, project_one_by_one(x, floor), atol=1e-9)


@given(st.lists(VECTORS.filter(lambda x: len(x) > 1), min_size=1, max_size=3))
def test_rows_are_projected_each_by_itself(vectors: list[NDArray[np.float64]]) -> None:
    width = min(map(len, vectors))
    rows = np.stack([x[:width] for x in vectors])
    np.testing.assert_array_equal(simplex(rows), np.stack([simplex(row) for row in rows]))


def test_a_rounding_error_is_left_alone_and_more_is_not() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(50), size=200)
    np.testing.assert_array_equal(simplex(p, tolerance=1e-14), p)
    assert not np.array_equal(simplex(p), p)
    off = p + 1e-12
    assert not np.array_equal(simplex(off, tolerance=1e-14), off)


def test_a_distribution_is_its_own_projection() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(7))
    np.testing.assert_allclose(simplex(p), p, atol=1e-15)
    np.testing.assert_allclose(simplex(p + 3), p, atol=1e-12)


def test_each_class_has_a_patient_where_there_are_enough() -> None:
    def masses(values: list[float], patients: int) -> NDArray[np.float64]:
        return class_masses(np.array(values), patients)

    np.testing.assert_allclose(masses([99.0, -40.0, 11.0], 100), [93.5, 1, 5.5])
    np.testing.assert_allclose(masses([30.0, 70.0], 100), [30, 70])
    many = masses([0.0] * 60, 50)  # more classes than patients
    np.testing.assert_allclose(many, np.full(60, 50 / 60))
