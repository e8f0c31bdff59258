"""Merged bins: fine cells, merged until each bin stands out from the noise. Released values only.

Answer B has a number for each class and each pair of bins, so what a site can hold, sign and send limits how many
bins all columns may have together. The limit is public, and the same at the sites and between them: bins beyond
what the sites accept would be found out in round 2, when round 1 is paid for.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.steps.anonymize import weight_of
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.distributions.simplex import Array

BIN_OF_SCORES = (1 / 30, 1 / 10)  # least and largest share that a bin must hold where tables follow from scores
CLEAR_OF_SCORES = 10.0  # standard deviations of the noise of its own count
LARGEST_GROUP = 1 / 64  # share of the patients up to which cells are merged, however low the noise
MAX_GROUPS = 2000  # most bins of all columns together
MAX_PAIRS = (
    48_000_000  # most numbers of answer B: at 11 bytes each 528 MB; a ledger stores up to 537 MB per answer
)
MAX_MASKED = 6_000_000  # of a joint study, where the answer itself is sent: 66 MB of a message's 67
WIDER = 1.05  # by which a bin's share is raised until many features together have few enough bins
WHOLE = (
    5  # no bin can hold this share, nor a category's value a fourth of it: each feature is one bin (and missing)
)
OF_A_VALUE = 4  # a value of a category has a meaning: it stays by itself from a fourth of a bin's share on


def most_groups_together(encoding: Encoding, numbers: int = MAX_PAIRS) -> int:
    """The most bins that all features together may have; less than MAX_GROUPS only from 24 classes on.

    Parameters
    ----------
    numbers : most numbers of answer B.
    """
    return min(MAX_GROUPS, isqrt(2 * numbers // encoding.label.size))


def fewest_groups(cells: Cells) -> int:
    """The fewest bins of a feature that say anything: two, and the slot of a number's missing values."""
    return min(cells.size, 2 if isinstance(cells.column, Category) or cells.missing < 0 else 3)


def fits_pairs(encoding: Encoding) -> bool:
    """Whether any bins within the limit say anything of every feature."""
    return sum(map(fewest_groups, encoding.features)) <= most_groups_together(encoding)


def choose_groups(encoding: Encoding, margins: Margins, smallest: float, most: int | None = None) -> Groups:
    """Merge fine cells until a bin holds this share of the patients, or LARGEST_GROUP if that is more.

    The share is raised until there are at most `most` bins of all features together, by default
    `most_groups_together`. (No share makes fewer than one for each feature and one for a number's missing values.)
    """
    smallest = max(smallest, LARGEST_GROUP)
    most = most_groups_together(encoding) if most is None else most
    groups = _of_share(encoding, margins, smallest)
    while sum(groups.sizes) > most and smallest < WHOLE:
        smallest *= WIDER
        groups = _of_share(encoding, margins, smallest)
    return groups


def _of_share(encoding: Encoding, margins: Margins, smallest: float) -> Groups:
    return Groups(
        tuple(
            _merge_values(margins.pooled[block], smallest / OF_A_VALUE)
            if isinstance(cells.column, Category)
            else _merge_neighbours(margins.pooled[block], smallest, cells)
            for cells, block in zip(encoding.features, encoding.blocks, strict=True)
        )
    )


def group_variance(encoding: Encoding, groups: Groups, s_a: float) -> Array:
    """Variance that a mixture's fit takes for the patients in each merged bin (G,), in patients^2.

    s_A^2 for each coarse bin that a merged bin touches, or for each fine cell where a feature has no coarse bins.
    A part of a coarse bin has up to 2.04 s_A^2 a cell; taking margins for that uncertain measured no better.
    """
    out = []
    for feature, merged, size in zip(encoding.features, groups, groups.sizes, strict=True):
        weight = feature.weight if feature.coarse is not None else weight_of(feature)
        coarse = np.asarray(feature.coarse or range(feature.size))
        touched = np.zeros((size, coarse.max() + 1), dtype=bool)
        touched[np.asarray(merged), coarse] = True
        out.append((s_a / weight) ** 2 * touched.sum(axis=1))
    return np.concatenate(out)


def _merge_neighbours(mass: Array, smallest: float, cells: Cells) -> tuple[int, ...]:
    """The merged bin of each cell of a number or date: neighbours in order, and the slot for missing by itself.

    A cell that alone holds a bin's share (an atom, such as a zero) is a bin. A tail of less than half that share
    joins the bin before it, atom or not.
    """
    merged, current, held = [], 0, 0.0
    values = len(mass) if cells.missing < 0 else cells.missing
    for cell in range(values):
        if held >= smallest or (held > 0 and mass[cell] >= smallest):
            current, held = current + 1, 0.0
        merged.append(current)
        held += float(mass[cell])
    if held < smallest / 2 and current > 0:
        merged = [min(number, current - 1) for number in merged]
        current -= 1
    return (*merged, *([current + 1] if cells.missing >= 0 else []))


def _merge_values(mass: Array, smallest: float) -> tuple[int, ...]:
    """The merged bin of each value of a category: those with little mass share the last one."""
    rare = mass < smallest
    if rare.sum() < 2:
        return tuple(range(len(mass)))
    merged = np.where(rare, int((~rare).sum()), np.cumsum(~rare) - 1)
    return tuple(int(number) for number in merged)
