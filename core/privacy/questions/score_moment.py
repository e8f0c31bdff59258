"""Score moments: the second moment of clipped scores of all patients, and the sum of the scores of each class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.coordinates import (
    DIAGONAL,
    OFF_DIAGONAL,
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
class ScoreMoment:
    """Sum over patients of psi psi^T, psi = [x, w onehot(y)]: the triangle of x x^T, and w x for each class,
    weighted.

    x are the levels of a record, clipped to |x| <= radius, y its class. Radius and `label_weight` w in lattice
    steps; `level_unit` steps are a level of 1.

    Guarantee
    ---------
    test_sensitivity_of_score_moment. Steps are those of the proof in `core/README.md`. |psi|^2 <= B^2 = R^2 + w^2
    (x clipped in integers, step 2), whatever the class, and a patient's rows enter as psi / sqrt(m) (step 3): it
    adds a positive semidefinite M of trace and thus Frobenius norm <= B^2. Two such matrices have a non-negative
    inner product, so they are at most sqrt(2) B^2 apart. The answer holds b M_ii and a M_ij, i < j, with
    a^2 <= 2 b^2, of some entries of M: replacing one patient moves it by at most sqrt(2) b B^2 (step 4, signed
    numbers). Public: the question, N.
    """

    NAME: ClassVar = "score moment"
    coordinates: tuple[Coordinate, ...]
    radius: int
    label_weight: int
    level_unit: int

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data that maps every cell, with levels that keep products exact."""
        require_plain(self)
        require_maps(((x.column, x.levels) for x in self.coordinates), sizes)
        require_least(1, "radius, weight and unit", (self.radius, self.label_weight, self.level_unit))
        if not self.coordinates:
            raise ValueError("a score moment needs a score, got none")
        if self.bound2 > EXACT or largest_norm2(self.coordinates) >= LIMIT:
            raise OverflowError(f"the levels of {len(self.coordinates)} scores are too large for 53 bits")

    @property
    def bound2(self) -> int:
        """B^2 = R^2 + w^2, the largest squared norm of a record's psi, in steps^2."""
        return self.radius**2 + self.label_weight**2

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
        """K (K + 1) / 2 of K scores, and K for each class."""
        scores = len(self.coordinates)
        return scores * (scores + 1) // 2 + classes * scores

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """The weighted sums over the rows, first the triangle, then class by class; (dimension,)."""
        scores = len(self.coordinates)
        total = np.zeros((scores + classes, scores + classes), dtype=np.int64)
        for codes, label, parts in chunks(rows, scores + classes, self.bound2):
            psi = np.zeros((len(codes), scores + classes), dtype=np.int64)
            psi[:, :scores] = clip_rows(levels_of(codes, self.coordinates), self.radius**2)
            psi[np.arange(len(codes)), scores + label] = self.label_weight
            total += products(divide_by_root(psi, parts))
        triangle = total[:scores, :scores][upper(scores)] * weights(scores)
        return np.concatenate([triangle, OFF_DIAGONAL * total[scores:, :scores].ravel()])
