"""Denoise: what the answers about second moments say once their known noise is taken off. Released values only.

Symbols: K coordinates, D directions, C classes, s the standard deviation of the noise of one entry.
"""

from __future__ import annotations

import numpy as np

from cohortmix.core.gaussian.shrinkage import (
    RIDGE,
    Array,
    class_covariances,
    clean,
    operator_norm,
    shrink,
    unseen,
)
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.class_moment import ClassMoment
from cohortmix.core.privacy.questions.coordinates import DIAGONAL, OFF_DIAGONAL
from cohortmix.core.steps.distributions.simplex import class_masses

FEWEST = 10  # directions: some that do not stand out from noise still say more than others
CLASS_RADIUS = (
    0.9  # clip of a record's scores in the moments within classes, in units of their root mean square length
)
LABEL = 0.7  # weight of the label entry, in radii
FLATTENED = 0.25  # scores are divided by their variance to this power: the largest shall not fill the clip alone
OFF = DIAGONAL / OFF_DIAGONAL  # an answer's unit is that of the diagonal: what the other entries count


def denoise(answer: Answer, query: ClassMoment, classes: int, patients: int) -> tuple[Array, Array, Array]:
    """Masses (C,), centroids (C, D) and covariances (C, D, D) from the moments within classes."""
    noisy = np.stack([matrix(triangle, query.width) for triangle in answer.estimate.reshape(classes, -1)])
    weight, s = query.label_weight / query.level_unit, answer.std * OFF
    masses = class_masses(noisy[:, -1, -1] / weight**2, patients)
    means, noise2 = noisy[:, :-1, -1] / weight / masses[:, None], (s / weight / masses) ** 2
    size = query.width - 1
    squares = noisy[:, :-1, :-1] / masses[:, None, None] + noise2[:, None, None] * np.eye(size)
    share = masses / patients
    covariances, within = class_covariances(squares - means[:, :, None] * means[:, None, :], s / masses, share)
    pooled = share @ means
    apart = [
        shrink(mean - pooled, noise, within, RIDGE * hidden)
        for mean, noise, hidden in zip(means, noise2, unseen(s / masses, within), strict=True)
    ]
    return masses, pooled + np.stack(apart), covariances


def principal_and_discriminant(
    noisy: Array, s: float, apart: Array, noise2: Array, share: Array
) -> tuple[Array, Array]:
    """Directions in which classes are looked at: axes of all records' covariance, and the classes' discriminants.

    Parameters
    ----------
    noisy : (K, K) the noised covariance of all records.
    s : standard deviation of the noise of an entry of it.
    apart : (C, K) what a class mean differs from that of all, noised.
    noise2 : (C,) variance of the noise of an entry of `apart`.
    share : (C,) of the patients.

    Returns
    -------
    The cleaned covariance (K, K) of all records, and the directions (K, D).
    """
    size = len(noisy)
    between = (apart * share[:, None]).T @ apart - (share @ noise2) * np.eye(size)
    within, total = clean(noisy - between, s), clean(noisy, s)
    values, vectors = np.linalg.eigh(noisy)
    principal = vectors[:, -min(size, max(FEWEST, int((values > operator_norm(size, s)).sum()))) :]
    differ = np.stack([shrink(mean, noise, within) for mean, noise in zip(apart, noise2, strict=True)])
    loaded = within + RIDGE * np.trace(within) / size * np.eye(size)
    discriminants = np.linalg.solve(loaded, differ.T)
    beyond = discriminants - principal @ (principal.T @ discriminants)
    left = np.linalg.svd(beyond, full_matrices=False)[0]
    both = np.hstack([principal, left[:, : min(len(share) - 1, size - principal.shape[1])]])
    variance = np.einsum("ki,kl,li->i", both, total, both)
    return total, both * variance**-FLATTENED


def matrix(triangle: Array, size: int) -> Array:
    """The symmetric matrix (size, size) of an answer's upper triangle, without the weights of its entries."""
    out = np.zeros((size, size))
    out[np.triu_indices(size)] = triangle
    out *= np.where(np.eye(size, dtype=bool), 1, OFF)
    return np.asarray(out + np.triu(out, 1).T)
