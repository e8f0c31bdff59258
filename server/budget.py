"""What a whole study costs one patient: the sites' mu, composed over the sites that can hold the patient.

Neighbours: one person's records are replaced, at the same set of sites. A release of site s is mu_s-GDP for
its patients and does not depend on anyone else's, so the pooled data set is mu-GDP with mu the composition
over the sites where the person has records (Dong, Roth and Su 2019, arXiv 1905.02383, Corollary 3.3). The
coordinator cannot know which sites these are; the study declares in how many of them they can be.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from cohortmix.core.privacy.gdp import compose
from cohortmix.protocol.overlap import Overlap, sites_per_patient


class Composition(NamedTuple):
    """mu of a study under its declared overlap, and under the worst one (every patient at every site)."""

    mu: float
    worst: float


def consortium_mu(site_mus: Iterable[float], overlap: Overlap) -> Composition:
    """Compose the sites' mu for the declared overlap: the sqrt of the sum of the k largest squares.

    Parameters
    ----------
    site_mus : iterable of float
        What each site spent on this study, each >= 0, in any order.
    overlap : "disjoint", int k >= 1 or "unknown"
        `disjoint` is k = 1 (the maximum), `unknown` is every site.

    Raises
    ------
    ValueError
        If there is no site, a mu is negative or not finite, or the overlap is none of the three.

    Guarantee
    ---------
    Unit: one person. Neighbours: that person's records replaced at the same set of sites, whose number is
    at most `overlap`. The pooled data set is `mu`-GDP; it is `worst`-GDP whatever the overlap.

    Examples
    --------
    >>> consortium_mu([0.3, 0.4, 0.0], "disjoint")
    Composition(mu=0.4, worst=0.5)
    >>> consortium_mu([0.3, 0.4, 0.0], 2).mu
    0.5
    """
    largest_first = sorted(site_mus, reverse=True)
    if not largest_first:
        raise ValueError("A study needs at least one site to compose its budget; got none.")
    worst = compose(largest_first)
    return Composition(compose(largest_first[: sites_per_patient(overlap, len(largest_first))]), worst)


def consortium_kappa(site_kappas: Iterable[Fraction], overlap: Overlap) -> Fraction:
    """The sum of the k largest kappas: only answers of the sites that hold a patient move with its records.

    >>> consortium_kappa([Fraction(1, 9), Fraction(3, 9), Fraction(2, 9)], 2)
    Fraction(5, 9)
    """
    largest_first = sorted(site_kappas, reverse=True)
    return sum(largest_first[: sites_per_patient(overlap, len(largest_first))], Fraction(0))
