"""Queries: what a vault may be asked. Frozen public descriptions, never functions.

Two speak of one-hot cells (`SumQuery`, `MomentQuery`), three of signed numbers (`LevelSum`, `LevelMoment`,
`ClassMoment`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.digest import digest
from cohortmix.core.data.schema import Schema

# Entries of a symmetric matrix count once on the diagonal and twice off it. Weights with a^2 <= 2 b^2, a / b just
# below sqrt(2), give both kinds the least noise, and keep the sensitivity an exact integer.
DIAGONAL, OFF_DIAGONAL = 29, 41


@dataclass(frozen=True)
class Block:
    """One-hot block of a `SumQuery`: feature `column`, its fine cells mapped to slots, and its weight.

    `slots[cell]` is the slot of a fine cell; `weight` is in lattice steps.
    """

    column: int
    slots: tuple[int, ...]
    weight: int

    @property
    def size(self) -> int:
        """Number of slots."""
        return max(self.slots) + 1


@dataclass(frozen=True)
class SumQuery:
    """Sum over patients of z = onehot(y) (x) [weighted one-hot blocks, label_weight].

    Weights are in lattice steps; `unit` steps are one patient.
    """

    blocks: tuple[Block, ...]
    label_weight: int
    unit: int

    @property
    def bound2(self) -> int:
        """B^2, the largest squared norm of a record's z, in steps^2."""
        return sum(block.weight**2 for block in self.blocks) + self.label_weight**2

    @property
    def width(self) -> int:
        """Entries per class: every block's slots, then the label mass."""
        return sum(block.size for block in self.blocks) + 1


@dataclass(frozen=True)
class MomentQuery:
    """Sum over patients of psi psi^T within each class, upper off-diagonal blocks only.

    `groups[j][cell]` is the group of a fine cell of feature j; psi has one one-hot block per feature.
    """

    groups: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Groups per feature; their sum is G."""
        return tuple(max(groups) + 1 for groups in self.groups)

    @property
    def pairs(self) -> NDArray[np.bool_]:
        """(G, G), true where row and column belong to two features, the row's coming first."""
        feature = np.repeat(np.arange(len(self.groups)), self.sizes)
        return feature[:, None] < feature[None, :]


@dataclass(frozen=True)
class Coordinate:
    """One signed number of a record: `levels[cell]`, in lattice steps, for each fine cell of feature `column`.

    Levels are offsets from a public centre, at which an UNKNOWN cell lies: it has level 0.
    """

    column: int
    levels: tuple[int, ...]


class _Labelled:
    """A clipped vector with a label entry: [x, label_weight], |x| <= radius."""

    radius: int
    label_weight: int

    @property
    def bound2(self) -> int:
        """B^2 = R^2 + w^2, the largest squared norm of a record's vector, in steps^2."""
        return self.radius**2 + self.label_weight**2


@dataclass(frozen=True)
class LevelSum(_Labelled):
    """Sum over patients of x, clipped to |x| <= radius; by class, of onehot(y) (x) [x, label_weight].

    With `label_weight` 0 it is one vector for all classes together. Radius and weight are in lattice steps;
    `unit` steps are a level of 1.
    """

    coordinates: tuple[Coordinate, ...]
    radius: int
    label_weight: int
    unit: int


@dataclass(frozen=True)
class LevelMoment:
    """Sum over all patients of x x^T, x clipped to |x| <= radius: its upper triangle, row by row, weighted.

    Radius in lattice steps; `unit` steps are a level of 1.
    """

    coordinates: tuple[Coordinate, ...]
    radius: int
    unit: int

    @property
    def upper(self) -> NDArray[np.bool_]:
        """(K, K), true where i <= j."""
        return upper(len(self.coordinates))

    @property
    def weights(self) -> NDArray[np.int64]:
        """(K (K+1) / 2,) of the answer's entries."""
        return weights(len(self.coordinates))


@dataclass(frozen=True)
class ClassMoment(_Labelled):
    """Within each class, sum over patients of psi psi^T, psi = [z, label_weight]: upper triangles, weighted.

    z = A x / divisor truncated towards zero, then clipped to |z| <= radius; x are the coordinates, the D rows of A
    the `directions`. The last column of a class holds its sum of z, the last entry its mass. Radius and weight in
    lattice steps; `unit` steps of z are 1.
    """

    coordinates: tuple[Coordinate, ...]
    directions: tuple[tuple[int, ...], ...]
    divisor: int
    radius: int
    label_weight: int
    unit: int

    @property
    def width(self) -> int:
        """D + 1, the length of psi."""
        return len(self.directions) + 1

    @property
    def largest(self) -> tuple[int, ...]:
        """(D,) the most that a product of a direction with any levels can be, before the division."""
        steps = [max(1, *map(abs, coordinate.levels)) for coordinate in self.coordinates]
        return tuple(sum(max(1, abs(a)) * x for a, x in zip(row, steps, strict=True)) for row in self.directions)


def largest_norm2(coordinates: tuple[Coordinate, ...]) -> int:
    """The largest squared norm that a row can have before it is clipped."""
    return sum(max(abs(level) for level in coordinate.levels) ** 2 for coordinate in coordinates)


def upper(size: int) -> NDArray[np.bool_]:
    """(size, size), true where i <= j."""
    return np.triu(np.ones((size, size), dtype=np.bool_))


def weights(size: int) -> NDArray[np.int64]:
    """b for an entry of the diagonal and a for one above it, in the order of the upper triangle."""
    return np.where(np.eye(size, dtype=np.bool_), DIAGONAL, OFF_DIAGONAL)[upper(size)].astype(np.int64)


Query: TypeAlias = SumQuery | MomentQuery | LevelSum | LevelMoment | ClassMoment
NAMES = {
    SumQuery: "sum",
    MomentQuery: "second moment",
    LevelSum: "level sum",
    LevelMoment: "level second moment",
    ClassMoment: "class second moment",
}


def question_hash(query: Query, schema: Schema) -> str:
    """SHA-256 of what is asked, of which schema."""
    plain = [schema.hash, [NAMES[type(query)], *parts(query)]]
    return digest(plain, default=parts)


def parts(value: Any) -> list[Any]:
    """The fields in their declared order, whatever the order in which they were set."""
    return [getattr(value, field.name) for field in fields(value)]
