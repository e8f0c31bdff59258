"""Answers A and B: what is asked, and how the estimates are read."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import sqrt

import numpy as np
import pyarrow as pa
import pytest
from cohorts import AGE, BATCH, DOSE, ENCODING, SCHEMA, SEX, counts, estimate

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.anonymize import (
    FINE,
    UNIT,
    add_answers,
    answer_a,
    answer_b,
    noise_a,
    read_sums,
    sum_query,
    weight_of,
)
from cohortmix.core.steps.centroids import Common, Margins
from cohortmix.core.steps.plan import Plan, noise_b

MU2 = 0.5


class Rows:
    names = tuple(SCHEMA.columns)

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield self.batch


# What is asked


def test_the_norm_of_a_record_is_the_sum_of_its_weights() -> None:
    """R^2 = 1.49 for a number with coarse bins, 1 for another column, and D/4 for the class."""
    assert ENCODING.features[2].coarse is not None
    assert sum_query(ENCODING).bound2 / UNIT**2 == pytest.approx(1.49 + 1 + 1.49 + 3 / 4, rel=1e-6)


def test_noise_can_be_told_before_asking() -> None:
    vault = Vault(Rows(BATCH), SCHEMA, KeyedNoise(1).add, MemoryMeter(Fraction(10)))
    a = answer_a(vault, ENCODING, Fraction(MU2))
    plan = Plan(SCHEMA, Fraction(MU2) * 2, 1_000, share=Fraction(1, 2))
    assert plan.mu2_moments == Fraction(MU2)
    flat = Margins(cells=np.ones((2, 1)), masses=np.ones(2), s_a=1.0)
    b = answer_b(vault, plan, Common(Groups(tuple((0,) * size for size in ENCODING.sizes)), flat))
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


def test_coarse_bins_and_fine_cells_are_read_by_least_squares() -> None:
    """The oracle: numpy's least squares over both measurements, each divided by its own noise."""
    noisy = estimate(counts(), s_a=20.0, seed=1)
    sums = read_sums(ENCODING, noisy, 20.0)
    start = 0
    for feature, block in zip(ENCODING.features, (AGE, SEX, DOSE), strict=True):
        size = feature.size
        coarse = np.eye(max(feature.coarse) + 1)[list(feature.coarse)].T if feature.coarse else np.zeros((0, size))
        design = np.concatenate([coarse, np.eye(size) * (FINE if feature.coarse else 1)])
        measured = noisy.reshape(2, -1)[:, start : start + len(design)]
        start += len(design)
        for c in range(2):
            best = np.linalg.lstsq(design, measured[c], rcond=None)[0]
            np.testing.assert_allclose(sums.cells[c, block], best, atol=1e-8)


def test_estimates_are_unbiased_and_as_noisy_as_they_say() -> None:
    draws, s_a = 400, 10.0
    found = [read_sums(ENCODING, estimate(counts(), s_a, seed), s_a) for seed in range(draws)]
    cells, masses = np.stack([f.cells for f in found]), np.stack([f.masses for f in found])
    sigma = np.concatenate([np.full(f.size, s_a / (FINE if f.coarse else 1)) for f in ENCODING.features])
    assert np.abs((cells.mean(axis=0) - counts()) / (sigma / sqrt(draws))).max() < 5
    ratio = cells.std(axis=0) / sigma
    assert ratio[:, SEX] == pytest.approx(np.ones((2, 4)), abs=0.2)
    assert 0.8 < ratio[:, AGE].mean() < 1  # below: the coarse bins know something of their cells
    assert masses.std(axis=0) == pytest.approx(np.full(2, found[0].masses_std), rel=0.2)
    assert found[0].masses_std == pytest.approx(s_a / sqrt(3 / 4), rel=1e-6)


# Columns of many codes


def category(size: int) -> Cells:
    return Cells.of("code", Category(type="category", values=tuple(f"c{i}" for i in range(size))))


def test_a_column_of_many_codes_weighs_more_up_to_a_limit() -> None:
    assert [weight_of(category(size)) for size in (2, 16)] == [1, 1]
    assert weight_of(category(128)) == pytest.approx(2)
    assert weight_of(category(734)) == weight_of(category(5000)) == 3
    assert [weight_of(feature) for feature in ENCODING.features] == [FINE, 1, FINE]


def test_its_counts_are_read_with_less_noise_and_the_question_knows_its_weight() -> None:
    schema = Schema(name="codes", target="y", columns={"y": category(2).column, "code": category(128).column})
    encoding = Encoding.of(schema)
    question = sum_query(encoding)
    assert question.blocks[0].weight == 2 * UNIT
    truth, rng = np.append(np.arange(128.0), 8128.0), np.random.default_rng(0)
    asked = np.concatenate([2 * truth[:-1], truth[-1:] * question.label_weight / UNIT])
    found = [
        read_sums(encoding, np.tile(asked, 2) + 10 * rng.standard_normal(258), 10.0).cells for _ in range(100)
    ]
    np.testing.assert_allclose(np.mean(found, axis=0), np.tile(truth[:-1], (2, 1)), atol=3)
    assert np.std(found, axis=0).mean() == pytest.approx(5, rel=0.05)
