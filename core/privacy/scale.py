"""Scale: how much noise an answer has and what it costs, from its sensitivity and its budget alone.

The vault draws noise of this scale, and the coordinator expects it; `plan.noise_of` only estimates it beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA, ceil_sqrt


@dataclass(frozen=True)
class Scale:
    """The noise of one answer, in noise steps: `1 << shift` of them are a step of the question's lattice.

    Attributes
    ----------
    shift : how often a lattice step is halved, until sigma is 2^32 noise steps or more.
    sigma : standard deviation of the noise.
    sensitivity2 : squared L2 sensitivity.
    cost : mu^2 = sensitivity2 / sigma^2.
    """

    shift: int
    sigma: int
    sensitivity2: int
    cost: Fraction


def scale(sensitivity2: int, mu2: Fraction) -> Scale:
    """The least noise that costs at most `mu2`, rounded up: sigma = Delta / mu (Dong, Roth, Su 2022, Theorem 1).

    Parameters
    ----------
    sensitivity2 : Delta^2 in lattice steps^2.
    mu2 : what the answer may cost.

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
    shift = 0
    while sensitivity2 << 2 * shift < MIN_SIGMA**2 * mu2:
        shift += 1
    finer = sensitivity2 << 2 * shift
    sigma = ceil_sqrt(Fraction(finer) / mu2)
    if sigma > MAX_SIGMA:
        raise OverflowError(f"mu={float(mu2) ** 0.5:.3g} is too small: the noise would leave 62 bits")
    return Scale(shift, sigma, finer, Fraction(finer, sigma**2))
