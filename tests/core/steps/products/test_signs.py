"""What is asked of products: signs of two common halves, and as many subsets as the noise permits."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from parity import FEATURES
from parity import schema as parity

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.steps.plan import PRODUCT_NOISE, PRODUCT_SHARES, Plan
from cohortmix.core.steps.products.means import read
from cohortmix.core.steps.products.signs import choose, most_subsets

SCHEMA = Schema.from_yaml(
    """
name: small
target: outcome
columns:
  age: {type: number, min: 0, max: 5, integer: true, missing: true}
  ward: {type: category, values: [north, south, east]}
  sex: {type: category, values: [F, M]}
  rare: {type: category, values: [no, yes]}
  flag: {type: category, values: [no, yes]}
  outcome: {type: category, values: [well, ill]}
"""
)
ENCODING = Encoding.of(SCHEMA)
GROUPS = Groups(((0, 0, 1, 2, 2, 2, 3), (0, 1, 2), (0, 1), (0, 1), (0, 1)))
JOINT = np.array(
    [
        [0.1, 0.2, 0.15, 0.05, 0.1, 0.1, 0.3, 0.2, 0.3, 0.48, 0.02, 0.25, 0.25],
        [0.1, 0.2, 0.15, 0.05, 0.3, 0.15, 0.05, 0.3, 0.2, 0.48, 0.02, 0.25, 0.25],
    ]
)
KNOWN = np.ones(5, dtype=np.bool_)


def chosen(known: NDArray[np.bool_] = KNOWN, most: int = 100) -> SignProducts:
    asked = choose(ENCODING, GROUPS, JOINT, known, most)
    assert asked is not None
    return asked


def test_the_halves_of_a_number_meet_at_its_median_and_missing_values_have_none() -> None:
    """Of the bins 0.2, 0.4 and 0.3 of those whose value is known, either cut leaves as much on the larger side."""
    assert chosen().signs[0] in [(-1, -1, 1, 1, 1, 1, 0), (-1, -1, -1, 1, 1, 1, 0)]


def test_values_of_a_category_are_halved_in_the_order_of_the_outcome() -> None:
    """north 0.4, south 0.25, east 0.35: of those in the east most are well."""
    assert chosen().signs[1] == (-1, 1, 1)


def test_signs_are_those_of_merged_bins() -> None:
    means = read(chosen(), GROUPS, Answer(), np.array([30.0, 60.0]))
    assert means.signs.tolist()[4:] == [-1, 1, 1, *chosen().signs[2], *chosen().signs[3], *chosen().signs[4]]
    for feature, (signs, merged) in enumerate(zip(chosen().signs, GROUPS, strict=True)):
        assert [means.signs[GROUPS.blocks[feature]][bin] for bin in merged] == list(signs)
    np.testing.assert_allclose(means.std, [0.1, 0.05])
    np.testing.assert_allclose(means.means[:, 0], [0, len(means.subsets) / 60])


class Answer:
    std = 3.0
    estimate = np.arange(10.0)


def test_a_rare_value_and_one_that_is_not_known_of_everybody_enter_no_product() -> None:
    entering = (0, 1, 2, 4)
    of_four = [*combinations(entering, 3), entering]
    assert sorted(chosen().subsets) == list(chosen().subsets) == sorted(of_four)
    assert chosen(KNOWN & (np.arange(5) != 1)).subsets == ((0, 2, 4),)
    assert choose(ENCODING, GROUPS, JOINT, np.zeros(5, np.bool_), 100) is None


@pytest.mark.parametrize(("most", "asked"), [(3, 0), (4, 4), (5, 5)])
def test_all_subsets_of_a_size_or_none(most: int, asked: int) -> None:
    found = choose(ENCODING, GROUPS, JOINT, KNOWN, most)
    assert (0 if found is None else len(found.subsets)) == asked


# What the plan allows


def of_parity(patients: int, mu: float = 0.268) -> Plan:
    return Plan(parity(), Fraction(mu) ** 2, patients)


def test_the_noise_of_a_mean_is_no_more_than_stated() -> None:
    """2 sqrt(T) / (mu N), at the share of the budget that they get."""
    assert 84 <= of_parity(5_000).most_products < 210
    assert of_parity(10_000).most_products == most_subsets(FEATURES) == 84 + 126 + 126
    assert of_parity(1_000).most_products < 84
    for n in (2_000, 5_000, 9_000):
        plan = of_parity(n)
        mu2 = plan.mu2 * PRODUCT_SHARES[1]
        below, above = (4 * (plan.most_products + more) / (mu2 * n**2) for more in (0, 1))
        assert below <= PRODUCT_NOISE**2 < above


@pytest.mark.parametrize("patients", [4_900, 8_000, 100_000])
def test_what_products_cost_is_taken_from_pairs_and_is_little_more_than_they_need(patients: int) -> None:
    asked = SignProducts(((-1, 1),) * FEATURES, tuple(combinations(range(FEATURES), 3)))
    plan = replace(of_parity(patients), products=asked)
    without = replace(plan, products=None)
    assert without.most_products >= 84
    assert plan.mu2_sums + plan.mu2_moments + plan.mu2_products == plan.mu2
    assert without.mu2_products == 0
    assert plan.mu2_sums == without.mu2_sums
    assert plan.s_b == pytest.approx(without.s_b * float(without.mu2_moments / plan.mu2_moments) ** 0.5)
    least, most = PRODUCT_SHARES
    assert least <= plan.share_of_products <= most
    noise2 = 4 * 84 / (plan.mu2_products * patients**2)
    assert noise2 <= PRODUCT_NOISE**2
    assert noise2 > 0.98 * PRODUCT_NOISE**2 or plan.share_of_products == least


def test_nothing_is_asked_where_answer_b_is_not_about_tables() -> None:
    assert replace(of_parity(10_000), scores=True).most_products == 0
    small = of_parity(60)
    assert not small.fits_mixture
    assert small.most_products == 0
