"""The law of the noise is accepted, 2/3 and 3/2 of its scale and another law are rejected; ranges hold.

OpenDP cannot be seeded, so the level of the test must be far below the number of runs anyone will make.
Two statistics of n = 20,000 draws are combined:

- Kolmogorov-Smirnov, with the bound of Dvoretzky, Kiefer, Wolfowitz and Massart:
  P(D > t) <= 2 exp(-2 n t^2), so t = 0.0244 has level 1e-10. A scale of 2/3 or 3/2 is 0.097 away, and
  is missed with probability at most 2 exp(-2 n (0.097 - t)^2) < 1e-90.
- the sum of squares, chi-square with n degrees of freedom, two-sided at level 1e-10, which is what sees
  a scale that is off by a tenth (missed with probability < 1e-10).

Together: false alarm below 1e-9. `test_level_and_power` computes these figures.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import chi2, kstest

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.privacy import gdp
from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA, VALUE_LIMIT, OpenDPNoise, ceil_sqrt
from cohortmix.core.privacy.noise_source import NoiseSource

N = 20_000
LEVEL = 1e-10
KS_LIMIT = math.sqrt(math.log(2 / LEVEL) / (2 * N))
SQUARES = chi2(N).ppf(LEVEL / 2), chi2(N).isf(LEVEL / 2)
SOURCES: list[NoiseSource] = [OpenDPNoise(), KeyedNoise(seed=20)]
both_sources = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def accepts(noise: NDArray[np.float64], sigma: float) -> bool:
    """Whether `noise` passes for N draws of N(0, sigma^2); one lattice step is below 2^-32 sigma here."""
    z = noise / sigma
    return bool(kstest(z, ndtr).statistic <= KS_LIMIT and SQUARES[0] <= z @ z <= SQUARES[1])


def distance(ratio: float) -> float:
    """The largest difference of the distribution functions of N(0, 1) and N(0, ratio^2)."""
    x = np.linspace(-4, 4, 8001)
    return float(np.abs(ndtr(x) - ndtr(x / ratio)).max())


def far_apart(size: int) -> NDArray[np.int64]:
    """Values over the whole range permitted, so that noise which replaced them would show."""
    return np.linspace(-(2**61), 2**61, size).astype(np.int64)


def test_level_and_power() -> None:
    assert 2 * LEVEL < 1e-9
    for ratio in (2 / 3, 3 / 2):
        assert 2 * math.exp(-2 * N * (distance(ratio) - KS_LIMIT) ** 2) < 1e-90
        assert chi2(N).cdf(SQUARES[1] / ratio**2) - chi2(N).cdf(SQUARES[0] / ratio**2) < 1e-90
    for ratio in (0.9, 1.1):
        assert chi2(N).cdf(SQUARES[1] / ratio**2) - chi2(N).cdf(SQUARES[0] / ratio**2) < 1e-10


def test_another_law_of_the_same_variance_is_rejected() -> None:
    laplace = np.random.default_rng(0).laplace(scale=1 / math.sqrt(2), size=N)
    assert not accepts(laplace, 1.0)


@both_sources
@pytest.mark.parametrize("sigma", [MIN_SIGMA, MAX_SIGMA])
def test_law_is_accepted_and_other_scales_are_rejected(source: NoiseSource, sigma: int) -> None:
    values = far_apart(N)
    noise = (source.add(values, sigma, f"law at {sigma}") - values).astype(np.float64)
    assert accepts(noise, sigma)
    for wrong in (2 / 3, 0.9, 1.1, 3 / 2):
        assert not accepts(noise, wrong * sigma)


@both_sources
def test_coordinates_are_independent(source: NoiseSource) -> None:
    noise = source.add(np.zeros(N, dtype=np.int64), MIN_SIGMA, "neighbouring coordinates") / MIN_SIGMA
    # the mean of n products of independent standard normals, about N(0, 1/n): 6.5 deviations are 8e-11
    for lag in (1, 2, N // 2):
        assert abs(np.mean(noise * np.roll(noise, lag))) * math.sqrt(N) < 6.5


def test_opendp_draws_every_bit() -> None:
    # noise made of a double would have zeros below its 53 bits; each low bit here is a fair coin
    noise = OpenDPNoise().add(np.zeros(2_000, dtype=np.int64), MAX_SIGMA, "")
    ones = np.array([(noise >> bit & 1).sum() for bit in range(40)])
    assert np.all(np.abs(ones - 1_000) < 7.5 * math.sqrt(500))


def test_opendp_never_repeats() -> None:
    values = np.zeros(64, dtype=np.int64)
    assert not np.any(OpenDPNoise().add(values, MIN_SIGMA, "a") == OpenDPNoise().add(values, MIN_SIGMA, "a"))


@pytest.mark.parametrize(("sensitivity", "sigma"), [(1, 2**32), (2**36, 2**37 + 1), (3 * 2**40, 5 * 2**41)])
def test_opendp_states_the_same_zcdp(sensitivity: int, sigma: int) -> None:
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
    measurement: Any = dp.m.make_gaussian(*space, scale=float(sigma))
    rho = measurement.map(sensitivity)
    assert rho == pytest.approx(gdp.zcdp(sensitivity / sigma), rel=1e-12)


def test_keyed_noise_is_a_function_of_seed_purpose_and_shape() -> None:
    values = far_apart(1_000)
    noised = KeyedNoise(7).add(values, MIN_SIGMA, "answer A")
    assert np.array_equal(noised, KeyedNoise(7).add(values, MIN_SIGMA, "answer A"))
    assert np.array_equal(noised - values, KeyedNoise(7).add(values * 0, MIN_SIGMA, "answer A"))
    for other in (KeyedNoise(8).add(values, MIN_SIGMA, "answer A"), KeyedNoise(7).add(values, MIN_SIGMA, "B")):
        correlation = np.corrcoef((noised - values).astype(float), (other - values).astype(float))[0, 1]
        assert abs(correlation) < 0.2  # 6.3 deviations; the seeds are fixed


def test_sources_say_what_they_are_and_cannot_be_relabelled() -> None:
    assert (OpenDPNoise().name, OpenDPNoise().private) == ("opendp", True)
    assert (KeyedNoise(0).name, KeyedNoise(0).private) == ("TEST", False)
    for source in (OpenDPNoise(), KeyedNoise(0)):
        with pytest.raises(AttributeError):
            source.private = True  # type: ignore[misc]


@both_sources
def test_an_answer_without_numbers_stays_empty(source: NoiseSource) -> None:
    noised = source.add(np.zeros(0, dtype=np.int64), MIN_SIGMA, "none")
    assert noised.shape == (0,)
    assert noised.dtype == np.int64


@both_sources
def test_values_near_the_ends_of_int64_are_refused(source: NoiseSource) -> None:
    for value in (VALUE_LIMIT, -VALUE_LIMIT, 2**63 - 1, -(2**63)):
        with pytest.raises(OverflowError, match="coarser lattice") as error:
            source.add(np.array([0, value]), MIN_SIGMA, "end")
        assert str(value) not in str(error.value)
    edge = np.array([VALUE_LIMIT - 1, 1 - VALUE_LIMIT])
    assert np.all(np.abs(source.add(edge, MAX_SIGMA, "edge")) < 2**63 - 1)  # never saturated


@both_sources
@pytest.mark.parametrize("sigma", [0, -(2**40), 1, MIN_SIGMA - 1, MAX_SIGMA + 64, 2**70, math.nan])
def test_a_scale_out_of_range_is_refused(source: NoiseSource, sigma: int) -> None:
    with pytest.raises(ValueError, match=r"between 2\^32 and 2\^58"):
        source.add(np.zeros(1, dtype=np.int64), sigma, "scale")


@both_sources
@pytest.mark.parametrize("sigma", [2**53 + 1, np.int64(2**57 + 1), 2**40 + 0.5, MAX_SIGMA - 1])
def test_a_scale_that_a_double_cannot_hold_is_refused(source: NoiseSource, sigma: int) -> None:
    with pytest.raises(ValueError, match="53 significant bits"):
        source.add(np.zeros(1, dtype=np.int64), sigma, "scale")
    cure = ceil_sqrt(Fraction(sigma.item() if isinstance(sigma, np.int64) else sigma) ** 2)
    assert source.add(np.zeros(1, dtype=np.int64), cure, "scale").shape == (1,)


@both_sources
@pytest.mark.parametrize("values", [np.zeros(2), np.zeros(2, dtype=np.int32), np.zeros((2, 2), dtype=np.int64)])
def test_anything_but_an_int64_vector_is_refused(source: NoiseSource, values: NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match="int64 vector"):
        source.add(values, MIN_SIGMA, "type")


def test_the_lattice_makes_kappa_negligible() -> None:
    """The coarsest that sources take, for an answer of a million numbers; on one of 2^22 steps it would count."""
    assert gdp.kappa(10**6, MIN_SIGMA) < 1e-14
    assert gdp.kappa(10**6, MIN_SIGMA // 2**10) > 1e-10
    for source in SOURCES:
        with pytest.raises(ValueError, match=r"between 2\^32 and 2\^58"):
            source.add(np.zeros(1, dtype=np.int64), 2**32 - 1, "too coarse")


@given(st.fractions(min_value=0, max_value=2**120, max_denominator=10**12))
def test_ceil_sqrt_is_the_smallest_scale_that_suffices(variance: Fraction) -> None:
    sigma = ceil_sqrt(variance)
    below = sigma - 2 ** max((sigma - 1).bit_length() - 53, 0)  # the next smaller number of 53 bits
    assert int(float(sigma)) == sigma
    assert sigma**2 >= variance
    assert sigma == 0 or below**2 < variance


@pytest.mark.parametrize("root", [2**53, 2**53 + 1, 2**58, 2**60 + 1])
def test_ceil_sqrt_at_whole_roots(root: int) -> None:
    sigma = ceil_sqrt(Fraction(root**2))
    assert root <= sigma <= root * (1 + 2**-52)
    assert (sigma == root) == (int(float(root)) == root)
    assert ceil_sqrt(Fraction(root**2) + Fraction(1, 10**30)) > root


def test_ceil_sqrt_refuses_a_negative_variance() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        ceil_sqrt(Fraction(-1, 3))
