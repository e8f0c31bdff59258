"""What a whole study costs one patient: the costs of the sites, added up over those that can hold the patient.

Neighbours: one person's records are replaced, at the same set of sites. How many sites these can be is the study's
declared overlap (`protocol/overlap.py`).
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from cohortmix.core.privacy.gdp import compose
from cohortmix.protocol.messages import StudySpec
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


def composed(study: StudySpec, site_mus: Iterable[float]) -> Composition:
    """What a study costs one patient, from what each site spent on it; errors as `consortium_mu`.

    In a joint study all sites spend on the same sums, whose noise is for the declared overlap k already: a patient
    bears one site's mu, and S / k times that at all S sites, since its contributions to a sum add up.
    """
    mus = list(site_mus)
    if study.joint is None or not mus:
        return consortium_mu(mus, study.overlap)
    sites = len(study.sites)
    return Composition(max(mus), max(mus) * sites / sites_per_patient(study.overlap, sites))


def composed_kappa(study: StudySpec, site_kappas: Iterable[Fraction]) -> Fraction:
    """The kappa of a study for one patient; of one site's receipts in a joint study, whose sums are the same."""
    return consortium_kappa(site_kappas, study.overlap if study.joint is None else "disjoint")


def consortium_kappa(site_kappas: Iterable[Fraction], overlap: Overlap) -> Fraction:
    """The sum of the k largest kappas: only the answers of sites that hold a patient depend on that patient.

    >>> consortium_kappa([Fraction(1, 9), Fraction(3, 9), Fraction(2, 9)], 2)
    Fraction(5, 9)
    """
    largest_first = sorted(site_kappas, reverse=True)
    return sum(largest_first[: sites_per_patient(overlap, len(largest_first))], Fraction(0))
