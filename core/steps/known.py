"""Known shares: of how many patients a feature says anything, where its schema has no slot for missing values.

A value that is neither declared nor allowed to be missing has no cell, and its patient adds nothing to the
counts of that feature. By how much the counts fall short of the patients is seen in the released sums
themselves; the values that are known keep their proportions (available-case analysis: Little, Rubin 2019,
chapter 3).

A shortfall counts where it stands out from the noise of the sum. Below that, every patient's value is taken to be
known, as in a clean table, and the sums are left as they are. Only released values enter.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.steps.anonymize import FINE, ClassSums, weight_of
from cohortmix.core.steps.distributions.simplex import Array, class_masses

CLEAR = 4.0  # standard deviations: among 1,000 clean features, 0.03 on average are taken for ones with gaps
FEWEST = 0.01  # share that is known at least, so that what is divided by it stays finite


def known_shares(sums: ClassSums, encoding: Encoding, patients: int) -> Array:
    """(C, D) share of each class's patients of whom a feature is known; 1 where nothing says otherwise.

    It is that of all classes together, unless a class stands out from them; 0 where what a class has cannot be
    told from none.
    """
    masses = class_masses(sums.masses, patients)
    shares = np.ones((len(masses), len(encoding.features)))
    for j, (cells, block) in enumerate(zip(encoding.features, encoding.blocks, strict=True)):
        if cells.missing >= 0:
            continue  # what is not known has a cell of its own
        counts, sd = sums.cells[:, block].sum(axis=1), sums.s_a * np.sqrt(_variance(cells))
        least = np.clip(CLEAR * sd / masses, FEWEST, 1)  # a smaller share cannot be told from none
        pooled = counts.sum() / patients
        if 1 - pooled <= CLEAR * sd * np.sqrt(len(masses)) / patients:
            continue
        by_class, noise = counts / masses, np.hypot(sd, pooled * sums.masses_std) / masses
        stands_out = np.abs(by_class - pooled) > CLEAR * noise
        shares[:, j] = np.clip(np.where(stands_out, by_class, pooled), least, 1)
        shares[stands_out & (by_class < np.minimum(least, pooled)), j] = 0
    return shares


def available_cases(sums: ClassSums, encoding: Encoding, known: Array) -> ClassSums:
    """The sums of those of whom a feature is known, scaled to all; `known` (C, D) as in `known_shares`.

    A class of which nothing is known has the distribution of the other classes together: what is left of it is
    noise, and scaled up that would be values that nobody has.
    """
    cells = sums.cells / np.repeat(np.where(known > 0, known, 1), encoding.sizes, axis=1)
    for j, block in enumerate(encoding.blocks):
        unknown = known[:, j] == 0
        if unknown.any():
            others = cells[~unknown, block].sum(axis=0)
            cells[unknown, block] = sums.masses[unknown, None] * others / sums.masses[~unknown].sum()
    return replace(sums, cells=cells)


def least_known(known: Array) -> Array:
    """(D,) the smallest share of a class of which a feature is known; classes of which it is not do not count."""
    return np.asarray(np.where(known > 0, known, 1).min(axis=0))


def known_pairs(pairs: Array, sizes: tuple[int, ...], masses: Array, known: Array) -> Array:
    """(C, D, D) share of each class's patients of whom two features are known, symmetric.

    Where nothing is known of one of them, it is 0: their pair table is noise, and fits every mixture alike.
    Elsewhere it is what their pair table holds, within the bounds that the two shares alone set (Fréchet 1951):
    where one feature is known of every patient, it is the share of the other.

    Parameters
    ----------
    pairs : (C, G, G) patients per class and pair of merged bins.
    sizes : merged bins of each feature.
    masses : (C,) patients per class.
    known : (C, D) as in `known_shares`.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    totals = np.add.reduceat(np.add.reduceat(pairs, starts, axis=1), starts, axis=2) / masses[:, None, None]
    row, column = known[:, :, None], known[:, None, :]
    return np.asarray(np.clip(totals, np.maximum(row + column - 1, FEWEST), np.minimum(row, column)))


def _variance(cells: Cells) -> float:
    """Variance of the sum of a feature's counts, by least squares of coarse bins and fine cells, for s_A = 1."""
    if cells.coarse is None:
        return cells.size / weight_of(cells) ** 2
    count = np.bincount(cells.coarse)
    return float((1 / (1 + FINE**2 / count)).sum()) / cells.weight**2
