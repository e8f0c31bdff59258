"""Coordinates: signed numbers of a record, read off its fine cells, and the weights of their products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Entries of a symmetric matrix count once on the diagonal and twice off it. Weights with a^2 <= 2 b^2, a / b just
# below sqrt(2), give both kinds the least noise, and keep the sensitivity an exact integer.
DIAGONAL, OFF_DIAGONAL = 29, 41


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One signed number of a record: `levels[cell]`, in lattice steps, for each fine cell of feature `column`.

    Levels are offsets from a public centre, at which an UNKNOWN cell lies: it has level 0.
    """

    column: int
    levels: tuple[int, ...]


def levels_of(codes: NDArray[np.int32], coordinates: tuple[Coordinate, ...]) -> NDArray[np.int64]:
    """Level of each row at each coordinate, (n, K); 0 for an UNKNOWN cell."""
    out = np.zeros((len(codes), len(coordinates)), dtype=np.int64)
    for k, coordinate in enumerate(coordinates):
        out[:, k] = np.array((*coordinate.levels, 0), dtype=np.int64)[codes[:, coordinate.column]]  # UNKNOWN is -1
    return out


def largest_norm2(coordinates: tuple[Coordinate, ...]) -> int:
    """The largest squared norm that a row can have before it is clipped."""
    return sum(max(abs(level) for level in coordinate.levels) ** 2 for coordinate in coordinates)


def upper(size: int) -> NDArray[np.bool_]:
    """(size, size), true where i <= j."""
    return np.triu(np.ones((size, size), dtype=np.bool_))


def weights(size: int) -> NDArray[np.int64]:
    """b for an entry of the diagonal and a for one above it, in the order of the upper triangle."""
    return np.where(np.eye(size, dtype=np.bool_), DIAGONAL, OFF_DIAGONAL)[upper(size)].astype(np.int64)
