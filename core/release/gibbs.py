"""Gibbs: records of a model, each the end of a chain that starts from a record of the mixture.

BURN_IN sweeps bring a chain to where the model is; one more decides the record, and shares out its random numbers
evenly among records that expect much the same. A class of more than CHAINS records has several from each chain,
which runs on between them. Only released values enter.

Symbols: C classes, D features, m the bins of one of them.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.steps.progress import report

Codes: TypeAlias = NDArray[np.int32]

BURN_IN = 10  # sweeps of a record that starts from the mixture, before the last one, which decides it
CHAINS = 32_768  # of a class at most
BETWEEN = 1  # sweeps from one record of a chain to the next; each has a last sweep of its own besides
PART = 8192  # records of a class that are swept at once
EVEN = 131_072  # records of a class that share out the uniform numbers of the last sweep, to bound its memory
GOLDEN = 0.6180339887498949  # its multiples, modulo 1, fill [0, 1] evenly (Weyl 1916)


class Model(Protocol):
    """What records are drawn from. Codes (n, D + 1) are bins of each feature, and the site; results are (n, D)."""

    @property
    def classes(self) -> int:
        """C."""

    def settled(self, codes: Codes, c: int, size: int, sweeps: int, key: jax.Array) -> Codes:
        """Records of class c after these sweeps of `size` chains, of which there are as many or more."""

    def last(self, codes: Codes, c: int, rng: np.random.Generator) -> Codes:
        """Records of class c after one more sweep, whose random numbers are shared out (`evenly`)."""


def draw(model: Model, start: Codes, label: NDArray[np.int64], seed: int) -> Codes:
    """Merged bins (n, D) of records of these classes (n,).

    `start` (n, D + 1) holds the bins to start from, and the site.
    """
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    order = rng.permutation(len(label))
    rows_of_class = [order[label[order] == c] for c in range(model.classes)]
    out, done = start[:, :-1].copy(), 0
    size = min(PART, 1 << (max(map(len, rows_of_class)) - 1).bit_length())  # one for all, so one compilation
    for c, rows in enumerate(rows_of_class):
        repeats = -(-len(rows) // CHAINS)
        by_site = rows[start[rows, -1].argsort(kind="stable")]  # a chain's records are of one site, all but a few
        for first in range(0, len(rows), size * max(repeats, 1)):
            chains = by_site[first : first + size * repeats]
            codes = start[chains[::repeats], :-1]
            for at in range(repeats):
                report("records", done, len(out))
                part, (key, own) = chains[at::repeats], jax.random.split(key)
                codes = np.column_stack([codes[: len(part)], start[part, -1]])
                out[part] = codes = model.settled(codes, c, size, BETWEEN if at else BURN_IN, own)
                done += len(part)
    report("records", len(out), len(out))
    for c, rows in enumerate(rows_of_class):
        for first in range(0, len(rows), EVEN):
            part = rows[first : first + EVEN]
            out[part] = model.last(np.column_stack([out[part], start[part, -1]]), c, rng)
    return out


def evenly(logits: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.int64]:
    """Bins (n,) by their logits (n, m).

    Records that expect similar values share out the uniform numbers: each is distributed as if drawn by itself,
    and a bin holds nearly as many records as it should, also among records that are alike.
    """
    ends = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
    u, expected, weyl = np.empty(len(logits)), ends.sum(axis=1) / ends[:, -1], GOLDEN * np.arange(len(logits))
    u[np.lexsort((rng.random(len(u)), expected))] = (rng.random() + weyl) % 1  # equal records in random order
    return np.asarray((ends[:, :-1] < u[:, None] * ends[:, -1:]).sum(axis=1))
