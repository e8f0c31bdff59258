"""Kaplan-Meier curves: by hand, as scikit-survival has them, and by weight what copied rows would give."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sksurv.metrics import CensoringDistributionEstimator
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility.columns import read
from cohortmix.core.utility.kaplan_meier import Curve, FollowUp, compared


def followed(time: list[float], event: list[bool], weight: list[float] | None = None) -> FollowUp:
    return FollowUp(np.array(time), np.array(event), np.ones(len(time)) if weight is None else np.array(weight))


def sample(seed: int, rows: int = 200) -> FollowUp:
    rng = np.random.default_rng(seed)
    ends, leaves = np.ceil(rng.exponential(20, rows)), np.ceil(rng.uniform(1, 40, rows))  # with ties
    return FollowUp(np.minimum(ends, leaves), ends <= leaves, np.ones(rows))


SIX = followed([1, 2, 2, 3, 5, 6], [True, True, False, False, True, False])


def test_six_patients_by_hand() -> None:
    curve = Curve.of(SIX)
    np.testing.assert_array_equal(curve.times, [1, 2, 3, 5, 6])
    # At risk 6, 5, 3, 2, 1; events 1, 1, 0, 1, 0.
    np.testing.assert_allclose(curve.heights, [5 / 6, 2 / 3, 2 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(
        curve.at(np.array([0.5, 1, 1.9, 2, 4.9, 5, 99])), [1, 5 / 6, 5 / 6, *[2 / 3] * 2, *[1 / 3] * 2]
    )
    assert curve.mean(4) == pytest.approx(1 + 5 / 6 + 2 * 2 / 3)
    assert curve.mean(10) == pytest.approx(1 + 5 / 6 + 3 * 2 / 3 + 5 / 3)  # the last height goes on
    assert SIX.censored == 0.5
    assert SIX.horizon == 6


def test_the_largest_distance_by_hand() -> None:
    other = followed([4, 4, 4, 4], [True, True, True, False])
    assert Curve.of(SIX).distance(Curve.of(other), 10) == pytest.approx((2 / 3 - 1 / 4, 4))
    assert Curve.of(SIX).distance(Curve.of(other), 3.5) == pytest.approx((1 / 3, 2))  # not beyond the horizon
    assert Curve.of(SIX).distance(Curve.of(followed([2], [False])), 10) == pytest.approx((1 / 3, 2))
    late = followed([9, 9], [True, True])
    assert Curve.of(SIX).distance(Curve.of(late), 20)[1] == 5  # SIX is known up to 6 only


@pytest.mark.parametrize("seed", range(3))
def test_both_curves_are_those_of_scikit_survival(seed: int) -> None:
    here = sample(seed)
    curve, g = Curve.of(here), Curve.of_censoring(here)
    times, heights = kaplan_meier_estimator(here.event, here.time)
    np.testing.assert_array_equal(curve.times, times)
    np.testing.assert_allclose(curve.heights, heights, atol=1e-12)
    censoring = CensoringDistributionEstimator().fit(Surv.from_arrays(here.event, here.time))
    np.testing.assert_allclose(g.at(times), censoring.predict_proba(times), atol=1e-12)


def test_a_row_counts_by_its_weight() -> None:
    here, m = sample(0), np.random.default_rng(1).integers(1, 4, 200)
    copied = np.repeat(np.arange(200), m)
    weighted = FollowUp(here.time[copied], here.event[copied], (1 / m)[copied])
    np.testing.assert_allclose(Curve.of(weighted).heights, Curve.of(here).heights, atol=1e-12)
    assert weighted.censored == pytest.approx(here.censored)
    assert weighted.horizon == here.horizon
    unweighted = FollowUp(here.time[copied], here.event[copied], np.ones(len(copied)))
    assert np.abs(Curve.of(unweighted).heights - Curve.of(here).heights).max() > 1e-3


def test_the_mean_of_an_exponential_time_is_its_closed_form() -> None:
    rng = np.random.default_rng(2)
    ends, leaves = rng.exponential(10, 100_000), rng.exponential(30, 100_000)
    here = FollowUp(np.minimum(ends, leaves), ends <= leaves, np.ones(100_000))
    assert Curve.of(here).mean(15) == pytest.approx(10 * (1 - np.exp(-1.5)), rel=0.01)
    naive = FollowUp(here.time, np.ones(100_000, dtype=bool), here.weight)  # leaving counted as the event
    assert Curve.of(naive).mean(15) < 0.9 * Curve.of(here).mean(15)
    assert here.censored == pytest.approx(0.25, abs=0.01)


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from([0.25, 0.5, 1.0])), min_size=1, max_size=30
    )
)
def test_of_any_records_a_curve_falls_from_one_and_is_at_no_distance_of_itself(
    rows: list[tuple[int, bool, float]],
) -> None:
    time, event, weight = zip(*rows, strict=True)
    here = followed([float(each) for each in time], list(event), list(weight))
    curve = Curve.of(here)
    assert (np.diff(np.append(1.0, curve.heights)) <= 1e-12).all()
    assert (curve.heights >= -1e-12).all()
    same = compared(here, here[np.random.default_rng(0).permutation(len(rows))], here.horizon)
    assert same["distance"] == pytest.approx(0, abs=1e-12)
    assert same["restricted_mean"]["real"] == pytest.approx(same["restricted_mean"]["synthetic"])
    assert 0 < same["restricted_mean"]["real"] <= here.horizon
    assert np.average(here.time <= here.horizon, weights=here.weight) >= 0.9 - 1e-12


SCHEMA = Schema.from_yaml("""
name: t
patient_key: id
max_rows_per_patient: 1
target: {time: days, event: died}
columns:
  days: {type: number, min: 1, max: 100}
  died: {type: category, values: [false, true]}
  sex: {type: category, values: [F, M]}
""")
PEOPLE = pd.DataFrame({"id": range(4), "days": [3.0, 5, 7, 9], "died": [True, False, True, True], "sex": "F"})


def test_a_table_is_read_with_what_happened_and_without_rows_that_do_not_count() -> None:
    survival = SCHEMA.outcome.survival
    assert survival is not None
    beyond = pd.concat([PEOPLE, PEOPLE.assign(days=0.0, died=None), PEOPLE.assign(id=None, days=-1.0)])
    here = FollowUp.of(read(beyond, SCHEMA), survival, SCHEMA, "real")
    np.testing.assert_array_equal(here.time, [3, 5, 7, 9])
    np.testing.assert_array_equal(here.event, [True, False, True, True])


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("days", [3.0, 5, 0, -1], "'days': the time is zero or below in 2 rows (first in row 3)"),
        ("days", [3.0, None, 7, 9], "'days': the time is missing in 1 row (first in row 2)"),
        (
            "died",
            [True, False, True, None],
            "'died': the event is missing, or not declared, in 1 row (first in row 4)",
        ),
        ("died", ["true", "lost", "lost", "false"], "'died': the event is missing, or not declared, in 2 rows"),
    ],
)
def test_a_follow_up_that_is_not_known_is_named_with_count_and_first_row(
    column: str, values: list[Any], sentence: str
) -> None:
    survival = SCHEMA.outcome.survival
    assert survival is not None
    with pytest.raises(InputError) as caught:
        FollowUp.of(read(PEOPLE.assign(**{column: values}), SCHEMA), survival, SCHEMA, "real")
    assert f"the real table: column {sentence}" in str(caught.value)
