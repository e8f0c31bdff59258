"""Groups: which fine cells of a feature are counted together, and what follows from that."""

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
    """A partition of the fine cells of each of D features; released, and common to all sites of a study.

    Attributes
    ----------
    of_cells : for each feature, the group (0, 1, ...) of each of its fine cells.
    """

    of_cells: tuple[tuple[int, ...], ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """(D,) groups of each feature; their sum is G."""
        return tuple(max(groups) + 1 for groups in self.of_cells)

    @cached_property
    def blocks(self) -> tuple[slice, ...]:
        """Where each feature's groups stand among all G."""
        return blocks_of(self.sizes)

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """(D,) fine cells of each feature; their sum is F."""
        return tuple(len(groups) for groups in self.of_cells)

    @cached_property
    def membership(self) -> NDArray[np.float64]:
        """(F, G) 0/1: which group a fine cell belongs to."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        out = np.zeros((sum(self.cells), int(starts[-1])))
        index = np.concatenate(
            [start + np.asarray(groups) for start, groups in zip(starts, self.of_cells, strict=False)]
        )
        out[np.arange(len(index)), index] = 1
        return out

    @property
    def are_partitions(self) -> bool:
        """Whether the groups of each feature are 0, 1, ... without a gap."""
        return all(set(groups) == set(range(len(set(groups)))) for groups in self.of_cells)

    def sums(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the fine cells of each group: (..., F) to (..., G)."""
        return cells @ self.membership

    def one_hot(self, codes: NDArray[np.int32]) -> NDArray[np.float32]:
        """Records' fine cells (n, D) as one-hot groups (n, G); an UNKNOWN cell is a block of zeros."""
        found = [np.asarray((*groups, UNKNOWN))[codes[:, j]] for j, groups in enumerate(self.of_cells)]
        return one_hot(np.stack(found, axis=1).astype(np.int32), self.sizes)

    def members(self, feature: int) -> list[list[int]]:
        """The fine cells of each group of a feature."""
        groups = self.of_cells[feature]
        return [[cell for cell, of in enumerate(groups) if of == group] for group in range(self.sizes[feature])]

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return iter(self.of_cells)

    def __len__(self) -> int:
        return len(self.of_cells)
