"""Margins: distributions near answer A, each class shrunk towards its prior as far as its noise asks for.

Released values only. Of the difference between a class and its prior, the part between coarse bins is kept by
Wiener's factor, signal / (signal + noise), for that is where classes differ. The part within a coarse bin, where
they seldom do, is kept by 1 - noise / observed (James, Stein 1961).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.steps.anonymize import FINE, ClassSums
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.simplex import Array, class_masses, simplex
from cohortmix.core.steps.smooth import smooth


def project(sums: ClassSums, encoding: Encoding, patients: int, prior: Margins | None = None) -> Margins:
    """Class-conditional distributions of every feature near the sums.

    Parameters
    ----------
    sums : answer A, read.
    patients : n, of all classes together.
    prior : what each class is shrunk towards, such as the same class at all sites; by default, all classes pooled.
    """
    masses, noise = class_masses(sums.masses, patients), sums.s_a * sqrt(len(sums.cells)) / patients
    out = np.empty_like(sums.cells)
    for feature, block in zip(encoding.features, encoding.blocks, strict=True):
        fine = 1 if feature.coarse is None else FINE
        pooled = smooth(sums.cells[:, block].sum(axis=0) / patients, feature, noise / fine)
        for c, mass in enumerate(masses):
            base = pooled if prior is None else prior.cells[c, block]
            observed, variance = sums.cells[c, block] / mass, (sums.s_a / mass) ** 2
            out[c, block] = simplex(
                _wiener(observed, base, variance)
                if feature.coarse is None
                else _coarse_then_fine(observed, base, feature.coarse, variance)
            )
    return Margins(cells=out, masses=masses, s_a=sums.s_a)


def _coarse_then_fine(observed: Array, prior: Array, coarse: Sequence[int], variance: float) -> Array:
    """`observed` (m,), shrunk towards `prior`: first between the coarse bins, then within each of them."""
    bin_of = np.asarray(coarse)
    expected, measured = (np.bincount(bin_of, cells).astype(np.float64) for cells in (prior, observed))
    between = np.maximum(_wiener(measured, expected, variance), 0)
    # Where the prior has nothing in a bin, it says nothing of the shape within: then all of its cells are alike.
    even = 1 / np.bincount(bin_of)[bin_of]
    inside = np.where(expected[bin_of] > 1e-12, prior / np.maximum(expected[bin_of], 1e-12), even)
    shape = between[bin_of] * inside
    for number in range(len(expected)):
        cells = bin_of == number
        shape[cells] = _james_stein(observed[cells], shape[cells], variance / FINE**2)
    return np.asarray(shape)


def _wiener(observed: Array, prior: Array, variance: float) -> Array:
    """Wiener's filter of `observed` (k,) around `prior`, for noise of this variance in each entry.

    The signal's square is what was observed beyond the k - 2 variances of James and Stein, and never more than
    two distributions can differ by. A stricter threshold removed differences on which models rely.
    """
    difference, k = observed - prior, len(observed)
    signal = min(max(float(difference @ difference) - max(k - 2, 0) * variance, 0.0), 2.0)
    return prior + difference * (signal / (signal + k * variance) if signal else 0.0)


def _james_stein(observed: Array, prior: Array, variance: float) -> Array:
    """`observed` (k,), less what noise may explain of its squared difference from `prior` (mean + 2 sd).

    It is the prior where the noise of all entries together exceeds what the prior holds.
    """
    difference, k = observed - prior, len(observed)
    square = float(difference @ difference)
    if square == 0 or k * variance > prior.sum() ** 2:
        return prior
    return prior + difference * max(0.0, 1 - (k + 2 * sqrt(2 * k)) * variance / square)
