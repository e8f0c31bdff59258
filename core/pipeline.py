"""The three steps in order: Anonymize, Approximate, Adapt, at a site and between sites.

Only `class_sums` and `centroids` take a vault; everything else is post-processing of their answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from cohortmix.core import anonymize, approximate
from cohortmix.core.adapt import adapt, choose_support
from cohortmix.core.centroids import Common, SiteCentroids
from cohortmix.core.encoding import Encoding, one_hot
from cohortmix.core.known import available_cases, known_pairs, known_shares
from cohortmix.core.meter import Answer
from cohortmix.core.pool import draw_groups, systematic
from cohortmix.core.query import MomentQuery
from cohortmix.core.schema import Schema
from cohortmix.core.vault import Vault

SUPPORT, TARGETS = 50, 10_000  # inducing points; records drawn from the mixture that they learn from
ROOM = 2  # components of l_min patients per class, for a site to measure answer B
CROWDED_SHARE = 0.4  # of the budget, for answer A, at a site with room for no more than that
RARE = 4  # a class below this many s_B, and below a tenth of the patients, gets one centroid
RARE_SHARE = 0.1


@dataclass(frozen=True)
class Plan:
    """The public facts that fix what one site computes.

    Attributes
    ----------
    schema : the data dictionary.
    mu2 : the site's budget, mu^2.
    patients : N of the site.
    share : of mu2, at least, for answer A; the rest is for answer B.
    alpha : of Eq. 6.
    support : S, the number of inducing points.
    """

    schema: Schema
    mu2: Fraction
    patients: int
    share: Fraction = Fraction(15, 100)
    alpha: float = 0.5
    support: int = SUPPORT

    @property
    def s_b(self) -> float:
        """Standard deviation of a pair cell, in patients."""
        return self._noise_b(self.share_of_sums)

    @property
    def crowding(self) -> float:
        """Patients of ROOM components per class, as a share of those that there are."""
        return ROOM * len(self.schema.classes) * approximate.l_min(self._noise_b(self.share)) / self.patients

    @property
    def fits_mixture(self) -> bool:
        """False where there is no room for ROOM components per class: the whole budget then goes to A.

        With fewer, a mixture says hardly more than class centroids do, and those are less noisy without B. It is
        judged at the study's share; what A takes beyond it leaves room for somewhat fewer components.
        """
        return self.crowding <= 1

    @property
    def share_of_sums(self) -> Fraction:
        """Part of mu2 for answer A, where there is room for B: the fewer its components, the more A has to say."""
        more = Fraction(round(100 * CROWDED_SHARE * self.crowding), 100) if self.fits_mixture else Fraction(0)
        return max(self.share, more)

    @property
    def mu2_sums(self) -> Fraction:
        """Cost of answer A."""
        return self.mu2 * self.share_of_sums if self.fits_mixture else self.mu2

    @property
    def mu2_moments(self) -> Fraction:
        """Cost of answer B."""
        return self.mu2 - self.mu2_sums

    def _noise_b(self, share: Fraction) -> float:
        """Standard deviation of a pair cell, in patients, if answer A has this share of the budget."""
        features = len(self.schema.features)
        return anonymize.noise_b(features, float(self.mu2 * (1 - share))) if features > 1 else float("inf")


def class_sums(vault: Vault, plan: Plan) -> Answer:
    """Round 1 at a site: answer A."""
    return anonymize.answer_a(vault, Encoding.of(plan.schema), plan.mu2_sums)


def common(plans: Sequence[Plan], answers: Sequence[Answer], *, pairs: bool = True) -> Common:
    """Between the rounds: add the sites' class sums; groups and pooled margins follow from the total.

    Parameters
    ----------
    pairs : False where no site of the study will ever measure pairs, whose number limits that of the groups.
    """
    encoding = Encoding.of(plans[0].schema)
    patients = sum(plan.patients for plan in plans)
    total, s_a = anonymize.add_answers(answers)
    margins = anonymize.project(_sums(encoding, total, s_a, patients)[0], encoding, patients)
    s_b = sqrt(sum(plan.s_b**2 for plan in plans if plan.fits_mixture))
    # A pair of groups, or a group where no site has room for pairs, then holds as many patients as its noise.
    smallest = sqrt(s_b / patients) if s_b > 0 else s_a / patients
    most = None if pairs else sum(encoding.sizes)
    return Common(anonymize.choose_groups(encoding, margins, smallest, most), margins)


def centroids(vault: Vault, plan: Plan, common: Common, own: Answer, seed: bytes) -> SiteCentroids:
    """Round 2 at a site: answer B, then the mixture and the inducing points."""
    if not plan.fits_mixture:
        return class_centroids(plan, common, own)
    answer = anonymize.answer_b(vault, common.groups, plan.mu2_moments)
    return approximate_and_adapt(plan, common, own, answer, seed)


def class_centroids(plan: Plan, common: Common, own: Answer) -> SiteCentroids:
    """One centroid per class from answer A alone: a site too small for answer B, or not there in round 2."""
    encoding = Encoding.of(plan.schema)
    sums, _ = _sums(encoding, own.estimate, own.std, plan.patients)
    margins = anonymize.project(sums, encoding, plan.patients, common.margins)
    means = anonymize.grouped(margins.cells, encoding.sizes, common.groups)
    classes = len(margins.masses)
    none = np.zeros((0, means.shape[1])), np.zeros((0, classes))
    return SiteCentroids(margins.masses, means, np.eye(classes), ("class",) * classes, own.std, *none)


def approximate_and_adapt(plan: Plan, common: Common, own: Answer, answer: Answer, seed: bytes) -> SiteCentroids:
    """The free part of round 2: constrained mixture and kernel inducing points of answers A and B."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest(), "big"))
    by_class = class_centroids(plan, common, own)
    rare = (by_class.masses < RARE * plan.s_b) & (by_class.masses < RARE_SHARE * plan.patients)
    k = approximate.components(by_class.masses[~rare].sum(), plan.s_b)
    if k < (~rare).sum():
        return by_class
    target = moments(plan, common, own, answer, np.flatnonzero(~rare))
    mixture = approximate.fit(target, k=k, fits=approximate.fits_of(k), seed=int(rng.integers(2**31)))
    labels = np.zeros((len(mixture.weights), len(rare)))
    labels[:, ~rare] = mixture.labels
    whole = approximate.Mixture(
        np.concatenate([mixture.weights, by_class.masses[rare]]),
        np.concatenate([mixture.means, by_class.means[rare]]),
        np.concatenate([labels, by_class.labels[rare]]),
        mixture.fits,
        mixture.chi2,
    )
    kind = ("mixture",) * len(mixture.weights) + ("class",) * int(rare.sum())
    support = _adapt(plan, common, whole, rng)
    return SiteCentroids(whole.weights, whole.means, whole.labels, kind, answer.std, *support)


def _adapt(
    plan: Plan, common: Common, mixture: approximate.Mixture, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Support points and labels, learned from records that are drawn from the mixture with its posterior."""
    sizes = tuple(max(of) + 1 for of in common.groups)
    groups = draw_groups(systematic(mixture.weights, TARGETS, rng), mixture.means, sizes, rng)
    x = one_hot(groups, sizes)
    y = approximate.posterior(mixture, x)
    start = choose_support(x, y, size=plan.support, seed=int(rng.integers(2**31)))
    blocks = anonymize.blocks_of(sizes)
    adapted = adapt(*start, x, y, blocks=blocks, alpha=plan.alpha, seed=int(rng.integers(2**31)))
    return adapted.support.points, adapted.support.labels


def moments(
    plan: Plan, common: Common, own: Answer, answer: Answer, classes: NDArray[np.int64]
) -> approximate.Moments:
    """Answers A and B of a site, as what the mixture of these classes is fitted to."""
    encoding = Encoding.of(plan.schema)
    sums, known = _sums(encoding, own.estimate, own.std, plan.patients)
    query = MomentQuery(common.groups)
    pairs = np.zeros((len(plan.schema.classes), *query.pairs.shape))
    pairs[:, query.pairs] = answer.estimate.reshape(len(pairs), -1)
    pairs += pairs.transpose(0, 2, 1)
    masses = anonymize.class_masses(sums, plan.patients)
    std = np.sqrt(anonymize.group_variance(encoding, common.groups, own.std))
    return approximate.Moments(
        pairs[classes],
        answer.std,
        anonymize.grouped(sums.cells, encoding.sizes, common.groups)[classes],
        std / np.repeat(known.min(axis=0), query.sizes),
        masses[classes],
        query.sizes,
        known_pairs(pairs, query.sizes, masses, known)[classes],
    )


def _sums(
    encoding: Encoding, estimate: NDArray[np.float64], s_a: float, patients: int
) -> tuple[anonymize.ClassSums, NDArray[np.float64]]:
    """Answer A of patients whose values are known, scaled to all of them; and the shares (C, D) that are."""
    sums = anonymize.read_sums(encoding, estimate, s_a)
    known = known_shares(sums, encoding, patients)
    return available_cases(sums, encoding, known), known
