"""Merged bins: fine cells, merged until each bin stands out from the noise. Released values only."""

from __future__ import annotations

import numpy as np

from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Category
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.simplex import Array

LARGEST_GROUP = 1 / 32  # share of the patients up to which cells are merged, however low the noise
OF_A_VALUE = 4  # a value of a category has a meaning: it stays by itself from a fourth of a bin's share on


def choose_groups(encoding: Encoding, margins: Margins, smallest: float) -> Groups:
    """Merge fine cells until a bin holds this share of the patients, or LARGEST_GROUP if that is more."""
    smallest = max(smallest, LARGEST_GROUP)
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
        coarse = np.asarray(feature.coarse or range(feature.size))
        touched = np.zeros((size, coarse.max() + 1), dtype=bool)
        touched[np.asarray(merged), coarse] = True
        out.append(s_a**2 * touched.sum(axis=1))
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
