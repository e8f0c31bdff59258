"""Queries: what a vault may be asked. Frozen public descriptions, never functions.

Two speak of one-hot cells (`SumQuery`, `MomentQuery`), three of signed numbers (`LevelSum`, `LevelMoment`,
`ClassMoment`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.schema import Schema

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


@dataclass(frozen=True)
class LevelSum:
    """Sum over patients of x, clipped to |x| <= radius; by class, of onehot(y) (x) [x, label_weight].

    With `label_weight` 0 it is one vector for all classes together. Radius and weight are in lattice steps;
    `unit` steps are a level of 1.
    """

    coordinates: tuple[Coordinate, ...]
    radius: int
    label_weight: int
    unit: int

    @property
    def bound2(self) -> int:
        """B^2 = R^2 + w^2, the largest squared norm of a record's vector, in steps^2."""
        return self.radius**2 + self.label_weight**2


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
class ClassMoment:
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
    def bound2(self) -> int:
        """B^2 = R^2 + w^2, the largest squared norm of psi, in steps^2."""
        return self.radius**2 + self.label_weight**2

    @property
    def width(self) -> int:
        """D + 1, the length of psi."""
        return len(self.directions) + 1

    @property
    def largest(self) -> tuple[int, ...]:
        """(D,) the most that a product of a direction with any levels can be, before the division."""
        steps = [max(1, *map(abs, coordinate.levels)) for coordinate in self.coordinates]
        return tuple(sum(max(1, abs(a)) * x for a, x in zip(row, steps, strict=True)) for row in self.directions)


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
    plain = [schema.hash, [NAMES[type(query)], *_parts(query)]]
    text = json.dumps(plain, separators=(",", ":"), default=_parts)
    return hashlib.sha256(text.encode()).hexdigest()


def check_query(query: object, kind: type[Query], sizes: tuple[int, ...]) -> None:
    """Raise unless a query is data down to its integers, and maps every cell of the features that it names.

    A subclass could carry code, and a cell without a slot or level would show itself as an error, only for a
    record that has it.

    Parameters
    ----------
    sizes : number of fine cells of each feature.

    Raises
    ------
    TypeError
        If it is another kind of query, or holds anything but what `FORMS` says.
    ValueError
        If an integer is out of range, or the schema has other cells.
    """
    if type(query) is not kind:
        raise TypeError(f"expected a {kind.__name__}, got {type(query).__name__}; queries are frozen descriptions")
    if not _has_form(query, kind):
        raise TypeError(f"expected integers and tuples in a {kind.__name__}; queries are frozen descriptions")
    maps = list(_maps(query))
    if any(not 0 <= column < len(sizes) or len(of_cells) != sizes[column] for column, of_cells in maps):
        raise ValueError(f"the query maps other cells than the schema has; its features have {sizes} cells")
    if isinstance(query, SumQuery | MomentQuery) and any(slot < 0 for _, slots in maps for slot in slots):
        raise ValueError("slots are integers of 0 or more")
    if isinstance(query, ClassMoment) and {len(row) for row in query.directions} != {len(query.coordinates)}:
        raise ValueError("expected one direction or more, each with an integer for every coordinate")
    if any(weight < 1 for weight in _weights(query)) or (isinstance(query, LevelSum) and query.label_weight < 0):
        raise ValueError(
            "weights, divisor, radius and unit are integers above 0; of a LevelSum, label_weight may be 0"
        )


FORMS: dict[type, tuple[object, ...]] = {  # of each field in order; (form,) is a tuple of any length
    Block: (int, (int,), int),
    Coordinate: (int, (int,)),
    SumQuery: ((Block,), int, int),
    MomentQuery: (((int,),),),
    LevelSum: ((Coordinate,), int, int, int),
    LevelMoment: ((Coordinate,), int, int),
    ClassMoment: ((Coordinate,), ((int,),), int, int, int, int),
}


def _parts(value: Any) -> list[Any]:
    """The fields in their declared order, whatever the order in which they were set."""
    return [getattr(value, field.name) for field in fields(value)]


def _has_form(value: Any, form: Any) -> bool:
    if form == (int,):
        return type(value) is tuple and set(map(type, value)) <= {int}
    if isinstance(form, tuple):
        return type(value) is tuple and all(_has_form(each, form[0]) for each in value)
    if type(value) is not form or form is int:
        return type(value) is form
    return all(_has_form(part, of) for part, of in zip(_parts(value), FORMS[form], strict=True))


def _maps(query: object) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each feature that is named, with what its cells are mapped to."""
    if isinstance(query, SumQuery):
        yield from ((block.column, block.slots) for block in query.blocks)
    elif isinstance(query, MomentQuery):
        yield from enumerate(query.groups)
    elif isinstance(query, LevelSum | LevelMoment | ClassMoment):
        yield from ((coordinate.column, coordinate.levels) for coordinate in query.coordinates)


def _weights(query: object) -> tuple[int, ...]:
    """What must be above 0."""
    if isinstance(query, SumQuery):
        return (query.label_weight, query.unit, *(block.weight for block in query.blocks))
    if isinstance(query, ClassMoment):
        return (query.divisor, query.radius, query.label_weight, query.unit)
    return (query.radius, query.unit) if isinstance(query, LevelSum | LevelMoment) else ()
