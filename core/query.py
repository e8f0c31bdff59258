"""Queries: what a vault may be asked. Frozen public descriptions, never functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.schema import Schema


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


def question_hash(query: SumQuery | MomentQuery, schema: Schema) -> str:
    """SHA-256 of what is asked, of which schema."""
    blocks = [[b.column, list(b.slots), b.weight] for b in query.blocks] if isinstance(query, SumQuery) else []
    plain = (
        ["sum", blocks, query.label_weight, query.unit]
        if isinstance(query, SumQuery)
        else ["second moment", [list(groups) for groups in query.groups]]
    )
    return hashlib.sha256(json.dumps([schema.hash, plain], separators=(",", ":")).encode()).hexdigest()
