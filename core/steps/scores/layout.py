"""Layout: columns of about as many bins and scores side by side, so that one loop can draw them.

Each has room for a power of two of both; what is beyond its own bins and scores is empty.

Symbols: C classes, D columns, G merged bins, K scores; n columns that are laid out alike, each of m bins and k
scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of

Array = NDArray[np.float64]

LEAST = 1e-9  # share of a bin
NEVER = -1e9  # logit of a bin that a column does not have


class Kind(NamedTuple):
    """Columns that are laid out alike: for each, where its bins stand among all G, and its scores among all K."""

    m: int
    k: int
    columns: tuple[int, ...]
    bins: tuple[NDArray[np.int64], ...]
    scores: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where everything is.

    Attributes
    ----------
    kinds : the columns, by what they are like.
    bin : (G,) the place of each bin among all n x m of the kinds, one kind after another.
    row : (K,) the place of each score among all n x k.
    rows : number of these places, empty ones included.
    """

    kinds: tuple[Kind, ...]
    bin: NDArray[np.int64]
    row: NDArray[np.int64]
    rows: int

    @classmethod
    def of(cls, sizes: tuple[int, ...], columns: NDArray[np.int64]) -> Layout:
        """The layout of columns of these sizes, of which scores are (K,)."""
        own = [np.flatnonzero(columns == j) for j in range(len(sizes))]
        alike: dict[tuple[int, int], list[int]] = {}
        for j, size in enumerate(sizes):
            alike.setdefault((_room(size), _room(len(own[j]))), []).append(j)
        blocks = [np.arange(block.start, block.stop) for block in blocks_of(sizes)]
        kinds, bins, rows = [], np.empty(sum(sizes), dtype=np.int64), np.empty(len(columns), dtype=np.int64)
        first_bin, first_row = 0, 0
        for (m, k), members in sorted(alike.items()):
            of_members = (tuple(each[j] for j in members) for each in (blocks, own))
            kinds.append(Kind(m, k, tuple(members), *of_members))
            for at, j in enumerate(members):
                bins[blocks[j]] = first_bin + at * m + np.arange(sizes[j])
                rows[own[j]] = first_row + at * k + np.arange(len(own[j]))
            first_bin, first_row = first_bin + m * len(members), first_row + k * len(members)
        return cls(tuple(kinds), bins, rows, first_row)

    def of_pairs(self, entries: Array, otherwise: float) -> jax.Array:
        """Of pairs of scores (K, K), in their places; `otherwise` where one of them is empty."""
        out = np.full((self.rows, self.rows), otherwise)
        out[np.ix_(self.row, self.row)] = entries
        return jnp.asarray(out.astype(np.float32))  # JAX would compile the change of kind

    def of_bins(self, logits: Array) -> tuple[jax.Array, ...]:
        """Of each bin in each class (C, G), in their places: (n, m, C) of each kind; NEVER where none is."""
        out = []
        for kind in self.kinds:
            placed = np.full((len(kind.bins), kind.m, len(logits)), NEVER)
            for at, bins in enumerate(kind.bins):
                placed[at, : len(bins)] = logits[:, bins].T
            out.append(jnp.asarray(placed.astype(np.float32)))
        return tuple(out)

    def of_values(self, values: Array) -> tuple[jax.Array, ...]:
        """Of each score in each bin (G, K), in their places: (n, m, k) of each kind."""
        return tuple(jnp.asarray(_values(kind, values).astype(np.float32)) for kind in self.kinds)


class Alike(NamedTuple):
    """What is known of columns of one kind."""

    margins: jax.Array  # (n, m, C)
    values: jax.Array  # (n, m, k), of each score in each bin
    logits: jax.Array  # (n, m, C), of the margins

    @classmethod
    def of(cls, kind: Kind, margins: Array, values: Array) -> Alike:
        """From margins (C, G) of all columns, and values (G, K) of all scores."""
        shares = np.zeros((len(kind.bins), kind.m, len(margins)))
        for at, bins in enumerate(kind.bins):
            shares[at, : len(bins)] = np.maximum(margins[:, bins], LEAST).T
        logits = np.where(shares > 0, np.log(np.maximum(shares, LEAST)), NEVER)
        return cls(*(jnp.asarray(each.astype(np.float32)) for each in (shares, _values(kind, values), logits)))


def _values(kind: Kind, values: Array) -> Array:
    """(n, m, k) of values (G, K)."""
    out = np.zeros((len(kind.bins), kind.m, kind.k))
    for at, (bins, own) in enumerate(zip(kind.bins, kind.scores, strict=True)):
        out[at, : len(bins), : len(own)] = values[np.ix_(bins, own)]
    return out


def _room(count: int) -> int:
    """The smallest power of two that is not less; a column without a score has room for one."""
    return 1 << max(count - 1, 0).bit_length()
