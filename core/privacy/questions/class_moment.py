"""Class moments: the second moment, sum and mass of clipped projections within each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.coordinates import DIAGONAL, Coordinate, levels_of, upper, weights
from cohortmix.core.privacy.questions.lattice import (
    EXACT,
    LIMIT,
    Rows,
    chunks,
    clip_rows,
    divide_by_root,
    products,
)
from cohortmix.core.privacy.questions.plain_data import require_least, require_maps, require_plain


@dataclass(frozen=True, slots=True)
class ClassMoment:
    """Within each class, sum over patients of psi psi^T, psi = [z, label_weight]: upper triangles, weighted.

    z = A x / divisor truncated towards zero, then clipped to |z| <= radius; x are the coordinates, the D rows of A
    the `directions`. The last column of a class holds its sum of z, the last entry its mass. Radius and weight in
    lattice steps; `level_unit` steps of z are 1.

    Guarantee
    ---------
    test_sensitivity_of_class_moment. Steps are those of the proof in `core/README.md`. psi = [z, w] with |z| <= R
    (projected by public integers, then clipped, step 2), so |psi|^2 <= B^2 = R^2 + w^2, and a patient's rows enter
    as psi / sqrt(m), each in its class (step 3): it adds a block diagonal, positive semidefinite M of trace and
    thus Frobenius norm <= B^2. Two such matrices have a non-negative inner product, so they are at most
    sqrt(2) B^2 apart, in one class or in two. The answer holds b M_ii and a M_ij, i < j, with a^2 <= 2 b^2:
    replacing one patient moves it by at most sqrt(2) b B^2 (step 4, signed numbers). Public: the question, N.
    """

    NAME: ClassVar = "class second moment"
    coordinates: tuple[Coordinate, ...]
    directions: tuple[tuple[int, ...], ...]
    divisor: int
    radius: int
    label_weight: int
    level_unit: int

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data that maps every cell, with products that are exact."""
        require_plain(self)
        require_maps(((x.column, x.levels) for x in self.coordinates), sizes)
        if {len(row) for row in self.directions} != {len(self.coordinates)}:
            raise ValueError("expected one direction or more, each with an integer for every coordinate")
        require_least(
            1, "divisor, radius, weight and unit", (self.divisor, self.radius, self.label_weight, self.level_unit)
        )
        reach = self.reach
        divided = sum((product // self.divisor) ** 2 for product in reach)
        if max(self.bound2, self.divisor, *reach) > EXACT or divided >= LIMIT:
            raise OverflowError(f"{len(reach)} directions of {len(self.coordinates)} levels leave 53 bits")

    @property
    def width(self) -> int:
        """D + 1, the length of psi."""
        return len(self.directions) + 1

    @property
    def bound2(self) -> int:
        """B^2 = R^2 + w^2, the largest squared norm of a record's psi, in steps^2."""
        return self.radius**2 + self.label_weight**2

    @property
    def reach(self) -> tuple[int, ...]:
        """(D,) the most that a product of a direction with any levels can be, before the division."""
        steps = [max(1, *map(abs, coordinate.levels)) for coordinate in self.coordinates]
        return tuple(sum(max(1, abs(a)) * x for a, x in zip(row, steps, strict=True)) for row in self.directions)

    @property
    def unit(self) -> int:
        """Lattice steps of 1 on the diagonal."""
        return DIAGONAL * self.level_unit**2

    def sensitivity2(self, cap: int) -> int:
        """2 (b B^2)^2, whatever the cap on rows."""
        return 2 * self.largest**2

    @property
    def largest(self) -> int:
        """b B^2, above every entry of psi psi^T."""
        return DIAGONAL * self.bound2

    def dimension(self, classes: int) -> int:
        """Every class has an upper triangle."""
        return classes * self.width * (self.width + 1) // 2

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """Per class, the weighted sum of psi psi^T / m over the rows, z clipped to R; (dimension,)."""
        directions = np.array(self.directions, dtype=np.int64)
        total = np.zeros((classes, self.width, self.width), dtype=np.int64)
        for codes, label, parts in chunks(rows, max(self.width, len(self.coordinates)), self.bound2):
            psi = np.full((len(codes), self.width), self.label_weight, dtype=np.int64)
            z = project(levels_of(codes, self.coordinates), directions, self.divisor)
            psi[:, :-1] = clip_rows(z, self.radius**2)
            psi = divide_by_root(psi, parts)
            for c in range(classes):
                total[c] += products(psi[label == c])
        return (total[:, upper(self.width)] * weights(self.width)).ravel()


def project(x: NDArray[np.int64], directions: NDArray[np.int64], divisor: int) -> NDArray[np.int64]:
    """Each row's products with the directions (D, K), divided by `divisor` and truncated towards zero; (n, D).

    Products go through floating point, exactly: sum_k |direction_k| max |x_k| must be at most 2^53, so that every
    partial sum is an integer that float64 holds, in whatever order. A row's result depends on that row alone.
    """
    whole = (x.astype(np.float64) @ directions.T.astype(np.float64)).astype(np.int64)
    return np.asarray(np.sign(whole) * (np.abs(whole) // divisor), dtype=np.int64)
