"""High order: terms of products of signs in the maximum-entropy model, for what pairs cannot say.

    p(x | c) proportional to exp(... + sum_T lambda_c[T] prod_{j in T} s_j(x_j)),  s_j the sign of a bin.

A product has a term where its measured mean is clearly another one than the model of pairs has; most have none,
since a term for each would be mostly noise. Only released values enter.

Symbols: C classes, G merged bins, M chains of a class, T subsets of features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads `special` at its first use: it takes a while
from numpy.typing import NDArray

from cohortmix.core.data.encoding import blocks_of
from cohortmix.core.steps.products.means import SignMeans

CHANCE = 0.01  # that any product has a term although pairs say it all: each is tested at CHANCE / T (Bonferroni)
MOST = 20  # terms of a model, those that stand out most: where features go together, so do their products
SD = 2.0  # prior standard deviation of lambda: what stands out is hardly drawn back
LEAST_VARIANCE = 0.1  # of a product, below which lambda moves more slowly


@partial(jax.tree_util.register_dataclass, data_fields=["signs", "weights"], meta_fields=["subsets"])
@dataclass(frozen=True)
class Terms:
    """Terms of the model beside b and theta; of all classes, or of one as numpy arrays (`of_class`)."""

    signs: Any  # (G,), of each merged bin
    weights: Any  # (T, C, 1) lambda, or (T, 1) of one class
    subsets: tuple[tuple[int, ...], ...]

    def of_class(self, c: int) -> Terms:
        """The same for records (n, G) of one class."""
        return Terms(np.asarray(self.signs), np.asarray(self.weights)[:, c], self.subsets)

    def read(self, x: Any, sizes: tuple[int, ...]) -> list[Any]:
        """The sign of each feature in one-hot records (..., G and sites), each (...)."""
        return [x[..., block] @ self.signs[block] for block in blocks_of(sizes)[:-1]]

    def logits(self, signs: Sequence[Any], feature: int, block: slice) -> Any:
        """What the terms add to the logits of a feature's bins (..., m), given the signs of the others."""
        pull: Any = sum(
            weight * prod(signs[j] for j in subset if j != feature)
            for weight, subset in zip(self.weights, self.subsets, strict=True)
            if feature in subset
        )
        return pull[..., None] * self.signs[block] if np.ndim(pull) else 0.0

    def products(self, signs: Sequence[Any]) -> Iterator[Any]:
        """Of each subset."""
        return (prod(signs[j] for j in subset) for subset in self.subsets)


@partial(jax.tree_util.register_dataclass, data_fields=["terms", "means", "std"], meta_fields=[])
@dataclass(frozen=True)
class Aim:
    """Terms that are learned, and the means (T, C) that their products shall have, with noise of `std` (C,)."""

    terms: Terms
    means: jax.Array
    std: jax.Array

    def climbed(self, weights: jax.Array, x: jax.Array, step: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
        """lambda (T, C, 1) after a Newton step towards the means, from chains `x` (C, M, G and sites)."""
        products = jnp.stack(list(self.terms.products(self.terms.read(x, sizes))))
        model = products.mean(axis=-1)
        variance = jnp.maximum((products**2).mean(axis=-1) - model**2, LEAST_VARIANCE)
        decay = (self.std / SD / variance) ** 2
        return (weights + step * ((self.means - model) / variance)[..., None]) / (1 + step * decay[..., None])


def standing_out(
    measured: SignMeans, x: jax.Array, sizes: tuple[int, ...], known: NDArray[np.bool_]
) -> Aim | None:
    """The products whose means chains of the model of pairs do not have; None if there are none.

    Parameters
    ----------
    x : (C, M, G and sites) one-hot, the chains.
    sizes : merged bins of each feature, and the number of sites.
    known : (C,) the classes whose pairs are known; the others have no terms.
    """
    terms = Terms(measured.signs.astype(np.float32), (), measured.subsets)
    signs = terms.read(np.asarray(x), sizes)
    model = np.stack([product.mean(axis=-1, dtype=np.float64) for product in terms.products(signs)])
    std = np.where(known, measured.std, np.inf)
    off = (measured.means.T - model) ** 2 / (std**2 + 1 / x.shape[1])  # chains have an error of their own
    squares = off.sum(axis=1)  # chi^2 of as many degrees of freedom as there are classes
    clear = scipy.special.chdtri(known.sum(), CHANCE / len(squares))  # that a chi^2 is above, by chance alone
    kept = sorted(t for t in np.argsort(-squares, kind="stable")[:MOST].tolist() if squares[t] > clear)
    if not kept:
        return None
    single = partial(jnp.asarray, dtype=jnp.float32)
    subsets = tuple(measured.subsets[t] for t in kept)
    nothing = jnp.zeros((len(kept), len(known), 1), jnp.float32)
    return Aim(Terms(single(measured.signs), nothing, subsets), single(measured.means.T[kept]), single(std))
