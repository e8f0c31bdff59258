"""Joint noise: the public terms of an answer of which only the sum over several sites can ever be read.

Each site adds a share of the noise to its own exact sum. The sum of all shares protects a patient, also from the
sites that conspire and subtract theirs. Where sites may be missing each adds spare noise besides, which is taken
off again if none is. `core/README.md` has the theorem (Joint answers), in these symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Terms:
    """Who adds noise, and whose noise counts; the default is a site that answers alone.

    Attributes
    ----------
    sites : S, those that a study names.
    conspirators : t, the most sites that may conspire with the coordinator and with each other.
    dropouts : the most sites that may be missing from a sum that is read.
    overlap : k, the most of the sites at which one patient can have records.
    patients : of all sites together, by which the size of a sum is bounded.

    Raises
    ------
    ValueError
        For terms under which nothing is protected.
    """

    sites: int = 1
    conspirators: int = 0
    dropouts: int = 0
    overlap: int = 1
    patients: int = 0

    def __post_init__(self) -> None:
        if min(self.sites, self.overlap) < 1 or min(self.conspirators, self.dropouts, self.patients) < 0:
            raise ValueError("expected sites and overlap of at least 1, and nothing below 0")
        # Two sets of `threshold` sites that both sign have an honest site in common, which signs one of them only.
        if 2 * self.threshold <= self.sites + self.conspirators:
            raise ValueError(
                f"expected 2 (S - dropouts) > S + conspirators, got S={self.sites}, dropouts={self.dropouts}, "
                f"conspirators={self.conspirators}; tolerate fewer of either"
            )

    @property
    def threshold(self) -> int:
        """T = S - dropouts: a sum of fewer sites cannot be read."""
        return self.sites - self.dropouts

    @property
    def sharers(self) -> int:
        """S - t, at least 1: of a sum of all sites, so many add noise that nobody can subtract."""
        return self.sites - self.conspirators

    @property
    def spare(self) -> Fraction:
        """Variance of a site's spare noise, as a multiple of that of its share: (T - t) (1 + spare) = S - t.

        So T - t sites add as much noise in all as S - t do without their spare noise.
        """
        return Fraction(self.dropouts, self.threshold - self.conspirators)


ALONE = Terms()
"""An answer that is read by itself: the whole noise is its own."""
