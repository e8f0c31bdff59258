"""mu-GDP: published anchors, sixty-digit references, a second implementation, and the law of kappa."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dp_accounting import get_epsilon_gaussian, get_sigma_gaussian
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr

from cohortmix.core.privacy import gdp

EPSILONS = np.geomspace(1e-3, 20, 9)
DELTAS = np.geomspace(1e-12, 1e-2, 6)
mus = st.floats(1e-4, 50)
epsilons = st.floats(0, 20)
deltas = st.floats(-300, -0.5).map(lambda exponent: 10.0**exponent)
shares = st.floats(0, 1, allow_subnormal=False)

# log delta_mu(epsilon) and the epsilon of (mu, delta), evaluated from Corollary 1 with 400 decimal digits
LOG_DELTA = [
    (1e-9, 1e-8, -76.2763878680687628),
    (1e-4, 3.6e-3, -665.296825378202986),
    (1e-4, 1e-4, -11.6954113984822704),
    (9.9e-3, 0.3, -471.346744124094436),
    (1.01e-2, 0.3, -453.283274389108173),
    (0.268, 1.0, -11.5160929583446495),
    (1.0, 36.0, -638.213093119501793),
    (5.0, 0.0, -0.01249709506390489),
    (50.0, 1400.0, -6.67164970912836308),
    (50.0, 3050.0, -653.04600930530245),
    (1000.0, 520000.0, -203.937007733427597),
]
EPSILON = [
    (1e-4, 1e-5, 9.023709432563504e-5),
    (1e-4, 1e-12, 5.3045548672329402e-4),
    (1e-4, 1e-300, 3.6699872365499052e-3),
    (0.268, 1e-5, 0.99979056336727172),
    (1.0, 1e-5, 4.3771780956812246),
    (1.0, 1e-300, 37.448847912139105),
    (50.0, 1e-5, 1462.2850159647798),
    (50.0, 1e-300, 3101.60657214131),
]


def test_published_anchors() -> None:
    assert gdp.epsilon_of(1.0, 1e-5) == pytest.approx(4.377, abs=5e-4)
    assert gdp.mu_of(1.0, 1e-5) == pytest.approx(0.268, abs=5e-4)


@pytest.mark.parametrize(("mu", "epsilon", "log_delta"), LOG_DELTA)
def test_delta_agrees_with_long_arithmetic(mu: float, epsilon: float, log_delta: float) -> None:
    assert gdp.delta_of(mu, epsilon) == pytest.approx(math.exp(log_delta), rel=1e-9)


@pytest.mark.parametrize(("mu", "delta", "epsilon"), EPSILON)
def test_epsilon_and_mu_agree_with_long_arithmetic(mu: float, delta: float, epsilon: float) -> None:
    assert gdp.epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-12)
    assert gdp.mu_of(epsilon, delta) == pytest.approx(mu, rel=1e-12)


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_round_trip_and_agreement_with_dp_accounting(epsilon: float, delta: float) -> None:
    mu = gdp.mu_of(epsilon, delta)
    assert gdp.delta_of(mu, epsilon) == pytest.approx(delta, rel=1e-9)
    assert mu == pytest.approx(1 / get_sigma_gaussian(epsilon, delta, tol=1e-14), rel=1e-8)
    if delta < 0.9 * gdp.advantage(mu):  # above, epsilon hardly depends on mu
        assert gdp.epsilon_of(mu, delta) == pytest.approx(epsilon, rel=1e-9)
        assert get_epsilon_gaussian(1 / mu, delta, tol=1e-14) == pytest.approx(epsilon, rel=1e-8)


ROUNDED = 1e-13  # relative error of delta in floating point, for epsilons that differ by less than a digit of it


@given(mus, epsilons, st.floats(1.001, 10))
@example(0.375, 1.2886306433098905e-17, 3.0)
def test_delta_grows_with_mu_and_falls_with_epsilon(mu: float, epsilon: float, factor: float) -> None:
    delta = gdp.delta_of(mu, epsilon)
    assert gdp.delta_of(mu * factor, epsilon) >= delta * (1 - ROUNDED)
    assert gdp.delta_of(mu, epsilon * factor) <= delta * (1 + ROUNDED)
    assert 0 <= delta <= gdp.advantage(mu) * (1 + 1e-9)


@given(mus, deltas, st.floats(1.001, 10))
def test_epsilon_grows_with_mu_and_falls_with_delta(mu: float, delta: float, factor: float) -> None:
    epsilon = gdp.epsilon_of(mu, delta)
    assume(epsilon > 0)
    assert gdp.epsilon_of(mu * factor, delta) > epsilon
    assert gdp.epsilon_of(mu, delta / factor) > epsilon
    assert gdp.delta_of(mu, epsilon) == pytest.approx(delta, rel=1e-8)


def test_epsilon_is_zero_exactly_where_delta_covers_the_advantage() -> None:
    advantage = gdp.advantage(0.5)
    assert gdp.epsilon_of(0.5, advantage * 1.0001) == 0
    assert gdp.epsilon_of(0.5, advantage * 0.9999) > 0


def test_nothing_spent_means_no_advantage() -> None:
    assert gdp.compose([]) == gdp.delta_of(0, 0) == gdp.epsilon_of(0, 1e-300) == gdp.advantage(0) == 0
    assert gdp.detection_rate(0, 0.03) == pytest.approx(0.03, rel=1e-12)


@given(st.lists(st.floats(0, 50), max_size=6))
def test_composition_is_the_root_of_the_sum_of_squares(parts: list[float]) -> None:
    assert gdp.compose(parts) ** 2 == pytest.approx(sum(mu**2 for mu in parts), rel=1e-12, abs=1e-300)
    assert gdp.zcdp(gdp.compose(parts)) == pytest.approx(sum(map(gdp.zcdp, parts)), rel=1e-12, abs=1e-300)
    assert gdp.compose([gdp.compose(parts[:2]), *parts[2:]]) == pytest.approx(gdp.compose(parts), rel=1e-12)


def test_composition_equals_one_gaussian_with_all_coordinates() -> None:
    # the likelihood ratio of two Gaussians shifted by (0.3, 0.4) in two dimensions has the law of mu = 0.5
    sigma = 1 / math.hypot(0.3, 0.4)
    assert gdp.epsilon_of(gdp.compose([0.3, 0.4]), 1e-6) == pytest.approx(get_epsilon_gaussian(sigma, 1e-6))


@given(mus, shares)
def test_detection_rate_complements_the_trade_off(mu: float, alpha: float) -> None:
    rate = gdp.detection_rate(mu, alpha)
    assert rate == pytest.approx(1 - gdp.trade_off(mu, alpha), abs=1e-14)
    assert alpha * (1 - 1e-12) <= rate <= min(1.0, alpha + gdp.advantage(mu) + 1e-14)


def test_advantage_is_reached_by_the_best_attacker() -> None:
    alphas = ndtr(np.linspace(-8, 8, 4001))
    gains = [gdp.detection_rate(1.3, alpha) - alpha for alpha in alphas]
    assert max(gains) == pytest.approx(gdp.advantage(1.3), abs=1e-6)


def test_trade_off_lies_on_the_envelope_of_its_epsilon_delta_tangents() -> None:
    # Corollary 1 read backwards: G_mu(alpha) = sup over epsilon >= 0 of 1 - delta - e^epsilon alpha
    mu, alpha = 0.7, 0.05
    tangents = [1 - gdp.delta_of(mu, e) - math.exp(e) * alpha for e in np.linspace(0, 4, 4001)]
    assert max(tangents) == pytest.approx(gdp.trade_off(mu, alpha), abs=1e-6)


# --- the discrete law -------------------------------------------------------------------------------------


def _discrete_and_rounded(sigma: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the discrete and of the rounded Gaussian at -12 sigma ... 12 sigma."""
    k = np.arange(-12 * sigma, 12 * sigma + 1)
    weights = np.exp(-(k**2) / (2 * sigma**2))
    low, high = np.abs(k) - 0.5, np.abs(k) + 0.5  # from the nearer tail: no cancellation
    log_tail = log_ndtr(-low / sigma)
    rounded = np.exp(log_tail) * -np.expm1(log_ndtr(-high / sigma) - log_tail)
    return weights / weights.sum(), rounded


@pytest.mark.parametrize("sigma", [1, 2, 3, 4, 16])
def test_kappa_bounds_the_exact_total_variation(sigma: int) -> None:
    discrete, rounded = _discrete_and_rounded(sigma)
    distance = np.abs(discrete - rounded).sum() / 2
    pair = np.abs(np.outer(discrete, discrete) - np.outer(rounded, rounded)).sum() / 2
    assert 0.3 * gdp.kappa(1, sigma) < distance <= gdp.kappa(1, sigma)
    assert distance < pair <= gdp.kappa(2, sigma)


@pytest.mark.parametrize("sigma", [1, 2, 3, 4, 16])
def test_kappa_rests_on_a_pointwise_bound_whose_constant_is_sharp(sigma: int) -> None:
    discrete, rounded = _discrete_and_rounded(sigma)
    largest = np.log(discrete / rounded).max() / gdp.kappa(1, sigma)
    assert 0.95 < largest <= 1 + 1e-9


def _least_delta(sigma: int, shift: int, epsilon: float) -> float:
    """The exact delta at `epsilon` of discrete Gaussian noise on integers that differ by `shift`."""
    discrete, _ = _discrete_and_rounded(sigma)
    here, there = np.pad(discrete, (0, shift)), np.pad(discrete, (shift, 0))
    return float(np.maximum(here - math.exp(epsilon) * there, 0).sum())


@pytest.mark.parametrize("delta", [0.05, 0.1, 0.2])
@pytest.mark.parametrize(("sigma", "shift"), [(2, 1), (8, 8), (16, 24)])
def test_discrete_noise_keeps_the_epsilon_stated_with_kappa(sigma: int, shift: int, delta: float) -> None:
    mu, kappa = shift / sigma, gdp.kappa(1, sigma)
    epsilon = gdp.epsilon_of(mu, delta, kappa)
    assert _least_delta(sigma, shift, epsilon) <= delta
    assert gdp.delta_of(mu, epsilon) + (1 + math.exp(epsilon)) * kappa == pytest.approx(delta, rel=1e-9)


def test_discrete_noise_on_a_coarse_lattice_breaks_the_epsilon_stated_without_kappa() -> None:
    assert _least_delta(1, 1, gdp.epsilon_of(1.0, 1e-5)) > 1.1e-5
    assert _least_delta(64, 64, gdp.epsilon_of(1.0, 1e-5)) == pytest.approx(1e-5, rel=1e-3)


def test_kappa_raises_epsilon_and_vanishes_on_a_fine_lattice() -> None:
    exact = gdp.epsilon_of(1.0, 1e-5)
    assert gdp.epsilon_of(1.0, 1e-5, 1e-8) > exact
    assert gdp.epsilon_of(1.0, 1e-5, gdp.kappa(10**6, 2**32)) == pytest.approx(exact, rel=1e-7)
    assert gdp.kappa(10**6, 2**32) < 3e-15
    of_numpy: list[Any] = [np.int64(7), np.int64(2**32)]  # whose product is beyond int64
    assert gdp.kappa(*of_numpy) == 7 / (24 * 2**64)
    assert gdp.kappa(0, 2**32) == 0


def test_kappa_that_delta_cannot_cover_is_refused() -> None:
    with pytest.raises(ValueError, match="No epsilon exists for delta=1e-05"):
        gdp.epsilon_of(1.0, 1e-5, 1e-5)
    with pytest.raises(ValueError, match="No epsilon exists"):
        gdp.epsilon_of(50.0, 1e-5, 1e-15)


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf])
def test_bad_mu_and_epsilon_are_refused(bad: float) -> None:
    calls: list[Callable[[], object]] = [
        lambda: gdp.compose([0.1, bad]),
        lambda: gdp.delta_of(bad, 1.0),
        lambda: gdp.epsilon_of(bad, 1e-5),
        lambda: gdp.trade_off(bad, 0.1),
        lambda: gdp.detection_rate(bad, 0.1),
        lambda: gdp.advantage(bad),
        lambda: gdp.zcdp(bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="mu must be a finite number"):
            call()
    for call in (lambda: gdp.delta_of(1.0, bad), lambda: gdp.mu_of(bad, 1e-5)):
        with pytest.raises(ValueError, match="epsilon must be a finite number"):
            call()


@pytest.mark.parametrize("bad", [-0.1, 0.0, 1.0, math.nan])
def test_bad_delta_is_refused(bad: float) -> None:
    for call in (gdp.epsilon_of, gdp.mu_of):
        with pytest.raises(ValueError, match="delta must be a probability"):
            call(1.0, bad)


def test_bad_shares_and_lattices_are_refused() -> None:
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="false alarms"):
            gdp.detection_rate(1.0, share)
    for d, sigma in ((-1, 4), (3, 0)):
        with pytest.raises(ValueError, match="lattice steps"):
            gdp.kappa(d, sigma)
    with pytest.raises(ValueError, match="total variation"):
        gdp.epsilon_of(1.0, 1e-5, -1e-3)
