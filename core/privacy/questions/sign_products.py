"""Sign products, answer C: per class, the sum over patients of products of the signs of three features or more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.privacy.questions.lattice import Rows, chunks
from cohortmix.core.privacy.questions.plain_data import require_maps, require_plain

UNIT = 1 << 20  # lattice steps of a product of 1


@dataclass(frozen=True, slots=True)
class SignProducts:
    """Sum over patients of z = onehot(y) (x) [prod_{j in T} s_j, T in `subsets`], s_j the sign of feature j.

    `signs[j][cell]` is -1, 0 or 1 for a fine cell of feature j; an UNKNOWN cell has 0.

    Guarantee
    ---------
    test_sensitivity_of_sign_products. Steps are those of the proof in `core/README.md`. A product of signs is -1,
    0 or 1 (`check` refuses any other sign, so nothing is left to clip, step 2), hence |z|^2 <= T for T subsets. A
    patient's rows enter as z / m (step 3): it adds a convex combination of 0 and such z, no longer than they are.
    Two of them can be opposite. Replacing one patient moves the answer by at most 2 sqrt(T) (step 4, products):
    mu-GDP with mu^2 = 4 T / sigma^2, sigma in patients. Public: the question, N.
    """

    NAME: ClassVar = "sign products"
    signs: tuple[tuple[int, ...], ...]
    subsets: tuple[tuple[int, ...], ...]

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise unless it is plain data, a sign for every cell, and subsets of features in order, each once."""
        require_plain(self)
        require_maps(enumerate(self.signs), sizes)
        if any(sign not in (-1, 0, 1) for signs in self.signs for sign in signs):
            raise ValueError("expected signs of -1, 0 or 1")
        features = set(range(len(self.signs)))
        if any(not x or list(x) != sorted(features.intersection(x)) for x in self.subsets):
            raise ValueError(f"expected subsets of {len(features)} features in order, each once, and none empty")
        if not self.subsets or list(self.subsets) != sorted(set(self.subsets)):
            raise ValueError("expected one subset or more, in order, each once")

    @property
    def unit(self) -> int:
        """Lattice steps of a patient whose product is 1."""
        return UNIT

    def sensitivity2(self, cap: int) -> int:
        """4 |subsets|, whatever the cap on rows: products of a patient before and after can be opposite."""
        return 4 * len(self.subsets) * UNIT**2

    @property
    def largest(self) -> int:
        """One patient in one product."""
        return UNIT

    def dimension(self, classes: int) -> int:
        """Every class has all products."""
        return classes * len(self.subsets)

    def contribution(self, rows: Iterable[Rows], classes: int) -> NDArray[np.int64]:
        """Per class, the sum of z / m over the rows, each share truncated; (dimension,)."""
        total = np.zeros((classes, len(self.subsets)), dtype=np.int64)
        for codes, label, parts in chunks(rows, len(self.signs) + classes):
            share = np.zeros((len(codes), classes), dtype=np.int64)
            share[np.arange(len(codes)), label] = UNIT // parts
            signs = np.stack([np.array((*s, 0))[codes[:, j]] for j, s in enumerate(self.signs)])  # UNKNOWN is -1
            for t, subset in enumerate(self.subsets):
                total[:, t] += signs[list(subset)].prod(axis=0) @ share
        return total.ravel()
