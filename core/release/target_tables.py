"""What the maximum-entropy model is fitted to: pair tables, and how far each entry of theta may follow them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

SD_SHARED = 1.0  # prior standard deviation of theta, of what the classes have in common
SD_OWN = 0.25  # and of a class's own part: the pairs of two classes are taken to be mostly alike


@dataclass(frozen=True, eq=False, kw_only=True)
class TargetTables:
    """The class-conditional pair tables that records shall have.

    Attributes
    ----------
    sizes : merged bins of each of the D features, then the number of sites S; their sum is G.
    pairs : (C, G, G) distributions of each pair of features; the diagonal holds the distribution of each feature.
    std : (C,) standard deviation of the noise of one entry of `pairs`; infinite where a class has no pairs.
    masses : (C,) patients.
    known : (C, S) true for the sites whose patients the pairs of features describe.
    zeros : (G, G) true for pairs of bins that no record can have; None where there are none.
    """

    sizes: tuple[int, ...]
    pairs: Array
    std: Array
    masses: Array
    known: NDArray[np.bool_]
    zeros: NDArray[np.bool_] | None = None

    @property
    def margins(self) -> Array:
        """(C, G) distributions of each feature."""
        return np.diagonal(self.pairs, axis1=1, axis2=2)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["pairs", "margins", "known", "share", "curvature", "decay", "shared_curvature", "shared_decay"],
    meta_fields=[],
)
@dataclass(frozen=True)
class NewtonTarget:
    """The tables, and what a Newton step needs to know of each class and of all together.

    The curvature of an entry is its share of the patients, as wanted or as of independent features, whichever is
    more, and not far below the noise; it is infinite within a feature, and for what no record can have, where
    nothing moves. The decay says how far the prior draws theta back: noise^2 / (variance of the prior * product of
    the margins * curvature).
    """

    pairs: jax.Array  # (C, G, G)
    margins: jax.Array  # (C, G)
    known: jax.Array  # (C, S)
    share: jax.Array  # (C,) a class's share of the patients whose pairs are known
    curvature: jax.Array  # (C, G, G)
    decay: jax.Array  # (C, G, G)
    shared_curvature: jax.Array  # (G, G)
    shared_decay: jax.Array  # (G, G)

    @classmethod
    def of(cls, tables: TargetTables) -> NewtonTarget:
        """Everything in single precision, as the chains have it."""
        feature = np.repeat(np.arange(len(tables.sizes)), tables.sizes)
        apart = feature[:, None] != feature[None, :]
        if tables.zeros is not None:
            apart &= ~tables.zeros
        has = np.isfinite(tables.std)
        std, share = np.where(has, tables.std, 1.0), np.where(has, tables.masses, 0.0)
        share /= max(share.sum(), 1e-12)
        margins = np.maximum(tables.margins, 1e-9)
        product = margins[:, :, None] * margins[:, None, :]
        moved = np.maximum(product, tables.pairs)
        pooled = partial(np.einsum, "c,cgh->gh", share)
        pooled_std = np.sqrt(((share * std) ** 2).sum())
        curvature, decay = _newton(product, moved, std[:, None, None], SD_OWN, apart & has[:, None, None])
        shared_curvature, shared_decay = _newton(pooled(product), pooled(moved), pooled_std, SD_SHARED, apart)

        def single(values: Any) -> jax.Array:
            return jnp.asarray(np.asarray(values, np.float32))  # JAX would compile the change of kind

        return cls(
            pairs=single(tables.pairs),
            margins=single(margins),
            known=single(tables.known),
            share=single(share),
            curvature=single(curvature),
            decay=single(decay),
            shared_curvature=single(shared_curvature),
            shared_decay=single(shared_decay),
        )


def _newton(product: Array, moved: Array, std: Any, sd: float, free: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Curvature and decay; where nothing is free to move, the curvature is infinite."""
    damped = np.maximum(moved, std / 2)
    return np.where(free, damped, np.inf), np.where(free, (std / sd) ** 2 / (product * damped), 0)
