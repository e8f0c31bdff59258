"""Budgets: what delta they settle on, what they refuse, and what they say."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.budget import Budget


@given(st.integers(1, 10**9))
def test_default_delta_never_permits_publishing_a_patient(patients: int) -> None:
    budget = Budget.from_epsilon(1.0).resolve(patients)
    assert budget.delta == min(1e-5, 1 / (10 * patients))
    assert not budget.loose


def test_epsilon_is_kept_and_mu_follows_from_delta() -> None:
    small, large = (Budget.from_epsilon(1.0).resolve(n) for n in (4_689, 1_000_000))
    assert small.epsilon == large.epsilon == 1.0
    assert small.mu == pytest.approx(0.268, abs=5e-4)
    assert large.mu == gdp.mu_of(1.0, 1e-7) < small.mu


def test_mu_is_kept_and_epsilon_follows_from_delta() -> None:
    budget = Budget.from_mu(0.268).resolve(4_689)
    assert budget.mu == 0.268
    assert budget.epsilon == gdp.epsilon_of(0.268, 1e-5)


@given(st.floats(1e-3, 20), st.integers(1, 10**7))
def test_resolved_mu_and_epsilon_describe_one_guarantee(epsilon: float, patients: int) -> None:
    resolved = Budget.from_epsilon(epsilon).resolve(patients)
    assert gdp.delta_of(resolved.mu, resolved.epsilon) == pytest.approx(resolved.delta, rel=1e-8)
    assert Budget.from_mu(resolved.mu).resolve(patients).epsilon == pytest.approx(epsilon, rel=1e-7)


def test_a_tighter_delta_is_taken_as_given() -> None:
    assert Budget.from_epsilon(1.0, 1e-9).resolve(100).delta == 1e-9


@pytest.mark.parametrize("build", [Budget.from_epsilon, Budget.from_mu])
def test_delta_above_a_tenth_of_a_patient_needs_the_flag(build: Callable[..., Budget]) -> None:
    assert not build(1.0, 1e-3).resolve(100).loose  # exactly 1/(10 N)
    with pytest.raises(ValueError, match=r"at most 1/\(10 N\) = 0\.00099 for N = 101 .*--loose-delta"):
        build(1.0, 1e-3).resolve(101)
    loose = build(1.0, 1e-3, loose_delta=True).resolve(101)
    assert loose.loose
    assert loose.delta == 1e-3


def test_the_flag_alone_does_not_make_a_budget_loose() -> None:
    assert not Budget.from_epsilon(1.0, loose_delta=True).resolve(24_420).loose


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_impossible_mu_and_epsilon_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite epsilon above zero"):
        Budget.from_epsilon(bad)
    with pytest.raises(ValueError, match="finite mu above zero"):
        Budget.from_mu(bad)


@pytest.mark.parametrize("bad", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_impossible_delta_is_refused_even_with_the_flag(bad: float) -> None:
    for loose in (False, True):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            Budget.from_epsilon(1.0, bad, loose_delta=loose)


def test_a_budget_is_either_mu_or_epsilon() -> None:
    for mu, epsilon in ((None, None), (1.0, 1.0)):
        with pytest.raises(ValueError, match="exactly one"):
            Budget(mu=mu, epsilon=epsilon)


def test_a_budget_needs_a_patient() -> None:
    with pytest.raises(ValueError, match="patients=0"):
        Budget.from_mu(1.0).resolve(0)


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (Budget.from_epsilon, {"epsilon": "1"}, "epsilon must be a number, such as epsilon=1.0; got str."),
        (Budget.from_epsilon, {"epsilon": [1]}, "epsilon must be a number, such as epsilon=1.0; got list."),
        (Budget.from_epsilon, {"epsilon": True}, "epsilon must be a number, such as epsilon=1.0; got bool."),
        (Budget.from_mu, {"mu": {}}, "mu must be a number, such as mu=0.3; got dict."),
        (Budget.from_mu, {"mu": 1.0, "delta": "x"}, "delta must be a number, such as delta=1e-6; got str."),
        (Budget.from_mu, {"mu": 1.0, "loose_delta": "no"}, "loose_delta must be True or False; got str."),
    ],
)
def test_what_is_no_number_is_named(make: Callable[..., Budget], arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make(**arguments)
