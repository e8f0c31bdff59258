"""Signs: each feature's values in two halves, -1 and 1, and of which features products are asked.

The parity of three features of two values is the sign of their product, and no table of two of them shows it.
Signs are functions of merged bins, so that a record drawn as bins has the sign of the value that it is given.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.sign_products import SignProducts

Array = NDArray[np.float64]

SIZES = (3, 4, 5)  # features of a product; of two, the pair tables know it
COMMON = 0.1  # least share of the patients with either sign: a product with a rare side is nearly that without it


def most_subsets(features: int) -> int:
    """How many subsets of these sizes there are."""
    return sum(comb(features, size) for size in SIZES)


def choose(
    encoding: Encoding, groups: Groups, joint: Array, known: NDArray[np.bool_], most: int
) -> SignProducts | None:
    """All products of three features, then of four, then of five, as far as at most `most` are asked.

    Parameters
    ----------
    joint : (C, G) released shares of the patients, of each class and merged bin; each block sums to one.
    known : (D,) whether the values of a feature are known of everybody; else a product would count as 0.
    most : public bound on their number.

    Returns
    -------
    SignProducts, or None where not even the products of three are few enough, or there is none.
    """
    halves = [
        _halves(joint[:, block], isinstance(cells.column, Category), _missing_bin(cells.missing, merged))
        for cells, merged, block in zip(encoding.features, groups, groups.blocks, strict=True)
    ]
    mass = [
        np.bincount(half + 1, joint[:, block].sum(axis=0), 3)
        for half, block in zip(halves, groups.blocks, strict=True)
    ]
    entering = [j for j, (left, _, right) in enumerate(mass) if known[j] and min(left, right) >= COMMON]
    subsets: list[tuple[int, ...]] = []
    for size in SIZES:
        if len(subsets) + comb(len(entering), size) > most:
            break
        subsets += combinations(entering, size)
    if not subsets:
        return None
    signs = tuple(tuple(half[list(merged)].tolist()) for half, merged in zip(halves, groups, strict=True))
    return SignProducts(signs, tuple(sorted(subsets)))


def _missing_bin(missing: int, merged: tuple[int, ...]) -> int:
    """The merged bin of a number's missing values; -1 where there is none."""
    return merged[missing] if missing >= 0 else -1


def _halves(joint: Array, category: bool, missing: int) -> NDArray[np.int64]:
    """(m,) the sign of each merged bin of a feature: numbers below and above the median, as nearly as bins allow.

    Values of a category are ordered by the share of the first class among those who have them: halves that differ
    in the outcome say most of how it comes about.
    """
    mass = joint.sum(axis=0)
    order = np.argsort(joint[0] / np.maximum(mass, 1e-12), kind="stable") if category else np.arange(len(mass))
    order = order[order != missing]
    signs = np.zeros(len(mass), dtype=np.int64)
    if len(order) > 1:
        below = np.cumsum(mass[order])
        cut = int(np.argmin(np.abs(below[:-1] - below[-1] / 2)))
        signs[order[: cut + 1]], signs[order[cut + 1 :]] = -1, 1
    return signs
