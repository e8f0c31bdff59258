"""The only privacy noise: OpenDP's exact discrete Gaussian on integers.

Noise is drawn and added by OpenDP, on the integers themselves. Noise drawn on zero and added to a
floating-point value afterwards would reveal the value in its low-order bits (Mironov 2012).
"""

import math
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

# 2^32 steps keep kappa = d / (24 sigma^2) below 1e-14 for answers of a million numbers (`gdp.kappa`).
MIN_SIGMA: Final = 2**32
# Values stay below 2^62 and sixteen sigma are at most 2^62, so the int64 ends are out of the noise's reach.
MAX_SIGMA: Final = 2**58
VALUE_LIMIT: Final = 2**62
_DOUBLE_BITS: Final = 53


class AddNoise(Protocol):
    """What the vault is given of a source: its `add`, which says nothing of where the noise comes from.

    The vault cannot tell the real source from one of the tests: what tests see of it holds for the real one, too.
    """

    def __call__(self, values: NDArray[np.int64], sigma: int, purpose: str, /) -> NDArray[np.int64]:
        """`values` plus independent noise of scale `sigma` on each; see `OpenDPNoise.add`."""


class OpenDPNoise:
    """The source of every release: exact sampling, a cryptographic generator, no seed."""

    __slots__ = ()
    name: Final = "opendp"
    private: Final = True

    def __init__(self) -> None:
        import opendp.prelude  # noqa: F401 (where it is broken, better now than once a budget is spent)

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        """Add discrete Gaussian noise, P(k) proportional to exp(-k^2 / (2 sigma^2)), to each integer.

        Pass all numbers of an answer at once; each takes about 12.5 microseconds.

        Parameters
        ----------
        values : int64 array of shape (d,)
            In steps of the lattice, each of absolute value below 2^62; d may be 0.
        sigma : int
            Scale in steps, from 2^32 to 2^58, with at most 53 significant bits: OpenDP takes it as a double,
            which then holds it exactly. `ceil_sqrt` gives such numbers.
        purpose : str
            Names the answer; of no effect here, since no two draws are ever the same.

        Returns
        -------
        int64 array of shape (d,)

        Guarantee
        ---------
        For neighbours whose `values` differ by at most Delta in L2 norm: Delta^2 / (2 sigma^2)-zCDP (Canonne,
        Kamath and Steinke 2020, arXiv 2004.00010), and Delta / sigma-GDP up to `gdp.kappa(d, sigma)`.

        Raises
        ------
        ValueError
            If sigma is not such a number, or `values` is not an int64 vector.
        OverflowError
            If a value is out of range. The vault bounds its sums beforehand, so records never decide this.
        """
        import opendp.prelude as dp  # takes a second, which no command without a draw has to wait

        check(values, sigma)
        dp.enable_features("contrib")  # constructors whose proofs OpenDP has not finished vetting
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
        return np.array(dp.m.make_gaussian(*space, scale=float(sigma))(values.tolist()), dtype=np.int64)


def check(values: NDArray[np.int64], sigma: int) -> None:
    """Raise unless a source can add noise of scale `sigma` to `values` exactly; see `OpenDPNoise.add`."""
    if not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma must lie between 2^32 and 2^58 lattice steps; got sigma={sigma}.")
    if int(sigma) != sigma or int(float(sigma)) != int(sigma):
        raise ValueError(f"sigma must be an integer of at most 53 significant bits, see ceil_sqrt; got {sigma=}.")
    if values.ndim != 1 or values.dtype != np.int64:
        raise ValueError(f"Noise is added to an int64 vector; got {values.ndim} axes of {values.dtype}.")
    if np.any((values <= -VALUE_LIMIT) | (values >= VALUE_LIMIT)):
        raise OverflowError("A value is 2^62 or more in absolute value; use a coarser lattice.")


def ceil_sqrt(variance: Fraction) -> int:
    """The smallest sigma with sigma^2 >= `variance` among the integers of at most 53 significant bits.

    Rounding is upward throughout, so a sigma from here never costs more than the variance allowed.

    Parameters
    ----------
    variance : Fraction
        Delta^2 / mu^2 in squared lattice steps, >= 0.

    Raises
    ------
    ValueError
        If `variance` is negative.

    Examples
    --------
    >>> ceil_sqrt(Fraction(17, 2)), ceil_sqrt(Fraction(2**120 + 1)) - 2**60
    (3, 256)
    """
    if variance < 0:
        raise ValueError(f"A variance cannot be negative; got variance={variance}.")
    square = math.ceil(variance)
    sigma = math.isqrt(square - 1) + 1 if square > 0 else 0
    excess_bits = max(sigma.bit_length() - _DOUBLE_BITS, 0)
    return -(-sigma >> excess_bits) << excess_bits
