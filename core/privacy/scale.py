"""Scale: how much noise an answer has and what it costs, from its sensitivity and its budget alone.

The vault draws noise of this scale, and the coordinator expects it; `plan.noise_of` only estimates it beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA, ceil_sqrt
from cohortmix.core.privacy.questions.lattice import LIMIT
from cohortmix.core.privacy.questions.question import Question


@dataclass(frozen=True)
class Scale:
    """The noise of one answer, in noise steps: `1 << shift` of them are a step of the question's lattice.

    Attributes
    ----------
    shift : how often a lattice step is halved, until sigma is 2^32 noise steps or more.
    sigma : standard deviation of the noise that one site adds.
    spare : standard deviation of the noise that it adds besides, to be taken off if no site is missing; 0 for
        none.
    sensitivity2 : squared L2 sensitivity of what is read: of one answer, or of a sum over sites.
    cost : mu^2 = sensitivity2 / (sharers sigma^2), with 1 sharer where an answer is read alone.
    """

    shift: int
    sigma: int
    spare: int
    sensitivity2: int
    cost: Fraction


def scale_of(question: Question, cap: int, mu2: Fraction, patients: int, terms: Terms = ALONE) -> Scale:
    """The noise of an answer to a question, all of whose exact sums stay in 62 bits; by public facts alone.

    Parameters
    ----------
    cap : the most rows of a patient that count.
    patients : N, of all sites of a sum together.

    Raises
    ------
    ValueError, OverflowError
        As `scale`, and OverflowError where so many patients could leave the range.
    """
    noise = scale(question.sensitivity2(cap), mu2, terms)
    if patients * question.largest << noise.shift >= LIMIT:
        raise OverflowError(f"{patients} patients are too many for mu={float(mu2) ** 0.5:.3g}")
    return noise


def scale(sensitivity2: int, mu2: Fraction, terms: Terms = ALONE) -> Scale:
    """The least noise that costs at most `mu2`, rounded up: sigma = Delta / mu (Dong, Roth, Su 2022, Theorem 1).

    Parameters
    ----------
    sensitivity2 : Delta^2 in lattice steps^2.
    mu2 : what the answer may cost.
    terms : whose noise counts, where only a sum over sites is read: then sigma is the share of one site, and k
        contributions of a patient move the sum by k Delta at most (core/README.md, Joint answers).

    Raises
    ------
    ValueError
        If the budget is not above zero.
    OverflowError
        If it is so small that the noise would leave 62 bits.

    Examples
    --------
    >>> noise = scale(2, Fraction(1, 50))
    >>> noise.shift, noise.sensitivity2 == 2 * 4**29, float(noise.cost)
    (29, True, 0.02)
    """
    if mu2 <= 0:
        raise ValueError(f"expected a budget above zero, got mu^2={mu2}")
    moved2, shift = sensitivity2 * terms.overlap**2, 0
    least = min(terms.spare or Fraction(1), Fraction(1))  # variance of the smaller of the two noises
    while least * (moved2 << 2 * shift) < MIN_SIGMA**2 * mu2 * terms.sharers:
        shift += 1
    finer = moved2 << 2 * shift
    sigma = ceil_sqrt(Fraction(finer) / (mu2 * terms.sharers))
    spare = ceil_sqrt(terms.spare * sigma**2)
    if (sigma**2 + spare**2) * terms.sites > MAX_SIGMA**2:
        raise OverflowError(f"mu={float(mu2) ** 0.5:.3g} is too small: the noise would leave 62 bits")
    return Scale(shift, sigma, spare, finer, Fraction(finer, terms.sharers * sigma**2))
