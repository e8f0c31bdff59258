"""Class-conditional marginals, answer A: how many patients of each class are in each cell of each feature."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.lattice import LIMIT, Rows, chunks, counted, slots_of
from cohortmix.core.privacy.questions.plain_data import require_least, require_maps, require_plain


@dataclass(frozen=True, slots=True)
class Block:
    """One-hot block: feature `column`, its fine cells mapped to slots, and its weight.

    `slots[cell]` is the slot of a fine cell; `weight` is in lattice steps.
    """

    column: int
    slots: tuple[int, ...]
    weight: int

    @property
    def size(self) -> int:
        """Number of slots."""
        return max(self.slots) + 1


@dataclass(frozen=True, slots=True)
class ClassMarginals:
    """Sum over patients of z = onehot(y) (x) [weighted one-hot blocks, label_weight].

    Weights are in lattice steps; `unit` steps are one patient.

    Guarantee
    ---------
    test_sensitivity_of_class_marginals. Steps are those of the proof in `core/README.md`. A record's z has
    non-negative entries and |z| <= B, since it is counted in one slot of each block at most (step 2), and so has
    what a patient adds (rows weighted 1/m, step 3). Replacing one patient moves the answer by at most sqrt(2) B
    (step 4, cells): mu-GDP with mu^2 = 2 B^2 / sigma^2. Public: the question, N.
    """

    NAME: ClassVar = "sum"
    blocks: tuple[Block, ...]
    label_weight: int
    unit: int

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data that maps every cell, with weights that keep squared norms in 62 bits."""
        require_plain(self)
        require_maps(((block.column, block.slots) for block in self.blocks), sizes)
        require_least(0, "slots", (slot for block in self.blocks for slot in block.slots))
        require_least(1, "weights and unit", (self.unit, *self.entries))
        if self.bound2 >= LIMIT:
            raise OverflowError(f"the weights of {len(self.blocks)} blocks are too large for 62 bits")

    @property
    def entries(self) -> tuple[int, ...]:
        """The most that one patient adds to each entry of a class: every block's slots, then the label mass."""
        return (*(block.weight for block in self.blocks for _ in range(block.size)), self.label_weight)

    @property
    def width(self) -> int:
        """Entries per class."""
        return len(self.entries)

    @property
    def bound2(self) -> int:
        """B^2, the largest squared norm of a record's z, in steps^2."""
        return sum(block.weight**2 for block in self.blocks) + self.label_weight**2

    def sensitivity2(self, cap: int) -> int:
        """2 B^2, whatever the cap on rows."""
        return 2 * self.bound2

    @property
    def largest(self) -> int:
        """The heaviest weight."""
        return max(self.entries)

    def dimension(self, classes: int) -> int:
        """Every class has all entries."""
        return classes * self.width

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """Per class, the sum of z / m over the rows; (classes x width,)."""
        total = np.zeros((classes, self.width), dtype=np.int64)
        for codes, label, parts in chunks(rows, 1, self.largest):
            share = {weight: (weight // parts).astype(np.float64) for weight in set(self.entries)}
            first = 0
            for block in self.blocks:
                slots, size = slots_of(codes[:, block.column], block.slots), block.size + 1
                sums = counted(label * size + slots, share[block.weight], classes * size)
                total[:, first : first + block.size] += sums.reshape(classes, size)[:, :-1]
                first += block.size
            total[:, -1] += counted(label, share[self.label_weight], classes)
        return total.ravel()
