"""Smoothing: nearer to the truth than the counts are, exact without noise, and always a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Cells
from cohortmix.core.data.schema import Category, Number
from cohortmix.core.steps.simplex import simplex
from cohortmix.core.steps.smooth import smooth

AGE = Cells.of("age", Number(type="number", min=0, max=100, missing=True))
DOSE = Cells.of("dose", Number(type="number", min=0, max=1000, transform="log1p"))
COUNTRY = Cells.of("country", Category(type="category", values=tuple(f"c{i}" for i in range(40))))
FEW = Cells.of("visits", Number(type="number", min=0, max=5, integer=True))
FEATURES = {cells.name: cells for cells in (AGE, DOSE, COUNTRY, FEW)}


def distribution(cells: Cells, seed: int = 0) -> NDArray[np.float64]:
    """Flat stretches and an atom; of a category, one heavy value and many light ones."""
    rng = np.random.default_rng(seed)
    if isinstance(cells.column, Category):
        light = rng.exponential(size=cells.size)
        light[0] = 9 * light.sum()
        return np.asarray(light / light.sum())
    width = cells.widths / cells.widths.sum()
    width[cells.size // 3] += 0.3
    return np.asarray(width / width.sum())


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.abs(a - b).sum() / 2)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(FEATURES)), st.integers(0, 10**6), st.sampled_from([0.0, 1e-3, 0.1, 10.0]))
def test_it_is_a_distribution_whatever_the_counts(name: str, seed: int, std: float) -> None:
    cells = FEATURES[name]
    counts = std * np.random.default_rng(seed).standard_normal(cells.size) + distribution(cells) * (seed % 2)
    found = smooth(counts, cells, max(std, 1e-12))
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_without_noise_nothing_changes(name: str) -> None:
    truth = distribution(FEATURES[name])
    np.testing.assert_allclose(smooth(truth, FEATURES[name], 1e-9), truth, atol=1e-6)


@pytest.mark.parametrize("name", ["age", "dose", "country"])
def test_it_is_nearer_to_the_truth_than_the_projected_counts(name: str) -> None:
    cells, std = FEATURES[name], 0.004
    truth, rng = distribution(cells), np.random.default_rng(1)
    noised = [truth + std * rng.standard_normal(cells.size) for _ in range(40)]
    mine = np.mean([distance(smooth(counts, cells, std), truth) for counts in noised])
    projected = np.mean([distance(simplex(counts), truth) for counts in noised])
    assert mine < 0.85 * projected


def test_an_atom_stays_and_a_ripple_below_the_noise_does_not() -> None:
    truth, std = distribution(AGE), 0.004
    atom = AGE.size // 3
    found = smooth(truth + std * np.random.default_rng(2).standard_normal(AGE.size), AGE, std)
    assert found[atom] == pytest.approx(truth[atom], abs=4 * std)
    kept = smooth(truth + 0.5 * std * (-1.0) ** np.arange(AGE.size), AGE, std)
    assert distance(np.delete(kept, atom), np.delete(truth, atom)) < 0.1 * 0.5 * std * AGE.size / 2
    loud = smooth(truth + 20 * std * (np.arange(AGE.size) == 5), AGE, std)
    assert loud[5] > truth[5] + 10 * std


def test_a_cell_s_width_is_counted_on_the_column_s_scale() -> None:
    np.testing.assert_allclose(DOSE.widths[1:], DOSE.widths[1], rtol=1e-2)  # the first is an exact zero
    np.testing.assert_array_equal(FEW.widths, np.ones(6))
    assert AGE.widths[:-1].sum() == pytest.approx(100)
    assert AGE.widths[-1] == 1
