"""Shrinkage: centroids and covariances from noised moments, each kept as far as it is not noise.

Symbols: D dimensions, C classes, s the standard deviation of the noise of an entry off the diagonal (on it,
sqrt(2) s), so that noise alone has eigenvalues up to op = 2 sqrt(D) s.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST = 1e-2  # smallest eigenvalue of a covariance, of numbers whose variance is about 1
FLOOR = 0.5  # smallest eigenvalue of a class covariance, in units of the op of its noise
RIDGE = 0.5  # in units of the mean variance: added where noise hides a class's own covariance
LONGEST = 3.0  # factor by which a shrunk centroid is lengthened again at most


def operator_norm(size: int, s: float | Array) -> Any:
    """op, the largest eigenvalue of noise alone (Wigner)."""
    return 2 * sqrt(size) * s


def clean(noisy: Array, s: float) -> Array:
    """A covariance (D, D) from a noised one.

    An eigenvalue e above op is debiased, (e + sqrt(e^2 - op^2)) / 2 (Benaych-Georges, Nadakuditi 2011); the others
    share what is left of the trace equally.
    """
    values, vectors = np.linalg.eigh(noisy)
    op = operator_norm(len(values), s)
    kept = values > op
    debiased = (values + np.sqrt(np.maximum(values**2 - op**2, 0))) / 2
    rest = (np.trace(noisy) - debiased[kept].sum()) / max(1, int((~kept).sum()))
    spectrum = np.maximum(np.where(kept, debiased, rest), LEAST)
    return np.asarray((vectors * spectrum) @ vectors.T)


def shrink(apart: Array, noise2: float, covariance: Array, ridge: float = 0.0) -> Array:
    """What a class centroid differs from the mean of all (D,), as far as it is not noise.

    It has the direction of the posterior mean under the prior that classes differ as records do, N(0, c Sigma),
    with c from the length of what was observed (empirical Bayes: Efron, Morris 1973), and it has that length. With
    a ridge, the discriminant between drawn classes is that of Sigma + ridge I (Friedman 1989), while Sigma stays.

    Parameters
    ----------
    apart : (D,) the noised difference.
    noise2 : variance of the noise of each entry of `apart`.
    covariance : (D, D) Sigma, within classes.
    ridge : in units of the mean variance.
    """
    length2 = float(apart @ apart) - len(apart) * noise2
    trace = float(np.trace(covariance))
    if length2 <= 0 or len(apart) * noise2 > trace:  # all noise, or more noise than records differ by
        return np.zeros_like(apart)
    loaded = covariance + (noise2 * trace / length2 + ridge * trace / len(apart)) * np.eye(len(apart))
    shrunk = covariance @ np.linalg.solve(loaded, apart)
    return np.asarray(shrunk * min(sqrt(length2) / float(np.linalg.norm(shrunk)), LONGEST))


def class_covariances(noisy: Array, s: Array, share: Array) -> tuple[Array, Array]:
    """A covariance for each class, shrunk towards that of all.

    The difference of a class from all is multiplied by the share of its mean square that is not noise (empirical
    Bayes): about 1 for large classes, 0 for a rare one.

    Parameters
    ----------
    noisy : (C, D, D) noised class covariances.
    s : (C,) the noise of an entry of each.
    share : (C,) of the patients.

    Returns
    -------
    (C, D, D) class covariances, and (D, D) the one within classes.
    """
    size = noisy.shape[1]
    tied = np.einsum("c,cij->ij", share, noisy)
    within = clean(tied, float(np.linalg.norm(share * s)))
    # A class with almost no patients, whose noise exceeds all variances, keeps no covariance of its own.
    readable = operator_norm(size, s) < np.trace(within)
    kept = readable * np.array([_signal(by_class - tied, noise) for by_class, noise in zip(noisy, s, strict=True)])
    shrunk = [
        _at_least(within + keep * (by_class - tied), FLOOR * keep * operator_norm(size, noise))
        for by_class, noise, keep in zip(noisy, s, kept, strict=True)
    ]
    return np.stack(shrunk), within


def unseen(s: Array, covariance: Array) -> Array:
    """(C,) share of a class covariance that noise hides: 1 where its op is far above the mean variance."""
    size = len(covariance)
    ratio2 = (operator_norm(size, s) * size / np.trace(covariance)) ** 2
    return np.asarray(ratio2 / (1 + ratio2))


def _signal(difference: Array, s: float) -> float:
    """Share of the mean square of a symmetric matrix (D, D) that its noise does not explain."""
    entries = difference[np.triu_indices(len(difference))]
    noise2 = s**2 * (1 + 2 / (len(difference) + 1))  # mean over the triangle, twice s^2 on the diagonal
    return max(0.0, 1 - noise2 / max(float(np.mean(entries**2)), 1e-300))


def _at_least(covariance: Array, least: float) -> Array:
    """The covariance with no eigenvalue below `least`, nor below LEAST."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, max(least, LEAST))) @ vectors.T)
