"""Class-conditional pair tables, answer B: how many patients of each class are in each pair of groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.lattice import (
    MOMENT_UNIT,
    Rows,
    chunks,
    clip_rows,
    divide_by_root,
    one_hot_entries,
    products,
)
from cohortmix.core.privacy.questions.plain_data import require_least, require_maps, require_plain


@dataclass(frozen=True, slots=True)
class PairTables:
    """Sum over patients of psi psi^T within each class, upper off-diagonal blocks only.

    `groups[j][cell]` is the group of a fine cell of feature j; psi has one one-hot block per feature, Q of them.

    Guarantee
    ---------
    test_sensitivity_of_pair_tables. Steps are those of the proof in `core/README.md`. psi has non-negative entries
    and |psi|^2 <= Q (clipped, step 2), hence sum_{i<j} |psi_i|^2 |psi_j|^2 <= Q(Q-1)/2 (Maclaurin). A patient's
    rows enter as psi / sqrt(m) (step 3). Replacing one patient moves the answer by at most sqrt(Q(Q-1)) (step 4,
    cells): mu-GDP with mu^2 = Q(Q-1) / sigma^2, sigma in patients. Public: the question, N.
    """

    NAME: ClassVar = "second moment"
    groups: tuple[tuple[int, ...], ...]

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data that maps every cell of two features or more."""
        require_plain(self)
        require_maps(enumerate(self.groups), sizes)
        require_least(0, "slots", (group for groups in self.groups for group in groups))
        if len(self.groups) < 2:
            raise ValueError(f"a second moment needs two features or more, got {len(self.groups)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Groups per feature; their sum is G."""
        return tuple(max(groups) + 1 for groups in self.groups)

    @property
    def pairs(self) -> NDArray[np.bool_]:
        """(G, G), true where row and column belong to two features, the row's coming first."""
        feature = np.repeat(np.arange(len(self.groups)), self.sizes)
        return feature[:, None] < feature[None, :]

    @property
    def unit(self) -> int:
        """Lattice steps of a patient in a pair of cells."""
        return MOMENT_UNIT**2

    def sensitivity2(self, cap: int) -> int:
        """Q(Q-1), whatever the cap on rows."""
        q = len(self.groups)
        return q * (q - 1) * self.unit**2

    @property
    def largest(self) -> int:
        """One patient in one pair of cells."""
        return self.unit

    def dimension(self, classes: int) -> int:
        """Every class has all pairs of groups of two features."""
        return classes * (sum(self.sizes) ** 2 - sum(size**2 for size in self.sizes)) // 2

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """Per class, the sum of psi psi^T / m over the rows, psi clipped to sqrt(Q); (dimension,)."""
        width, bound2 = sum(self.sizes), len(self.groups) * MOMENT_UNIT**2
        total = np.zeros((classes, width, width), dtype=np.int64)
        blocks = [(feature, groups, MOMENT_UNIT) for feature, groups in enumerate(self.groups)]
        for codes, label, parts in chunks(rows, width, bound2):
            places, entries = one_hot_entries(codes, blocks)
            psi = np.zeros((len(codes), width), dtype=np.int64)
            np.put_along_axis(psi, places, divide_by_root(clip_rows(entries, bound2), parts), axis=1)
            for c in range(classes):
                total[c] += products(psi[label == c])
        return total[:, self.pairs].ravel()
