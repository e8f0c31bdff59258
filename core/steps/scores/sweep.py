"""Sweep: chains of the model of scores, every column drawn anew given all the others (Geman and Geman 1984).

Symbols: C classes, K scores, M chains of a class; n columns are laid out alike, each of m bins and k scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Swept(NamedTuple):
    """A sweep of chains.

    Given the rest of its chain, the mean of a score has a smaller variance than the score, and the same mean (Rao
    and Blackwell; Gelfand and Smith 1990). Times a score that was drawn before it, it has the mean of the product.

    Attributes
    ----------
    phi : (K, C M) scores.
    codes : (n, C, M) bins of columns alike.
    expected : (K, C M) mean of each score as it was drawn, given all the others.
    shares : (n, m, C) mean probability of each bin, the same way.
    """

    phi: jax.Array
    codes: list[jax.Array]
    expected: jax.Array
    shares: list[jax.Array]


def sweep(
    phi: jax.Array,
    b: Sequence[jax.Array],
    coupling: jax.Array,
    key: jax.Array,
    values: Sequence[jax.Array],
) -> Swept:
    """Every column drawn anew given all the others.

    Parameters
    ----------
    phi : (K, C M) the scores of the chains; K counts places, as all that follows.
    b : (n, m, C) of columns alike.
    coupling : (K, K).
    values : (n, m, k) of columns alike.
    """
    first, expected, codes, shares = 0, jnp.zeros_like(phi), [], []
    for at, (each, logits) in enumerate(zip(values, b, strict=True)):
        n, _, classes = logits.shape
        chains = phi.shape[1] // classes
        # Flat numbers, since those of several dimensions take three times as long to compile.
        uniform = jax.random.uniform(jax.random.fold_in(key, at), (n * classes * chains,)).reshape(
            n, classes, chains
        )
        draw = partial(_draw, first=first, values=each, logits=logits, coupling=coupling, uniform=uniform)
        start = _Carry(phi, expected, jnp.zeros(uniform.shape, jnp.int32), jnp.zeros_like(logits))
        drawn = jax.lax.fori_loop(0, n, draw, start)
        phi, expected = drawn.phi, drawn.expected
        codes.append(drawn.codes)
        shares.append(drawn.shares)
        first += n * each.shape[2]
    return Swept(phi, codes, expected, shares)


class _Carry(NamedTuple):
    """As `Swept`, of one kind of columns."""

    phi: jax.Array
    expected: jax.Array
    codes: jax.Array
    shares: jax.Array


def _draw(
    i: jax.Array,
    carry: _Carry,
    *,
    first: int,
    values: jax.Array,
    logits: jax.Array,
    coupling: jax.Array,
    uniform: jax.Array,
) -> _Carry:
    """Column i of those alike, whose scores begin at row `first` of phi."""
    (_, m, k), row = values.shape, first + i * values.shape[2]
    field = jax.lax.dynamic_slice_in_dim(coupling, row, k) @ carry.phi  # (k, C M)
    logit = (values[i] @ field).reshape(m, *uniform.shape[1:]) + logits[i][:, :, None]
    odds = jnp.exp(logit - logit.max(axis=0))
    # A product with a triangle: XLA's own cumulative sums are slow on a processor.
    ends = (jnp.tril(jnp.ones((m, m))) @ odds.reshape(m, -1)).reshape(odds.shape)
    code, total = (ends[:-1] < uniform[i] * ends[-1:]).sum(axis=0), ends[-1]
    expected = (values[i].T @ odds.reshape(m, -1)) / total.ravel()
    return _Carry(
        jax.lax.dynamic_update_slice_in_dim(carry.phi, values[i].T[:, code.ravel()], row, 0),
        jax.lax.dynamic_update_slice_in_dim(carry.expected, expected, row, 0),
        carry.codes.at[i].set(code),
        carry.shares.at[i].set(jnp.einsum("mcs,cs->mc", odds, 1 / total) / total.shape[1]),
    )
