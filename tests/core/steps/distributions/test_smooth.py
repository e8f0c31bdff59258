"""Smoothing: nearer to the truth than the counts are, exact without noise, and always a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from cohortmix.core.data.dictionary.columns import Category, Number
from cohortmix.core.data.encoding import Cells
from cohortmix.core.steps.distributions.log_density import Shares
from cohortmix.core.steps.distributions.simplex import simplex
from cohortmix.core.steps.distributions.smooth import _rate, smooth

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


def noised(truth: NDArray[np.float64], cells: Cells, std: float, seed: int) -> NDArray[np.float64]:
    """Shares as an answer gives them: the least squares of coarse bins and fine cells."""
    rng = np.random.default_rng(seed)
    if cells.coarse is None:
        return truth + std * rng.standard_normal(cells.size)
    covariance = Shares.of(truth, std, cells.coarse).by_covariance(np.eye(cells.size))
    return truth + np.linalg.cholesky(covariance) @ rng.standard_normal(cells.size)


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
    truth = distribution(cells)
    seen = [noised(truth, cells, std, seed) for seed in range(20)]
    mine = np.mean([distance(smooth(counts, cells, std), truth) for counts in seen])
    projected = np.mean([distance(simplex(counts), truth) for counts in seen])
    assert mine < (0.85 if name == "country" else 0.35) * projected


def test_an_atom_stays_and_a_ripple_below_the_noise_does_not() -> None:
    truth, std = distribution(AGE), 0.004
    atom = AGE.size // 3
    found = smooth(noised(truth, AGE, std, 2), AGE, std)
    assert found[atom] == pytest.approx(truth[atom], abs=4 * std)
    ripple = 0.5 * std * (-1.0) ** np.arange(AGE.size)
    kept = smooth(truth + ripple, AGE, std)
    assert distance(np.delete(kept, atom), np.delete(truth, atom)) < 0.15 * np.abs(ripple).sum() / 2
    loud = smooth(truth + 20 * std * (np.arange(AGE.size) == 5), AGE, std)
    assert loud[5] > truth[5] + 10 * std


STAY = Cells.of("stay", Number(type="number", min=0, max=365, integer=True))  # days in hospital


def stays(std: float, seed: int) -> tuple[float, float]:
    """Mean and share above 60 days, of a log-normal length of stay of mean 6.4 days, .1 % of them above 60."""
    low, high = (np.array([float(STAY.interval(cell)[end]) for cell in range(STAY.size)]) for end in (0, 1))
    truth = np.diff(norm.cdf((np.log(np.append(np.maximum(low - 0.5, 1e-9), 365.5)) - 1.505) / 0.838))
    found = smooth(noised(truth / truth.sum(), STAY, std, seed), STAY, std)
    return float(found @ (low + high) / 2), float(found[low > 60].sum())


@pytest.mark.parametrize("std", [0.003, 0.012])
def test_a_tail_beyond_the_noise_s_reach_does_not_grow(std: float) -> None:
    """Noise of eight coarse bins adds up to several times what is there; smeared over a year it would double the
    mean."""
    means, shares = np.array([stays(std, seed) for seed in range(20)]).T
    assert abs(means.mean() / 6.4 - 1) < 0.08
    assert shares.mean() < 0.0025


def test_a_tail_that_stands_out_stays() -> None:
    truth = 0.97 * AGE.widths[:-1] * (np.arange(AGE.size - 1) < 60)
    truth = np.append(0.97 * truth / truth.sum(), 0.0)
    truth[-6:-1] = 0.03 / 5
    found = smooth(noised(truth, AGE, 0.002, 3), AGE, 0.002)
    assert found[-6:-1].sum() == pytest.approx(0.03, abs=0.008)
    assert found[70:-6].sum() < 0.008


def test_a_tail_falls_as_the_cells_before_it_say() -> None:
    assert _rate(5.0, 5.0) == 0  # as much mass in the same length: it is level
    assert _rate(5.0, 1e6) == pytest.approx(np.log(2) / 5)  # a whole exponential tail
    rate = _rate(5.0, 20.0)
    assert np.exp(5 * rate) + np.exp(-20 * rate) == pytest.approx(2)


def test_a_cell_s_width_is_counted_on_the_column_s_scale() -> None:
    np.testing.assert_allclose(DOSE.widths[1:], DOSE.widths[1], rtol=1e-2)  # the first is an exact zero
    np.testing.assert_array_equal(FEW.widths, np.ones(6))
    assert AGE.widths[:-1].sum() == pytest.approx(100)
    assert AGE.widths[-1] == 1


def test_codes_keep_their_heads() -> None:
    """Of 734 codes by Zipf's law, 3,400 patients: nearer than equal shares of what is light."""
    cells = Cells.of("code", Category(type="category", values=tuple(f"c{i}" for i in range(734))))
    truth, std = 1 / np.arange(1, 735) ** 1.05, 15 / 3400
    truth /= truth.sum()
    far, level = [], []
    for seed in range(10):
        counts = noised(truth, cells, std, seed)
        light = counts <= 4 * std
        far.append(distance(smooth(counts, cells, std), truth))
        level.append(distance(simplex(np.where(light, counts[light].mean(), counts)), truth))
    assert (np.array(far) < level).all()


def test_an_exact_zero_that_most_have_hides_nothing_of_the_others() -> None:
    """A coma score: 70 % have 0, some a few other values. The cell of an exact zero has no length."""
    cells = Cells.of("scoma", Number(type="number", min=0, max=100))
    middle = np.array([sum(cells.interval(code)) / 2 for code in range(cells.size)])
    truth = np.zeros(cells.size)
    for value, share in ((0, 0.7), (26, 0.08), (44, 0.07), (61, 0.06), (94, 0.05), (100, 0.04)):
        truth[np.abs(middle - value).argmin()] += share
    found = np.array([smooth(noised(truth, cells, 0.01, seed), cells, 0.01, 0.7) for seed in range(10)])
    assert found[:, 0] == pytest.approx(0.7, abs=0.05)
    assert found.mean(axis=0) @ middle == pytest.approx(truth @ middle, rel=0.15)
