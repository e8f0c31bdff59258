"""Answers A and B: what is asked, how the estimates are read, and which distributions they give."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import sqrt

import numpy as np
import pyarrow as pa
import pytest
from cohorts import AGE, BATCH, DOSE, ENCODING, SCHEMA, SEX, N, counts, estimate
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import (
    FINE,
    UNIT,
    ClassSums,
    add_answers,
    answer_a,
    answer_b,
    class_masses,
    noise_a,
    project,
    read_sums,
    simplex,
    sum_query,
)
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.plan import noise_b

MU2 = 0.5


class Rows:
    names = tuple(SCHEMA.columns)

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield self.batch


# What is asked


def test_a_record_has_the_norm_of_the_recipe() -> None:
    """R^2 = 1.49 for a number with runs, 1 for another column, and D/4 for the class."""
    assert ENCODING.features[2].coarse is not None
    assert sum_query(ENCODING).bound2 / UNIT**2 == pytest.approx(1.49 + 1 + 1.49 + 3 / 4, rel=1e-6)


def test_noise_can_be_told_before_asking() -> None:
    vault = Vault(Rows(BATCH), SCHEMA, KeyedNoise(1).add, MemoryMeter(Fraction(10)))
    a = answer_a(vault, ENCODING, Fraction(MU2))
    b = answer_b(vault, Groups(tuple((0,) * size for size in ENCODING.sizes)), Fraction(MU2))
    assert a.std == pytest.approx(noise_a(ENCODING, MU2), rel=1e-6)
    assert b.std == pytest.approx(noise_b(3, MU2), rel=1e-6)
    assert noise_b(3, MU2) == pytest.approx(sqrt(6 / MU2))


def test_the_vault_answers_in_the_order_that_is_read() -> None:
    vault = Vault(Rows(BATCH), SCHEMA, KeyedNoise(1).add, MemoryMeter(Fraction(10**9)))
    answer = answer_a(vault, ENCODING, Fraction(10**6))
    np.testing.assert_allclose(answer.estimate, estimate(counts()), atol=6 * answer.std)
    assert answer.std < 0.01


def test_answers_add_and_so_do_their_variances() -> None:
    one, other = (
        answer_a(
            Vault(Rows(BATCH), SCHEMA, KeyedNoise(seed).add, MemoryMeter(Fraction(10))),
            ENCODING,
            Fraction(mu2, 100),
        )
        for seed, mu2 in ((1, 9), (2, 16))
    )
    total, std = add_answers([one, other])
    np.testing.assert_array_equal(total, one.estimate + other.estimate)
    assert std == pytest.approx(sqrt(one.std**2 + other.std**2))


# How it is read


def test_exact_answers_are_read_as_the_counts() -> None:
    sums = read_sums(ENCODING, estimate(counts()), 1.0)
    np.testing.assert_allclose(sums.cells, counts(), atol=1e-9)
    np.testing.assert_allclose(sums.masses, counts()[:, SEX].sum(axis=1), rtol=1e-5)  # sqrt(D/4) is on the lattice


def test_runs_and_fine_cells_are_read_by_least_squares() -> None:
    """The oracle: numpy's least squares over both measurements, each divided by its own noise."""
    noisy = estimate(counts(), s_a=20.0, seed=1)
    sums = read_sums(ENCODING, noisy, 20.0)
    start = 0
    for feature, block in zip(ENCODING.features, (AGE, SEX, DOSE), strict=True):
        size = feature.size
        runs = np.eye(max(feature.coarse) + 1)[list(feature.coarse)].T if feature.coarse else np.zeros((0, size))
        design = np.concatenate([runs, np.eye(size) * (FINE if feature.coarse else 1)])
        measured = noisy.reshape(2, -1)[:, start : start + len(design)]
        start += len(design)
        for c in range(2):
            best = np.linalg.lstsq(design, measured[c], rcond=None)[0]
            np.testing.assert_allclose(sums.cells[c, block], best, atol=1e-8)


def test_estimates_are_unbiased_and_as_noisy_as_they_say() -> None:
    runs = 400
    found = [read_sums(ENCODING, estimate(counts(), 10.0, seed), 10.0) for seed in range(runs)]
    cells, masses = np.stack([f.cells for f in found]), np.stack([f.masses for f in found])
    sigma = np.sqrt(found[0].variance)
    assert np.abs((cells.mean(axis=0) - counts()) / (sigma / sqrt(runs))).max() < 5
    ratio = cells.std(axis=0) / sigma
    assert ratio[:, SEX] == pytest.approx(np.ones((2, 4)), abs=0.2)
    assert 0.8 < ratio[:, AGE].mean() < 1  # below: the runs know something of their cells
    assert masses.std(axis=0) == pytest.approx(np.full(2, found[0].masses_std), rel=0.2)
    assert found[0].masses_std == pytest.approx(10 / sqrt(3 / 4), rel=1e-6)


# Distributions


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


def test_a_distribution_is_its_own_projection() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(7))
    np.testing.assert_allclose(simplex(p), p, atol=1e-15)
    np.testing.assert_allclose(simplex(p + 3), p, atol=1e-12)


def true_margins() -> NDArray[np.float64]:
    return np.asarray(counts() / counts()[:, SEX].sum(axis=1, keepdims=True))


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
    prior, far, raw = Margins(true_margins(), np.array([100.0, 100.0]), 1.0), [], []
    for seed in range(20):
        noisy = read_sums(ENCODING, estimate(true_margins() * 100, s_a, seed), s_a)
        shrunk = project(noisy, ENCODING, 200, prior).cells
        for c, block in [(c, block) for c in range(2) for block in (AGE, SEX, DOSE)]:
            far.append(_variation(shrunk[c, block], true_margins()[c, block]))
            raw.append(_variation(simplex(noisy.cells[c, block] / 100), true_margins()[c, block]))
    assert np.mean(far) < 0.25 < 0.4 < np.mean(raw)


def test_a_value_that_the_others_lack_is_kept_where_it_is_clear() -> None:
    """Its prior has a zero there, of a category and of a run of a number; no other value gains by it."""
    truth = true_margins()
    prior = truth.copy()
    for block in (SEX, AGE):
        gone = np.arange(block.start, block.stop)[truth[:, block].argmax(axis=1).max() :][:1]
        prior[:, gone] = 0
        prior[:, block] /= prior[:, block].sum(axis=1, keepdims=True)
    clear = project(read_sums(ENCODING, estimate(counts()), 1e-9), ENCODING, N, Margins(prior, np.ones(2), 1.0))
    np.testing.assert_allclose(clear.cells, truth, atol=1e-6)


def _variation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).sum() / 2)


def test_clear_margins_leave_their_prior() -> None:
    prior = Margins(true_margins()[::-1], np.array([100.0, 100.0]), 1.0)
    clear = project(read_sums(ENCODING, estimate(counts()), 1e-9), ENCODING, N, prior).cells
    np.testing.assert_allclose(clear[:, SEX], true_margins()[:, SEX], atol=1e-6)


def test_each_class_has_a_patient_where_there_are_enough() -> None:
    def masses(values: list[float], patients: int) -> NDArray[np.float64]:
        found = np.array(values)
        return class_masses(ClassSums(np.empty((0, 0)), np.empty(0), found, 1.0, 1.0), patients)

    np.testing.assert_allclose(masses([99.0, -40.0, 11.0], 100), [93.5, 1, 5.5])
    np.testing.assert_allclose(masses([30.0, 70.0], 100), [30, 70])
    many = masses([0.0] * 60, 50)  # more classes than patients
    np.testing.assert_allclose(many, np.full(60, 50 / 60))
