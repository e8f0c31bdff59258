"""Learn: the questions of the Gaussian variant, in order, and the model that their answers make.

In a narrow table three questions are asked: where each coordinate lies, how far it spreads, and within each class
the second moment of the standardized records. In a wide one that moment would drown in noise. There the second
moment of all records comes first, whose largest eigenvectors are directions (Analyze Gauss: Dwork, Talwar,
Thakurta, Zhang 2014), then class sums, whose discriminants are further directions, and the moments within classes
are asked for in these directions alone.

Symbols: K coordinates, D directions, C classes, n patients.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.gaussian.denoise import (
    CLASS_RADIUS,
    FEWEST,
    LABEL,
    OFF,
    denoise,
    matrix,
    principal_and_discriminant,
)
from cohortmix.core.gaussian.levels import SHARE_SCALE, Array, Levels
from cohortmix.core.gaussian.model import ClassGaussians
from cohortmix.core.gaussian.shrinkage import operator_norm
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.level_sum import LevelSum
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.distributions.simplex import class_masses
from cohortmix.core.steps.plan import Plan

SUM_STEPS, MOMENT_STEPS = 1 << 20, 1 << 12  # of the lattice, for a level of 1: in sums and in moments
DIVISOR = 1 << 14  # lattice steps of an entry of a direction
FIRST = Fraction(3, 100)  # part of mu^2 for the centre, and again for the spread, which are sums over all patients
MOMENT, SUMS = Fraction(25, 100), Fraction(25, 100)  # in a wide table; the rest is for the moments within classes
FIRST_RADIUS = 0.65  # clip of t in [-1, 1], in units of its largest norm, the square root of K
RADIUS = 1.0  # clip of standardized values, in units of their root mean square length
NARROW = 0.5  # operator norm of the noise in an average class's second moment: all directions up to here
SHORTEST = 0.25  # of a model's variance: a released spread below that is noise
TO_SD = sqrt(np.pi / 2)  # standard deviation of a Gaussian over its mean distance from the centre
LEAST_KNOWN = 0.05  # share of patients of whom a number is known at least: sums are divided by it


def learn(vault: Vault, plan: Plan) -> tuple[ClassGaussians, Answer]:
    """Ask three questions or five, and denoise; the last answer is returned as well.

    Guarantee
    ---------
    test_sensitivity_of_level_sum, test_sensitivity_of_level_moment,
    test_sensitivity_of_class_moment. mu-GDP for the replacement of one patient, mu^2 = the sum of the
    answers' mu2 <= the plan's. Each question follows from the schema, N, mu and the answers before it. Public:
    the plan.
    """
    levels = Levels.of(Encoding.of(plan.schema))
    levels = replace(levels, centre=_centre(levels, _first(vault, levels, plan).estimate, plan.patients))
    levels = replace(levels, scale=_scale(levels, _first(vault, levels, plan, spread=True), plan.patients))
    if is_narrow(len(levels.axes), plan):
        model, last = _within(vault, plan, levels, np.eye(len(levels.axes)), Fraction(0))
        return _stretched(model, _spread(levels)), last
    moved, total, directions = _directions(vault, plan, levels)
    model, last = _within(vault, plan, moved, directions, MOMENT + SUMS, total)
    mean = (moved.centre - levels.centre) / levels.scale
    return _stretched(model, _spread(levels) - float(mean @ mean)), last


def is_narrow(size: int, plan: Plan) -> bool:
    """Whether the moment within an average class is seen in all K directions; from K, C, N and mu."""
    norm2 = (1 + LABEL**2) * CLASS_RADIUS**2 * size
    s = norm2 * len(plan.schema.classes) / (sqrt(plan.mu2 * (1 - 2 * FIRST)) * plan.patients)
    return size <= FEWEST or operator_norm(size, s) <= NARROW


def _within(
    vault: Vault, plan: Plan, levels: Levels, directions: Array, spent: Fraction, total: Array | None = None
) -> tuple[ClassGaussians, Answer]:
    """The last question, and the model: of all coordinates, or of their scores in the directions.

    Parameters
    ----------
    directions : (K, D), the identity in a narrow table.
    spent : part of mu^2 that finding the directions took.
    total : (K, K) covariance of all records; None in a narrow table, where it is not known.
    """
    covariance = np.eye(len(levels.axes)) if total is None else total
    entries = np.rint(directions.T * DIVISOR).astype(int).tolist()
    directions = np.array(entries, dtype=np.float64).T / DIVISOR
    across: Array = covariance @ directions
    radius = round(CLASS_RADIUS * sqrt(float(np.sum(directions * across))) * MOMENT_STEPS)
    query = ClassMoment(
        levels.coordinates(MOMENT_STEPS),
        tuple(tuple(row) for row in entries),
        DIVISOR,
        radius,
        round(LABEL * radius),
        MOMENT_STEPS,
    )
    answer = vault.answer(query, plan.mu2 * (1 - 2 * FIRST - spent))
    loadings: Array = np.asarray(np.linalg.solve(directions.T @ across, across.T).T)
    residual: Array = np.asarray(np.zeros_like(covariance) if total is None else total - loadings @ across.T)
    masses, means, covariances = denoise(answer, query, len(plan.schema.classes), plan.patients)
    mass_std = answer.std * (query.level_unit / query.label_weight) ** 2
    model = ClassGaussians(
        levels=levels,
        masses=masses,
        scores=means,
        covariances=covariances,
        directions=directions,
        loadings=loadings,
        residual=residual,
        masses_std=mass_std,
    )
    return model, answer


def _directions(vault: Vault, plan: Plan, levels: Levels) -> tuple[Levels, Array, Array]:
    """Levels centred at the mean of all, their covariance, and the directions (K, D) of the last question."""
    size, n = len(levels.axes), plan.patients
    r = _steps(RADIUS, levels, MOMENT_STEPS)
    moment = vault.answer(LevelMoment(levels.coordinates(MOMENT_STEPS), r, MOMENT_STEPS), plan.mu2 * MOMENT)
    r = _steps(RADIUS, levels, SUM_STEPS)
    sums = vault.answer(LevelSum(levels.coordinates(SUM_STEPS), r, r, SUM_STEPS), plan.mu2 * SUMS)
    flat = sums.estimate.reshape(-1, size + 1)
    masses = class_masses(flat[:, -1] / (r / SUM_STEPS), n)
    mean = flat[:, :-1].sum(axis=0) / n
    moved = replace(levels, centre=levels.centre + levels.scale * mean)
    covariance = matrix(moment.estimate, size) / n - np.outer(mean, mean)
    apart, noise2 = flat[:, :-1] / masses[:, None] - mean, (sums.std / masses) ** 2
    return moved, *principal_and_discriminant(covariance, moment.std * OFF / n, apart, noise2, masses / n)


def _spread(levels: Levels) -> float:
    """Sum of the variances about the centre, by what was released: 1 for each number, which is standardized."""
    p = np.clip(levels.centre, 0, 1)
    return float(np.where(levels.shares, p * (1 - p) / levels.scale**2, 1).sum())


def _stretched(model: ClassGaussians, spread: float) -> ClassGaussians:
    """The model, stretched to the spread that was released: clips made the records of its moments shorter."""
    second = model.covariances + model.scores[:, :, None] * model.scores[:, None, :]
    scores = np.einsum("c,cij->ij", model.masses / model.masses.sum(), second)
    drawn = np.einsum("ki,ij,kj->", model.loadings, scores, model.loadings) + np.trace(model.residual)
    factor = sqrt(max(spread / float(drawn), SHORTEST))
    return replace(
        model,
        directions=model.directions / factor,
        loadings=model.loadings * factor,
        residual=model.residual * factor**2,
    )


def _first(vault: Vault, levels: Levels, plan: Plan, spread: bool = False) -> Answer:
    """Sums of t over all patients, or with `spread` of its distance from the centre."""
    query = LevelSum(levels.coordinates(SUM_STEPS, spread), _steps(FIRST_RADIUS, levels, SUM_STEPS), 0, SUM_STEPS)
    return vault.answer(query, plan.mu2 * FIRST)


def _centre(levels: Levels, sums: Array, patients: int) -> Array:
    """(K,) mean of t; that of a number is over the patients who have one."""
    mean = sums / patients
    return np.asarray(np.clip(mean / _known(levels, mean), np.where(levels.shares, 0, -1), 1))


def _known(levels: Levels, mean: Array) -> Array:
    """(K,) share of the patients of whom a number is known; the coordinate after it counts the others."""
    known = np.ones(len(mean))
    for k, (axis, after) in enumerate(zip(levels.axes, levels.axes[1:], strict=False)):
        if not axis.share and after.column == axis.column:
            known[k] = np.clip(1 - mean[k + 1], LEAST_KNOWN, 1)
    return known


def _scale(levels: Levels, distances: Answer, patients: int) -> Array:
    """(K,) standard deviation of t, shrunk towards that of all numbers as far as it is noise (James, Stein 1961).

    Numbers that the schema declares alike, pixels or principal components, are on one scale already, and keep it:
    they share their root mean square. No scale is below a twentieth of that of all numbers, which is a divisor.
    """
    numbers = ~levels.shares
    scale = np.full(len(numbers), SHARE_SCALE)
    if not numbers.any():
        return scale
    mean, noise = distances.estimate / patients, distances.std / patients
    distance = mean / _known(levels, levels.centre)
    measured = distance[numbers]
    typical = max(float(measured.mean()), noise / sqrt(len(measured)), 1e-3)
    keep = max(0.0, 1 - noise**2 / max(float(measured.var()), 1e-300))
    scale[numbers] = TO_SD * np.maximum(typical + keep * (measured - typical), typical / 20)
    for kind in set(levels.alike[numbers]):
        alike = numbers & (levels.alike == kind)
        if alike.sum() > 1:
            square = float(np.mean(distance[alike] ** 2)) - noise**2
            scale[alike] = TO_SD * sqrt(max(square, (typical / 20) ** 2))
    return scale


def _steps(radius: float, levels: Levels, unit: int) -> int:
    """A radius in lattice steps, where that of one coordinate is `unit` of them."""
    return round(radius * sqrt(len(levels.axes)) * unit)
