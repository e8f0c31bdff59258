"""Anonymize: GDP-noised mixing, the only step that looks at records.

Answer A holds the class centroids on fine cells, answer B the class-conditional second moment of the grouped
cells. Both are mixtures of all patients plus Gaussian noise; what follows works on them alone.

Symbols: D features, C classes, F fine cells and G groups of all features side by side, n patients,
s_A and s_B the standard deviations of one cell of A and of one pair cell of B, in patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.encoding import Cells, Encoding
from cohortmix.core.grouping import most_groups_together
from cohortmix.core.meter import Answer
from cohortmix.core.query import Block, MomentQuery, SumQuery
from cohortmix.core.schema import Category
from cohortmix.core.smooth import simplex, smooth
from cohortmix.core.vault import Vault

UNIT = 1 << 20  # lattice steps per patient of answer A
FINE = 0.7  # weight of a fine cell beside the run that holds it
LARGEST_GROUP = 1 / 32  # groups are not merged beyond this share of the patients, however low the noise

WIDER = 1.05  # by which that share is raised until the groups of many features are few enough
WHOLE = 5  # at this share every feature is one group, beside its missing values: of values a quarter counts

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Answer A, read: unbiased estimates of patients per class and cell.

    Attributes
    ----------
    cells : (C, F) patients per fine cell, unprojected.
    variance : (F,) of each, in patients^2.
    masses : (C,) patients per class.
    masses_std : standard deviation of each.
    s_a : standard deviation of one cell of weight 1.
    """

    cells: NDArray[np.float64]
    variance: NDArray[np.float64]
    masses: NDArray[np.float64]
    masses_std: float
    s_a: float


@dataclass(frozen=True, eq=False)
class Margins:
    """Class-conditional distributions of every feature on its fine cells.

    Attributes
    ----------
    cells : (C, F), each block a distribution.
    masses : (C,) patients per class, summing to n.
    s_a : standard deviation of one cell of the answer that they come from, in patients.
    """

    cells: NDArray[np.float64]
    masses: NDArray[np.float64]
    s_a: float

    @property
    def pooled(self) -> NDArray[np.float64]:
        """(F,) distributions over all classes."""
        return np.asarray(self.masses @ self.cells / self.masses.sum())


def sum_query(encoding: Encoding) -> SumQuery:
    """The question of answer A: runs with weight 1, fine cells 0.7, categories 1, the class sqrt(D/4)."""
    blocks = []
    for column, cells in enumerate(encoding.features):
        fine = tuple(range(cells.size))
        if cells.coarse is not None:
            blocks.append(Block(column, cells.coarse, UNIT))
        blocks.append(Block(column, fine, UNIT if cells.coarse is None else round(FINE * UNIT)))
    return SumQuery(tuple(blocks), round(sqrt(len(encoding.features) / 4) * UNIT), UNIT)


def noise_a(encoding: Encoding, mu2: float) -> float:
    """s_A in patients: sqrt(2) R / mu, R the norm of a record's vector of answer A."""
    return sqrt(2 * sum_query(encoding).bound2 / mu2) / UNIT


def noise_b(features: int, mu2: float) -> float:
    """s_B in patients: sqrt(D(D-1)) / mu."""
    return sqrt(features * (features - 1) / mu2)


def answer_a(vault: Vault, encoding: Encoding, mu2: Fraction) -> Answer:
    """Class centroids on fine cells, through the vault.

    Guarantee
    ---------
    test_sensitivity_of_noisy_sum. mu-GDP for the replacement of one patient, mu^2 = the answer's mu2 <= `mu2`.
    Public: the schema, N.
    """
    return vault.noisy_sum(sum_query(encoding), mu2)


def answer_b(vault: Vault, groups: Groups, mu2: Fraction) -> Answer:
    """All label x group x group tables, through the vault.

    Guarantee
    ---------
    test_sensitivity_of_noisy_second_moment. mu-GDP for the replacement of one patient, mu^2 = the answer's
    mu2 <= `mu2`. Public: the groups (they come from answers A), N.
    """
    return vault.noisy_second_moment(MomentQuery(groups), mu2)


def add_answers(answers: Sequence[Answer]) -> tuple[NDArray[np.float64], float]:
    """Sum of several sites' answers to one question, in patients, and its standard deviation."""
    total = np.sum([answer.estimate for answer in answers], axis=0)
    return total, sqrt(sum(answer.std**2 for answer in answers))


def read_sums(encoding: Encoding, estimate: NDArray[np.float64], s_a: float) -> ClassSums:
    """Least squares of runs and fine cells together; `estimate` is the flat answer A in patients."""
    query = sum_query(encoding)
    flat = estimate.reshape(encoding.label.size, query.width)
    cells, variance, start = [], [], 0
    for feature in encoding.features:
        runs = None
        if feature.coarse is not None:
            size = max(feature.coarse) + 1
            runs, start = flat[:, start : start + size], start + size
        fine, start = flat[:, start : start + feature.size], start + feature.size
        cells.append(fine if runs is None else _least_squares(runs, fine / FINE, feature))
        variance.append(np.full(feature.size, s_a**2 * (1 if runs is None else 1 / FINE**2)))
    weight = query.label_weight / UNIT
    return ClassSums(
        np.concatenate(cells, axis=1), np.concatenate(variance), flat[:, -1] / weight, s_a / weight, s_a
    )


def group_variance(encoding: Encoding, groups: Groups, s_a: float) -> NDArray[np.float64]:
    """Variance that a mixture's fit takes for the patients in each group (G,), in patients^2.

    s_A^2 for each run, or each cell of a feature without runs, that a group touches. A part of a run has up to
    2.04 s_A^2 a cell; taking margins for that uncertain measured no better.
    """
    out = []
    for feature, of in zip(encoding.features, groups, strict=True):
        runs = np.asarray(feature.coarse or range(feature.size))
        touched = np.zeros((max(of) + 1, runs.max() + 1), dtype=bool)
        touched[np.asarray(of), runs] = True
        out.append(s_a**2 * touched.sum(axis=1))
    return np.concatenate(out)


def project(sums: ClassSums, encoding: Encoding, patients: int, prior: Margins | None = None) -> Margins:
    """Distributions near the sums, each class shrunk towards its prior as its noise asks for.

    Two levels. Of the difference between a class and its prior, the part between runs is kept by Wiener's factor,
    signal / (signal + noise), for that is where classes differ; the part within each run, where they seldom do, by
    1 - noise / observed (James, Stein 1961). The prior of a site's class is the same class of all sites (`prior`),
    or else all classes together.
    """
    masses, noise = class_masses(sums, patients), sums.s_a * sqrt(len(sums.cells)) / patients
    out = np.empty_like(sums.cells)
    for feature, block in zip(encoding.features, blocks_of(encoding.sizes), strict=True):
        fine = 1 if feature.coarse is None else FINE
        every = smooth(sums.cells[:, block].sum(axis=0) / patients, feature, noise / fine)
        for c, mass in enumerate(masses):
            base = every if prior is None else prior.cells[c, block]
            own, variance = sums.cells[c, block] / mass, (sums.s_a / mass) ** 2
            runs = feature.coarse
            out[c, block] = simplex(
                _between(own, base, variance) if runs is None else _by_run(own, base, runs, variance)
            )
    return Margins(out, masses, sums.s_a)


def class_masses(sums: ClassSums, patients: int) -> NDArray[np.float64]:
    """(C,) patients per class, summing to `patients`: at least one in each, or half an equal share."""
    floor = min(1 / patients, 0.5 / len(sums.masses))
    return patients * simplex(sums.masses / patients, floor)


def _by_run(
    own: NDArray[np.float64], prior: NDArray[np.float64], coarse: Sequence[int], variance: float
) -> NDArray[np.float64]:
    """`own` around `prior`: first between its runs, then within each of them."""
    runs = np.asarray(coarse)
    total, measured = (np.bincount(runs, cells).astype(np.float64) for cells in (prior, own))
    between = np.maximum(_between(measured, total, variance), 0)
    inside = np.where(total[runs] > 1e-12, prior / np.maximum(total[runs], 1e-12), 1 / np.bincount(runs)[runs])
    shape = between[runs] * inside
    for run in range(len(total)):
        cells = runs == run
        shape[cells] = _within(own[cells], shape[cells], variance / FINE**2)
    return np.asarray(shape)


def _between(own: NDArray[np.float64], prior: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    """Wiener's filter of `own` (k,) around `prior`, for noise of this variance in each.

    The signal's square is what was observed beyond the k - 2 variances of James and Stein, and never more than
    two distributions can differ. To ask for more beyond noise took differences away that models live on.
    """
    difference, k = own - prior, len(own)
    signal = min(max(float(difference @ difference) - max(k - 2, 0) * variance, 0.0), 2.0)
    return prior + difference * (signal / (signal + k * variance) if signal else 0.0)


def _within(own: NDArray[np.float64], prior: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    """`own` (k,), shrunk towards `prior` by what noise may explain of their squared difference (mean + 2 sd).

    It is the prior where the noise of all is more than there is of it.
    """
    difference, k = own - prior, len(own)
    square = float(difference @ difference)
    if square == 0 or k * variance > prior.sum() ** 2:
        return prior
    return prior + difference * max(0.0, 1 - (k + 2 * sqrt(2 * k)) * variance / square)


def choose_groups(encoding: Encoding, margins: Margins, smallest: float, most: int | None = None) -> Groups:
    """Merge fine cells until a group holds this share of the patients; values of released margins only.

    The share is raised until there are at most `most` groups of all features together, by default
    `most_groups_together`. (No share makes fewer than one for each feature and one for a number's missing values.)
    """
    smallest = max(smallest, LARGEST_GROUP)
    most = most_groups_together(encoding) if most is None else most
    groups = _of_share(encoding, margins, smallest)
    while sum(max(of) + 1 for of in groups) > most and smallest < WHOLE:
        smallest *= WIDER
        groups = _of_share(encoding, margins, smallest)
    return groups


def _of_share(encoding: Encoding, margins: Margins, smallest: float) -> Groups:
    blocks = blocks_of(encoding.sizes)
    return tuple(
        _merge_values(margins.pooled[block], max(smallest / 4, 1 / 400))
        if isinstance(cells.column, Category)
        else _merge_runs(margins.pooled[block], smallest, cells)
        for cells, block in zip(encoding.features, blocks, strict=True)
    )


def grouped(cells: NDArray[np.float64], sizes: tuple[int, ...], groups: Groups) -> NDArray[np.float64]:
    """Sums over the fine cells of each group: (..., F) to (..., G)."""
    return cells @ membership(sizes, groups)


def membership(sizes: tuple[int, ...], groups: Groups) -> NDArray[np.float64]:
    """(F, G) 0/1: which group a fine cell belongs to."""
    starts = np.concatenate([[0], np.cumsum([max(of) + 1 for of in groups])])
    out = np.zeros((sum(sizes), int(starts[-1])))
    index = np.concatenate([start + np.asarray(of) for start, of in zip(starts, groups, strict=False)])
    out[np.arange(len(index)), index] = 1
    return out


def blocks_of(sizes: Sequence[int]) -> tuple[slice, ...]:
    """Where each feature's cells stand."""
    ends = np.cumsum(sizes)
    return tuple(slice(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True))


def _least_squares(runs: NDArray[np.float64], fine: NDArray[np.float64], feature: Cells) -> NDArray[np.float64]:
    """Fine cells of variance v = 1/0.49 whose runs were measured with variance 1: spread each run's residual."""
    assert feature.coarse is not None
    of = np.asarray(feature.coarse)
    count = np.bincount(of)
    sums = np.stack([np.bincount(of, row, len(count)) for row in fine])
    share = (1 / FINE**2) / (1 + count / FINE**2)
    return np.asarray(fine + ((runs - sums) * share)[:, of])


def _merge_runs(mass: NDArray[np.float64], smallest: float, cells: Cells) -> tuple[int, ...]:
    """Neighbouring cells in order; the missing slot stays by itself, and so do single heavy cells (atoms).

    A tail of less than half a group's share joins the group before it, atom or not.
    """
    groups, group, held = [], 0, 0.0
    values = len(mass) if cells.missing < 0 else cells.missing
    for cell in range(values):
        if held >= smallest or (held > 0 and mass[cell] >= smallest):
            group, held = group + 1, 0.0
        groups.append(group)
        held += float(mass[cell])
    if held < smallest / 2 and group > 0:
        groups = [min(g, group - 1) for g in groups]
        group -= 1
    return (*groups, *([group + 1] if cells.missing >= 0 else []))


def _merge_values(mass: NDArray[np.float64], smallest: float) -> tuple[int, ...]:
    """Values with little mass share one group, the last."""
    rare = mass < smallest
    if rare.sum() < 2:
        return tuple(range(len(mass)))
    groups = np.where(rare, int((~rare).sum()), np.cumsum(~rare) - 1)
    return tuple(int(g) for g in groups)
