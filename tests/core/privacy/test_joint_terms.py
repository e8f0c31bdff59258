"""Terms of joint noise: which are accepted, whose noise counts, and that no sum has less of it than it says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA, ceil_sqrt
from cohortmix.core.privacy.scale import Scale, scale

SENSITIVITIES = st.integers(1, 1 << 86)  # the noise of 40 sites fits, with a patient at all of them
BUDGETS = st.fractions(Fraction(1, 10**4), 10**4)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    """Of up to 40 sites, some of them at the bound."""
    sites = draw(st.integers(1, 40))
    conspirators = draw(st.integers(0, sites - 1))
    most = (sites - conspirators - 1) // 2
    dropouts = draw(st.integers(0, most) | st.just(most))
    return Terms(sites, conspirators, dropouts, draw(st.integers(1, sites)), draw(st.integers(0, 10**6)))


# Terms


def accepted(*numbers: int) -> bool:
    try:
        Terms(*numbers)
    except ValueError:
        return False
    return True


def test_terms_are_accepted_exactly_where_2_t_is_above_s_plus_t() -> None:
    """T = S - dropouts, and each combination of up to nine sites."""
    for sites, conspirators, dropouts in product(range(1, 10), range(12), range(12)):
        assert accepted(sites, conspirators, dropouts) == (2 * (sites - dropouts) > sites + conspirators)


def test_two_quorums_have_an_honest_site_in_common_exactly_under_these_terms() -> None:
    """Any two sets of T sites or more, whichever t of them conspire; under other terms some two have none."""
    for sites in range(1, 7):
        for conspirators, dropouts in product(range(sites), range(sites)):
            quorums = [
                set(chosen)
                for size in range(sites - dropouts, sites + 1)
                for chosen in combinations(range(sites), size)
            ]
            smallest = min(len(one & other) for one, other in product(quorums, repeat=2))
            disjoint_but_for_conspirators = smallest <= conspirators
            assert accepted(sites, conspirators, dropouts) == (not disjoint_but_for_conspirators)


@pytest.mark.parametrize(
    "numbers",
    [(0,), (-1,), (5, -1), (5, 0, -1), (5, 1, 1, 0), (5, 1, 1, -2), (5, 1, 1, 1, -1)],
    ids=["no site", "S < 0", "t < 0", "dropouts < 0", "overlap 0", "overlap < 0", "patients < 0"],
)
def test_numbers_that_count_nothing_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sites and overlap of at least 1, and nothing below 0"):
        Terms(*numbers)


def test_a_refusal_says_what_was_asked_and_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"got S=5, dropouts=2, conspirators=1; tolerate fewer of either"):
        Terms(5, 1, 2)
    assert Terms(5, 1, 1) == Terms(sites=5, conspirators=1, dropouts=1, overlap=1, patients=0)


@settings(derandomize=True)
@given(terms())
def test_threshold_and_sharers(joint: Terms) -> None:
    """T = S - dropouts sites, more than half, are in each sum that is read; S - t of all are honest."""
    assert joint.threshold == joint.sites - joint.dropouts
    assert joint.sharers == joint.sites - joint.conspirators >= 1
    assert joint.threshold - joint.conspirators > joint.dropouts
    assert 2 * joint.threshold > joint.sites


@settings(derandomize=True)
@given(terms())
def test_with_spare_noise_t_minus_t_sites_add_what_s_minus_t_do_without(joint: Terms) -> None:
    assert (joint.threshold - joint.conspirators) * (1 + joint.spare) == joint.sharers
    assert (joint.spare == 0) == (joint.dropouts == 0)
    assert joint.spare < 1, "T - t is above the dropouts"


def test_a_site_alone_has_all_of_the_noise() -> None:
    assert Terms() == ALONE
    assert (ALONE.sites, ALONE.threshold, ALONE.sharers, ALONE.overlap) == (1, 1, 1, 1)


# The scale of their noise


@settings(deadline=None, derandomize=True)
@given(SENSITIVITIES, BUDGETS, terms())
def test_the_noise_of_the_sharers_pays_for_a_patient_at_k_sites(
    sensitivity2: int, mu2: Fraction, joint: Terms
) -> None:
    """sharers sigma^2 >= (k Delta)^2 / mu^2, exactly, in noise steps, and no more than that by much."""
    noise = scale(sensitivity2, mu2, joint)
    moved2 = joint.overlap**2 * sensitivity2 * 4**noise.shift
    assert noise.sensitivity2 == moved2
    assert joint.sharers * noise.sigma**2 >= Fraction(moved2) / mu2
    assert noise.cost == Fraction(moved2, joint.sharers * noise.sigma**2)
    assert noise.spare**2 >= joint.spare * noise.sigma**2
    assert noise.spare**2 <= joint.spare * noise.sigma**2 * (1 + Fraction(1, 2**30))
    assert mu2 * (1 - Fraction(1, 2**30)) < noise.cost <= mu2


@settings(deadline=None, derandomize=True)
@given(SENSITIVITIES, BUDGETS, terms())
def test_each_share_is_noise_of_2_to_the_32_steps(sensitivity2: int, mu2: Fraction, joint: Terms) -> None:
    """Of one site by itself, and its spare noise, not the noise of the sum; and no finer than needed."""
    noise = scale(sensitivity2, mu2, joint)
    assert MIN_SIGMA <= noise.sigma <= MAX_SIGMA
    assert noise.sigma == int(float(noise.sigma))
    share2 = Fraction(noise.sensitivity2) / (mu2 * joint.sharers)
    smaller2 = share2 * joint.spare if joint.dropouts else share2
    assert smaller2 >= MIN_SIGMA**2
    assert noise.shift == 0 or smaller2 / 4 < MIN_SIGMA**2
    if joint.dropouts:
        assert MIN_SIGMA <= noise.spare <= MAX_SIGMA
        assert noise.spare == int(float(noise.spare))


@settings(deadline=None, derandomize=True)
@given(SENSITIVITIES, BUDGETS, terms(), st.data())
def test_whoever_is_left_the_sum_has_the_noise_that_is_said(
    sensitivity2: int, mu2: Fraction, joint: Terms, data: st.DataObject
) -> None:
    """Any survivors, T or more, less any conspirators, t or fewer; a patient at k sites moves it by k Delta.

    Their spare noise counts where one is missing at least, and is known where none is.
    """
    noise = scale(sensitivity2, mu2, joint)
    survivors = data.draw(st.integers(joint.threshold, joint.sites) | st.just(joint.sites))
    subtracted = data.draw(st.integers(0, joint.conspirators))
    spare = 0 if survivors == joint.sites else noise.spare
    variance = (survivors - subtracted) * (noise.sigma**2 + spare**2)
    assert Fraction(noise.sensitivity2, variance) <= noise.cost <= mu2
    assert Fraction(noise.sensitivity2, joint.sharers * noise.sigma**2) == noise.cost


@pytest.mark.parametrize(("numbers", "too_many"), [((5, 1, 1), 5), ((5, 1, 1), 6), ((9, 4, 2), 9)])
def test_if_more_sites_were_counted_there_would_be_too_little_noise(
    numbers: tuple[int, ...], too_many: int
) -> None:
    """All S of them, or more: what is left when conspirators subtract theirs costs more."""
    joint, mu2 = Terms(*numbers), Fraction(1, 50)
    noise = scale(2, mu2 * Fraction(too_many, joint.sharers), joint)
    assert noise.sensitivity2 <= mu2 * too_many * noise.sigma**2
    assert Fraction(noise.sensitivity2, joint.sharers * noise.sigma**2) > mu2


@pytest.mark.parametrize("numbers", [(5, 1, 1), (9, 4, 2), (40, 4, 4)])
def test_without_the_spare_noise_a_sum_with_dropouts_would_have_too_little(numbers: tuple[int, ...]) -> None:
    joint, mu2 = Terms(*numbers), Fraction(1, 50)
    noise = scale(2, mu2, joint)
    honest = joint.threshold - joint.conspirators
    assert Fraction(noise.sensitivity2, honest * noise.sigma**2) > mu2
    assert Fraction(noise.sensitivity2, honest * (noise.sigma**2 + noise.spare**2)) <= mu2


@settings(deadline=None, derandomize=True)
@given(SENSITIVITIES, BUDGETS, terms())
def test_sharers_and_overlap_enter_as_a_budget_and_as_a_sensitivity(
    sensitivity2: int, mu2: Fraction, joint: Terms
) -> None:
    """k contributions add up to k Delta, not to sqrt(k) Delta; n sharers are n times the budget for each one."""
    if joint.dropouts:  # their spare noise may need a finer lattice
        joint = replace(joint, dropouts=0)
    noise = scale(sensitivity2, mu2, joint)
    same = scale(sensitivity2 * joint.overlap**2, mu2 * joint.sharers)
    assert (noise.shift, noise.sigma, noise.sensitivity2) == (same.shift, same.sigma, same.sensitivity2)
    assert noise.cost * joint.sharers == same.cost


def test_a_patient_at_two_sites_takes_twice_the_noise() -> None:
    one, two, four = (scale(1 << 80, Fraction(1, 50), Terms(5, 1, 1, overlap)) for overlap in (1, 2, 4))
    assert [two.sigma / one.sigma, four.sigma / one.sigma] == pytest.approx([2, 4])
    assert one.shift == two.shift == four.shift == 0


def as_before(sensitivity2: int, mu2: Fraction) -> Scale:
    """The scale of an answer that is read alone, as it was before there were terms."""
    shift = 0
    while sensitivity2 << 2 * shift < MIN_SIGMA**2 * mu2:
        shift += 1
    finer = sensitivity2 << 2 * shift
    sigma = ceil_sqrt(Fraction(finer) / mu2)
    return Scale(shift, sigma, 0, finer, Fraction(finer, sigma**2))


@settings(deadline=None, derandomize=True)
@given(SENSITIVITIES, BUDGETS, st.integers(0, 10**6))
def test_alone_nothing_has_changed(sensitivity2: int, mu2: Fraction, patients: int) -> None:
    """Neither by default, nor with the terms of one site; two that share the noise add less each."""
    expected = as_before(sensitivity2, mu2)
    assert scale(sensitivity2, mu2) == scale(sensitivity2, mu2, ALONE) == expected
    assert scale(sensitivity2, mu2, Terms(patients=patients)) == expected
    shared = scale(sensitivity2, mu2, Terms(2))
    assert Fraction(shared.sensitivity2, shared.sigma**2) > Fraction(expected.sensitivity2, expected.sigma**2)


def test_an_answer_of_a_known_scale() -> None:
    """Worked out by hand: 2^30 steps for sqrt(8), mu = sqrt(1/50), four sharers, a third as spare noise."""
    noise = scale(2, Fraction(1, 50), Terms(5, 1, 1, overlap=2))
    assert (noise.shift, noise.sensitivity2) == (30, 8 * 4**30)
    assert noise.sigma == 10 * 2**30
    assert noise.spare == ceil_sqrt(Fraction(100 * 4**30, 3))
    alone = scale(2, Fraction(1, 50))
    assert (alone.shift, alone.sigma, alone.sensitivity2) == (29, 10 * 2**29, 2 * 4**29)


@pytest.mark.parametrize("numbers", [(4, 1), (5, 1, 1), (16, 3, 2), (40, 39)])
def test_the_noise_of_all_sites_together_has_to_fit_in_62_bits(numbers: tuple[int, ...]) -> None:
    """Of all S, whose noise may all be in the sum, also of those that do not count."""
    joint = Terms(*numbers)
    most = Fraction(MAX_SIGMA**2, joint.sites)
    sigma = int(float(most) ** 0.5 * (1 - 1e-9))
    smallest = Fraction(2, joint.sharers * sigma**2) * (1 + joint.spare)
    fits = scale(2, smallest, joint)
    assert (fits.sigma**2 + fits.spare**2) * joint.sites <= MAX_SIGMA**2
    with pytest.raises(OverflowError, match="too small: the noise would leave 62 bits"):
        scale(2, smallest * Fraction(99, 100), joint)
    assert scale(2, Fraction(2, MAX_SIGMA**2)).sigma == MAX_SIGMA


@pytest.mark.parametrize("mu2", [Fraction(0), Fraction(-1, 3)])
def test_no_budget_has_no_share(mu2: Fraction) -> None:
    with pytest.raises(ValueError, match="above zero"):
        scale(2, mu2, Terms(5, 1, 1))
