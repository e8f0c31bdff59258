"""kappa before the first question: no release can have more numbers, and a receipt costs what was asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from cohorts import ENCODING, SCHEMA, cohort
from hypothesis import example, given
from hypothesis import strategies as st

from cohortmix.core import Budget, synthesize
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding, blocks_of
from cohortmix.core.data.schema import Schema
from cohortmix.core.dimensions import (
    MOST_OF_CATEGORY,
    MOST_OF_NUMBER,
    kappa_of_study,
    most_groups,
    most_kappa,
    of_cells,
    of_gaussians,
)
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.noise import MIN_SIGMA
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.bins import LARGEST_GROUP, OF_A_VALUE, choose_groups
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.point_masses import MOST_COUNTED

WIDE = Encoding.of(
    Schema.from_yaml(
        f"name: t\ntarget: y\ncolumns:\n  code: {{type: category, values: {[f'C{k}' for k in range(1000)]}}}\n"
        "  n: {type: number, min: 0, max: 1, knots: 1000, missing: true}\n  y: {type: category, values: [a, b]}\n"
    )
)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.1, 1.0, 100.0]), st.sampled_from([0.0, 0.05, 0.2]))
def test_no_margins_give_more_bins_than_the_bound(seed: int, spread: float, smallest: float) -> None:
    rng = np.random.default_rng(seed)
    cells = np.concatenate([rng.dirichlet(np.full(size, spread), 2) for size in WIDE.sizes], axis=1)
    margins = Margins(cells=cells, masses=np.ones(2), s_a=1.0)
    for size, feature in zip(choose_groups(WIDE, margins, smallest).sizes, WIDE.features, strict=True):
        assert size <= most_groups(feature)


def test_the_bound_is_near_what_can_happen() -> None:
    """Every second cell as heavy as a merged bin has to be, and values as light as one may be."""
    cells = np.zeros((1, sum(WIDE.sizes)))
    code, number = blocks_of(WIDE.sizes)
    value, bins = LARGEST_GROUP / OF_A_VALUE, round(1 / LARGEST_GROUP) - 1
    cells[0, code.start : code.start + round(1 / value) - 1] = value
    cells[0, code.stop - 2 : code.stop] = value / 2
    cells[0, number.start : number.start + 2 * bins] = np.tile([1e-9, 1 / bins - 1e-9], bins)
    sizes = choose_groups(WIDE, Margins(cells=cells, masses=np.ones(1), s_a=1.0), 0.0).sizes
    assert sizes[0] > MOST_OF_CATEGORY - 3
    assert sizes[1] > MOST_OF_NUMBER - 6


@pytest.mark.parametrize("epsilon", [0.01, 30.0])
def test_a_receipt_costs_what_was_asked_for_and_hardly_less(epsilon: float) -> None:
    table = pa.Table.from_batches([cohort(n=400)])
    release = synthesize(
        table, SCHEMA, Budget.from_epsilon(epsilon), noise=KeyedNoise(1), support=5, accept_degraded=True
    )
    receipt = release.receipt
    assert receipt["kappa"] <= most_kappa(SCHEMA)
    least = (
        1 - 1e-6 if epsilon < 10 else 0.85
    )  # where e^epsilon kappa counts, fewer numbers than the most cost less
    assert least * epsilon < receipt["epsilon"] <= epsilon


def test_without_kappa_a_large_epsilon_would_cost_more_than_was_asked_for() -> None:
    kappa = most_kappa(SCHEMA)
    mu = Budget.from_epsilon(30.0).resolve(400).mu
    assert gdp.epsilon_of_discrete(mu, 1e-5, kappa) > 33
    assert gdp.epsilon_of_discrete(Budget.from_epsilon(30.0).resolve(400, kappa).mu, 1e-5, kappa) <= 30


@given(
    st.floats(0.01, 1000), st.sampled_from([0.0, 1e-20, 1e-17, 1e-14, 1e-10, 1e-4]), st.sampled_from([1e-9, 1e-5])
)
@example(28.0, 1e-17, 1e-5)
@example(34.0, 1e-20, 1e-5)
def test_mu_keeps_the_epsilon_and_grows_with_it(epsilon: float, kappa: float, delta: float) -> None:
    """Level, to the last digits, where e^epsilon kappa outgrows delta, until the bound from rho overtakes it."""
    mu = gdp.mu_of_discrete(epsilon, delta, kappa)
    assert gdp.epsilon_of_discrete(mu, delta, kappa) <= epsilon
    grown = gdp.mu_of_discrete(1.01 * epsilon, delta, kappa)
    assert grown > mu if kappa == 0 else grown >= mu * (1 - 1e-12)
    if epsilon < 5 and kappa < 1e-13 * delta / 1e-5:
        assert mu == pytest.approx(gdp.mu_of(epsilon, delta), rel=1e-6)
    assert gdp.mu_of_discrete(epsilon, delta, kappa) <= gdp.mu_of(epsilon, delta) * (1 + 1e-9)


def test_with_a_group_for_each_cell_the_bound_is_what_is_asked() -> None:
    schema = Schema.from_yaml(
        "name: t\ntarget: y\ncolumns:\n  n: {type: number, min: 0, max: 1, knots: 9, missing: true}\n"
        "  c: {type: category, values: [u, v, w]}\n  d: {type: category, values: [u, v]}\n"
        "  y: {type: category, values: [a, b]}\n"
    )
    encoding = Encoding.of(schema)
    pairs = PairTables(tuple(tuple(range(size)) for size in encoding.sizes)).pairs
    assert of_cells(encoding) == 2 * (sum_query(encoding).width + int(pairs.sum()))
    assert most_kappa(schema) == gdp.kappa(of_cells(encoding), MIN_SIGMA)


def test_products_of_signs_count_in_each_class() -> None:
    encoding = Encoding.of(SCHEMA)
    numbers = of_cells(encoding) + 7 * encoding.label.size
    assert most_kappa(SCHEMA, "cells", 7) == gdp.kappa(numbers, MIN_SIGMA) > most_kappa(SCHEMA)


def test_a_study_that_may_count_values_has_their_kappa_too() -> None:
    """Unless its schema has none that could be counted."""
    assert kappa_of_study(SCHEMA, True) == most_kappa(SCHEMA, values=MOST_COUNTED) > most_kappa(SCHEMA)
    assert kappa_of_study(SCHEMA, False) == most_kappa(SCHEMA)
    plain = Schema.from_yaml(
        "name: t\ntarget: y\ncolumns:\n"
        "  c: {type: category, values: [u, v, w]}\n  y: {type: category, values: [a, b]}\n"
    )
    assert kappa_of_study(plain, True) == most_kappa(plain)


def test_counted_values_count_once_for_all_classes() -> None:
    encoding = Encoding.of(SCHEMA)
    numbers = of_cells(encoding) + 7 * encoding.label.size + 4000
    assert most_kappa(SCHEMA, "cells", 7, 4000) == gdp.kappa(numbers, MIN_SIGMA) > most_kappa(SCHEMA, "cells", 7)


def test_the_bound_of_the_gaussian_variant_covers_its_answers() -> None:
    table = pa.Table.from_batches([cohort(n=400)])
    release = synthesize(table, SCHEMA, Budget.from_mu(2.0), noise=KeyedNoise(1), support=5, variant="gaussian")
    asked = sum(len(answer.values) for answer in release.answers)
    assert asked <= of_gaussians(ENCODING) < 3 * asked
