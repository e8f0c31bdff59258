"""The parity of three columns or more: records of a release have it where it was measured, and else have not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from parity import area, patients, schema

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.release.high_order import Terms
from cohortmix.core.release.maximum_entropy import MaximumEntropy
from cohortmix.core.release.pool import Pool
from cohortmix.core.single_release import Release
from cohortmix.core.synthesis import synthesize

N = 10_000
pytestmark = pytest.mark.usefixtures("points_stay")


def release(order: int, numbers: int = 0, high_order: bool = True) -> Release:
    table, noise = patients(order, N, order, numbers), KeyedNoise(order)
    return synthesize(table, schema(numbers), Budget.from_epsilon(1.0), noise=noise, high_order=high_order)


def terms_of(made: Release) -> Terms | None:
    """Of the model from which records are drawn."""
    model = made.pool._model
    assert isinstance(model, MaximumEntropy)
    return model.terms


@pytest.mark.parametrize(("order", "numbers"), [(3, 0), (4, 0), (5, 0), (3, 3)])
def test_records_have_the_parity(order: int, numbers: int, few_steps: None) -> None:
    """Boosted trees that learn from them find it on real patients. Columns of numbers are halved at a median."""
    made = release(order, numbers)
    assert area(made.records(), patients(order, 4_000, 99, numbers)) >= 0.85
    terms = terms_of(made)
    assert terms is not None
    assert tuple(range(order)) in terms.subsets
    assert [statement["dimension"] for statement in made.receipt["statements"]][2:] == [2 * 336]
    assert made.receipt["epsilon"] <= 1


def test_without_the_answer_they_have_not(few_steps: None) -> None:
    made = release(3, high_order=False)
    assert len(made.answers) == 2
    assert made.site.products is None
    assert area(made.records(), patients(3, 4_000, 99)) < 0.6


def test_an_outcome_of_chance_has_no_terms(few_steps: None) -> None:
    """And its records are those of pairs alone, bit for bit."""
    table = patients(3, N, 7).assign(outcome=np.random.default_rng(7).choice(["well", "ill"], N))
    made = synthesize(table, schema(), Budget.from_epsilon(1.0), noise=KeyedNoise(7))
    assert len(made.answers) == 3
    of_pairs = replace(made, site=replace(made.site, products=None))
    pd.testing.assert_frame_equal(made.records(500), of_pairs.records(500), check_exact=True)
    assert isinstance(made.pool, Pool)
    assert terms_of(made) is None


def test_too_few_patients_are_not_asked(few_steps: None) -> None:
    made = synthesize(patients(3, 2_000, 0), schema(), Budget.from_epsilon(1.0), noise=KeyedNoise(1))
    assert len(made.answers) == 2
