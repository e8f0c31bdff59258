"""Whole pipelines: released centroids show the one patient, and no more than the claim allows."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from cohortmix.core import Schema
from cohortmix.core.audit.neighbours import Cohort
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.whole import FEATURES, PATIENTS, Again, measure_whole, narrow, patients_like
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.single_release import Release
from cohortmix.core.synthesis import synthesize

SCHEMA = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  age: {type: number, min: 0, max: 100}
  sex: {type: category, values: [F, M]}
  ward: {type: category, values: [A, B, C]}
  outcome: {type: category, values: [ill, well]}
"""
)
RUNS = 40


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    rng = np.random.default_rng(1)
    columns = {
        "age": rng.uniform(0, 100, 400),
        "sex": rng.choice(["F", "M"], 400),
        "ward": rng.choice(["A", "B", "C"], 400),
        "outcome": rng.choice(["ill", "well"], 400),
    }
    return Cohort.of(TableSource(pa.table(columns)), SCHEMA, most=400)


@pytest.fixture(scope="module")
def release(few_steps: None, cohort: Cohort) -> Release:
    small = narrow(cohort, random.Random(0))
    return synthesize(small.table, small.schema, Budget.from_mu(2.0), noise=KeyedNoise(1))


def test_a_narrow_table_keeps_few_columns_and_patients(cohort: Cohort) -> None:
    small = narrow(cohort, random.Random(0))
    assert small.schema.features == ("age", "sex")  # a number is cut in two halves
    assert Encoding.of(small.schema).sizes == (2, 2)
    assert len(small.schema.features) == FEATURES
    assert len(small.patients) == PATIENTS == small.table.num_rows
    assert set(small.patients) < set(cohort.patients)
    assert all(
        small.records(patient)[0].items() <= cohort.records(patient)[0].items() for patient in small.patients[:9]
    )


def test_patients_like_all_records_are_all_patients(release: Release) -> None:
    records = [
        {"age": age, "sex": sex, "outcome": outcome}
        for age in ("20", "80")
        for sex in "FM"
        for outcome in ("ill", "well")
    ]
    like = [patients_like(record, release) for record in records]
    assert min(like) > 0
    assert sum(like) == pytest.approx(release.site.masses.sum()) == pytest.approx(PATIENTS)


def test_runs_of_a_keyed_source_differ(release: Release) -> None:
    values = np.zeros(5, np.int64)
    once, again, other = (Again(KeyedNoise(1), run).add(values, 1 << 32, "purpose") for run in ("a", "a", "b"))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


class Weak(KeyedNoise):
    """Draws a quarter of the noise that it was asked for."""

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        noise = super().add(np.zeros_like(values), sigma, purpose)
        return values + noise // 4


@pytest.mark.parametrize(("noise", "holds"), [(KeyedNoise(3), True), (Weak(3), False)])
def test_the_released_centroids_show_what_is_claimed_and_a_broken_claim(
    noise: KeyedNoise, holds: bool, few_steps: None, cohort: Cohort
) -> None:
    bound = measure_whole(cohort, noise, RUNS, random.Random(0))
    assert (bound.claimed, bound.runs) == (2, RUNS)
    assert bound.measured > 0.5
    assert bound.holds == holds
