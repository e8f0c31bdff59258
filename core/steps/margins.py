"""Margins: distributions near answer A, each class as far from its prior as its counts say and noise permits.

Where answer B is about scores, the class means of the scores count as well (`scores/class_means.py`).

Released values only. A class differs from its prior by a factor for each run of cells, a Gaussian process on the
ranks of a number, independent for the values of a category (`log_density`). How far, is one of a few TAU, whose
weights all classes and columns tell together (`mixing`). Where the prior has nothing, noise adds nothing; what
stands out all the same is taken as it was counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.steps.anonymize import ClassSums, weight_of
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.distributions.log_density import Shares, fits
from cohortmix.core.steps.distributions.mixing import posteriors
from cohortmix.core.steps.distributions.simplex import Array, class_masses
from cohortmix.core.steps.distributions.smooth import smooth, standing_out
from cohortmix.core.steps.scores.class_means import ClassMeans

ONE_THREAD = ThreadpoolController()  # matrices so small are slower on several threads
TAU = (2.5, 1.0, 0.4, 0.15, 0.05)  # how far a class's log density may be from its prior
RUN = 1 / 64  # share of the patients in a run of cells of a number, of which a class has one factor
VALUE = 1 / 256  # share of a value of a category that has a factor by itself
NEAREST = 1e-4  # ranks between two runs, at least
CLEAR = 8.0  # standard deviations by which a class's cell differs that is taken as it was counted
RAKINGS = 3  # by which the classes together become what all of them are
RIDGE = 0.02  # precision of a factor itself, beside those of differences of neighbours


def project(
    sums: ClassSums,
    encoding: Encoding,
    patients: int,
    prior: Margins | None = None,
    means: Sequence[ClassMeans] | None = None,
) -> Margins:
    """Class-conditional distributions of every feature near the sums.

    Parameters
    ----------
    sums : answer A, read.
    patients : n, of all classes together.
    prior : what each class is shrunk towards, such as the same class at all sites; by default all classes pooled,
        or a slice and the one beside it together, which in turn are shrunk towards more of them (`_coarser`).
    means : of the scores of each feature, where they were measured as well.
    """
    if prior is None:
        prior = _coarser(sums, encoding, patients, means)
    masses, out, fitted = class_masses(sums.masses, patients), np.empty_like(sums.cells), []
    with ONE_THREAD.limit(limits=1, user_api="blas"):
        for j, (feature, block) in enumerate(zip(encoding.features, encoding.blocks, strict=True)):
            possible, base = encoding.possible[j], None if prior is None else prior.cells[:, block]
            counted, std = _possible(sums.cells[:, block], possible), _noise(sums, feature, encoding)
            if base is None:
                base = _pooled(counted, float(std.max()), feature, patients, possible)
            of_scores = None if means is None or feature.name in encoding.sliced else means[j]
            if feature.name in encoding.sliced and prior is not None and sums.summed.max() > 1:
                out[:, block] = base  # a smooth factor cannot end where a slice does; `possible` can
                continue
            shares = _shares(counted, masses, std, feature, of_scores)
            for c, of_class in enumerate(zip(shares, _within(base, possible), strict=True)):
                fitted.append((c, block, of_class[0], *_by_tau(*of_class, feature)))
        by_tau = posteriors(np.array([evidence for *_, evidence in fitted]).reshape(-1, len(TAU)))
        for (c, block, shares_of_class, found, _), of_tau in zip(fitted, by_tau, strict=True):
            out[c, block] = standing_out(of_tau @ found, shares_of_class.x, CLEAR * shares_of_class.std)
    for possible, block in zip(encoding.possible, encoding.blocks, strict=True):
        out[:, block] = _within(out[:, block], possible)
    return Margins(cells=out, masses=masses, s_a=sums.s_a)


def _noise(sums: ClassSums, feature: Cells, encoding: Encoding) -> Array:
    """(C,) standard deviation of a coarse bin of each class, in patients.

    Of the outcome's own column, a class counts the cells of its own slices alone, with no other's noise.
    """
    summed = np.ones(len(sums.summed)) if feature.name in encoding.sliced else np.sqrt(sums.summed)
    return np.asarray(sums.s_a / feature.weight * summed)


def _shares(counted: Array, masses: Array, std: Array, feature: Cells, means: ClassMeans | None) -> list[Shares]:
    """Of each class, what was measured: cells, coarse bins and the means of scores."""
    weight = weight_of(feature) / feature.weight
    shares = [
        Shares.of(cells / mass, s_a / mass, feature.coarse, weight)
        for cells, mass, s_a in zip(counted, masses, std, strict=True)
    ]
    if means is None:
        return shares
    return [of.with_means(means.functions, *own) for of, *own in zip(shares, means.means, means.std, strict=True)]


def raked(margins: Margins, pooled: Array, encoding: Encoding) -> Margins:
    """Margins near these, whose classes together have the pooled distributions (F,) (Deming, Stephan 1940).

    What is known of all patients is not moved by what is measured of the differences between classes.
    """
    cells, share = margins.cells, margins.masses / margins.masses.sum()
    for _ in range(RAKINGS):
        together = share @ cells
        cells = cells * np.divide(pooled, together, out=np.ones_like(pooled), where=together > 0)
        cells = np.concatenate(
            [cells[:, block] / cells[:, block].sum(axis=1, keepdims=True) for block in encoding.blocks], axis=1
        )
    return Margins(cells=cells, masses=margins.masses, s_a=margins.s_a)


def _coarser(
    sums: ClassSums, encoding: Encoding, patients: int, means: Sequence[ClassMeans] | None
) -> Margins | None:
    """Margins of each class that are those of its slice and the one beside it together; None if that is everybody.

    Outcomes change little from a slice to the next, and what two of them say together is less noisy: slices are
    merged by twos until there is one, of a time to an event one for each value of the event.
    """
    if not encoding.sliced:
        return None
    values = encoding.label.size // (max(encoding.label.parts[-1]) + 1)  # of the event
    slices = len(sums.masses) // values
    if slices == 1 or slices * values == 2:
        return None
    value, number = np.divmod(np.arange(len(sums.masses)), slices)
    group = value * -(-slices // 2) + number // 2
    together = (group == np.arange(group.max() + 1)[:, None]).astype(np.float64)  # (groups, classes)
    masses = class_masses(sums.masses, patients)
    weight = together * masses / (together @ masses)[:, None]
    finest = len(sums.masses) == encoding.label.size
    coarser = ClassSums(
        cells=together @ (np.where(_all_possible(encoding), sums.cells, 0.0) if finest else sums.cells),
        masses=together @ masses,
        masses_std=sums.masses_std,
        s_a=sums.s_a,
        summed=np.bincount(group, sums.summed).astype(np.int64),
    )
    averaged = means and [
        ClassMeans(of.functions, weight @ of.means, np.sqrt(weight**2 @ of.std**2)) for of in means
    ]
    everywhere = replace(encoding, possible=(None,) * len(encoding.features))
    found = project(coarser, everywhere, patients, None, averaged)
    return Margins(cells=found.cells[group], masses=masses, s_a=coarser.s_a)


def _all_possible(encoding: Encoding) -> NDArray[np.bool_]:
    """(C, F) of all features side by side."""
    every = (encoding.label.size, 1)
    return np.concatenate(
        [
            np.ones((every[0], cells.size), dtype=bool) if possible is None else possible
            for cells, possible in zip(encoding.features, encoding.possible, strict=True)
        ],
        axis=1,
    )


def _possible(cells: Array, possible: NDArray[np.bool_] | None) -> Array:
    """(C, m) without what a record of a class cannot have: a time of another slice."""
    return cells if possible is None else np.where(possible, cells, 0.0)


def _within(cells: Array, possible: NDArray[np.bool_] | None) -> Array:
    """Distributions (C, m) within what is possible: equal ones where they have nothing there."""
    if possible is None:
        return cells
    kept = np.where(possible, cells, 0.0)
    kept = np.where(kept.sum(axis=1, keepdims=True) > 0, kept, possible)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def _pooled(own: Array, s_a: float, feature: Cells, patients: int, possible: NDArray[np.bool_] | None) -> Array:
    """(C, m) the same distribution for each class: that of all of them together."""
    classes = len(own) if possible is None else int(possible.sum(axis=0).max())
    noise = s_a * sqrt(classes) / patients
    pooled = smooth(own.sum(axis=0) / patients, feature, noise, weight_of(feature) / feature.weight)
    return np.tile(pooled, (len(own), 1))


def _by_tau(shares: Shares, base: Array, feature: Cells) -> tuple[Array, Array]:
    """The distribution of one class for each TAU, (T, m), and how likely what was measured is under it, (T,)."""
    runs, differences = _runs(base, feature)
    found = list(fits(shares, base, runs, [differences / tau**2 for tau in TAU]))
    return np.stack([p for p, _ in found]), np.array([evidence for _, evidence in found])


def _runs(base: Array, feature: Cells) -> tuple[Array, Array]:
    """Runs of cells (k, m), and the precision (k, k) of their factors for tau of 1."""
    if isinstance(feature.column, Category):
        alone = base >= VALUE
        number = np.where(alone, np.cumsum(alone) - 1, alone.sum())
        runs = (number == np.arange(number.max() + 1)[:, None]).astype(np.float64)
        return runs, np.eye(len(runs))
    values = len(base) - (feature.missing >= 0)
    before = np.cumsum(base[:values]) - base[:values] / 2
    number = np.unique(np.floor(before / RUN), return_inverse=True)[1]
    runs = (number == np.arange(number.max() + 1)[:, None]).astype(np.float64)
    mass = runs @ base[:values]
    apart = (mass[1:] + mass[:-1]) / 2 + NEAREST
    step = np.diff(np.eye(len(runs)), axis=0) / np.sqrt(apart)[:, None]
    if values == len(base):
        return runs, step.T @ step + RIDGE * np.eye(len(runs))
    runs = np.block([[runs, np.zeros((len(runs), 1))], [np.zeros((1, values)), np.ones((1, 1))]])
    precision = np.eye(len(runs))
    precision[:-1, :-1] = step.T @ step + RIDGE * np.eye(len(runs) - 1)
    return runs, precision
