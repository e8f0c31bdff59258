"""Level moments: the second moment of clipped signed numbers, of all patients together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.coordinates import (
    DIAGONAL,
    Coordinate,
    largest_norm2,
    levels_of,
    upper,
    weights,
)
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
class LevelMoment:
    """Sum over all patients of psi psi^T, psi the levels clipped to |psi| <= radius: its upper triangle, weighted.

    Radius in lattice steps; `level_unit` steps are a level of 1.

    Guarantee
    ---------
    test_sensitivity_of_level_moment. Steps are those of the proof in `core/README.md`. |psi| <= R (clipped in
    integers, step 2), and a patient's rows enter as psi / sqrt(m) (step 3): it adds a positive semidefinite M of
    trace and thus Frobenius norm <= R^2. Two such matrices have a non-negative inner product, so they are at most
    sqrt(2) R^2 apart. The answer holds b M_ii and a M_ij, i < j, with a^2 <= 2 b^2, so its norm is at most
    b |M|_F: replacing one patient moves it by at most sqrt(2) b R^2 (step 4, signed numbers). Public: the
    question, N.
    """

    NAME: ClassVar = "level second moment"
    coordinates: tuple[Coordinate, ...]
    radius: int
    level_unit: int

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data that maps every cell, with levels that keep products exact."""
        require_plain(self)
        require_maps(((x.column, x.levels) for x in self.coordinates), sizes)
        require_least(1, "radius and unit", (self.radius, self.level_unit))
        if not self.coordinates:
            raise ValueError("a second moment needs a coordinate, got none")
        if self.radius**2 > EXACT or largest_norm2(self.coordinates) >= LIMIT:
            raise OverflowError(f"the levels of {len(self.coordinates)} coordinates are too large for 53 bits")

    @property
    def unit(self) -> int:
        """Lattice steps of 1 on the diagonal."""
        return DIAGONAL * self.level_unit**2

    def sensitivity2(self, cap: int) -> int:
        """2 (b R^2)^2, whatever the cap on rows."""
        return 2 * self.largest**2

    @property
    def largest(self) -> int:
        """b R^2, a whole radius on the diagonal."""
        return DIAGONAL * self.radius**2

    def dimension(self, classes: int) -> int:
        """K (K + 1) / 2, of K coordinates."""
        return len(self.coordinates) * (len(self.coordinates) + 1) // 2

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """The weighted sum of psi psi^T / m over the rows, psi clipped to R; (dimension,)."""
        width, bound2 = len(self.coordinates), self.radius**2
        total = np.zeros((width, width), dtype=np.int64)
        for codes, _, parts in chunks(rows, width, bound2):
            psi = clip_rows(levels_of(codes, self.coordinates), bound2)
            total += products(divide_by_root(psi, parts))
        return total[upper(width)] * weights(width)
