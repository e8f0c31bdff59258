"""The three steps in order: Anonymize, Approximate, Adapt, at a site and between sites.

Only `class_sums` and `centroids` take a vault; everything else is post-processing of their answers. The fourth
step, the maximum-entropy model (`core.release`), follows where records are drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import isqrt, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding, one_hot
from cohortmix.core.data.sampling import PointMass, draw_groups, systematic
from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, approximate, bins, margins, point_masses
from cohortmix.core.steps.adapt import adapt
from cohortmix.core.steps.adapting.lagrangian import bounds_of
from cohortmix.core.steps.anonymize import Measured
from cohortmix.core.steps.approximate import Mixture, Moments
from cohortmix.core.steps.centroids import Common, Margins, SiteCentroids
from cohortmix.core.steps.distributions.simplex import Array, class_masses
from cohortmix.core.steps.known import available_cases, known_pairs, known_shares, least_known
from cohortmix.core.steps.left_over import left_over
from cohortmix.core.steps.plan import RARE, TARGETS, Plan, components, fits_of
from cohortmix.core.steps.point_masses import Look
from cohortmix.core.steps.products import means, signs
from cohortmix.core.steps.products.means import SignMeans
from cohortmix.core.steps.progress import report
from cohortmix.core.steps.scores import functions
from cohortmix.core.steps.scores import model as scores
from cohortmix.core.steps.scores.class_means import class_means
from cohortmix.core.steps.scores.couplings import Fitted
from cohortmix.core.steps.scores.moments import ScoreMoments
from cohortmix.core.steps.scores.moments import read as read_scores
from cohortmix.core.steps.support import Support, choose_support

MARGINS = 4  # how much more precisely a mixture is fitted to margins than to pair tables that follow from scores
ONE_SUM = 1.01  # times a site's own noise, below which the noise of all sites together is that of one
RARE_SHARE = 0.1  # a class of this share takes part in the mixture, however few its patients are


def class_sums(vault: Vault, plan: Plan, terms: Terms = ALONE) -> Answer:
    """Round 1 at a site: answer A; of a joint study, its part of the sum."""
    answers = 2 if plan.fits_mixture else 1
    report("answers", 0, answers)
    answer = anonymize.answer_a(vault, Encoding.of(plan.schema), plan.mu2_sums, terms)
    report("answers", 1, answers)
    return answer


def pairs(vault: Vault, plan: Plan, common: Common, terms: Terms) -> tuple[Answer, ...]:
    """Round 2 at a site of a joint study: its parts of the sums that are answer B and, if it is asked for, D."""
    answer_b = anonymize.answer_b(vault, plan, common, terms)
    return (answer_b, anonymize.answer_d(vault, plan, terms)) if plan.looks else (answer_b,)


def common(
    plans: Sequence[Plan], answers: Iterable[Measured], *, pairs: bool = True, numbers: int = bins.MAX_PAIRS
) -> Common:
    """Between the rounds: add the sites' class sums; merged bins and pooled margins follow from the total.

    Parameters
    ----------
    answers : of the sites in the order of their plans, read once and one at a time.
    pairs : False where no site of the study will ever measure pairs, whose number limits that of the bins.
    numbers : most numbers of answer B.
    """
    encoding = Encoding.of(plans[0].schema)
    patients = sum(plan.patients for plan in plans)
    total, s_a = anonymize.add_answers(answers)
    pooled = margins.project(_sums(encoding, total, s_a, patients)[0], encoding, patients)
    s_b = sqrt(sum(plan.s_b**2 for plan in plans if plan.fits_mixture))
    # A pair of bins then holds as many patients as its noise; so does a bin where no site has room for pairs.
    smallest = sqrt(s_b / patients) if s_b > 0 else s_a / patients
    by_scores = [plan.by_scores for plan in plans]
    if any(by_scores):
        noise = s_a * sqrt(encoding.label.size) / patients
        smallest = max(smallest, float(np.clip(bins.CLEAR_OF_SCORES * noise, *bins.BIN_OF_SCORES)))
    most = bins.most_groups_together(encoding, numbers) if pairs else sum(encoding.sizes)
    curved = all(plan.curved for plan, scored in zip(plans, by_scores, strict=True) if scored)
    return Common(
        bins.choose_groups(encoding, pooled, smallest, most),
        pooled,
        functions.choose(encoding, pooled.pooled, curved, min(functions.MOST, isqrt(numbers)))
        if any(by_scores)
        else (),
    )


def with_products(plan: Plan, common: Common, answer_a: Measured) -> Plan:
    """The plan of one table with what answer C is about, if anything: public arithmetic on answer A."""
    encoding, margins = Encoding.of(plan.schema), common.margins
    _, known = _sums(encoding, answer_a.estimate, answer_a.std, plan.patients)
    joint = common.groups.sums(margins.cells) * (margins.masses / margins.masses.sum())[:, None]
    asked = signs.choose(encoding, common.groups, joint, (known == 1).all(axis=0), plan.most_products)
    return replace(plan, products=asked)


def with_looks(plan: Plan, common: Common, answer_a: Measured) -> Plan:
    """The plan of one table with the cells that answer D is about, if any: public arithmetic on answer A."""
    if not plan.fits_mixture:
        return plan
    encoding, masses = Encoding.of(plan.schema), common.margins.masses
    _, known = _sums(encoding, answer_a.estimate, answer_a.std, plan.patients)
    everybody = masses @ known / masses.sum()
    return plan.looking(*point_masses.choose(encoding, common.margins, everybody, plan.patients, plan.mu2))


def looks_of_study(plans: Iterable[Plan], common: Common) -> tuple[tuple[Look, ...], Fraction]:
    """The cells that answer D of a study is about, and the part of mu^2 that it costs each site.

    Public arithmetic on what every site is told before round 2 and nothing else, so that each finds the same cells
    by itself. Whose value is not known cannot be told from it: they are taken to be known, which costs at most a
    question without a finding.

    Parameters
    ----------
    plans : of all sites of the study; of a joint study, the one of all of them together.
    """
    fitting = [plan for plan in plans if plan.fits_mixture]
    if not fitting:
        return (), Fraction(0)
    encoding, patients = Encoding.of(fitting[0].schema), sum(plan.patients for plan in fitting)
    mu2 = fitting[0].mu2 / sum(plan.surplus for plan in fitting)  # the noise of each is in the sum
    return point_masses.choose(encoding, common.margins, np.ones(len(encoding.features)), patients, mu2)


def with_points(plan: Plan, site: SiteCentroids) -> SiteCentroids:
    """The centroids of one table with the point masses that its answer D shows."""
    if site.counts is None:
        return site
    points = point_masses.read(Encoding.of(plan.schema), plan.looks, site.counts, plan.patients)
    return replace(site, points=points)


def points_of_study(
    plans: Sequence[Plan], answers_a: Iterable[Measured], answers_d: Iterable[Measured]
) -> tuple[PointMass, ...]:
    """The point masses of the sites that have answered D: what stands out from the noise of the sum over them.

    Parameters
    ----------
    plans : of these sites, with the cells that they were asked about.
    answers_a, answers_d : of the same sites.
    """
    if not plans:
        return ()
    encoding, patients = Encoding.of(plans[0].schema), sum(plan.patients for plan in plans)
    total, s_a = anonymize.add_answers(answers_a)
    sums, known = _sums(encoding, total, s_a, patients)
    own = margins.project(sums, encoding, patients)
    looks = point_masses.weighed(plans[0].looks, encoding, own, own.masses @ known / own.masses.sum())
    return point_masses.read(encoding, looks, anonymize.add_answers(answers_d), patients)


def centroids(vault: Vault, plan: Plan, common: Common, answer_a: Answer, seed: bytes) -> SiteCentroids:
    """Round 2 at a site: answers B, C and D, then the mixture and the inducing points."""
    if not plan.fits_mixture:
        return class_centroids(plan, common, answer_a)
    answer_b = anonymize.answer_b(vault, plan, common)
    measured: SignMeans | None = None
    if plan.products is not None:
        answer_c = anonymize.answer_c(vault, plan, plan.products)
        measured = means.read(plan.products, common.groups, answer_c, common.margins.masses)
    counts = anonymize.answer_d(vault, plan) if plan.looks else None
    report("answers", 2, 2)
    site = approximate_and_adapt(plan, common, answer_a, answer_b, seed)
    return replace(site, products=measured, counts=counts)


def class_centroids(plan: Plan, common: Common, answer_a: Measured) -> SiteCentroids:
    """One centroid per class from answer A alone: a site too small for answer B, or not there in round 2."""
    encoding = Encoding.of(plan.schema)
    sums, _ = _sums(encoding, answer_a.estimate, answer_a.std, plan.patients)
    projected = margins.project(sums, encoding, plan.patients, common.margins)
    means = common.groups.sums(projected.cells)
    classes = len(projected.masses)
    return SiteCentroids(
        masses=projected.masses,
        means=means,
        labels=np.eye(classes),
        kind=("class",) * classes,
        noise_std=answer_a.std,
        support_points=np.zeros((0, means.shape[1])),
        support_labels=np.zeros((0, classes)),
    )


def approximate_and_adapt(
    plan: Plan, common: Common, answer_a: Measured, answer_b: Measured, seed: bytes
) -> SiteCentroids:
    """The free part of round 2: constrained mixture and kernel inducing points of answers A and B."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest(), "big"))
    by_class = class_centroids(plan, common, answer_a)
    if plan.by_scores:
        target, model = _of_scores(plan, common, answer_a, answer_b)
        rare, k, fits = np.zeros(len(by_class.masses), dtype=bool), components(plan.patients, plan.s_b), 1
    else:
        s_b = max(plan.s_b, answer_b.std)  # more than was planned where a site is missing from a joint sum
        rare = (by_class.masses < RARE * s_b) & (by_class.masses < RARE_SHARE * plan.patients)
        k = components(by_class.masses[~rare].sum(), s_b)
        if k < (~rare).sum():
            return by_class
        target, model = moments(plan, common, answer_a, answer_b, np.flatnonzero(~rare)), None
        fits = fits_of(k)
    fitted = approximate.fit(target, k=k, fits=fits, seed=int(rng.integers(2**31)))
    beyond = None
    if model is None:
        beyond = np.zeros((len(rare), *target.pairs.shape[1:]))
        beyond[~rare] = left_over(target, fitted)
    mixture = _with_rare(fitted, by_class, rare)
    support = _adapt(plan, common, mixture, rng)
    return SiteCentroids(
        masses=mixture.weights,
        means=mixture.means,
        labels=mixture.labels,
        kind=("mixture",) * len(fitted.weights) + ("class",) * int(rare.sum()),
        noise_std=plan.s_b if plan.by_scores else answer_b.std,
        support_points=support.points,
        support_labels=support.labels,
        constraints=support.constraints,
        model=model,
        left_over=beyond,
    )


def _with_rare(fitted: Mixture, by_class: SiteCentroids, rare: NDArray[np.bool_]) -> Mixture:
    """The mixture of the other classes, and the class centroids of the rare ones."""
    labels = np.zeros((len(fitted.weights), len(rare)))
    labels[:, ~rare] = fitted.labels
    return Mixture(
        weights=np.concatenate([fitted.weights, by_class.masses[rare]]),
        means=np.concatenate([fitted.means, by_class.means[rare]]),
        labels=np.concatenate([labels, by_class.labels[rare]]),
    )


def _adapt(plan: Plan, common: Common, mixture: Mixture, rng: np.random.Generator) -> Support:
    """The support set, learned from records that are drawn from the mixture with its posterior."""
    drawn = draw_groups(systematic(mixture.weights, TARGETS, rng), mixture.means, common.groups.blocks, rng)
    x = one_hot(drawn, common.groups.sizes)
    y = approximate.posterior(mixture, x)
    start = choose_support(x, y, size=plan.support, seed=int(rng.integers(2**31)))
    bounds = bounds_of(plan.constraints, plan.schema, y, partial(_members, common, drawn))
    seed = int(rng.integers(2**31))
    return adapt(*start, x, y, blocks=common.groups.blocks, alpha=plan.alpha, constraints=bounds, seed=seed)


def _members(common: Common, drawn: NDArray[np.integer[Any]], feature: int, shares: Array) -> Array:
    """How far records of merged bins are in a subgroup: the part of the bin's patients, by the pooled margins.

    Parameters
    ----------
    drawn : (n, D) merged bins.
    shares : of each fine cell of the feature, its part that is in the subgroup.
    """
    merged = np.asarray(common.groups.of_cells[feature])
    end = sum(common.groups.cells[: feature + 1])
    mass = common.margins.pooled[end - len(merged) : end]
    total = np.bincount(merged, mass)
    inside = np.bincount(merged, mass * shares) / np.where(total > 0, total, 1)
    return np.asarray(inside[drawn[:, feature]] * (drawn[:, feature] >= 0))


def moments(
    plan: Plan, common: Common, answer_a: Measured, answer_b: Measured, classes: NDArray[np.int64]
) -> Moments:
    """Answers A and B of a site, as what the mixture of these classes is fitted to."""
    encoding = Encoding.of(plan.schema)
    sums, known = _sums(encoding, answer_a.estimate, answer_a.std, plan.patients)
    query = PairTables(common.groups.of_cells)
    pairs = np.zeros((len(plan.schema.classes), *query.pairs.shape))
    pairs[:, query.pairs] = answer_b.estimate.reshape(len(pairs), -1)
    pairs += pairs.transpose(0, 2, 1)
    masses = class_masses(sums.masses, plan.patients)
    std = np.sqrt(bins.group_variance(encoding, common.groups, answer_a.std))
    return Moments(
        pairs=pairs[classes],
        s_b=answer_b.std,
        margins=common.groups.sums(sums.cells)[classes],
        margins_std=std / np.repeat(least_known(known), query.sizes),
        masses=masses[classes],
        sizes=query.sizes,
        known=known_pairs(pairs, query.sizes, masses, known)[classes],
    )


def _of_scores(plan: Plan, common: Common, answer_a: Measured, answer_b: Measured) -> tuple[Moments, Fitted]:
    """Where answer B is about scores: their model, and its pair tables as what the mixture is fitted to."""
    groups, question = common.groups, functions.question(common.scores)
    sums, _ = _sums(Encoding.of(plan.schema), answer_a.estimate, answer_a.std, plan.patients)
    found = read_scores(question, answer_b, class_masses(sums.masses, plan.patients))
    own = _margins_of_both(plan, common, sums, found)
    told = partial(report, "dependences")
    model = scores.model_of(common.scores, groups, own.cells, own.masses, found, told, plan.schema)
    pairs = model.tables * own.masses[:, None, None]
    by_bin = np.diagonal(pairs, axis1=1, axis2=2).copy()
    feature = np.repeat(np.arange(len(groups)), groups.sizes)
    return Moments(
        pairs=pairs * (feature[:, None] != feature),
        s_b=plan.s_b,
        margins=by_bin,
        margins_std=np.full(by_bin.shape[1], plan.s_b / MARGINS),
        masses=own.masses,
        sizes=groups.sizes,
    ), model


def _margins_of_both(plan: Plan, common: Common, sums: anonymize.ClassSums, found: ScoreMoments) -> Margins:
    """Of each class, from answer A and the class means of the scores; of all classes together, from answer A."""
    encoding, masses = Encoding.of(plan.schema), class_masses(sums.masses, plan.patients)
    means = class_means(common.scores, found, masses / masses.sum(), encoding.sizes)
    # What all sites together say of a class is news to a site; where it is all of them, it would be said twice.
    alone = common.margins.s_a < sums.s_a * ONE_SUM
    prior = None if alone else common.margins
    counted = common.margins if alone else margins.project(sums, encoding, plan.patients, prior)
    return margins.raked(margins.project(sums, encoding, plan.patients, prior, means), counted.pooled, encoding)


def _sums(encoding: Encoding, estimate: Array, s_a: float, patients: int) -> tuple[anonymize.ClassSums, Array]:
    """Answer A of patients whose values are known, scaled to all of them; and the shares (C, D) that are."""
    sums = anonymize.read_sums(encoding, estimate, s_a)
    known = known_shares(sums, encoding, patients)
    return available_cases(sums, encoding, known), known
