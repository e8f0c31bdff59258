"""Class-conditional pair tables, answer B: how many patients of each class are in each pair of groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.lattice import (
    MOMENT_UNIT,
    Rows,
    chunks,
    counted,
    divide_by_root,
    slots_of,
)
from cohortmix.core.privacy.questions.plain_data import require_least, require_maps, require_plain

Counts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairTables:
    """Sum over patients of psi psi^T within each class, upper off-diagonal blocks only.

    `groups[j][cell]` is the group of a fine cell of feature j; psi has one one-hot block per feature, Q of them.

    Guarantee
    ---------
    test_sensitivity_of_pair_tables. Steps are those of the proof in `core/README.md`. psi has non-negative entries
    and |psi|^2 <= Q, since it is 1 in one slot of each feature at most (step 2), hence
    sum_{i<j} |psi_i|^2 |psi_j|^2 <= Q(Q-1)/2 (Maclaurin). A patient's rows enter as psi / sqrt(m) (step 3).
    Replacing one patient moves the answer by at most sqrt(Q(Q-1)) (step 4, cells): mu-GDP with
    mu^2 = Q(Q-1) / sigma^2, sigma in patients. Public: the question, N.
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
        """Per class, the sum of psi psi^T / m over the rows; (dimension,).

        An entry of it is a number of rows in a pair of slots, times what a row adds there. So rows are counted by
        pairs of columns: the work does not grow with the number of groups, as that of a matrix product would.
        """
        sizes, bound2 = self.sizes, len(self.groups) * MOMENT_UNIT**2
        totals = [np.zeros((classes, size, sum(sizes[j + 1 :])), dtype=np.int64) for j, size in enumerate(sizes)]
        for codes, label, parts in chunks(rows, len(sizes), bound2):
            root = divide_by_root(np.full((len(label), 1), MOMENT_UNIT), parts)[:, 0]
            shares = (root * root).astype(np.float64)
            slots = [(slots_of(codes[:, j], groups), sizes[j]) for j, groups in enumerate(self.groups)]
            for j, total in enumerate(totals):
                _add_pairs(total, label * (sizes[j] + 1) + slots[j][0], slots[j + 1 :], shares)
        return np.concatenate([total[c].ravel() for c in range(classes) for total in totals])


def _add_pairs(
    total: Counts, places: Counts, later: Sequence[tuple[Counts, int]], shares: NDArray[np.float64]
) -> None:
    """Add the tables of a feature with later ones, each with slots and size, to `total` (classes, size, G).

    A place is a class and a slot of the feature; one of each class stands for rows that have no slot.
    """
    classes, height, first = len(total), total.shape[1] + 1, 0
    for slots, size in later:
        sums = counted(places * (size + 1) + slots, shares, classes * height * (size + 1))
        total[:, :, first : first + size] += sums.reshape(classes, height, size + 1)[:, :-1, :-1]
        first += size
