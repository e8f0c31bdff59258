"""Groups: the merged bins, which are the fine cells of a feature that are counted together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of, one_hot
from cohortmix.core.data.reading import UNKNOWN


@dataclass(frozen=True)
class Groups:
    """Merged bins: a partition of the fine cells of each of D features; released, common to all sites of a study.

    Attributes
    ----------
    of_cells : for each feature, the merged bin (0, 1, ...) of each of its fine cells.
    """

    of_cells: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """(D,) merged bins of each feature; their sum is G."""
        return tuple(max(merged) + 1 for merged in self.of_cells)

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        """Where each feature's merged bins stand among all G."""
        return blocks_of(self.sizes)

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """(D,) fine cells of each feature; their sum is F."""
        return tuple(len(merged) for merged in self.of_cells)

    @cached_property
    def membership(self) -> NDArray[np.float64]:
        """(F, G) 0/1: which merged bin a fine cell belongs to."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        out = np.zeros((sum(self.cells), int(starts[-1])))
        index = np.concatenate(
            [start + np.asarray(merged) for start, merged in zip(starts, self.of_cells, strict=False)]
        )
        out[np.arange(len(index)), index] = 1
        return out

    @property
    def are_partitions(self) -> bool:
        """Whether the merged bins of each feature are 0, 1, ... without a gap."""
        return all(set(merged) == set(range(len(set(merged)))) for merged in self.of_cells)

    def sums(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the fine cells of each merged bin: (..., F) to (..., G)."""
        return cells @ self.membership

    def one_hot(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Records' fine cells (n, D) as one-hot merged bins (n, G); an UNKNOWN cell is a block of zeros."""
        # UNKNOWN is -1, so it picks the last entry, which is UNKNOWN again.
        bins = [np.asarray((*merged, UNKNOWN))[codes[:, j]] for j, merged in enumerate(self.of_cells)]
        return one_hot(np.stack(bins, axis=1), self.sizes)

    def members(self, feature: int) -> list[list[int]]:
        """The fine cells of each merged bin of a feature."""
        merged = self.of_cells[feature]
        return [np.flatnonzero(np.equal(merged, number)).tolist() for number in range(self.sizes[feature])]

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return iter(self.of_cells)

    def __len__(self) -> int:
        return len(self.of_cells)
