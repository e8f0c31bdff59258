"""The maximum-entropy model: of all distributions with the released pair tables, the one of largest entropy.

The mixture knows how every two features go together within a class, for that was measured. Of third order nothing
is known, and yet a mixture says something: within a component all features are independent. Records are drawn from
the distribution that has the mixture's pair tables and adds nothing else (Jaynes 1957),

    p(x | c) proportional to exp(sum_j b_c[x_j] + sum_{i<j} theta_c[x_i, x_j]).

Where products of three features or more were measured as well, those that this model does not have get terms of
their own (`high_order`), and all is learned on.

`learning` finds b and theta. Records are drawn by Gibbs sweeps. The site of a record is one more feature, which
never changes. Only released values enter.

Symbols: C classes, S sites, D features, G their merged bins and then one entry for each site, M chains of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of, one_hot
from cohortmix.core.release.high_order import Terms
from cohortmix.core.release.target_tables import Array
from cohortmix.core.steps.progress import report
from cohortmix.core.steps.scores.couplings import Fitted

Codes: TypeAlias = NDArray[np.int32]

CHAINS = 16_384  # of all classes together: the more, the less of their own sampling error is learned
WIDE = 300  # merged bins from which on half as many do: a sweep's cost grows with the square of the bins
BURN_IN = 10  # sweeps of a record that starts from the mixture, before the last one, which decides it
PART = 8192  # records of a class that are swept at once
EVEN = 131_072  # records of a class that share out the uniform numbers of the last sweep, to bound its memory
GOLDEN = 0.6180339887498949  # its multiples, modulo 1, fill [0, 1] evenly (Weyl 1916)


@dataclass(frozen=True, eq=False, kw_only=True)
class MaximumEntropy:
    """A fitted model.

    Attributes
    ----------
    sizes : as in `TargetTables`.
    b : (C, G) logits of each bin.
    theta : (C, G, G) couplings of two bins, symmetric, zero within a feature.
    terms : of products of signs; None where pairs say it all.
    """

    sizes: tuple[int, ...]
    b: jax.Array
    theta: jax.Array
    terms: Terms | None = None

    @classmethod
    def of(cls, fitted: Fitted, sizes: tuple[int, ...]) -> MaximumEntropy:
        """A model that was fitted already, of one site."""
        b = np.pad(fitted.b, ((0, 0), (0, 1)))
        theta = np.broadcast_to(np.pad(fitted.theta, (0, 1)), (len(b), b.shape[1], b.shape[1]))
        b, theta = b.astype(np.float32), theta.astype(np.float32)
        return cls(sizes=(*sizes, 1), b=jnp.asarray(b), theta=jnp.asarray(theta))

    def draw(self, start: Codes, label: NDArray[np.int64], seed: int) -> Codes:
        """Merged bins (n, D) of records of these classes (n,), by Gibbs sweeps, the last of them even.

        `start` (n, D + 1) holds the bins to start from, and the site.
        """
        rng, key = np.random.default_rng(seed), jax.random.key(seed)
        order = rng.permutation(len(label))
        rows_of_class = [order[label[order] == c] for c in range(len(self.b))]
        settled = self._settled(start, rows_of_class, key)
        out = settled.copy()
        for c, (rows, b, theta) in enumerate(
            zip(rows_of_class, np.asarray(self.b), np.asarray(self.theta), strict=True)
        ):
            terms = None if self.terms is None else self.terms.of_class(c)
            for first in range(0, len(rows), EVEN):
                part = rows[first : first + EVEN]
                codes = np.column_stack([settled[part], start[part, -1]])
                out[part] = _even_sweep(codes, b, theta, self.sizes, rng, terms)
        return out

    def _settled(self, start: Codes, rows_of_class: list[NDArray[np.int64]], key: jax.Array) -> Codes:
        """Bins (n, D) after BURN_IN sweeps; a class at a time, in parts of one size, so one compilation."""
        out, done = start[:, :-1].copy(), 0
        size = min(PART, 1 << (max(map(len, rows_of_class)) - 1).bit_length())
        for c, rows in enumerate(rows_of_class):
            only = slice(c, c + 1)
            terms = None if self.terms is None else replace(self.terms, weights=self.terms.weights[:, only])
            for first in range(0, len(rows), size):
                report("records", done, len(out))
                part, (key, own) = rows[first : first + size], jax.random.split(key)
                x = chains_of([start[part]], size, self.sizes)
                (x,) = np.asarray(_settle(x, self.b[only], self.theta[only], terms, own, self.sizes))
                bins = [x[block, : len(part)].argmax(axis=0) for block in blocks_of(self.sizes)[:-1]]
                out[part] = np.stack(bins, axis=1)
                done += len(part)
        report("records", len(out), len(out))
        return out


@partial(jax.jit, static_argnames="sizes")
def _settle(
    x: jax.Array, b: jax.Array, theta: jax.Array, terms: Terms | None, key: jax.Array, sizes: tuple[int, ...]
) -> jax.Array:
    """The chains (C, G, M) after BURN_IN sweeps."""
    settled: jax.Array = jax.lax.fori_loop(
        0, BURN_IN, lambda i, x: sweep(x, b, theta, jax.random.fold_in(key, i), sizes, terms), x
    )
    return settled


def sweep(
    x: jax.Array,
    b: jax.Array,
    theta: jax.Array,
    key: jax.Array,
    sizes: tuple[int, ...],
    terms: Terms | None = None,
) -> jax.Array:
    """Every feature but the last, which is the site, drawn anew given all the others."""
    blocks = blocks_of(sizes)[:-1]
    shape = (len(blocks), len(x), 1, x.shape[2])
    uniform = jax.random.uniform(key, (prod(shape),)).reshape(shape)  # flat: it compiles in a third of the time
    if terms is None:
        return _sweep_by_pairs(x, b, theta, uniform, sizes[:-1])
    signs = terms.read(jnp.swapaxes(x, 1, 2), sizes)
    for j, (block, u) in enumerate(zip(blocks, uniform, strict=True)):
        logits = theta[:, block] @ x + b[:, block, None]  # theta is symmetric
        pull = terms.logits(signs, j, block)
        drawn = _draw(logits + jnp.swapaxes(pull, 1, 2) if np.ndim(pull) else logits + pull, u)
        x = x.at[:, block].set(_one_hot(drawn, logits.shape[1], x.dtype))
        signs[j] = terms.signs[block][drawn]
    return x


def _sweep_by_pairs(
    x: jax.Array, b: jax.Array, theta: jax.Array, uniform: jax.Array, sizes: Sequence[int]
) -> jax.Array:
    """A sweep without terms. Features side by side that have as many bins share a loop, which compiles once."""
    feature = start = 0
    for m, alike in groupby(sizes):
        several = len(list(alike))

        def drawn_anew(i: Any, x: jax.Array, feature: int = feature, start: int = start, m: int = m) -> jax.Array:
            first = start + i * m
            rows, own = (jax.lax.dynamic_slice_in_dim(each, first, m, 1) for each in (theta, b))
            drawn = _draw(rows @ x + own[:, :, None], uniform[feature + i])  # theta is symmetric
            return jax.lax.dynamic_update_slice_in_dim(x, _one_hot(drawn, m, x.dtype), first, 1)

        x = jax.lax.fori_loop(0, several, drawn_anew, x) if several > 1 else drawn_anew(0, x)
        feature, start = feature + several, start + several * m
    return x


def _draw(logits: jax.Array, u: jax.Array) -> jax.Array:
    """Bins (C, M) from their logits (C, m, M), by uniform numbers (C, 1, M)."""
    bins = logits.shape[1]
    # A product with a triangle: XLA's own cumulative sums are slow on a processor.
    ends = jnp.tril(jnp.ones((bins, bins))) @ jnp.exp(logits - logits.max(axis=1, keepdims=True))
    return (ends[:, :-1] < u * ends[:, -1:]).sum(axis=1)


def _one_hot(drawn: jax.Array, m: int, kind: Any) -> jax.Array:
    """(C, m, M) of bins (C, M)."""
    return (drawn[:, None] == jnp.arange(m)[:, None]).astype(kind)


def _even_sweep(
    codes: Codes,
    b: Array,
    theta: Array,
    sizes: tuple[int, ...],
    rng: np.random.Generator,
    terms: Terms | None = None,
) -> Codes:
    """One sweep of the records (n, D + 1) of a class, to merged bins (n, D).

    Records that expect similar values share out the uniform numbers: each is distributed as if drawn by itself,
    and a bin holds nearly as many records as it should, also among records that are alike.
    """
    x, weyl = one_hot(codes, sizes), GOLDEN * np.arange(len(codes))
    signs = [] if terms is None else terms.read(x, sizes)
    for j, block in enumerate(blocks_of(sizes)[:-1]):
        logits = x @ theta[:, block] + b[block]
        if terms is not None:
            logits += terms.logits(signs, j, block)
        ends = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
        u, expected = np.empty(len(x)), ends.sum(axis=1) / ends[:, -1]
        u[np.lexsort((rng.random(len(x)), expected))] = (rng.random() + weyl) % 1  # equal records in random order
        drawn = (ends[:, :-1] < u[:, None] * ends[:, -1:]).sum(axis=1)
        x[:, block] = one_hot(drawn[:, None], (ends.shape[1],))
        if terms is not None:
            signs[j] = terms.signs[block][drawn]
    return np.stack([x[:, block].argmax(axis=1) for block in blocks_of(sizes)[:-1]], axis=1).astype(np.int32)


def chains_for(classes: int, bins: int) -> int:
    """M, how many chains each class has."""
    return CHAINS // (classes if bins <= WIDE else 2 * classes)


def chains_of(rows: list[Codes], chains: int, sizes: tuple[int, ...]) -> jax.Array:
    """(C, G, M) one-hot: the rows of each class, as often as it takes; a class without rows, any."""
    anything = np.zeros_like(rows[0], shape=(1, len(sizes)))
    full = [np.resize(codes if len(codes) else anything, (chains, len(sizes))) for codes in rows]
    return jnp.asarray(np.stack([one_hot(codes, sizes).T for codes in full]))
