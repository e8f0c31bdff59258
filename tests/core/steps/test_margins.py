"""Margins: distributions near answer A, nearer to the truth than its counts, and kept where they are clear."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from cohorts import AGE, DOSE, ENCODING, SEX, N, counts, estimate
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.steps.anonymize import ClassSums, read_sums
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.distributions.simplex import simplex
from cohortmix.core.steps.margins import project, raked
from cohortmix.core.steps.scores.class_means import ClassMeans


def true_margins() -> NDArray[np.float64]:
    return np.asarray(counts() / counts()[:, SEX].sum(axis=1, keepdims=True))


def margins_of(cells: NDArray[np.float64]) -> Margins:
    """Of two classes with as many patients."""
    return Margins(cells=cells, masses=np.array([100.0, 100.0]), s_a=1.0)


def test_without_noise_the_margins_are_the_shares() -> None:
    margins = project(read_sums(ENCODING, estimate(counts()), 1e-9), ENCODING, N)
    np.testing.assert_allclose(margins.cells, true_margins(), atol=1e-6)
    np.testing.assert_allclose(margins.masses, counts()[:, SEX].sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(margins.pooled, counts().sum(axis=0) / N, atol=1e-6)


@pytest.mark.parametrize("s_a", [1.0, 30.0, 1000.0])
def test_margins_are_distributions_however_strong_the_noise(s_a: float) -> None:
    margins = project(read_sums(ENCODING, estimate(counts(), s_a), s_a), ENCODING, N)
    for block in (AGE, SEX, DOSE):
        np.testing.assert_allclose(margins.cells[:, block].sum(axis=1), 1)
    assert margins.cells.min() >= 0
    assert margins.masses.sum() == pytest.approx(N)
    assert margins.masses.min() >= 1 - 1e-9


@pytest.mark.parametrize("s_a", [10.0, 30.0, 100.0])
def test_shrinkage_brings_margins_nearer_to_the_truth(s_a: float) -> None:
    """Against the same estimates merely projected, in mean squared distance over several draws."""
    shrunk, plain = 0.0, 0.0
    for seed in range(5):
        sums = read_sums(ENCODING, estimate(counts(), s_a, seed), s_a)
        margins = project(sums, ENCODING, N)
        for c, block in [(c, block) for c in range(2) for block in (AGE, SEX, DOSE)]:
            raw = simplex(sums.cells[c, block] / margins.masses[c])
            shrunk += float(((margins.cells[c, block] - true_margins()[c, block]) ** 2).sum())
            plain += float(((raw - true_margins()[c, block]) ** 2).sum())
    assert shrunk < 0.8 * plain


@pytest.mark.parametrize("s_a", [20.0, 100.0, 1000.0])
def test_a_site_of_almost_only_noise_is_near_its_prior(s_a: float) -> None:
    """Of 100 patients a class: nearer than a quarter on average. The negation: what it measured is far from it."""
    prior, far, raw = margins_of(true_margins()), [], []
    for seed in range(20):
        noisy = read_sums(ENCODING, estimate(true_margins() * 100, s_a, seed), s_a)
        shrunk = project(noisy, ENCODING, 200, prior).cells
        for c, block in [(c, block) for c in range(2) for block in (AGE, SEX, DOSE)]:
            far.append(_variation(shrunk[c, block], true_margins()[c, block]))
            raw.append(_variation(simplex(noisy.cells[c, block] / 100), true_margins()[c, block]))
    assert np.mean(far) < 0.25 < 0.4 < np.mean(raw)


def test_a_value_that_the_others_lack_is_kept_where_it_is_clear() -> None:
    """Its prior has a zero there, of a category and of a number's coarse bin; no other value gains by it."""
    truth = true_margins()
    prior = truth.copy()
    for block in (SEX, AGE):
        gone = np.arange(block.start, block.stop)[truth[:, block].argmax(axis=1).max() :][:1]
        prior[:, gone] = 0
        prior[:, block] /= prior[:, block].sum(axis=1, keepdims=True)
    clear = project(read_sums(ENCODING, estimate(counts()), 1e-9), ENCODING, N, margins_of(prior))
    np.testing.assert_allclose(clear.cells, truth, atol=1e-6)


def _variation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).sum() / 2)


def test_clear_margins_leave_their_prior() -> None:
    prior = margins_of(true_margins()[::-1])
    clear = project(read_sums(ENCODING, estimate(counts()), 1e-9), ENCODING, N, prior).cells
    np.testing.assert_allclose(clear[:, SEX], true_margins()[:, SEX], atol=1e-6)


def test_noise_adds_nothing_to_a_class_where_nobody_is() -> None:
    """The upper half of a number is empty, of which a prior knows; what is counted there is noise."""
    truth = true_margins()
    values = ENCODING.features[0].size - 1
    truth[:, AGE.start + values // 2 : AGE.start + values] = 0
    truth[:, AGE] /= truth[:, AGE].sum(axis=1, keepdims=True)
    pooled, by_class, raw = [], [], []
    for seed in range(10):
        sums = read_sums(ENCODING, estimate(truth * 500, 20.0, seed), 20.0)
        empty = slice(AGE.start + values // 2, AGE.start + values)
        pooled.append(project(sums, ENCODING, 1000).pooled[empty].sum())
        by_class.append(project(sums, ENCODING, 1000, margins_of(truth)).cells[:, empty].sum(axis=1))
        raw.append(simplex(sums.cells[:, AGE] / 500)[:, values // 2 : values].sum(axis=1))
    assert np.max(by_class) < 1e-9
    assert np.mean(pooled) < np.mean(raw) / 3


def test_class_means_bring_the_classes_nearer_to_the_truth() -> None:
    """Two functions of age that nearly agree, as those of a column of few values do, do no harm either."""
    values = np.linspace(-1, 1, AGE.stop - AGE.start)
    functions = np.stack([values, values + 1e-3 * values**2])
    truth = true_margins()
    none = [
        ClassMeans(np.zeros((0, cells.size)), np.zeros((2, 0)), np.zeros((2, 0))) for cells in ENCODING.features
    ]
    off = np.zeros((2, 2))  # without and with them: of the distribution, and of the mean
    for seed in range(10):
        rng, sums = np.random.default_rng(seed), read_sums(ENCODING, estimate(counts(), 200.0, seed), 200.0)
        std = np.full((2, 2), 0.01)
        measured = truth[:, AGE] @ functions.T + std * rng.standard_normal((2, 2))
        means = [ClassMeans(functions, measured, std), *none[1:]]
        for row, found in enumerate((project(sums, ENCODING, N), project(sums, ENCODING, N, means=means))):
            off[row, 0] += sum(_variation(found.cells[c, AGE], truth[c, AGE]) for c in range(2))
            off[row, 1] += np.abs((found.cells - truth)[:, AGE] @ values).sum()
    assert off[1, 0] < off[0, 0]
    assert off[1, 1] < 0.3 * off[0, 1]


def test_raked_classes_together_are_what_all_of_them_are() -> None:
    truth = true_margins()
    pooled, tilted = margins_of(truth).pooled, truth * np.linspace(1, 1.5, truth.shape[1])
    tilted = np.concatenate(
        [tilted[:, block] / tilted[:, block].sum(axis=1, keepdims=True) for block in ENCODING.blocks], axis=1
    )
    out = raked(margins_of(tilted), pooled, ENCODING)
    np.testing.assert_allclose(out.pooled, pooled, atol=1e-3)
    assert np.abs(margins_of(tilted).pooled - pooled).max() > 1e-2
    for block in ENCODING.blocks:
        np.testing.assert_allclose(out.cells[:, block].sum(axis=1), 1)


@pytest.mark.parametrize("measured", [False, True])
def test_codes_by_the_thousand_take_memory_of_the_order_of_their_counts(measured: bool) -> None:
    """A matrix of all pairs of 20,000 codes is 3.2 GB; a hundred heads are found all the same."""
    codes = 20_000
    schema = {"a": {"type": "category", "values": [f"C{k}" for k in range(codes)]}}
    schema["y"] = {"type": "category", "values": ["no", "yes"]}
    encoding = Encoding.of(Schema.model_validate({"name": "t", "target": "y", "columns": schema}))
    ranks, truth = np.arange(codes), np.zeros((2, sum(encoding.sizes)))
    truth[:, :codes] = np.where(ranks < 100, 10.0, 0), np.where((ranks >= 50) & (ranks < 150), 10.0, 0)
    sums = ClassSums(
        cells=truth, masses=np.array([1000.0, 1000.0]), masses_std=0.1, s_a=0.1, summed=np.array([1, 1])
    )
    means = None
    if measured:
        means = [ClassMeans((ranks < 50).astype(float)[None], np.array([[0.5], [0.0]]), np.full((2, 1), 1e-3))]
        means += [ClassMeans(np.zeros((0, m)), np.zeros((2, 0)), np.zeros((2, 0))) for m in encoding.sizes[1:]]
    tracemalloc.start()
    try:
        margins = project(sums, encoding, 2000, means=means)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6
    assert margins.cells[0, :100].sum() > 0.99
    assert margins.cells[1, 50:150].sum() > 0.99
    assert margins.cells[1, :50].sum() < 0.01
