"""The scale of noise: fine enough, loud enough for its price, and no louder or finer than it has to be."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA
from cohortmix.core.privacy.scale import scale

SENSITIVITIES = st.integers(1, 1 << 100)
BUDGETS = st.fractions(Fraction(1, 10**4), 10**4)


@given(SENSITIVITIES, BUDGETS)
def test_an_answer_costs_what_was_allowed_or_a_little_less(sensitivity2: int, mu2: Fraction) -> None:
    noise = scale(sensitivity2, mu2)
    assert noise.sensitivity2 == sensitivity2 * 4**noise.shift
    assert noise.cost == Fraction(noise.sensitivity2, noise.sigma**2)
    assert mu2 * (1 - Fraction(1, 2**30)) < noise.cost <= mu2
    assert MIN_SIGMA <= noise.sigma <= MAX_SIGMA


@given(SENSITIVITIES, BUDGETS)
def test_the_lattice_is_halved_no_more_often_than_it_must_be(sensitivity2: int, mu2: Fraction) -> None:
    noise = scale(sensitivity2, mu2)
    assert Fraction(noise.sensitivity2) / mu2 >= MIN_SIGMA**2
    assert noise.shift == 0 or Fraction(noise.sensitivity2, 4) / mu2 < MIN_SIGMA**2


def test_a_root_that_is_no_whole_number_is_rounded_up() -> None:
    """Rounded down, it would cost more than was allowed."""
    mu2 = Fraction(2, MIN_SIGMA**2 + 1)
    noise = scale(2, mu2)
    assert (noise.shift, noise.sigma) == (0, MIN_SIGMA + 1)
    assert noise.cost < mu2


@pytest.mark.parametrize("mu2", [Fraction(0), Fraction(-1, 3)])
def test_no_budget_has_no_scale(mu2: Fraction) -> None:
    with pytest.raises(ValueError, match="above zero"):
        scale(2, mu2)


def test_a_budget_may_be_too_small_for_62_bits() -> None:
    most = Fraction(2, MAX_SIGMA**2)
    assert scale(2, most).sigma == MAX_SIGMA
    with pytest.raises(OverflowError, match="too small"):
        scale(2, most * Fraction(99, 100))
