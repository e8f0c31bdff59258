"""Plan: what a site will compute, by public arithmetic on schema, N and mu; known before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING

import numpy as np

from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.joint import Terms
from cohortmix.core.privacy.questions.class_marginals import ClassMarginals
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.steps.adapting.constraint import Constraint
from cohortmix.core.steps.products.signs import most_subsets
from cohortmix.core.steps.scores.functions import noise_of_correlations, usual_number

if TYPE_CHECKING:
    from cohortmix.core.steps.point_masses import Look

SUPPORT = 50  # kernel inducing points
TARGETS = 10_000  # records drawn from the mixture, from which the inducing points learn
ROOM = 2  # components of l_min patients per class that a site needs room for, to be asked for answer B
MANY_COLUMNS = 16  # from which answer B may be a moment of scores; fewer have tables that say more
FEW_COMPONENTS = 500  # that pair tables have room for: from there on they say more than scores do
MOST_NOISE = 0.09  # of a correlation of two scores, above which tables say more
MOST_NOISE_ALONE = 0.3  # where there is no room for tables, above which margins alone say more
CURVED_NOISE = 0.01  # of a correlation, up to which numbers have a second score, which about doubles it
SCORE_SHARE = Fraction(2, 5)  # of the budget for answer A, where answer B is about scores
NOISY_SHARE = Fraction(4, 5)  # the same, where their noise is above MOST_NOISE: B then finds what is strong alone
PRODUCT_SHARES = Fraction(1, 100), Fraction(5, 100)  # of the budget for answer C, if it is asked
PRODUCT_NOISE = Fraction(65, 1000)  # of a mean product over all patients, at most
MOST_PRODUCTS = 4096  # of one answer; they are counted one by one
PRECISION = 1.2e-4  # share of the patients to which tables that follow from scores are fitted
CROWDED_SHARE = 0.4  # part of the budget for answer A at a site with room for just ROOM components per class
SIGMA_MAX = 0.2  # largest noise of a pair cell, as a share of a component's mass (sigma_max of Algorithm 2)
RARE = 4  # a class with fewer patients than this many s_B, and a tenth of all, gets one centroid
LARGEST_K = 300  # components of one fit: more cost time, and said nothing more on any benchmark
CENTROIDS = 600  # components of all fits of a site together, which are its released centroids
LARGEST_FITS = 20  # fits that are averaged, where components are few


@dataclass(frozen=True)
class Plan:
    """The public facts that fix what one site computes, or in a joint study all sites together.

    Attributes
    ----------
    schema : the data dictionary.
    mu2 : the budget, mu^2.
    patients : N of the site, or of all sites of a joint study.
    share : part of mu2 that answer A gets at least; the rest is for answer B.
    alpha : weight of the density in Eq. 6.
    constraints : what the inducing points have to keep (`core.steps.adapting.constraint`).
    support : S, the number of inducing points.
    surplus : variance of the noise, as a multiple of what mu2 asks for: 1, and more in a joint study, where the
        noise of sites that may conspire is added on top (`surplus_of`).
    scores : whether answer B is about scores, or about tables; None for what public facts say (`by_scores`).
    products : what answer C is about, chosen from answer A; None for nothing, as always in a study.
    looks : the cells that answer D is about, chosen from answer A; none before it is known.
    share_of_looks : part of mu2 for answer D, which is taken from B's.
    """

    schema: Schema
    mu2: Fraction
    patients: int
    share: Fraction = Fraction(15, 100)
    alpha: float = 0.5
    support: int = SUPPORT
    surplus: Fraction = Fraction(1)
    scores: bool | None = None
    products: SignProducts | None = None
    looks: tuple[Look, ...] = ()
    share_of_looks: Fraction = Fraction(0)
    constraints: tuple[Constraint, ...] = ()

    @property
    def by_scores(self) -> bool:
        """Whether answer B is the second moment of scores, in place of pair tables.

        The noise of a correlation grows with the number of scores, that of one read off tables with the number of
        bins as well: many columns and few patients are better described by scores.
        """
        if self.scores is not None or len(self.schema.features) < 2:
            return bool(self.scores) and len(self.schema.features) > 1
        if self.crowding > 1:
            return self.shortage <= 1
        return (
            len(self.schema.features) >= MANY_COLUMNS
            and self.score_noise <= MOST_NOISE
            and self.patients / l_min(self._noise_b(self.share)) < FEW_COMPONENTS
        )

    @property
    def score_noise(self) -> float:
        """Standard deviation of the noise of a correlation of two scores, before the number of scores is known.

        Where answer A has SCORE_SHARE of the budget.
        """
        mu = sqrt(self.mu2 * (1 - max(self.share, SCORE_SHARE)) / self.surplus)
        return noise_of_correlations(usual_number(self.schema), mu, self.patients)

    @property
    def curved(self) -> bool:
        """Whether numbers have a second score."""
        return self.score_noise <= CURVED_NOISE

    @property
    def s_b(self) -> float:
        """Standard deviation of a pair cell, in patients; of tables from scores, what they are fitted to."""
        return (
            self.patients * PRECISION
            if self.by_scores
            else self._noise_b(self.share_of_sums + self.share_of_products + self.share_of_looks)
        )

    @property
    def crowding(self) -> float:
        """Patients that ROOM components per class need, as a share of those that the site has: room for tables."""
        return ROOM * len(self.schema.classes) * l_min(self._noise_b(self.share)) / self.patients

    @property
    def shortage(self) -> float:
        """Patients times mu that pairs of columns need, by tables or by scores, as a multiple of what there is."""
        by_scores = self.score_noise / MOST_NOISE_ALONE
        return self.crowding if self.scores is False else min(self.crowding, by_scores)

    @property
    def fits_mixture(self) -> bool:
        """False where there is no room for ROOM components per class, nor for scores: A then gets all of mu2.

        With fewer, a mixture says hardly more than class centroids do, and those are less noisy without B. Room is
        judged at the study's share; what A takes beyond it leaves room for somewhat fewer components.
        """
        return self.by_scores or self.crowding <= 1

    @property
    def share_of_sums(self) -> Fraction:
        """Part of mu2 for answer A, where there is room for B: the fewer B's components, the more A has to say."""
        if self.by_scores:
            return max(self.share, SCORE_SHARE if self.score_noise <= MOST_NOISE else NOISY_SHARE)
        more = Fraction(round(100 * CROWDED_SHARE * self.crowding), 100) if self.fits_mixture else Fraction(0)
        return max(self.share, more)

    @property
    def mu2_sums(self) -> Fraction:
        """Cost of answer A."""
        return self.mu2 * self.share_of_sums if self.fits_mixture else self.mu2

    @property
    def mu2_moments(self) -> Fraction:
        """Cost of answer B."""
        return self.mu2 - self.mu2_sums - self.mu2_products - self.mu2_looks

    @property
    def mu2_second(self) -> Fraction:
        """Cost of all that a study asks for in round 2, whatever parts it has: what answer A leaves."""
        return self.mu2_moments + self.mu2_products + self.mu2_looks

    def looking(self, looks: tuple[Look, ...], share: Fraction) -> Plan:
        """The plan with the cells that answer D is about; unchanged where there is no room for pairs either.

        Nor where D would leave B less than it takes: a study may name nearly all of its budget for answer A.
        """
        room = self.fits_mixture and 2 * share <= 1 - self.share_of_sums - self.share_of_products
        return replace(self, looks=looks, share_of_looks=share) if room else self

    @property
    def share_of_products(self) -> Fraction:
        """Part of mu2 for answer C, which is taken from B's: what PRODUCT_NOISE costs, within PRODUCT_SHARES.

        Few tables have anything that pairs do not say, so the question has to be cheap where it finds nothing.
        """
        if self.products is None:
            return Fraction(0)
        needed = len(self.products.subsets) / self._products_of_whole_budget
        return max(PRODUCT_SHARES[0], Fraction(ceil(needed * 10_000), 10_000))

    @property
    def mu2_products(self) -> Fraction:
        """Cost of answer C."""
        return self.mu2 * self.share_of_products

    @property
    def mu2_looks(self) -> Fraction:
        """Cost of answer D."""
        return self.mu2 * self.share_of_looks

    @property
    def most_products(self) -> int:
        """The most products of signs that can be asked about; none where answer B is not about tables."""
        if self.by_scores or not self.fits_mixture:
            return 0
        most = floor(PRODUCT_SHARES[1] * self._products_of_whole_budget)
        return min(most, most_subsets(len(self.schema.features)), MOST_PRODUCTS)

    @property
    def _products_of_whole_budget(self) -> Fraction:
        """T of 2 sqrt(T) / mu = PRODUCT_NOISE N, on the left the noise of the sums of T products, in patients."""
        return self.mu2 / self.surplus * (PRODUCT_NOISE * self.patients) ** 2 / 4

    def _noise_b(self, share: Fraction) -> float:
        """Standard deviation of a pair cell, in patients, if answer A has this share of the budget."""
        features = len(self.schema.features)
        effective = self.mu2 * (1 - share) / self.surplus
        return noise_b(features, float(effective)) if features > 1 else float("inf")


def surplus_of(terms: Terms) -> Fraction:
    """Variance of a sum over all sites of a joint study, as a multiple of that of one answer at the same mu.

    All S sites add a share, of which S - t must suffice; k contributions of a patient need k^2 of the variance. A
    plan counts on all sites: where one is missing, the spare noise of the others stays in the sum.
    """
    return Fraction(terms.sites * terms.overlap**2, terms.sharers)


def noise_b(features: int, mu2: float) -> float:
    """s_B in patients: sqrt(D(D-1)) / mu, whatever the groups."""
    return noise_of(PairTables(((0,),) * features), mu2)


def noise_of(question: ClassMarginals | PairTables, mu2: float) -> float:
    """Standard deviation Delta / mu of an entry of weight 1, in patients, before sigma is rounded up."""
    return sqrt(question.sensitivity2(cap=1) / mu2) / question.unit  # of cells, it is the same for every cap


def l_min(s_b: float) -> float:
    """Smallest mass of a component, in patients (l^min of Eq. 2-3, where p(s) = 0 for s below it)."""
    return s_b / SIGMA_MAX


def components(patients: float, s_b: float) -> int:
    """K of one fit: as many components of l_min patients as there is room for (Algorithm 2, line 5)."""
    return int(np.clip(patients / l_min(s_b), 0, LARGEST_K))


def fits_of(k: int) -> int:
    """How many fits of k components are averaged."""
    return max(1, min(CENTROIDS // k, LARGEST_FITS))
