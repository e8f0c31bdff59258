"""What would make room for a mixture does, and a little less does not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy import gdp
from cohortmix.core.reduced import DegradedError, remedies, require_mixture
from cohortmix.core.steps.plan import MOST_NOISE, NOISY_SHARE, SCORE_SHARE, Plan

DELTA, KAPPA = 1e-5, 1e-17


def schema(features: int) -> Schema:
    columns = "".join(f"  x{k}: {{type: number, min: 0, max: 1}}\n" for k in range(features))
    return Schema.from_yaml(f"name: t\ntarget: y\ncolumns:\n{columns}  y: {{type: category, values: [a, b]}}\n")


def plan(features: int = 12, patients: int = 500, epsilon: float = 1.0) -> Plan:
    return Plan(schema(features), Fraction(gdp.mu_of_discrete(epsilon, DELTA, KAPPA)) ** 2, patients)


@pytest.mark.parametrize("patients", [60, 100])
def test_each_remedy_alone_is_enough_and_no_larger_than_it_must_be(patients: int) -> None:
    small = plan(patients=patients)
    assert not small.fits_mixture
    epsilon, *columns, more = remedies(small, DELTA, KAPPA).split(", or ")
    enough = float(epsilon.split()[1])
    assert plan(patients=patients, epsilon=enough).fits_mixture
    assert not plan(patients=patients, epsilon=0.9 * enough).fits_mixture
    needed = int(more.split()[0].replace(",", ""))
    assert replace(small, patients=needed).fits_mixture
    assert not replace(small, patients=needed - 1).fits_mixture
    for each in columns:
        fewer = int(each.split()[0])
        assert (
            replace(small, schema=schema(fewer)).crowding <= 1 < replace(small, schema=schema(fewer + 1)).crowding
        )
        assert replace(small, schema=schema(fewer)).fits_mixture


def test_scores_make_do_with_less_where_there_is_no_room_for_tables() -> None:
    """Up to a limit of their noise, and with most of the budget for answer A."""
    small = plan(patients=300)
    assert small.crowding > 1
    assert small.score_noise > MOST_NOISE
    assert small.by_scores
    assert small.share_of_sums == NOISY_SHARE
    assert not replace(small, scores=False).fits_mixture
    assert not replace(small, patients=100).fits_mixture
    assert replace(plan(20, 2_000), scores=True).share_of_sums == SCORE_SHARE


def test_one_column_has_no_pairs_at_any_budget() -> None:
    assert remedies(plan(features=1, epsilon=100), DELTA, KAPPA) == "a mixture needs two columns beside the target"


def test_it_is_refused_unless_it_is_accepted() -> None:
    with pytest.raises(DegradedError, match="the release would be one centroid per class") as caught:
        require_mixture(plan(patients=100), DELTA, KAPPA, accepted=False)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, ValueError)
    require_mixture(plan(patients=100), DELTA, KAPPA, accepted=True)
    require_mixture(plan(patients=5000), DELTA, KAPPA, accepted=False)
