"""Interval: how sure the difference of two models is, by a figure of both on the same real records.

Not private, as every figure on real records (`evaluate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054  # of the standard normal law: 95 % lie within +-Z95


@dataclass(frozen=True)
class Difference:
    """By how much the second figure is above the first, with the bounds of a 95 % interval.

    An interval that holds zero is within chance: with other patients held out there could have been no difference.
    """

    estimate: float
    low: float
    high: float


def auc_difference(
    label: NDArray[np.int64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    patients: NDArray[np.int64] | None = None,
) -> Difference | None:
    """The difference AUC(second) - AUC(first) on the same records; nothing random, the same input gives the same.

    An AUC is a mean over pairs of a member and another record. Each record has a share in it, and the shares of
    one patient vary together, so the variance of the difference is the sum over patients of their squared shares
    (DeLong, DeLong and Clarke-Pearson 1988; Obuchowski 1997 for several records of a patient). The interval says
    how far the figure depends on which patients were held out. It is for these two models as they are trained:
    another run of the noise gives others.

    Parameters
    ----------
    label : (n,) class of each record, in 0..C-1.
    first, second : (n, C) scores of the two models; for C > 2 an AUC is the mean of each class against the rest.
    patients : (n,) number of the patient of each record; by default every record is a patient.

    Returns
    -------
    None where no class has both members and others, so that no AUC is defined. Where a class has a single member,
    or all but one, nothing can be said about how far the figure varies, and the interval is [-1, 1].
    """
    classes = [c for c in range(first.shape[1]) if 0 < np.count_nonzero(label == c) < len(label)]
    if first.shape[1] == 2:
        classes = classes[-1:]
    if not classes:
        return None
    ranked = {c: _placements(label == c, second[:, c]) - _placements(label == c, first[:, c]) for c in classes}
    estimate = float(np.mean([ranked[c][label == c].mean() for c in classes]))
    sides = [(ranked[c], side) for c in classes for side in (label == c, label != c)]
    if min(np.count_nonzero(side) for _, side in sides) < 2:
        return Difference(estimate, -1.0, 1.0)
    shares = sum((_shares(values, side) for values, side in sides), np.zeros(len(label))) / len(classes)
    by_patient = shares if patients is None else np.bincount(patients, shares)
    half = Z95 * float(np.linalg.norm(by_patient))
    return Difference(estimate, max(-1.0, estimate - half), min(1.0, estimate + half))


def ratio_difference(
    gained: NDArray[np.float64],
    possible: NDArray[np.float64],
    terms: int,
    patients: NDArray[np.int64] | None = None,
) -> Difference | None:
    """The difference of two figures of one denominator, as R^2 or concordances are: sum(gained) / sum(possible).

    By the delta method each record has the share terms (gained - difference possible) / sum(possible) in its error
    (Hoeffding 1948 for pairs), and the shares of one patient vary together.

    Parameters
    ----------
    gained, possible : (n,) what each record adds to the difference of the numerators, and to the denominator.
    terms : of how many records a term of the sums is, which is counted for each of them: 1, or 2 for pairs.
    patients : (n,) number of the patient of each record; by default every record is a patient.

    Returns
    -------
    None where the denominator is zero, or where there is one patient.
    """
    total = float(possible.sum())
    if total <= 0:
        return None
    estimate = float(gained.sum()) / total
    shares = terms * (gained - estimate * possible) / total
    by_patient = shares if patients is None else np.bincount(np.unique(patients, return_inverse=True)[1], shares)
    number = len(by_patient)
    if number < 2:
        return None
    half = Z95 * float(np.linalg.norm(by_patient)) * float(np.sqrt(number / (number - 1)))
    return Difference(estimate, estimate - half, estimate + half)


def _placements(member: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each member, the share of the others that it is ranked above; for each other, the members above it.

    Ties count half. Over the members, and over the others, their mean is the AUC.
    """
    from scipy.stats import (
        rankdata,
    )  # imported here: it takes a while, and a server loads this module at its start

    among_all, placed = rankdata(scores), np.empty(len(scores))
    members = np.count_nonzero(member)
    placed[member] = (among_all[member] - rankdata(scores[member])) / (len(scores) - members)
    placed[~member] = 1 - (among_all[~member] - rankdata(scores[~member])) / members
    return placed


def _shares(values: NDArray[np.float64], side: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The part that each of the m records of a side has in the error of their mean.

    Their squares add up to the variance of the mean, S^2 / m.
    """
    size = np.count_nonzero(side)
    return np.asarray(np.where(side, values - values[side].mean(), 0.0) / np.sqrt(size * (size - 1)))
