"""Level sums: the sum of clipped signed numbers, of each class with its mass or of all patients together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.coordinates import Coordinate, largest_norm2, levels_of
from cohortmix.core.privacy.questions.lattice import LIMIT, Rows, chunks, clip_rows, divide
from cohortmix.core.privacy.questions.plain_data import require_least, require_maps, require_plain


@dataclass(frozen=True, slots=True)
class LevelSum:
    """Sum over patients of x, clipped to |x| <= radius; by class, of onehot(y) (x) [x, label_weight].

    With `label_weight` 0 it is one vector for all classes together. Radius and weight are in lattice steps;
    `unit` steps are a level of 1.

    Guarantee
    ---------
    test_sensitivity_of_level_sum. Steps are those of the proof in `core/README.md`. |x| <= R (clipped, step 2).
    With rows weighted 1/m (step 3), a patient adds a convex combination of 0 and of points onehot(y) (x) [x, v],
    w - e <= v <= w, e = min(cap - 1, w) steps for what division cuts off the label entry w. Two such points are at
    most sqrt(4 R^2 + e^2) apart in one class and sqrt(2 (R^2 + w^2)) in two (step 4, signed numbers), hence
    Delta^2, the larger square: mu-GDP with mu^2 = Delta^2 / sigma^2. Public: the question, N, the cap on rows.
    """

    NAME: ClassVar = "level sum"
    coordinates: tuple[Coordinate, ...]
    radius: int
    label_weight: int
    unit: int

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data that maps every cell, with levels that keep squared norms in 62 bits."""
        require_plain(self)
        require_maps(((x.column, x.levels) for x in self.coordinates), sizes)
        require_least(1, "radius and unit", (self.radius, self.unit))
        require_least(0, "a label_weight", (self.label_weight,))
        if max(self.bound2, largest_norm2(self.coordinates)) >= LIMIT:
            raise OverflowError(f"the levels of {len(self.coordinates)} coordinates are too large for 62 bits")

    @property
    def by_class(self) -> bool:
        """Whether each class has a sum, with its mass as the last entry."""
        return self.label_weight > 0

    @property
    def width(self) -> int:
        """Entries of a sum."""
        return len(self.coordinates) + self.by_class

    @property
    def bound2(self) -> int:
        """B^2 = R^2 + w^2, the largest squared norm of a record's vector, in steps^2."""
        return self.radius**2 + self.label_weight**2

    def sensitivity2(self, cap: int) -> int:
        """The larger of 4 R^2 + e^2, within a class, and 2 B^2, from one class to another."""
        cut = min(cap - 1, self.label_weight)
        return max(4 * self.radius**2 + cut**2, 2 * self.bound2)

    @property
    def largest(self) -> int:
        """A whole radius, or the label entry."""
        return max(self.radius, self.label_weight)

    def dimension(self, classes: int) -> int:
        """One sum, or one for each class."""
        return (classes if self.by_class else 1) * self.width

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """The sum of [x, label_weight] / m over the rows, x clipped to R; (dimension,)."""
        total = np.zeros((classes if self.by_class else 1, self.width), dtype=np.int64)
        for codes, label, parts in chunks(rows, self.width):
            z = np.full((len(codes), self.width), self.label_weight, dtype=np.int64)
            z[:, : len(self.coordinates)] = clip_rows(levels_of(codes, self.coordinates), self.radius**2)
            z = divide(z, parts)
            for c in range(len(total)):
                total[c] += z[label == c].sum(axis=0) if self.by_class else z.sum(axis=0)
        return total.ravel()
