"""The questions of the Gaussian variant, and what is made of their answers.

In a narrow table: where each coordinate lies, how far it spreads, and within each class the second moment of the
standardized records. In a wide one that moment would drown in noise. There the second moment of all records comes
first, whose largest eigenvectors are directions (DP-PCA: Dwork, Talwar, Thakurta, Zhang 2014), then class sums,
whose discriminants are further ones, and the moments within classes are asked in these directions alone.

Symbols: K coordinates, D directions, C classes, n patients, R the radius of a clip, s the noise of one entry.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.gaussian.levels import SHARE_SCALE, Array, Levels
from cohortmix.core.gaussian.model import ClassGaussians
from cohortmix.core.gaussian.shrinkage import RIDGE, class_covariances, clean, operator_norm, shrink, unseen
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.query import DIAGONAL, OFF_DIAGONAL, ClassMoment, LevelMoment, LevelSum
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.plan import Plan
from cohortmix.core.steps.simplex import class_masses

SUM_UNIT, MOMENT_UNIT = 1 << 20, 1 << 12  # lattice steps of a level of 1
DIVISOR = 1 << 14  # lattice steps of an entry of a direction
FIRST = Fraction(3, 100)  # of mu^2, for the centre and again for the spread
MOMENT, SUMS = Fraction(25, 100), Fraction(25, 100)  # in a wide table; the rest is for the moments within classes
FIRST_RADIUS = 0.65  # per square root of K, of t in [-1, 1]
RADIUS = 1.0  # per root mean square length of standardized levels
CLASS_RADIUS, LABEL = 0.9, 0.7  # the same, of their scores; weight of the label entry, in radii
NARROW = 0.5  # op of the noise of an average class's second moment, up to which it is asked in all directions
FEWEST = 10  # directions: some that do not stand out from noise still say more than others
FLATTENED = 0.25  # scores are divided by their standard deviation to the power of twice this
SHORTEST = 0.25  # of a model's variance, where the released spread says less: its noise
OFF = DIAGONAL / OFF_DIAGONAL  # an answer's unit is that of the diagonal: what the other entries count
TO_SD = sqrt(np.pi / 2)  # of a Gaussian: its standard deviation over its mean distance from the centre


def learn(vault: Vault, plan: Plan) -> tuple[ClassGaussians, Answer]:
    """Ask three questions or five, and denoise; the last answer is returned as well.

    Guarantee
    ---------
    test_sensitivity_of_noisy_level_sum, test_sensitivity_of_noisy_level_moment,
    test_sensitivity_of_noisy_class_moment. mu-GDP for the replacement of one patient, mu^2 = the sum of the
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
    every = (moved.centre - levels.centre) / levels.scale
    return _stretched(model, _spread(levels) - float(every @ every)), last


def is_narrow(size: int, plan: Plan) -> bool:
    """Whether the moment within an average class is seen in all K directions; from K, C, N and mu."""
    norm2 = (1 + LABEL**2) * CLASS_RADIUS**2 * size
    s = norm2 * len(plan.schema.classes) / (sqrt(plan.mu2 * (1 - 2 * FIRST)) * plan.patients)
    return size <= FEWEST or operator_norm(size, s) <= NARROW


def _within(
    vault: Vault, plan: Plan, levels: Levels, directions: Array, spent: Fraction, total: Array | None = None
) -> tuple[ClassGaussians, Answer]:
    """The last question, and the model: of all coordinates, or of scores with a covariance of all records."""
    every = np.eye(len(levels.axes)) if total is None else total
    entries = np.rint(directions.T * DIVISOR).astype(int).tolist()
    directions = np.array(entries, dtype=np.float64).T / DIVISOR
    across: Array = every @ directions
    radius = round(CLASS_RADIUS * sqrt(float(np.sum(directions * across))) * MOMENT_UNIT)
    query = ClassMoment(
        levels.coordinates(MOMENT_UNIT),
        tuple(tuple(row) for row in entries),
        DIVISOR,
        radius,
        round(LABEL * radius),
        MOMENT_UNIT,
    )
    answer = vault.noisy_class_moment(query, plan.mu2 * (1 - 2 * FIRST - spent))
    loadings: Array = np.asarray(np.linalg.solve(directions.T @ across, across.T).T)
    residual: Array = np.asarray(np.zeros_like(every) if total is None else total - loadings @ across.T)
    of_classes = denoise(answer, query, len(plan.schema.classes), plan.patients)
    mass_std = answer.std * (query.unit / query.label_weight) ** 2
    return ClassGaussians(levels, *of_classes, directions, loadings, residual, mass_std), answer


def denoise(answer: Answer, query: ClassMoment, classes: int, patients: int) -> tuple[Array, Array, Array]:
    """Masses (C,), centroids (C, D) and covariances (C, D, D) from the moments within classes."""
    noisy = np.stack([_matrix(each, query.width) for each in answer.estimate.reshape(classes, -1)])
    weight, s = query.label_weight / query.unit, answer.std * OFF
    masses = class_masses(noisy[:, -1, -1] / weight**2, patients)
    means, noise2 = noisy[:, :-1, -1] / weight / masses[:, None], (s / weight / masses) ** 2
    size = query.width - 1
    squares = noisy[:, :-1, :-1] / masses[:, None, None] + noise2[:, None, None] * np.eye(size)
    share = masses / patients
    covariances, within = class_covariances(squares - means[:, :, None] * means[:, None, :], s / masses, share)
    every = share @ means
    apart = [
        shrink(mean - every, noise, within, RIDGE * hidden)
        for mean, noise, hidden in zip(means, noise2, unseen(s / masses, within), strict=True)
    ]
    return masses, every + np.stack(apart), covariances


def _directions(vault: Vault, plan: Plan, levels: Levels) -> tuple[Levels, Array, Array]:
    """Levels from the mean of all, their covariance, and directions (K, D) in which classes are looked at."""
    size, n = len(levels.axes), plan.patients
    r = _steps(RADIUS, levels, MOMENT_UNIT)
    moment = vault.noisy_level_moment(
        LevelMoment(levels.coordinates(MOMENT_UNIT), r, MOMENT_UNIT), plan.mu2 * MOMENT
    )
    r = _steps(RADIUS, levels, SUM_UNIT)
    sums = vault.noisy_level_sum(LevelSum(levels.coordinates(SUM_UNIT), r, r, SUM_UNIT), plan.mu2 * SUMS)
    flat = sums.estimate.reshape(-1, size + 1)
    masses = class_masses(flat[:, -1] / (r / SUM_UNIT), n)
    every = flat[:, :-1].sum(axis=0) / n
    apart, noise2, share = flat[:, :-1] / masses[:, None] - every, (sums.std / masses) ** 2, masses / n
    noisy = _matrix(moment.estimate, size) / n - np.outer(every, every)
    between = (apart * share[:, None]).T @ apart - (share @ noise2) * np.eye(size)
    s = moment.std * OFF / n
    within, total = clean(noisy - between, s), clean(noisy, s)
    values, vectors = np.linalg.eigh(noisy)
    principal = vectors[:, -min(size, max(FEWEST, int((values > operator_norm(size, s)).sum()))) :]
    differ = np.stack([shrink(*each, within) for each in zip(apart, noise2, strict=True)])
    loaded = within + RIDGE * np.trace(within) / size * np.eye(size)
    discriminants = np.linalg.solve(loaded, differ.T)
    beyond = discriminants - principal @ (principal.T @ discriminants)
    left = np.linalg.svd(beyond, full_matrices=False)[0]
    found = np.hstack([principal, left[:, : min(len(share) - 1, size - principal.shape[1])]])
    variance = np.einsum("ki,kl,li->i", found, total, found)
    moved = replace(levels, centre=levels.centre + levels.scale * every)
    return moved, total, found * variance**-FLATTENED


def _spread(levels: Levels) -> float:
    """Sum of the variances about the centre, by what was released: 1 for each number."""
    p = np.clip(levels.centre, 0, 1)
    return float(np.where(levels.shares, p * (1 - p) / levels.scale**2, 1).sum())


def _stretched(model: ClassGaussians, spread: float) -> ClassGaussians:
    """The model at the spread that was released: clips made records shorter."""
    second = model.covariances + model.scores[:, :, None] * model.scores[:, None, :]
    scores = np.einsum("c,cij->ij", model.masses / model.masses.sum(), second)
    drawn = np.einsum("ki,ij,kj->", model.loadings, scores, model.loadings) + np.trace(model.residual)
    by = sqrt(max(spread / float(drawn), SHORTEST))
    return replace(
        model, directions=model.directions / by, loadings=model.loadings * by, residual=model.residual * by**2
    )


def _first(vault: Vault, levels: Levels, plan: Plan, spread: bool = False) -> Answer:
    """Sums of t over all patients, or of its distance from the centre."""
    query = LevelSum(levels.coordinates(SUM_UNIT, spread), _steps(FIRST_RADIUS, levels, SUM_UNIT), 0, SUM_UNIT)
    return vault.noisy_level_sum(query, plan.mu2 * FIRST)


def _centre(levels: Levels, sums: Array, patients: int) -> Array:
    """Mean of t; of a number, over the patients who have one."""
    mean = sums / patients
    return np.asarray(np.clip(mean / _known(levels, mean), np.where(levels.shares, 0, -1), 1))


def _known(levels: Levels, mean: Array) -> Array:
    """(K,) share of the patients of whom a number is known; the coordinate after it counts the others."""
    known = np.ones(len(mean))
    for k, (axis, after) in enumerate(zip(levels.axes, levels.axes[1:], strict=False)):
        if not axis.share and after.column == axis.column:
            known[k] = np.clip(1 - mean[k + 1], 0.05, 1)
    return known


def _scale(levels: Levels, distances: Answer, patients: int) -> Array:
    """Standard deviation of t, shrunk towards that of all numbers as far as it is noise (James, Stein 1961).

    Numbers that the schema declares alike, pixels or principal components, are on one scale already, and keep it:
    they share their root mean square.
    """
    numbers = ~levels.shares
    if not numbers.any():
        return np.full(len(numbers), SHARE_SCALE)
    mean, noise = distances.estimate / patients, distances.std / patients
    own = (mean / _known(levels, levels.centre))[numbers]
    every = max(float(own.mean()), noise / sqrt(len(own)), 1e-3)
    keep = max(0.0, 1 - noise**2 / max(float(own.var()), 1e-300))
    scale = np.full(len(numbers), SHARE_SCALE)
    scale[numbers] = TO_SD * np.maximum(every + keep * (own - every), every / 20)
    spread = np.full(len(numbers), every)
    spread[numbers] = own
    for group in set(levels.alike[numbers]):
        alike = numbers & (levels.alike == group)
        if alike.sum() > 1:
            scale[alike] = TO_SD * sqrt(max(float(np.mean(spread[alike] ** 2)) - noise**2, (every / 20) ** 2))
    return scale


def _steps(radius: float, levels: Levels, unit: int) -> int:
    return round(radius * sqrt(len(levels.axes)) * unit)


def _matrix(triangle: Array, size: int) -> Array:
    """(size, size) from the weighted upper triangle."""
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = triangle
    out *= np.where(np.eye(size, dtype=bool), 1, OFF)
    return np.asarray(out + np.triu(out, 1).T)
