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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cohortmix.core.data.encoding import blocks_of, one_hot
from cohortmix.core.release.gibbs import Codes, evenly
from cohortmix.core.release.high_order import Terms

CHAINS = 16_384  # of all classes together: the more, the less of their own sampling error is learned
WIDE = 300  # merged bins from which on half as many do: a sweep's cost grows with the square of the bins


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

    @property
    def classes(self) -> int:
        """C."""
        return len(self.b)

    def settled(self, codes: Codes, c: int, size: int, sweeps: int, key: jax.Array) -> Codes:
        """As `gibbs.Model`."""
        only = slice(c, c + 1)
        terms = None if self.terms is None else replace(self.terms, weights=self.terms.weights[:, only])
        x = chains_of([codes], size, self.sizes)
        (x,) = np.asarray(_settle(x, self.b[only], self.theta[only], terms, sweeps, key, self.sizes))
        return np.stack([x[block, : len(codes)].argmax(axis=0) for block in blocks_of(self.sizes)[:-1]], axis=1)

    def last(self, codes: Codes, c: int, rng: np.random.Generator) -> Codes:
        """As `gibbs.Model`."""
        x, b, theta = one_hot(codes, self.sizes), np.asarray(self.b[c]), np.asarray(self.theta[c])
        terms = None if self.terms is None else self.terms.of_class(c)
        signs, out = [] if terms is None else terms.read(x, self.sizes), codes[:, :-1].copy()
        for j, block in enumerate(blocks_of(self.sizes)[:-1]):
            logits = x @ theta[:, block] + b[block]
            if terms is not None:
                logits += terms.logits(signs, j, block)
            out[:, j] = evenly(logits, rng)
            x[:, block] = one_hot(out[:, j : j + 1], (logits.shape[1],))
            if terms is not None:
                signs[j] = terms.signs[block][out[:, j]]
        return out


@partial(jax.jit, static_argnames="sizes")
def _settle(
    x: jax.Array,
    b: jax.Array,
    theta: jax.Array,
    terms: Terms | None,
    sweeps: int,
    key: jax.Array,
    sizes: tuple[int, ...],
) -> jax.Array:
    """The chains (C, G, M) after these sweeps."""
    settled: jax.Array = jax.lax.fori_loop(
        0, sweeps, lambda i, x: sweep(x, b, theta, jax.random.fold_in(key, i), sizes, terms), x
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


def chains_for(classes: int, bins: int) -> int:
    """M, how many chains each class has."""
    return CHAINS // (classes if bins <= WIDE else 2 * classes)


def chains_of(rows: list[Codes], chains: int, sizes: tuple[int, ...]) -> jax.Array:
    """(C, G, M) one-hot: the rows of each class, as often as it takes; a class without rows, any."""
    anything = np.zeros_like(rows[0], shape=(1, len(sizes)))
    full = [np.resize(codes if len(codes) else anything, (chains, len(sizes))) for codes in rows]
    return jnp.asarray(np.stack([one_hot(codes, sizes).T for codes in full]))
