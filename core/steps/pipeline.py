"""The three steps in order: Anonymize, Approximate, Adapt, at a site and between sites.

Only `class_sums` and `centroids` take a vault; everything else is post-processing of their answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding, one_hot
from cohortmix.core.data.sampling import draw_groups, systematic
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, approximate
from cohortmix.core.steps.adapt import adapt, choose_support
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.known import available_cases, known_pairs, known_shares
from cohortmix.core.steps.plan import TARGETS, Plan, components, fits_of

RARE = 4  # a class below this many s_B, and below a tenth of the patients, gets one centroid
RARE_SHARE = 0.1


def class_sums(vault: Vault, plan: Plan) -> Answer:
    """Round 1 at a site: answer A."""
    return anonymize.answer_a(vault, Encoding.of(plan.schema), plan.mu2_sums)


def common(plans: Sequence[Plan], answers: Sequence[Answer]) -> Common:
    """Between the rounds: add the sites' class sums; groups and pooled margins follow from the total."""
    encoding = Encoding.of(plans[0].schema)
    patients = sum(plan.patients for plan in plans)
    total, s_a = anonymize.add_answers(answers)
    margins = anonymize.project(_sums(encoding, total, s_a, patients)[0], encoding, patients)
    s_b = sqrt(sum(plan.s_b**2 for plan in plans if plan.fits_mixture))
    # A pair of groups, or a group where no site has room for pairs, then holds as many patients as its noise.
    smallest = sqrt(s_b / patients) if s_b > 0 else s_a / patients
    return Common(anonymize.choose_groups(encoding, margins, smallest), margins)


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
    means = common.groups.sums(margins.cells)
    classes = len(margins.masses)
    none = np.zeros((0, means.shape[1])), np.zeros((0, classes))
    return SiteCentroids(margins.masses, means, np.eye(classes), ("class",) * classes, own.std, *none)


def approximate_and_adapt(plan: Plan, common: Common, own: Answer, answer: Answer, seed: bytes) -> SiteCentroids:
    """The free part of round 2: constrained mixture and kernel inducing points of answers A and B."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest(), "big"))
    by_class = class_centroids(plan, common, own)
    rare = (by_class.masses < RARE * plan.s_b) & (by_class.masses < RARE_SHARE * plan.patients)
    k = components(by_class.masses[~rare].sum(), plan.s_b)
    if k < (~rare).sum():
        return by_class
    target = moments(plan, common, own, answer, np.flatnonzero(~rare))
    mixture = approximate.fit(target, k=k, fits=fits_of(k), seed=int(rng.integers(2**31)))
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
    groups = draw_groups(systematic(mixture.weights, TARGETS, rng), mixture.means, common.groups.blocks, rng)
    x = one_hot(groups, common.groups.sizes)
    y = approximate.posterior(mixture, x)
    start = choose_support(x, y, size=plan.support, seed=int(rng.integers(2**31)))
    adapted = adapt(*start, x, y, blocks=common.groups.blocks, alpha=plan.alpha, seed=int(rng.integers(2**31)))
    return adapted.support.points, adapted.support.labels


def moments(
    plan: Plan, common: Common, own: Answer, answer: Answer, classes: NDArray[np.int64]
) -> approximate.Moments:
    """Answers A and B of a site, as what the mixture of these classes is fitted to."""
    encoding = Encoding.of(plan.schema)
    sums, known = _sums(encoding, own.estimate, own.std, plan.patients)
    query = PairTables(common.groups.of_cells)
    pairs = np.zeros((len(plan.schema.classes), *query.pairs.shape))
    pairs[:, query.pairs] = answer.estimate.reshape(len(pairs), -1)
    pairs += pairs.transpose(0, 2, 1)
    masses = anonymize.class_masses(sums, plan.patients)
    std = np.sqrt(anonymize.group_variance(encoding, common.groups, own.std))
    return approximate.Moments(
        pairs[classes],
        answer.std,
        common.groups.sums(sums.cells)[classes],
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
