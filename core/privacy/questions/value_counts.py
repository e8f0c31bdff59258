"""Value counts, answer D: how many patients have each value within chosen cells, on edges of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.lattice import Rows, chunks, counted, slots_of
from cohortmix.core.privacy.questions.plain_data import require_least, require_plain

UNIT = 1 << 20  # lattice steps of a patient
NOWHERE = -1  # slot of what is not counted


@dataclass(frozen=True, slots=True)
class Values:
    """A number or date, feature `column`, read on edges of its own in place of the schema's.

    `edges` / `denominator` ascend; `slots` has an entry for each interval between and beyond them, NOWHERE for one
    that is not counted.
    """

    column: int
    edges: tuple[int, ...]
    denominator: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """Sum over patients, of all classes together, of z: for each of `values` a one-hot block of its slots.

    Guarantee
    ---------
    test_sensitivity_of_value_counts. Steps are those of the proof in `core/README.md`. A value is compared with
    edges that are part of the question, so public (step 1). A record's z has non-negative entries and |z| <= B,
    B^2 the number of blocks, since it is counted in one slot of each at most (step 2), and so has what a patient
    adds (rows weighted 1/m, step 3).
    Replacing one patient moves the answer by at most sqrt(2) B (step 4, cells): mu-GDP with mu^2 = 2 B^2 /
    sigma^2, sigma in patients. Public: the question, N.
    """

    NAME: ClassVar = "value counts"
    values: tuple[Values, ...]

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data, of features that there are, each once, on edges that ascend."""
        require_plain(self)
        columns = [each.column for each in self.values]
        if not columns or sorted(columns) != sorted(set(columns).intersection(range(len(sizes)))):
            raise ValueError(f"expected one feature or more of {len(sizes)}, each once, got {columns}")
        require_least(1, "denominators", (each.denominator for each in self.values))
        require_least(NOWHERE, "slots", (slot for each in self.values for slot in each.slots))
        for each, (_, edges) in zip(self.values, self.grid, strict=True):
            if len(each.slots) != len(edges) + 1 or not edges or not 0 <= max(each.slots) < len(edges) + 1:
                raise ValueError("expected a slot for each interval between edges and beyond, one of which counts")
            if any(not low < high for low, high in pairwise(edges)):
                raise ValueError("expected edges that ascend")

    @property
    def grid(self) -> tuple[tuple[int, tuple[float, ...]], ...]:
        """The edges on which each feature is read."""
        return tuple((each.column, tuple(edge / each.denominator for edge in each.edges)) for each in self.values)

    @property
    def unit(self) -> int:
        """Lattice steps of a patient."""
        return UNIT

    @property
    def bound2(self) -> int:
        """B^2, the largest squared norm of a record's z, in steps^2."""
        return len(self.values) * UNIT**2

    def sensitivity2(self, cap: int) -> int:
        """2 B^2, whatever the cap on rows."""
        return 2 * self.bound2

    @property
    def largest(self) -> int:
        """One patient in one slot."""
        return UNIT

    def dimension(self, classes: int) -> int:
        """All slots of all blocks, whatever the classes."""
        return sum(max(each.slots) + 1 for each in self.values)

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """The sum of z / m over the rows; (dimension,)."""
        sums = [np.zeros(max(each.slots) + 1, dtype=np.int64) for each in self.values]
        for codes, _, parts in chunks(rows, 1, UNIT):
            share = (UNIT // parts).astype(np.float64)
            for total, each in zip(sums, self.values, strict=True):
                slots = slots_of(codes[:, each.column], (*each.slots, NOWHERE))  # the last cell is `missing`
                total += counted(slots, share, len(total) + 1)[:-1]
        return np.concatenate(sums)
