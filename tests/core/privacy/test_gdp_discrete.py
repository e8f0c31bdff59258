"""Laws of `epsilon_of_discrete`, the epsilon that receipts state of discrete noise.

Three independent sources: its two bounds evaluated with fifty digits (mpmath), the exact epsilon of small discrete
Gaussians by convolution, and the order that an epsilon has in all of its arguments.
"""

import math

import numpy as np
import pytest
from dp_accounting import get_epsilon_gaussian
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from test_kappa import CASES, laws, mu_of

from cohortmix.core.privacy import gdp

mus = st.floats(1e-3, 40)
deltas = st.floats(-12, -0.5).map(lambda exponent: 10.0**exponent)
kappas = st.just(0.0) | st.floats(-40, -1).map(lambda exponent: 10.0**exponent)
SAME = 1 + 1e-9  # of numbers that two algorithms round differently


def concentrated(mu: float, delta: float) -> float:
    """Bun and Steinke 2016, Proposition 1.3."""
    return mu**2 / 2 + mu * math.sqrt(2 * math.log(1 / delta))


@given(mus, deltas, kappas, st.floats(1.001, 10))
def test_it_grows_with_mu_and_kappa_and_falls_with_delta(
    mu: float, delta: float, kappa: float, factor: float
) -> None:
    epsilon = gdp.epsilon_of_discrete(mu, delta, kappa)
    assert gdp.epsilon_of_discrete(mu * factor, delta, kappa) >= epsilon / SAME
    assert gdp.epsilon_of_discrete(mu, delta, min(kappa * factor, 0.5)) >= epsilon / SAME
    assert gdp.epsilon_of_discrete(mu, delta / factor, kappa) >= epsilon / SAME
    assert epsilon >= gdp.epsilon_of(mu, delta) / SAME  # never below that of continuous noise


@given(mus, deltas)
def test_without_kappa_it_is_that_of_continuous_noise(mu: float, delta: float) -> None:
    assert gdp.epsilon_of_discrete(mu, delta, 0.0) == gdp.epsilon_of(mu, delta)


@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
@pytest.mark.parametrize("mu", [0.05, 0.268, 1.0, 5.0, 20.0])
def test_without_kappa_it_agrees_with_dp_accounting(mu: float, delta: float) -> None:
    expected = get_epsilon_gaussian(1 / mu, delta, tol=1e-14)
    assert gdp.epsilon_of_discrete(mu, delta, 0.0) == pytest.approx(expected, rel=1e-8)


@given(mus, deltas, kappas)
def test_it_is_the_smaller_of_two_bounds_and_there_always_is_one(mu: float, delta: float, kappa: float) -> None:
    epsilon = gdp.epsilon_of_discrete(mu, delta, kappa)
    assert 0 <= epsilon <= concentrated(mu, delta) * SAME
    try:
        near = gdp.epsilon_of(mu, delta, kappa)
    except ValueError:
        assert epsilon == pytest.approx(concentrated(mu, delta), rel=1e-12)
    else:
        assert epsilon == pytest.approx(min(near, concentrated(mu, delta)), rel=1e-12, abs=1e-300)


def long_epsilon(mu: float, delta: float, kappa: float) -> float:
    """The same from Corollary 1 and Proposition 1.3, by bisection with fifty digits."""
    with mp.workdps(50):
        m, d, k = mpf(mu), mpf(delta), mpf(kappa)
        largest = m**2 / 2 + m * mp.sqrt(2 * mp.log(1 / d))

        def excess(e: mpf) -> mpf:
            gaussian = mp.ncdf(-e / m + m / 2) - mp.exp(e) * mp.ncdf(-e / m - m / 2)
            return gaussian + (1 + mp.exp(e)) * k - d

        # The right side falls, then rises with e^epsilon kappa: the first place where it is below delta.
        places = [largest * at / 1000 for at in range(1001)]
        first = next((at for at, place in enumerate(places) if excess(place) <= 0), None)
        if first is None:
            return float(largest)
        if first == 0:
            return 0.0
        low, high = places[first - 1], places[first]
        for _ in range(120):
            low, high = ((low + high) / 2, high) if excess((low + high) / 2) > 0 else (low, (low + high) / 2)
        return float(high)


@pytest.mark.parametrize(
    ("mu", "delta", "kappa"),
    [
        (0.268, 1e-5, 1e-14),
        (0.268, 1e-5, 1e-6),
        (0.268, 1e-5, 4.9e-6),  # kappa has almost all of delta
        (1.0, 1e-5, 1e-9),
        (1.0, 1e-5, 1e-7),
        (1.0, 1e-5, 1e-5),  # more than delta: concentrated
        (3.0, 1e-6, 1e-15),
        (5.0, 1e-5, 1e-15),
        (10.0, 1e-5, 1e-15),  # e^epsilon kappa outgrows delta: concentrated
        (30.0, 1e-2, 0.0),
        (0.01, 0.4, 1e-3),  # nothing to hide
    ],
)
def test_it_agrees_with_fifty_digits(mu: float, delta: float, kappa: float) -> None:
    assert gdp.epsilon_of_discrete(mu, delta, kappa) == pytest.approx(long_epsilon(mu, delta, kappa), rel=1e-10)


def least_epsilon(p: np.ndarray, q: np.ndarray, delta: float) -> float:
    """The exact epsilon at `delta` between two laws on one lattice."""

    def above(epsilon: float) -> bool:
        return bool(np.maximum(p - math.exp(epsilon) * q, 0).sum() > delta)

    low, high = 0.0, 200.0
    if not above(low):
        return 0.0
    for _ in range(60):
        low, high = ((low + high) / 2, high) if above((low + high) / 2) else (low, (low + high) / 2)
    return high


@pytest.mark.parametrize("delta", [0.3, 0.05, 1e-3, 1e-6])
@pytest.mark.parametrize(("sigma", "shifts"), CASES)
def test_it_is_never_below_the_exact_epsilon_of_discrete_noise(
    sigma: int, shifts: tuple[int, ...], delta: float
) -> None:
    """Also on lattices so coarse that kappa has all of delta, and only the concentrated bound is left."""
    mu, kappa = mu_of(sigma, shifts), gdp.kappa(len(shifts), sigma)
    exact = least_epsilon(*laws(sigma, shifts), delta)
    assert gdp.epsilon_of_discrete(mu, delta, kappa) >= exact
    assert exact > 0 or delta > 0.04


def composed(
    one: tuple[int, tuple[int, ...]], other: tuple[int, tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """P and Q of two answers with sigmas of their own, as a pair."""
    (p1, q1), (p2, q2) = laws(*one), laws(*other)
    return np.outer(p1, p2).ravel(), np.outer(q1, q2).ravel()


@pytest.mark.parametrize("delta", [0.05, 1e-4])
def test_mu_and_kappa_of_several_answers_add(delta: float) -> None:
    one, other = (1, (1,)), (5, (4, 3))
    mu = gdp.compose([mu_of(*one), mu_of(*other)])
    kappa = gdp.kappa(1, 1) + gdp.kappa(2, 5)
    exact = least_epsilon(*composed(one, other), delta)
    assert exact <= gdp.epsilon_of_discrete(mu, delta, kappa)
    assert exact > gdp.epsilon_of_discrete(mu_of(*one), delta, 0.0)  # one answer alone would not cover both


@pytest.mark.parametrize("factor", [0.9, 0.5])
def test_a_smaller_epsilon_would_be_below_the_exact_one(factor: float) -> None:
    """The negation: on a coarse lattice a tenth less is too little."""
    sigma, shifts, delta = 3, (1,) * 8, 1e-3
    exact = least_epsilon(*laws(sigma, shifts), delta)
    bound = gdp.epsilon_of_discrete(mu_of(sigma, shifts), delta, 0.0)
    assert exact > factor * bound
